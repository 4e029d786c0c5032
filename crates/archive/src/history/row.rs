//! A record in two parts: its *shape*, which many records have in common (who, to whom, what became of it, by which
//! rule), and its *row*, which is its own (when, addresses, ports, the message).
//!
//! Whatever is not named here as a part of the row belongs to the shape, so a field that is new to records is kept
//! without this file knowing it.

use flowlog::Record;
use flowlog::record::{CloseInfo, L4, TcpFlagSet, Time};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Number of a text in a block, from 1; 0 is none.
pub(super) type TextId = u32;

/// What a record has for itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Row {
    /// Its shape.
    pub(super) shape: u32,
    /// Its number in the flow log.
    pub(super) seq: u64,
    /// Nanoseconds since 1970.
    pub(super) time: Option<i128>,
    pub(super) uuid: Uuid,
    /// Source and destination address, and source after translation.
    pub(super) addresses: [TextId; 3],
    /// Source and destination port.
    pub(super) ports: (u16, u16),
    /// Flags in the order of their names, where there are any.
    pub(super) tcp_flags: Option<u16>,
    pub(super) summary: TextId,
    /// The message, and its trace, as JSON.
    pub(super) l7: TextId,
    pub(super) trace: TextId,
    pub(super) extra: Option<Extra>,
}

/// A version of the name that is as short as it can be.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Uuid {
    /// In the usual form.
    Number(u128),
    /// In another.
    Text(TextId),
}

impl Default for Uuid {
    fn default() -> Self {
        Self::Text(0)
    }
}

/// What stands under `extensions`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Extra {
    epoch: u64,
    length: u32,
    in_port: u16,
    hint: TextId,
    close: Option<Close>,
}

/// How a connection ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Close {
    reason: TextId,
    packets: [u64; 2],
    bytes: [u64; 2],
    duration_ns: u64,
}

/// Texts of a block, each once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: HashMap<Box<str>, TextId, foldhash::fast::RandomState>,
    list: Vec<Box<str>>,
}

impl Texts {
    pub(super) fn id(&mut self, text: &str) -> TextId {
        if text.is_empty() {
            return 0;
        }
        if let Some(id) = self.known.get(text) {
            return *id;
        }
        // Rows of a block are few enough for that.
        let id = u32::try_from(self.list.len() + 1).unwrap_or(0);
        self.known.insert(text.into(), id);
        self.list.push(text.into());
        id
    }

    pub(super) fn get(&self, id: TextId) -> &str {
        text(&self.list, id)
    }

    pub(super) fn list(&self) -> &[Box<str>] {
        &self.list
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.list.clear();
    }
}

/// The text with that number; empty for 0, and for a number that a damaged block made up.
pub(super) fn text(list: &[impl AsRef<str>], id: TextId) -> &str {
    let at = (id as usize).checked_sub(1);
    at.and_then(|at| list.get(at)).map_or("", AsRef::as_ref)
}

/// Takes a record apart: what is left of it is its shape.
pub(super) fn split(record: &mut Record, seq: u64, texts: &mut Texts) -> Row {
    let mut row = Row { seq, ..Row::default() };
    row.time = record.time.take().map(|time| time.0.as_nanosecond());
    let uuid = std::mem::take(&mut record.uuid);
    row.uuid = parse_uuid(&uuid).map_or_else(|| Uuid::Text(texts.id(&uuid)), Uuid::Number);
    if let Some(ip) = &mut record.ip {
        let parts = [&mut ip.source, &mut ip.destination, &mut ip.source_xlated];
        row.addresses = parts.map(|part| texts.id(&std::mem::take(part)));
    }
    match &mut record.l4 {
        Some(L4::Tcp(tcp)) => {
            row.ports = (std::mem::take(&mut tcp.source_port), std::mem::take(&mut tcp.destination_port));
            row.tcp_flags = tcp.flags.take().map(flags_to_bits);
        }
        Some(L4::Udp(ports) | L4::Sctp(ports)) => {
            row.ports = (std::mem::take(&mut ports.source_port), std::mem::take(&mut ports.destination_port));
        }
        // What has no ports stays in the shape.
        _ => {}
    }
    row.summary = texts.id(&std::mem::take(&mut record.summary));
    row.l7 = json_id(record.l7.take().as_ref(), texts);
    row.trace = json_id(record.trace_context.take().as_ref(), texts);
    row.extra = record.extensions.as_mut().map(|extra| Extra {
        epoch: std::mem::take(&mut extra.epoch),
        length: std::mem::take(&mut extra.length),
        in_port: std::mem::take(&mut extra.in_port),
        hint: extra.hint.take().map_or(0, |hint| texts.id(&hint)),
        close: extra.close.take().map(|close| Close {
            reason: texts.id(&close.reason),
            packets: close.packets,
            bytes: close.bytes,
            duration_ns: close.duration_ns,
        }),
    });
    row
}

/// Puts together what a record says of its packet, in place of what `outline` said: addresses and ports, which can be
/// asked for before anything else is.
pub(super) fn outline(shape: &Record, row: &Row, texts: &[impl AsRef<str>], outline: &mut Record) {
    outline.l4.clone_from(&shape.l4);
    ports(row, &mut outline.l4);
    match (&shape.ip, &mut outline.ip) {
        (None, ip) => *ip = None,
        (Some(_), ip) => {
            let ip = ip.get_or_insert_default();
            let places = [&mut ip.source, &mut ip.destination, &mut ip.source_xlated];
            for (place, id) in places.into_iter().zip(row.addresses) {
                text(texts, id).clone_into(place);
            }
        }
    }
}

