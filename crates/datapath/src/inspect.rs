//! Stage 5: messages of inspected connections.
//!
//! A connection is inspected when policy allows it only message by message, or when its port is to be visible. TCP
//! connections have a [splice](crate::splice), DNS over UDP is decided datagram by datagram. What a message may is
//! asked of the rule sets of both sides at once: the source's egress and the destination's ingress.
//!
//! **When policy changes** under a live connection: other rules of the same protocol count from the next message; rules
//! that are gone let every message pass, which goes on being read; rules that come to a connection which is not read
//! yet cannot begin in the middle of a stream, so it is reset or let pass as configured
//! ([`MidStream`](crate::config::MidStream)); another protocol resets it.

mod datagram;
mod share;
mod speaker;
mod straight;
mod table;

pub(crate) use share::Share;
pub(crate) use speaker::SideRules;
#[cfg(any(test, feature = "testing"))]
pub(crate) use straight::ShortWay;
pub use table::InspectionLoad;
pub(crate) use table::{Inspections, NONE};

use crate::config::MidStream;
use crate::conntrack::ConnId;
use crate::events;
use crate::judge::Judgement;
use crate::pipeline::{Parse, Pipeline};
use crate::snapshot::Snapshot;
use crate::splice::{Arrival, Drive, Ends, Segment, Splice};
use crate::track::Dropped;
use crate::verify::Completion;
use core::cmp::Reverse;
use flowlog::event::MessageVerdict;
use flowlog::{CloseReason, Detail, DropReason, EventKind};
use l7::{End, Inspector, Settings, Side, dns, http, kafka, tls};
use packet::packet::proto;
use packet::{Frame, Instant, L4, Leg, Packet, PacketIo, Parsed, Tcp};
use policy::{DenyReason, L7Kind};
use speaker::Speaker;
use table::{Inspection, Protocol};

/// Frames that may wait on all connections of a worker together. Beyond it bytes are copied at once.
const MAX_FRAMES: usize = 512;

/// Frames of a stream that are passed on together.
const MAX_TURN: usize = 8;

/// Timers of inspected connections run per poll.
const TIMERS_PER_POLL: usize = 64;

/// What a connection is inspected for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: L7Kind,
    pub(crate) rules: SideRules,
}

impl Plan {
    /// How the connection that was judged so is inspected, if at all. `Err`: its messages would have to be, and cannot.
    pub(crate) fn of(
        judgement: &Judgement,
        l4_proto: u8,
        port: u16,
        snapshot: &Snapshot,
    ) -> Result<Option<Self>, DenyReason> {
        let rules = SideRules::of(judgement);
        let kinds = rules.sets().map(|id| snapshot.policy.l7.get(id).map(policy::L7RuleSet::kind));
        let mut found = None;
        for kind in kinds {
            // A set that this snapshot does not know cannot be asked.
            let kind = kind.ok_or(DenyReason::Unsupported)?;
            found = Some(found.map_or(kind, |other: L7Kind| other.min(kind)));
        }
        let kind = match found.or_else(|| snapshot.visibility.kind_of(l4_proto, port)) {
            Some(kind) => kind,
            None => return Ok(None),
        };
        let readable = match l4_proto {
            proto::TCP => true,
            proto::UDP => kind == L7Kind::Dns,
            _ => false,
        };
        match (readable, found) {
            (true, _) => Ok(Some(Self { kind, rules })),
            (false, Some(_)) => Err(DenyReason::Unsupported),
            (false, None) => Ok(None),
        }
    }
}

fn engine(kind: L7Kind, settings: &Settings) -> Box<dyn Inspector + Send> {
    match kind {
        L7Kind::Http => Box::new(http::Http::new(settings)),
        L7Kind::Kafka => Box::new(kafka::Kafka::new(settings)),
        L7Kind::Tls => Box::new(tls::Tls::new()),
        L7Kind::Dns => Box::new(dns::Tcp::new()),
    }
}

