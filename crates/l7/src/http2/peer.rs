//! What one side has said about itself and what it may still send.

use std::collections::VecDeque;

use super::flood::Allowance;
use super::frame::{DEFAULT_WINDOW, MAX_MAX_FRAME, MAX_WINDOW, MIN_MAX_FRAME, Violation};
use super::hpack::{DEFAULT_TABLE, Limits, MAX_TABLE, Reader};
use super::request::Head;
use super::streams::MAX_OPEN;
use crate::inspector::Side;

/// Settings in one frame (nghttp2: `max_settings`, 32).
pub(super) const MAX_SETTINGS: usize = 32;

/// Settings that are said in other words where they promise too much (RFC 9113 §6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// Octets of one setting.
pub(super) const SETTING: usize = 6;

/// SETTINGS that may wait for an acknowledgement. Nobody sends more than two or three.
const MAX_UNACKNOWLEDGED: usize = 32;

/// The settings that matter here (RFC 9113 §6.5.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Values {
    pub(super) header_table: u32,
    pub(super) window: u32,
    pub(super) max_frame: u32,
    /// Whether it reads octets as they are in fields whose name ends in `-bin`, behind a leading zero. gRPC's own
    /// setting (GRPC_ALLOW_TRUE_BINARY_METADATA), announced and used by all that is built on its C core.
    pub(super) binary_metadata: bool,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            header_table: DEFAULT_TABLE,
            window: DEFAULT_WINDOW,
            max_frame: MIN_MAX_FRAME,
            binary_metadata: false,
        }
    }
}

impl Values {
    /// These, changed by the payload of a SETTINGS frame of `side`. Settings that are unknown say nothing.
    pub(super) fn changed(mut self, payload: &[u8], side: Side) -> Result<Self, Violation> {
        for setting in payload.chunks_exact(SETTING) {
            let &[i0, i1, v0, v1, v2, v3] = setting else { continue };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([i0, i1]) {
                HEADER_TABLE_SIZE => self.header_table = value,
                // Only clients may be pushed to.
                2 if value > 1 || (value == 1 && side == Side::Server) => return Err(Violation::PROTOCOL),
                4 if value > MAX_WINDOW => return Err(Violation::FLOW_CONTROL),
                4 => self.window = value,
                5 if !(MIN_MAX_FRAME..=MAX_MAX_FRAME).contains(&value) => return Err(Violation::PROTOCOL),
                5 => self.max_frame = value,
                0xfe03 => self.binary_metadata = value == 1,
                _ => {}
            }
        }
        Ok(self)
    }
}

/// Whether a SETTINGS payload of `side` promises more than is kept up here, so that the other side must be told of
/// less. `first` says that it is the first one, which speaks for what it leaves out as well.
pub(super) fn must_bound(payload: &[u8], side: Side, first: bool) -> bool {
    payload.chunks_exact(SETTING).any(|setting| bounded(setting, side).is_some())
        || says_nothing_of_streams(payload, side, first)
}

/// Appends a SETTINGS payload that promises what is kept up here.
pub(super) fn write_bounded(payload: &[u8], side: Side, first: bool, out: &mut Vec<u8>) {
    for setting in payload.chunks_exact(SETTING) {
        match bounded(setting, side) {
            Some(less) => out.extend_from_slice(&less),
            None => out.extend_from_slice(setting),
        }
    }
    if says_nothing_of_streams(payload, side, first) {
        out.extend_from_slice(&write_setting(MAX_CONCURRENT_STREAMS, MAX_OPEN as u32));
    }
}

/// What stands for a setting that promises too much: header tables, and streams that the client may open.
fn bounded(setting: &[u8], side: Side) -> Option<[u8; SETTING]> {
    let &[i0, i1, v0, v1, v2, v3] = setting else { return None };
    let (id, value) = (u16::from_be_bytes([i0, i1]), u32::from_be_bytes([v0, v1, v2, v3]));
    let most = match (id, side) {
        (HEADER_TABLE_SIZE, _) => MAX_TABLE,
        (MAX_CONCURRENT_STREAMS, Side::Server) => MAX_OPEN as u32,
        _ => return None,
    };
    (value > most).then(|| write_setting(id, most))
}

