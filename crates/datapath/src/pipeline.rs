//! The journey of one frame: the stages in order and nothing else.
//!
//! ```text
//! parse → classify → verify → track → judge → act
//! ```
//!
//! A stage answers; the next one acts on the answer; [`act`](crate::act) alone consumes the frame.

use crate::act::Action;
use crate::budget::AnswerBudget;
use crate::classify::{Class, classify};
use crate::config::DatapathConfig;
use crate::conntrack::Conntrack;
use crate::fragments::FragmentTable;
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::verify::verify;
use flowlog::DropReason;
use flowlog::ring::EventWriter;
use packet::{FlowKey, Frame, Instant, L4, PacketIo, ParseError, Parsed};

/// What the first pass over a burst found out about a frame: the parse result, and the hash of its flow key so that
/// the lookups of the second pass need not wait for each other.
#[derive(Copy, Clone, Debug)]
pub struct Parse {
    /// The packet, or why it is none.
    pub parsed: Result<Parsed, ParseError>,
    /// Its flow and the flow's hash, where it has one of its own (not for ARP, later fragments, ICMP errors).
    pub flow: Option<(FlowKey, u64)>,
}

/// Everything one worker remembers between packets.
pub struct Pipeline {
    pub(crate) config: DatapathConfig,
    pub(crate) conntrack: Conntrack,
    pub(crate) fragments: FragmentTable,
    pub(crate) events: EventWriter,
    pub(crate) stats: Stats,
    pub(crate) budget: AnswerBudget,
    pub(crate) adopt_until: Option<Instant>,
}

impl Pipeline {
    /// A pipeline without connections. `seed` keys the hash of the connection table: take it from the system's
    /// random source.
    #[must_use]
    pub fn new(config: DatapathConfig, events: EventWriter, seed: u64) -> Self {
        Self {
            conntrack: Conntrack::new(config.conntrack.clone(), seed),
            fragments: FragmentTable::new(),
            events,
            stats: Stats::default(),
            budget: AnswerBudget::new(config.answers_per_second),
            adopt_until: None,
            config,
        }
    }

    /// Stage 1: reads a frame's bytes, once.
    #[must_use]
    pub fn parse<I: PacketIo>(&self, io: &I, frame: &Frame) -> Parse {
        let parsed = packet::parse(io.bytes(frame), frame.len());
        let flow = match &parsed {
            Ok(Parsed::Ip(packet)) if !matches!(packet.l4_header, L4::Icmp(icmp) if icmp.about.is_some()) => {
                packet.flow_key().map(|key| (key, self.conntrack.hash(&key)))
            }
            _ => None,
        };
        Parse { parsed, flow }
    }

    /// Stages 2 to 6: decides about one frame and acts on it. The frame is sent, answered or released on return.
    pub fn process<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        parse: Parse,
        now: Instant,
    ) {
        self.stats.received += 1;
        let action = self.decide(io, snapshot, &frame, parse, now);
        self.act(io, snapshot, frame, parse.parsed.ok(), action, now);
    }

    fn decide<I: PacketIo>(
        &mut self,
        io: &I,
        snapshot: &Snapshot,
        frame: &Frame,
        parse: Parse,
        now: Instant,
    ) -> Action {
        let Some(port) = snapshot.ports.get(frame.port()) else {
            return Action::drop(DropReason::PortGone);
        };
        let stats = self.stats.port(port.id);
        stats.rx_frames += 1;
        stats.rx_bytes += frame.len() as u64;
        let parsed = match parse.parsed {
            Ok(parsed) => parsed,
            Err(error) => return Action::drop(DropReason::Malformed(error)),
        };
        let packet = match classify(parsed, port, &snapshot.ports) {
            Class::Track(packet) => packet,
            Class::AnswerArp(arp) => return Action::AnswerArp(arp),
            Class::AnswerNeighbour(packet) => {
                return match verify(io, frame, &packet, port) {
                    Ok(_) => Action::AnswerNeighbour(packet),
                    Err(reason) => Action::drop(reason),
                };
            }
            Class::Ignore => return Action::Ignore,
            Class::Refuse(reason) => return Action::drop(reason),
        };
        let checksum = match verify(io, frame, &packet, port) {
            Ok(checksum) => checksum,
            Err(reason) => return Action::drop(reason),
        };
        match self.track(&packet, parse.flow, port, snapshot, now) {
            Ok(out) => Action::Forward { packet, out, checksum },
            Err(refused) => Action::Drop(refused),
        }
    }
}
