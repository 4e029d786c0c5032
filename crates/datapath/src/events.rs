//! Flow events from what the stages know.

use crate::conntrack::Conn;
use crate::judge::{Judgement, Parties, Party, Refusal};
use crate::snapshot::Snapshot;
use flowlog::event::VerdictKind;
use flowlog::{CloseReason, DropReason, EventKind, FlowEvent, TraceReason};
use packet::{FlowKey, Icmp, Instant, L4, Leg, Packet, PortId, TcpFlags};
use policy::{Identity, RuleId, Verdict};

/// TCP flags that make a packet worth a line of its own (Hubble's `monitor-aggregation-flags`).
pub const FLAGS_OF_INTEREST: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;

/// The part that every event about a packet shares.
#[derive(Copy, Clone, Debug)]
pub struct About(FlowEvent);

impl About {
    /// About a packet of which nothing but its headers is known.
    #[must_use]
    pub fn of_packet(packet: &Packet, in_port: PortId, snapshot: &Snapshot, now: Instant) -> Self {
        let mut event = blank(now, in_port, snapshot.policy.epoch);
        event.key = packet.flow_key().unwrap_or(FlowKey {
            src: packet.src,
            dst: packet.dst,
            proto: packet.proto,
            ..FlowKey::default()
        });
        match packet.l4_header {
            L4::Tcp(tcp) => event.tcp_flags = tcp.flags,
            L4::Icmp(Icmp { kind, code, .. }) => event.icmp = (kind, code),
            L4::Sctp(sctp) => event.icmp = (sctp.first_chunk, 0),
            _ => {}
        }
        event.len = packet.ip_len();
        Self(event)
    }

    /// About a frame that is no packet.
    #[must_use]
    pub fn of_frame(in_port: PortId, len: usize, snapshot: &Snapshot, now: Instant) -> Self {
        let mut event = blank(now, in_port, snapshot.policy.epoch);
        event.len = u32::try_from(len).unwrap_or(u32::MAX);
        Self(event)
    }

    /// About the first packet between two parties.
    #[must_use]
    pub fn of_parties(packet: &Packet, parties: &Parties, snapshot: &Snapshot, now: Instant) -> Self {
        Self::of_packet(packet, parties.src.port, snapshot, now).between(&parties.src, &parties.dst)
    }

    /// About a packet of a known connection.
    #[must_use]
    pub fn of_conn(packet: &Packet, conn: &Conn, leg: Leg, snapshot: &Snapshot, now: Instant) -> Self {
        let mut about = Self::of_packet(packet, conn.port_towards(leg.opposite()), snapshot, now);
        let src = Party { identity: conn.src_identity, endpoint: conn.src_endpoint, port: conn.in_port };
        let dst = Party { identity: conn.dst_identity, endpoint: conn.dst_endpoint, port: conn.out_port };
        about = match leg {
            Leg::Original => about.between(&src, &dst),
            Leg::Reply => about.between(&dst, &src),
        };
        about.0.is_reply = leg == Leg::Reply;
        about
    }

    /// Adds who speaks to whom.
    #[must_use]
    pub fn between(mut self, src: &Party, dst: &Party) -> Self {
        self.0.src_identity = src.identity;
        self.0.dst_identity = dst.identity;
        self.0.src_endpoint = src.endpoint;
        self.0.dst_endpoint = dst.endpoint;
        self
    }

    /// Adds who sent it, where the receiver is not known.
    #[must_use]
    pub fn from(mut self, identity: Identity, endpoint: Option<policy::EndpointId>) -> Self {
        self.0.src_identity = identity;
        self.0.src_endpoint = endpoint;
        self
    }

    /// Adds which leg it belongs to.
    #[must_use]
    pub fn reply(mut self, is_reply: bool) -> Self {
        self.0.is_reply = is_reply;
        self
    }

    /// A packet that went on.
    #[must_use]
    pub fn trace(self, reason: TraceReason) -> FlowEvent {
        FlowEvent { kind: EventKind::Trace { reason }, ..self.0 }
    }

    /// A packet that did not.
    #[must_use]
    pub fn dropped(self, reason: DropReason, refusal: Option<&Refusal>) -> FlowEvent {
        let direction = refusal.map(|r| r.direction);
        let rule = refusal.map_or(RuleId::NONE, |r| r.rule);
        FlowEvent { kind: EventKind::Drop { reason, direction, rule }, ..self.0 }
    }

    /// Policy's answer about a new connection: one event for each side that enforces, one trace if none does.
    pub fn verdicts(self, judgement: &Judgement, reason: TraceReason) -> impl Iterator<Item = FlowEvent> {
        let enforced = judgement.sides().any(|side| side.enforced);
        let trace = (!enforced).then(|| self.trace(reason));
        let sides = judgement.sides().filter(|side| side.enforced).map(move |side| {
            let (verdict, rule) = match side.verdict {
                Verdict::Allow(permit) if permit.audited() => (VerdictKind::Audited, permit.rule()),
                Verdict::Allow(permit) if permit.l7().is_some() => (VerdictKind::Redirected, permit.rule()),
                Verdict::Allow(permit) => (VerdictKind::Allowed, permit.rule()),
                Verdict::Deny(denial) => {
                    (VerdictKind::Denied(DropReason::Denied(denial.reason)), denial.rule)
                }
            };
            let direction = side.direction;
            FlowEvent { kind: EventKind::Verdict { direction, verdict, rule, reason }, ..self.0 }
        });
        sides.chain(trace)
    }
}

/// About a message of a connection, sent on that leg.
#[must_use]
pub fn of_message(conn: &Conn, leg: Leg, snapshot: &Snapshot, now: Instant) -> FlowEvent {
    let src = Party { identity: conn.src_identity, endpoint: conn.src_endpoint, port: conn.in_port };
    let dst = Party { identity: conn.dst_identity, endpoint: conn.dst_endpoint, port: conn.out_port };
    let about = About(blank(now, conn.port_towards(leg.opposite()), snapshot.policy.epoch));
    let mut about = match leg {
        Leg::Original => about.between(&src, &dst),
        Leg::Reply => about.between(&dst, &src),
    };
    about.0.key = if leg == Leg::Original { conn.key } else { conn.key.reversed() };
    about.0.is_reply = leg == Leg::Reply;
    about.0
}

/// The end of a connection.
#[must_use]
pub fn closed(conn: &Conn, reason: CloseReason, now: Instant) -> FlowEvent {
    let mut event = blank(now, conn.in_port, conn.verdict.epoch);
    event.key = conn.key;
    event.tcp_flags = conn.flags_seen();
    event.src_identity = conn.src_identity;
    event.dst_identity = conn.dst_identity;
    event.src_endpoint = conn.src_endpoint;
    event.dst_endpoint = conn.dst_endpoint;
    event.kind = EventKind::Close {
        reason,
        packets: conn.packets(),
        bytes: conn.bytes(),
        duration_ns: now.as_nanos().saturating_sub(conn.created().as_nanos()),
    };
    event
}

fn blank(at: Instant, in_port: PortId, epoch: u64) -> FlowEvent {
    FlowEvent {
        at,
        kind: EventKind::Trace { reason: TraceReason::New },
        key: FlowKey::default(),
        icmp: (0, 0),
        tcp_flags: TcpFlags::default(),
        is_reply: false,
        src_identity: Identity::UNKNOWN,
        dst_identity: Identity::UNKNOWN,
        src_endpoint: None,
        dst_endpoint: None,
        in_port,
        len: 0,
        epoch,
    }
}
