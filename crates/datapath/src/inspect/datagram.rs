//! DNS in datagrams: each is decided by itself, and an answer waits until what it taught is in force.

use super::speaker::Speaker;
use super::table::{Answer, Inspection, Inspections, Protocol};
use super::{Inspected, side_of};
use crate::conntrack::ConnId;
use crate::pipeline::Pipeline;
use crate::snapshot::Snapshot;
use crate::track::Dropped;
use flowlog::DropReason;
use l7::dns::DatagramStep;
use l7::{Anomaly, Context, Side};
use packet::emit::{self, Envelope};
use packet::{Frame, Instant, L4, Packet, PacketIo};

/// Answers of all connections that may wait at a time. Further ones are dropped; their askers ask again.
const MAX_ANSWERS: usize = 256;
/// Longest refusal: header, one question, an EDNS record.
const MAX_REFUSAL: usize = 14 + 40 + 8 + 512;

impl Pipeline {
    pub(super) fn datagram<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        inspection: &mut Inspection,
        frame: Frame,
        packet: &Packet,
        at: Inspected,
        now: Instant,
    ) {
        let side = side_of(at.leg);
        // A part of a datagram cannot be read. Resolvers of today keep below the size at which datagrams are cut
        // (DNS flag day 2020) and turn to TCP.
        let whole = packet.fragment.is_none() && matches!(packet.l4_header, L4::Udp { .. });
        inspection.asked = None;
        let step = if whole {
            self.put(io, snapshot, inspection, &frame, packet, at.id, side, now)
        } else {
            DatagramStep::Drop(Anomaly::DnsMalformed)
        };
        let dropped = |reason: DropReason| Dropped { is_reply: side == Side::Server, ..reason.into() };
        match step {
            DatagramStep::Pass => {
                let out = self.conntrack.get(at.id).port_towards(at.leg);
                self.forward(io, snapshot, frame, packet, out, at.completion, now);
            }
            DatagramStep::Answer => {
                self.stats.answered += 1;
                self.refuse(io, snapshot, packet, frame.port());
                io.release(frame);
            }
            DatagramStep::Wait => match inspection.asked {
                Some(asked) if self.inspections.answers.len() < MAX_ANSWERS => {
                    let until = now + self.config.l7.answer_timeout;
                    let (packet, completion, conn) = (*packet, at.completion, inspection.conn);
                    let answer = Answer { frame, packet, completion, conn, asked, until };
                    self.inspections.answers.push_back(answer);
                }
                _ => self.drop_packet(io, snapshot, frame, packet, dropped(DropReason::L7Backpressure), now),
            },
            DatagramStep::Drop(anomaly) => {
                self.drop_packet(io, snapshot, frame, packet, dropped(DropReason::L7(anomaly)), now);
            }
        }
    }

    fn put<I: PacketIo>(
        &mut self,
        io: &I,
        snapshot: &Snapshot,
        inspection: &mut Inspection,
        frame: &Frame,
        packet: &Packet,
        id: ConnId,
        side: Side,
        now: Instant,
    ) -> DatagramStep {
        let Self { conntrack, events, inspections, config, .. } = self;
        let Inspections { learn, said, scratch, .. } = inspections;
        let Inspection { protocol: Protocol::Datagrams(dns), plan, asked, .. } = inspection else {
            return DatagramStep::Drop(Anomaly::DnsMalformed);
        };
        let payload = crate::splice::payload_of(io, frame, packet, scratch);
        let conn = conntrack.get(id);
        let mut judge =
            Speaker { conn, rules: &plan.rules, snapshot, events, learn: learn.as_mut(), asked, now };
        let lenient = judge.is_lenient();
        let [to_client, to_server] = said;
        to_client.clear();
        let mut cx = Context {
            judge: &mut judge,
            now: now.as_nanos(),
            settings: &config.l7.settings,
            to_client,
            to_server,
        };
        let step = match side {
            Side::Client => dns.query(payload, &mut cx),
            Side::Server => dns.response(payload, &mut cx),
        };
        match step {
            // What is only watched is not dropped.
            DatagramStep::Drop(anomaly) if lenient => {
                cx.judge.oddity(anomaly);
                DatagramStep::Pass
            }
            step => step,
        }
    }

    /// Sends the refusal that the protocol wrote back to who asked.
    fn refuse<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        packet: &Packet,
        port: packet::PortId,
    ) {
        let payload = std::mem::take(&mut self.inspections.said[0]);
        if let (L4::Udp { src_port, dst_port }, Some(port)) = (packet.l4_header, snapshot.ports.get(port)) {
            let mut buf = [0; MAX_REFUSAL];
            let envelope = Envelope { eth_src: port.mac, ..Envelope::answering(packet) };
            let len = emit::udp(&mut buf, &envelope, dst_port, src_port, &payload);
            self.send_own(io, port.id, len.and_then(|len| buf.get(..len)));
        }
        self.inspections.said[0] = payload;
    }

    /// Lets go of the answers whose addresses are in force, and drops those that waited for too long.
    pub(super) fn tend_answers<I: PacketIo>(&mut self, io: &mut I, snapshot: &Snapshot, now: Instant) {
        let learnt = self.inspections.learnt(snapshot);
        // Numbers rise and time-outs are of one length, so the first is always the first to go.
        while let Some(first) = self.inspections.answers.front() {
            let ready = learnt >= first.asked;
            if !ready && now < first.until {
                return;
            }
            let Some(Answer { frame, packet, completion, conn, asked, .. }) =
                self.inspections.answers.pop_front()
            else {
                return;
            };
            let id = self.conntrack.resolve(conn).filter(|_| ready);
            let slot = id.map_or(super::NONE, |id| self.conntrack.get(id).verdict.inspection);
            let (Some(id), Some(mut inspection)) = (id, self.inspections.take(slot)) else {
                let late = Dropped { is_reply: true, ..DropReason::L7Backpressure.into() };
                self.drop_packet(io, snapshot, frame, &packet, late, now);
                continue;
            };
            inspection.asked = Some(asked);
            let step = self.put(io, snapshot, &mut inspection, &frame, &packet, id, Side::Server, now);
            inspection.asked = None;
            self.inspections.put_back(slot, inspection);
            if step == DatagramStep::Pass {
                let out = self.conntrack.get(id).in_port;
                self.forward(io, snapshot, frame, &packet, out, completion, now);
            } else {
                io.release(frame);
            }
        }
    }
}
