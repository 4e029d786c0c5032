//! How the pipeline shows frames to its taps.

use super::{MAX_MESSAGES, Outcome, Tapped};
use crate::act::Action;
use crate::conntrack::Conn;
use crate::events::About;
use crate::inspect::NONE;
use crate::judge::parties;
use crate::pipeline::{Parse, Pipeline};
use crate::snapshot::Snapshot;
use flowlog::{EventKind, FlowEvent, TraceReason};
use packet::{Frame, Instant, Leg, Packet, PacketIo, Parsed, PortId};
use policy::RuleId;

const _: () = assert!(MAX_MESSAGES <= u8::MAX as usize);

impl Pipeline {
    /// The journey of one frame that is watched.
    #[cold]
    #[inline(never)]
    pub(crate) fn process_tapped<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        parse: &Parse,
        now: Instant,
    ) {
        self.taps.clock(now);
        let ends = match &parse.parsed {
            Ok(Parsed::Ip(packet)) => Some((packet.src, packet.dst)),
            Ok(Parsed::Arp(arp)) => Some((arp.sender, arp.target)),
            Err(_) => None,
        };
        if let Some(heard) = self.events.heard_mut() {
            heard.clear();
        }
        self.taps.begin(&frame, ends, |buffer| copy(io, &frame, buffer));
        let action = self.decide(io, snapshot, &frame, parse, now);
        let tapped = self.tapped(snapshot, &frame, parse, &action, now);
        self.taps.decided(tapped);
        let (forwarded, outstanding) = (self.stats.forwarded, io.outstanding());
        self.act(io, snapshot, frame, parse.parsed.as_ref().ok(), action, || false, now);
        let forwarded = self.stats.forwarded > forwarded;
        let stays = io.outstanding() >= outstanding;
        let Self { taps, events, .. } = self;
        let Some(heard) = events.heard_mut() else { return };
        taps.end(heard, |tapped| match tapped.outcome {
            // An inspected frame may stay, and may have let go of one that stayed before.
            Outcome::Forwarded if tapped.inspected && stays => Outcome::Held,
            Outcome::Forwarded if tapped.inspected && !forwarded => Outcome::Taken,
            other => other,
        });
    }

    /// What was decided about a frame, before it is done.
    fn tapped(
        &self,
        snapshot: &Snapshot,
        frame: &Frame,
        parse: &Parse,
        action: &Action,
        now: Instant,
    ) -> Tapped {
        let about = match &parse.parsed {
            Ok(Parsed::Ip(packet)) => About::of_packet(packet, frame.port(), snapshot, now),
            _ => About::of_frame(frame.port(), frame.len(), snapshot, now),
        };
        let mut tapped = Tapped {
            event: about.trace(TraceReason::Established),
            port: frame.port(),
            out: None,
            outcome: Outcome::Local,
            len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            rules: [RuleId::NONE; 2],
            audited: false,
            inspected: false,
            state: None,
            messages: 0,
            lost_before: 0,
        };
        let packet = match (&parse.parsed, action) {
            (Ok(Parsed::Ip(packet)), Action::Forward { .. } | Action::Inspect(_)) => packet,
            (parsed, Action::Drop(dropped)) => {
                let parsed = parsed.as_ref().ok();
                tapped.event = self.drop_event(snapshot, frame, parsed, dropped, now);
                tapped.outcome = Outcome::Dropped(dropped.reason);
                let known = parse.flow.and_then(|(key, hash)| self.conntrack.lookup(&key, hash));
                tapped.state = known.map(|(id, _)| self.conntrack.get(id).state());
                return tapped;
            }
            _ => return tapped,
        };
        tapped.outcome = Outcome::Forwarded;
        let known = match (action, &parse.flow) {
            (Action::Inspect(at), _) => Some((at.id, at.leg)),
            (_, Some((key, hash))) => self.conntrack.lookup(key, *hash),
            (_, None) => None,
        };
        if let Action::Forward { out, .. } = action {
            tapped.out = Some(*out);
        }
        match known {
            // An error travels against the packet it is about.
            Some((id, leg)) if packet.is_icmp_error() => {
                let conn = self.conntrack.get(id);
                about_conn(&mut tapped, packet, conn, leg.opposite(), snapshot, TraceReason::Related, now);
            }
            Some((id, leg)) => {
                let conn = self.conntrack.get(id);
                let reason = match leg {
                    Leg::Reply => TraceReason::Reply,
                    Leg::Original if conn.packets()[0] == 1 => TraceReason::New,
                    Leg::Original => TraceReason::Established,
                };
                about_conn(&mut tapped, packet, conn, leg, snapshot, reason, now);
            }
            // A later fragment: its first one was judged.
            None => {
                if let Ok(parties) = parties(packet.src, packet.dst, snapshot) {
                    let about = About::of_parties(packet, &parties, snapshot, now);
                    tapped.event = about.trace(TraceReason::Established);
                }
            }
        }
        tapped
    }

    /// A frame made here is about to leave by `port`.
    #[cold]
    #[inline(never)]
    pub(crate) fn tap_generated(&mut self, port: PortId, bytes: &[u8]) {
        let Ok(parsed) = packet::parse(bytes, bytes.len()) else { return };
        let mut event = FlowEvent {
            at: self.taps.now,
            kind: EventKind::Trace { reason: TraceReason::Related },
            key: packet::FlowKey::default(),
            icmp: (0, 0),
            tcp_flags: packet::TcpFlags::default(),
            is_reply: false,
            src_identity: policy::Identity::UNKNOWN,
            dst_identity: policy::Identity::UNKNOWN,
            src_endpoint: None,
            dst_endpoint: None,
            in_port: port,
            len: 0,
            epoch: 0,
        };
        let mut tapped = Tapped {
            event,
            port,
            out: Some(port),
            outcome: Outcome::Generated,
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            rules: [RuleId::NONE; 2],
            audited: false,
            inspected: false,
            state: None,
            messages: 0,
            lost_before: 0,
        };
        if let Parsed::Ip(packet) = &parsed {
            event.key = packet.flow_key().unwrap_or(packet::FlowKey {
                src: packet.src,
                dst: packet.dst,
                proto: packet.proto,
                ..packet::FlowKey::default()
            });
            match packet.l4_header {
                packet::L4::Tcp(tcp) => event.tcp_flags = tcp.flags,
                packet::L4::Icmp(icmp) => event.icmp = (icmp.kind, icmp.code),
                _ => {}
            }
            event.len = packet.ip_len();
            if let Some((id, leg)) = self.conntrack.lookup(&event.key, self.conntrack.hash(&event.key)) {
                let conn = self.conntrack.get(id);
                event.epoch = conn.verdict.epoch;
                event.is_reply = leg == Leg::Reply;
                let ends = [(conn.src_identity, conn.src_endpoint), (conn.dst_identity, conn.dst_endpoint)];
                let [src, dst] = if leg == Leg::Original { ends } else { [ends[1], ends[0]] };
                (event.src_identity, event.src_endpoint) = src;
                (event.dst_identity, event.dst_endpoint) = dst;
                tapped.state = Some(conn.state());
                tapped.inspected = conn.verdict.inspection != NONE;
            }
            tapped.event = event;
        }
        self.taps.generated(&tapped, bytes);
    }
}

fn about_conn(
    tapped: &mut Tapped,
    packet: &Packet,
    conn: &Conn,
    leg: Leg,
    snapshot: &Snapshot,
    reason: TraceReason,
    now: Instant,
) {
    tapped.event = About::of_conn(packet, conn, leg, snapshot, now).trace(reason);
    tapped.rules = conn.rules;
    tapped.audited = conn.audited;
    tapped.inspected = conn.verdict.inspection != NONE;
    tapped.state = Some(conn.state());
    tapped.out = Some(conn.port_towards(leg));
}

/// Copies as much of a frame as fits.
fn copy<I: PacketIo>(io: &I, frame: &Frame, buffer: &mut [u8]) -> usize {
    let mut copied = 0;
    io.for_each_buffer(frame, &mut |piece| {
        let room = buffer.get_mut(copied..).unwrap_or_default();
        let len = room.len().min(piece.len());
        room[..len].copy_from_slice(&piece[..len]);
        copied += len;
    });
    copied
}