pub(crate) const fn side_of(leg: Leg) -> Side {
    match leg {
        Leg::Original => Side::Client,
        Leg::Reply => Side::Server,
    }
}

/// A frame of an inspected connection, and where it belongs.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Inspected {
    pub(crate) id: ConnId,
    pub(crate) leg: Leg,
    pub(crate) completion: Completion,
}

/// Whether a segment has bytes or ends its stream, so that it takes its turn in it.
fn speaks(packet: &Packet) -> bool {
    matches!(packet.l4_header, L4::Tcp(tcp) if tcp.payload_len > 0 || tcp.flags.fin())
}

/// Whether `next` in the burst goes on with the stream of the frame before it.
pub(crate) fn goes_on(parse: &Parse, next: &Parse) -> bool {
    let (Some((flow, hash)), Some((next_flow, next_hash))) = (&parse.flow, &next.flow) else { return false };
    hash == next_hash && flow == next_flow && matches!(&next.parsed, Ok(Parsed::Ip(packet)) if speaks(packet))
}

impl Pipeline {
    /// Begins to inspect a connection.
    pub(crate) fn begin_inspection(&mut self, id: ConnId, plan: Plan) -> Result<(), DropReason> {
        let conn = self.conntrack.get(id);
        let protocol = if conn.key.proto == proto::TCP {
            Protocol::Stream(Splice::new(engine(plan.kind, &self.config.l7.settings), conn.key))
        } else {
            Protocol::Datagrams(dns::Udp::new())
        };
        let ports = [conn.in_port, conn.out_port];
        let handle = self.conntrack.handle(id);
        let slot = self
            .inspections
            .insert(Inspection {
                conn: handle,
                plan,
                protocol,
                asked: None,
                cut: false,
                ports,
                counted: Default::default(),
                queued: false,
            })
            .ok_or(DropReason::L7Backpressure)?;
        self.conntrack.get_mut(id).verdict.inspection = slot;
        Ok(())
    }

    /// A live connection was judged again. `Err`: it cannot go on under the new rules.
    pub(crate) fn replan(
        &mut self,
        id: ConnId,
        plan: Option<Plan>,
        snapshot: &Snapshot,
    ) -> Result<(), l7::Anomaly> {
        let conn = self.conntrack.get(id);
        let (slot, tcp) = (conn.verdict.inspection, conn.key.proto == proto::TCP);
        let refuses = plan.is_some_and(|plan| plan.rules.refuse(snapshot));
        let too_late = if refuses && self.config.l7.mid_stream == MidStream::Reset {
            Err(l7::Anomaly::MidStream)
        } else {
            Ok(())
        };
        match (self.inspections.get_mut(slot), plan) {
            (None, None) => Ok(()),
            (None, Some(plan)) if !tcp => self.begin_inspection(id, plan).map_err(|_| l7::Anomaly::MidStream),
            (None, Some(_)) => too_late,
            (Some(inspection), None) => {
                inspection.plan.rules = SideRules::default();
                Ok(())
            }
            (Some(inspection), Some(plan)) if inspection.plan.kind == plan.kind => {
                inspection.plan = plan;
                match &inspection.protocol {
                    Protocol::Stream(splice) if splice.is_blind() => too_late,
                    _ => Ok(()),
                }
            }
            (Some(_), Some(_)) => Err(l7::Anomaly::MidStream),
        }
    }

