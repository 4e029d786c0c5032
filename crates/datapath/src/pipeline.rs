//! The journey of one frame: the stages in order and nothing else.
//!
//! ```text
//! parse → classify → verify → track → judge → inspect → act
//! ```
//!
//! A stage answers; the next one acts on the answer; [`act`](crate::act) alone consumes the frame. A packet of which there
//! is no more to say goes from the connection's lookup to `act` by a short way.

use crate::act::Action;
use crate::budget::PortBudgets;
use crate::classify::{Class, classify};
use crate::config::DatapathConfig;
use crate::conntrack::Conntrack;
use crate::fragments::FragmentTable;
use crate::inspect::{self, Inspected, Inspections};
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::tap::Taps;
use crate::track::Tracked;
use crate::verify::verify;
use flowlog::DropReason;
use flowlog::ring::EventWriter;
use packet::{FlowKey, Frame, Instant, L4, Packet, PacketIo, ParseError, Parsed, Tcp, icmp};

/// What the first pass over a burst found out about a frame: the parse result, and the hash of its flow key so that
/// the lookups of the second pass need not wait for each other.
#[derive(Copy, Clone, Debug)]
pub struct Parse {
    /// The packet, or why it is none.
    pub parsed: Result<Parsed, ParseError>,
    /// Its flow and the flow's hash; for an ICMP error, the flow it is about. `None` for ARP, later fragments, and
    /// errors about later fragments.
    pub flow: Option<(FlowKey, u64)>,
}

impl Parse {
    /// No frame was looked at.
    pub const NOTHING: Self = Self { parsed: Err(ParseError::Truncated), flow: None };
}

/// Everything one worker remembers between packets.
pub struct Pipeline {
    pub(crate) config: DatapathConfig,
    pub(crate) conntrack: Conntrack,
    pub(crate) fragments: FragmentTable,
    pub(crate) events: EventWriter,
    pub(crate) stats: Stats,
    pub(crate) answers: PortBudgets,
    pub(crate) told_drops: PortBudgets,
    pub(crate) adopt_until: Option<Instant>,
    pub(crate) inspections: Inspections,
    pub(crate) taps: Taps,
    #[cfg(any(test, feature = "testing"))]
    pub(crate) short_way: inspect::ShortWay,
}

impl Pipeline {
    /// A pipeline without connections. `seed` keys the hash of the connection table: take it from the system's
    /// random source.
    #[must_use]
    pub fn new(config: DatapathConfig, events: EventWriter, seed: u64) -> Self {
        Self {
            conntrack: Conntrack::new(config.conntrack.clone(), seed),
            fragments: FragmentTable::new(seed),
            events,
            stats: Stats::default(),
            answers: PortBudgets::new(config.answers_per_second),
            told_drops: PortBudgets::new(config.drop_events_per_second),
            adopt_until: None,
            inspections: Inspections::new(config.l7.max_connections),
            taps: Taps::default(),
            #[cfg(any(test, feature = "testing"))]
            short_way: inspect::ShortWay::default(),
            config,
        }
    }

    /// Stage 1: reads a frame's bytes, once. The answer is written where it stays: copying it costs as much as reading.
    #[inline]
    pub fn parse<I: PacketIo>(&self, io: &I, frame: &Frame, to: &mut Parse) {
        packet::parse_into(io.bytes(frame), frame.len(), &mut to.parsed);
        let Ok(Parsed::Ip(packet)) = &to.parsed else {
            to.flow = None;
            return;
        };
        let (L4::Tcp(Tcp { src_port, dst_port, .. }) | L4::Udp { src_port, dst_port }) = packet.l4_header
        else {
            to.flow = self.rare_flow(io, frame, packet);
            return;
        };
        let Packet { src, dst, proto, .. } = *packet;
        let key = FlowKey { src, dst, src_port, dst_port, proto };
        to.flow = Some((key, self.conntrack.hash(&key)));
    }

    /// The flow of anything but TCP and UDP.
    #[cold]
    fn rare_flow<I: PacketIo>(&self, io: &I, frame: &Frame, packet: &Packet) -> Option<(FlowKey, u64)> {
        let key =
            if packet.is_icmp_error() { icmp::about(io.bytes(frame), packet)? } else { packet.flow_key()? };
        Some((key, self.conntrack.hash(&key)))
    }

    /// Stages 2 to 7: decides about one frame and acts on it. The frame is sent, answered or released on return, or waits
    /// with its stream for the next one of the burst, whose `rest` this is, until the burst ends at the latest.
    ///
    /// Inlined down to what most frames need, so that an answer of many bytes (a drop says much) is not passed from
    /// stage to stage in memory.
    #[inline(always)]
    pub fn process<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        parse: &Parse,
        rest: &[Parse],
        now: Instant,
    ) {
        self.stats.received += 1;
        if self.taps.is_on() {
            return self.process_tapped(io, snapshot, frame, parse, now);
        }
        let action = self.decide(io, snapshot, &frame, parse, now);
        let more = || rest.first().is_some_and(|next| inspect::goes_on(parse, next));
        self.act(io, snapshot, frame, parse.parsed.as_ref().ok(), action, more, now);
    }

    #[inline(always)]
    pub(crate) fn decide<I: PacketIo>(
        &mut self,
        io: &I,
        snapshot: &Snapshot,
        frame: &Frame,
        parse: &Parse,
        now: Instant,
    ) -> Action {
        self.stats.port(frame.port()).arrived(frame);
        let Some(port) = snapshot.ports.get(frame.port()) else {
            return Action::drop(DropReason::PortGone);
        };
        let parsed = match &parse.parsed {
            Ok(parsed) => parsed,
            Err(error) => return Action::drop(DropReason::Malformed(*error)),
        };
        let class = classify(parsed, port, &snapshot.ports);
        let packet = match (class, parsed) {
            (Class::Track | Class::AnswerNeighbour, Parsed::Ip(packet)) => packet,
            (Class::AnswerArp, _) => return Action::AnswerArp,
            (Class::Refuse(reason), _) => return Action::drop(reason),
            _ => return Action::Ignore,
        };
        let checksum = match verify(io, frame, packet, port) {
            Ok(checksum) => checksum,
            Err(reason) => return Action::drop(reason),
        };
        if class == Class::AnswerNeighbour {
            return Action::AnswerNeighbour;
        }
        let found = parse.flow.as_ref().and_then(|(key, hash)| self.conntrack.lookup(key, *hash));
        if let Some((id, leg)) = found
            && let Some(out) = self.flows_on(packet, id, leg, port, snapshot, now)
        {
            return Action::Forward { out, checksum };
        }
        match self.track(packet, parse.flow.as_ref(), found, port, snapshot, now) {
            Ok(Tracked::Forward(out)) => Action::Forward { out, checksum },
            Ok(Tracked::Inspect { id, leg }) => Action::Inspect(Inspected { id, leg, completion: checksum }),
            Err(refused) => Action::Drop(refused),
        }
    }
}