/// Puts a record together again.
pub(super) fn join(shape: &Record, row: &Row, texts: &[impl AsRef<str>]) -> Record {
    let text = |id| text(texts, id);
    let mut record = shape.clone();
    record.time = row.time.map(Time::from_nanos);
    record.uuid = match row.uuid {
        Uuid::Number(number) => write_uuid(number),
        Uuid::Text(id) => text(id).to_owned(),
    };
    if let Some(ip) = &mut record.ip {
        let [source, destination, xlated] = row.addresses.map(|id| text(id).to_owned());
        (ip.source, ip.destination, ip.source_xlated) = (source, destination, xlated);
    }
    ports(row, &mut record.l4);
    text(row.summary).clone_into(&mut record.summary);
    record.l7 = from_json(text(row.l7));
    record.trace_context = from_json(text(row.trace));
    if let (Some(extra), Some(own)) = (&mut record.extensions, &row.extra) {
        (extra.epoch, extra.length, extra.in_port) = (own.epoch, own.length, own.in_port);
        extra.hint = (own.hint != 0).then(|| text(own.hint).to_owned());
        extra.close = own.close.as_ref().map(|close| CloseInfo {
            reason: text(close.reason).to_owned(),
            packets: close.packets,
            bytes: close.bytes,
            duration_ns: close.duration_ns,
        });
    }
    record
}

fn ports(row: &Row, l4: &mut Option<L4>) {
    match l4 {
        Some(L4::Tcp(tcp)) => {
            (tcp.source_port, tcp.destination_port) = row.ports;
            tcp.flags = row.tcp_flags.map(flags_from_bits);
        }
        Some(L4::Udp(ports) | L4::Sctp(ports)) => (ports.source_port, ports.destination_port) = row.ports,
        _ => {}
    }
}

impl Row {
    /// Every number of a text in it.
    pub(super) fn texts_mut(&mut self) -> impl Iterator<Item = &mut TextId> {
        let uuid = match &mut self.uuid {
            Uuid::Text(id) => Some(id),
            Uuid::Number(_) => None,
        };
        let (hint, reason) = match &mut self.extra {
            Some(Extra { hint, close, .. }) => (Some(hint), close.as_mut().map(|close| &mut close.reason)),
            None => (None, None),
        };
        let others = [Some(&mut self.summary), Some(&mut self.l7), Some(&mut self.trace), uuid, hint, reason];
        self.addresses.iter_mut().chain(others.into_iter().flatten())
    }
}

fn json_id<T: Serialize>(value: Option<&T>, texts: &mut Texts) -> TextId {
    value.and_then(|value| serde_json::to_string(value).ok()).map_or(0, |json| texts.id(&json))
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if text.is_empty() { None } else { serde_json::from_str(text).ok() }
}

/// Only what [`write_uuid`] writes the same again.
fn parse_uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut number = 0_u128;
    for (at, byte) in bytes.iter().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u128::from(digit);
    }
    Some(number)
}

fn write_uuid(number: u128) -> String {
    let part = |shift: u32, bits: u32| number >> shift & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 32),
        part(80, 16),
        part(64, 16),
        part(48, 16),
        part(0, 48)
    )
}

fn flags_to_bits(flags: TcpFlagSet) -> u16 {
    flags.named().iter().enumerate().map(|(at, (_, set))| u16::from(*set) << at).sum()
}

fn flags_from_bits(bits: u16) -> TcpFlagSet {
    let set = |at: u16| bits >> at & 1 != 0;
    TcpFlagSet {
        syn: set(0),
        ack: set(1),
        rst: set(2),
        fin: set(3),
        psh: set(4),
        urg: set(5),
        ece: set(6),
        cwr: set(7),
        ns: set(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing;

    #[test]
    fn every_kind_of_record_comes_back_as_it_was() {
        for n in 0..500 {
            let record = testing::record(n);
            let (mut shape, mut texts) = (record.clone(), Texts::default());
            let row = split(&mut shape, n, &mut texts);
            assert_eq!(join(&shape, &row, texts.list()), record, "{n}");
            let bare = Record { uuid: String::new(), time: None, summary: String::new(), ..shape.clone() };
            assert_eq!(shape, bare, "nothing of the row is left in the shape");
        }
        let odd = Record { uuid: "not-a-uuid".into(), ..Record::default() };
        let (mut shape, mut texts) = (odd.clone(), Texts::default());
        let row = split(&mut shape, 0, &mut texts);
        assert_eq!(join(&shape, &row, texts.list()), odd);
    }

    #[test]
    fn uuids_are_numbers_only_if_they_read_back() {
        let uuid = "0189abcd-0011-8222-8333-00000000002a";
        assert_eq!(parse_uuid(uuid).map(write_uuid).as_deref(), Some(uuid));
        for other in ["", "0189ABCD-0011-8222-8333-00000000002a", "0189abcd00011-8222-8333-00000000002a"] {
            assert_eq!(parse_uuid(other), None, "{other}");
        }
    }

    #[test]
    fn flags_keep_their_places() {
        for bits in 0..512 {
            assert_eq!(flags_to_bits(flags_from_bits(bits)), bits);
        }
    }
}