    /// A frame of an inspected connection: consumed on return. `more`: the next frame of the burst goes on with its stream,
    /// and what is decided may wait for it.
    #[inline(never)]
    pub(crate) fn inspect<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        packet: &Packet,
        at: Inspected,
        more: bool,
        now: Instant,
    ) {
        let slot = self.conntrack.get(at.id).verdict.inspection;
        if !speaks(packet) || self.inspections.turn.is_of_another(slot, side_of(at.leg)) {
            self.end_turn(io, snapshot, now);
        }
        if packet.fragment.is_some() && packet.proto == proto::TCP {
            // TCP avoids fragments (RFC 1191), and a part of a segment can be neither summed nor judged.
            let reason = DropReason::L7(l7::Anomaly::SegmentFragment);
            return self.drop_packet(io, snapshot, frame, packet, reason.into(), now);
        }
        let Some(mut inspection) = self.inspections.take(slot) else {
            let reason = DropReason::L7Backpressure.into();
            return self.drop_packet(io, snapshot, frame, packet, reason, now);
        };
        match (&inspection.protocol, packet.l4_header) {
            (Protocol::Stream(_), L4::Tcp(tcp)) => {
                self.segment(io, snapshot, &mut inspection, frame, packet, tcp, at, more, now);
            }
            _ => self.datagram(io, snapshot, &mut inspection, frame, packet, at, now),
        }
        self.inspections.put_back(slot, inspection);
    }

    fn segment<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        inspection: &mut Inspection,
        frame: Frame,
        packet: &Packet,
        tcp: Tcp,
        at: Inspected,
        more: bool,
        now: Instant,
    ) {
        let side = side_of(at.leg);
        let Inspection { protocol: Protocol::Stream(splice), plan, asked, ports, counted, .. } =
            &mut *inspection
        else {
            return io.release(frame);
        };
        let shares = &self.inspections.shares;
        // Of both ends: what the server says may be kept on the account of a client that has fallen silent.
        let overfull = (0..2)
            .any(|end| counted[end].bytes > 0 && shares.is_overfull(ports[end], self.config.l7.max_bytes));
        let none_before = self.inspections.turn.len() == 0 && !overfull && self.may_go_straight();
        let arrival = if overfull && !splice.is_closing() {
            io.release(frame);
            Arrival::Ended(End::Anomaly(l7::Anomaly::SegmentOverflow), None)
        } else if let Some(place) = splice.straight(side, &tcp).filter(|_| none_before) {
            let whole = (frame, packet, at.completion);
            match self.straight(io, snapshot, inspection, &place, whole, at.id, now) {
                Some(arrival) => arrival,
                None => return,
            }
        } else {
            let may_hold = ports.map(|port| shares.may_hold(port, MAX_FRAMES));
            let segment = Segment { side, frame, packet: *packet, tcp, completion: at.completion };
            self.drive(snapshot, plan, asked, may_hold, at.id, now, |drive, scratch| {
                splice.arrive(io, segment, scratch, drive)
            })
        };
        self.arrived(io, snapshot, inspection, arrival, packet, at, more, now);
    }

    /// What follows upon a segment that was taken in and has not left, and upon those that waited for it.
    #[inline(never)]
    fn arrived<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        inspection: &mut Inspection,
        arrival: Arrival,
        packet: &Packet,
        at: Inspected,
        more: bool,
        now: Instant,
    ) {
        let Inspected { id, leg, .. } = at;
        let (side, is_reply) = (side_of(leg), leg == Leg::Reply);
        let slot = self.conntrack.get(id).verdict.inspection;
        let ends = self.ends(id);
        let Inspection { protocol: Protocol::Stream(splice), plan, asked, ports, .. } = &mut *inspection
        else {
            return;
        };
        let shares = &self.inspections.shares;
        let may_hold = ports.map(|port| shares.may_hold(port, MAX_FRAMES));
        let mut arrival = Some(arrival);
        while let Some(arrived) = arrival {
            match arrived {
                Arrival::Waits => {}
                Arrival::Turn(held) => self.inspections.turn.push(slot, side, held),
                Arrival::Over(frame) => {
                    self.stats.answered += 1;
                    io.release(frame);
                }
                Arrival::Probe(frame, at) => {
                    self.stats.answered += 1;
                    io.release(frame);
                    self.probe(io, snapshot, splice, (side, at), &ends);
                }
                Arrival::Bare(segment) => self.relay_bare(io, snapshot, splice, segment, &ends, now),
                Arrival::Refused(frame, reason) => {
                    let dropped = Dropped { is_reply, ..reason.into() };
                    self.drop_packet(io, snapshot, frame, packet, dropped, now);
                }
                Arrival::Ended(end, held) => {
                    if self.inspections.turn.len() > 0 {
                        // What was decided before.
                        self.pass_on(io, snapshot, splice, &ends, may_hold, now);
                    }
                    self.end(snapshot, splice, id, end, now);
                    held.into_iter().for_each(|held| self.inspections.turn.push(slot, side, held));
                    break;
                }
            }
            if !splice.has_late(side) {
                break;
            }
            arrival = self.drive(snapshot, plan, asked, may_hold, id, now, |drive, scratch| {
                splice.arrive_late(io, side, scratch, drive)
            });
        }
        if !more || splice.is_closing() || self.inspections.turn.len() >= MAX_TURN {
            self.settle(io, snapshot, inspection, id, now);
        }
    }

    /// Passes on what is decided of a connection, the frames of the turn behind what waits already: the turn is of this
    /// connection, or none, since who takes up another ends it.
    fn pass_on<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        ends: &Ends,
        may_hold: [bool; 2],
        now: Instant,
    ) {
        let mut fresh = self.inspections.turn.take();
        self.relay(io, snapshot, splice, ends, &mut fresh, may_hold, now);
        self.inspections.turn.give_back(fresh.frames);
    }

    /// Passes on what waited for the next frame of the burst.
    pub(crate) fn end_turn<I: PacketIo>(&mut self, io: &mut I, snapshot: &Snapshot, now: Instant) {
        let Some(slot) = self.inspections.turn.slot() else { return };
        self.with_inspection(io, snapshot, slot, now, |_, _, _, _| {});
        // Those of a connection that is gone.
        let mut fresh = self.inspections.turn.take();
        fresh.frames.drain(..).for_each(|held| io.release(held.into_frame()));
        self.inspections.turn.give_back(fresh.frames);
    }

    /// Runs `work` with what a protocol may use.
    fn drive<R>(
        &mut self,
        snapshot: &Snapshot,
        plan: &Plan,
        asked: &mut Option<u64>,
        may_hold: [bool; 2],
        id: ConnId,
        now: Instant,
        work: impl FnOnce(&mut Drive<'_>, &mut Vec<u8>) -> R,
    ) -> R {
        let Self { conntrack, events, inspections, config, .. } = self;
        let Inspections { learn, said, scratch, .. } = inspections;
        let mut judge = Speaker {
            conn: conntrack.get(id),
            rules: &plan.rules,
            snapshot,
            events,
            learn: learn.as_mut(),
            asked,
            now,
        };
        let lenient = judge.is_lenient();
        let mut drive =
            Drive { judge: &mut judge, settings: &config.l7.settings, now, said, lenient, may_hold };
        work(&mut drive, scratch)
    }

    fn ends(&self, id: ConnId) -> Ends {
        let conn = self.conntrack.get(id);
        Ends { client: conn.in_port, server: conn.out_port }
    }

    /// A protocol, or a limit, ends the connection.
    fn end(&mut self, snapshot: &Snapshot, splice: &mut Splice, id: ConnId, end: End, now: Instant) {
        if splice.is_closing() {
            return splice.give_up();
        }
        splice.close();
        if let End::Anomaly(anomaly) = end {
            self.stats.dropped[DropReason::L7(anomaly).index()] += 1;
            let mut event = events::of_message(self.conntrack.get(id), Leg::Original, snapshot, now);
            event.kind = EventKind::Message {
                verdict: MessageVerdict::Error,
                direction: None,
                rule: policy::RuleId::NONE,
            };
            self.events.record_message(event, Detail::Anomaly(anomaly));
        }
    }

    /// What follows a call of the protocol: frames leave, the ended connection is cut, timers are set.
    fn settle<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        inspection: &mut Inspection,
        id: ConnId,
        now: Instant,
    ) {
        let ends = self.ends(id);
        let slot = self.conntrack.get(id).verdict.inspection;
        let shares = &self.inspections.shares;
        let may_hold = inspection.ports.map(|port| shares.may_hold(port, MAX_FRAMES));
        let Inspection { protocol: Protocol::Stream(splice), cut, queued, .. } = inspection else { return };
        self.pass_on(io, snapshot, splice, &ends, may_hold, now);
        if splice.is_closing() && !*cut && splice.is_said() {
            *cut = true;
            splice.drain_frames().for_each(|frame| io.release(frame));
            self.reset_end(io, snapshot, splice, Side::Client, &ends);
            if !splice.ends_in_order() {
                self.reset_end(io, snapshot, splice, Side::Server, &ends);
            }
            self.stats.connections_closed += 1;
            self.events.record(events::closed(self.conntrack.get(id), CloseReason::Reset, now));
            self.conntrack.revoke(id, now);
        }
        if splice.waits() && !*queued {
            *queued = true;
            self.inspections.waiting.push(slot);
        }
        if let Some(due) = splice.arm() {
            self.inspections.timers.push(Reverse((due, slot)));
        }
    }

    /// Runs timers of inspected connections, shows the waiting ones a new snapshot, and lets go of those whose
    /// connection is gone.
    pub(crate) fn tend_inspections<I: PacketIo>(&mut self, io: &mut I, snapshot: &Snapshot, now: Instant) {
        while let Some(slot) = self.conntrack.next_retired() {
            let Some(mut gone) = self.inspections.remove(slot) else { continue };
            if let Protocol::Stream(splice) = &mut gone.protocol {
                splice.drain_frames().for_each(|frame| io.release(frame));
            }
        }
        for _ in 0..TIMERS_PER_POLL {
            let Some(&Reverse((due, slot))) = self.inspections.timers.peek() else { break };
            if due > now {
                break;
            }
            self.inspections.timers.pop();
            self.with_inspection(io, snapshot, slot, now, |pipeline, io, inspection, id| {
                let ends = pipeline.ends(id);
                let Protocol::Stream(splice) = &mut inspection.protocol else { return };
                splice.disarm();
                if let Some(end) = pipeline.splice_timers(io, snapshot, splice, &ends, now) {
                    pipeline.end(snapshot, splice, id, end, now);
                }
            });
        }
        let seen = (snapshot.epoch, self.inspections.learnt(snapshot));
        if self.inspections.seen != seen {
            self.inspections.seen = seen;
            for slot in std::mem::take(&mut self.inspections.waiting) {
                self.with_inspection(io, snapshot, slot, now, |pipeline, _, inspection, id| {
                    inspection.queued = false;
                    let Inspection { protocol: Protocol::Stream(splice), plan, asked, .. } = inspection
                    else {
                        return;
                    };
                    // It takes nothing in.
                    let may_hold = [true; 2];
                    let outcome = pipeline
                        .drive(snapshot, plan, asked, may_hold, id, now, |drive, _| splice.resume(drive));
                    if let Err(end) = outcome {
                        pipeline.end(snapshot, splice, id, end, now);
                    }
                });
            }
        }
        self.tend_answers(io, snapshot, now);
    }

    /// Runs `work` on the inspection in a slot, if its connection still lives.
    fn with_inspection<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        slot: u32,
        now: Instant,
        work: impl FnOnce(&mut Self, &mut I, &mut Inspection, ConnId),
    ) {
        let Some(mut inspection) = self.inspections.take(slot) else { return };
        if let Some(id) = self.conntrack.resolve(inspection.conn) {
            work(self, io, &mut inspection, id);
            self.settle(io, snapshot, &mut inspection, id, now);
        }
        self.inspections.put_back(slot, inspection);
    }
}