/// Whether a server leaves open how many streams it takes, which means any number. Where that could not be added without
/// making more settings than everybody reads, it stays so.
fn says_nothing_of_streams(payload: &[u8], side: Side, first: bool) -> bool {
    let says = |setting: &[u8]| setting.starts_with(&MAX_CONCURRENT_STREAMS.to_be_bytes());
    side == Side::Server
        && first
        && payload.len() < MAX_SETTINGS * SETTING
        && !payload.chunks_exact(SETTING).any(says)
}

fn write_setting(id: u16, value: u32) -> [u8; SETTING] {
    let ([i0, i1], [v0, v1, v2, v3]) = (id.to_be_bytes(), value.to_be_bytes());
    [i0, i1, v0, v1, v2, v3]
}

/// One side.
#[derive(Debug)]
pub(super) struct Peer {
    /// Whether its first SETTINGS have passed.
    pub(super) started: bool,
    /// What the other side has acknowledged of its settings.
    acknowledged: Values,
    /// What it announced since, oldest first, each with all that it does not change.
    pending: VecDeque<Values>,
    /// Reads the header blocks that it sends; of a client's lists it keeps what was found out about them.
    pub(super) blocks: Reader<Option<Head>>,
    /// Octets of DATA that it may send on the connection.
    pub(super) window: u32,
    /// Frames that move nothing.
    pub(super) idle: Allowance,
    /// Resets of streams that are not answered.
    pub(super) resets: Allowance,
}

impl Peer {
    /// One that has said nothing yet, and whose header lists are read up to `limits`.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            started: false,
            acknowledged: Values::default(),
            pending: VecDeque::new(),
            blocks: Reader::new(limits),
            window: DEFAULT_WINDOW,
            idle: Allowance::default(),
            resets: Allowance::default(),
        }
    }

    /// It announces settings. They bind the other side when that acknowledges them.
    pub(super) fn announce(&mut self, payload: &[u8], side: Side) -> Result<Values, Violation> {
        let values = self.latest().changed(payload, side)?;
        if self.pending.len() >= MAX_UNACKNOWLEDGED {
            return Err(Violation::FLOOD);
        }
        self.pending.push_back(values);
        Ok(values)
    }

    /// The other side acknowledges the oldest of its settings; `None` if there are none.
    pub(super) fn acknowledge(&mut self) -> Option<Values> {
        self.acknowledged = self.pending.pop_front()?;
        Some(self.acknowledged)
    }

    /// Takes settings that came another way and need no acknowledgement.
    pub(super) fn adopt(&mut self, payload: &[u8], side: Side) -> Result<Values, Violation> {
        self.acknowledged = self.acknowledged.changed(payload, side)?;
        Ok(self.acknowledged)
    }

    fn latest(&self) -> Values {
        self.pending.back().copied().unwrap_or(self.acknowledged)
    }

    /// The largest frame that the other side may send: it may know of what it did not acknowledge yet.
    pub(super) fn largest_frame(&self) -> u32 {
        self.pending.iter().map(|values| values.max_frame).fold(self.acknowledged.max_frame, u32::max)
    }

    /// The smallest window that a new stream may have towards this side.
    pub(super) fn smallest_window(&self) -> u32 {
        self.pending.iter().map(|values| values.window).fold(self.acknowledged.window, u32::min)
    }

    /// Whether it has announced that it reads binary metadata.
    pub(super) fn reads_binary(&self) -> bool {
        self.latest().binary_metadata
    }

    /// The smallest and largest header table that the other side may believe in.
    pub(super) fn header_table(&self) -> (u32, u32) {
        let pending = self.pending.iter().map(|values| values.header_table);
        let known = self.acknowledged.header_table;
        (pending.clone().fold(known, u32::min), pending.fold(known, u32::max))
    }

    /// Takes `len` octets of DATA from what it may send.
    pub(super) fn spend(&mut self, len: u32) -> Result<(), Violation> {
        self.window = self.window.checked_sub(len).ok_or(Violation::FLOW_CONTROL)?;
        Ok(())
    }

    /// Gives it `increment` octets more.
    pub(super) fn credit(&mut self, increment: u32) -> Result<(), Violation> {
        let window = self.window.checked_add(increment).filter(|&window| window <= MAX_WINDOW);
        self.window = window.ok_or(Violation::FLOW_CONTROL)?;
        Ok(())
    }
}
