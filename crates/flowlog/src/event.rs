//! What a worker says, once per occurrence; small, `Copy`, made on the hot path.

use crate::drop_reason::DropReason;
use packet::{FlowKey, Instant, PortId, TcpFlags};
use policy::{DenyReason, Direction, EndpointId, Identity, RuleId};

/// One thing that happened to a flow.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FlowEvent {
    /// When, on the worker's clock.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
    /// The five-tuple in the direction of the packet that caused the event. For a close, in the direction of the
    /// connection's first packet. For ICMP other than echo the ports are zero.
    pub key: FlowKey,
    /// ICMP type and code, where `key.proto` is ICMP or ICMPv6; for SCTP the type of the first chunk and 0.
    pub icmp: (u8, u8),
    /// TCP flags of the packet; for a close, all flags seen.
    pub tcp_flags: TcpFlags,
    /// Whether the packet goes against the connection's first one.
    pub is_reply: bool,
    /// Identity of the packet's source.
    pub src_identity: Identity,
    /// Identity of the packet's destination.
    pub dst_identity: Identity,
    /// Local endpoint that the packet comes from, if any.
    pub src_endpoint: Option<EndpointId>,
    /// Local endpoint that the packet goes to, if any.
    pub dst_endpoint: Option<EndpointId>,
    /// Port it arrived on.
    pub in_port: PortId,
    /// Length of the IP datagram in bytes.
    pub len: u32,
    /// Version of the policy that decided.
    pub epoch: u64,
}

/// What happened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// Policy judged a new connection on the side named by the direction. One event for each side that is enforced,
    /// and one (with [`RuleId::NONE`]) for a connection that no side enforces.
    Verdict {
        /// The side that decided.
        direction: Direction,
        /// What it said.
        verdict: VerdictKind,
        /// The rules behind it.
        rule: RuleId,
        /// Why the connection was judged.
        reason: TraceReason,
    },
    /// A packet was forwarded that is worth a line: first of a connection, first reply, TCP SYN/FIN/RST.
    Trace {
        /// How it relates to its connection.
        reason: TraceReason,
    },
    /// A packet was dropped.
    Drop {
        /// Why.
        reason: DropReason,
        /// The side that decided, for policy drops.
        direction: Option<Direction>,
        /// The rules behind it, for policy drops.
        rule: RuleId,
    },
    /// A message of an inspected connection. Its content is handed over beside the event, by
    /// [`EventWriter::record_message`](crate::EventWriter::record_message).
    Message {
        /// What became of it.
        verdict: MessageVerdict,
        /// The side that decided; `None` where no side has rules and the message is only shown.
        direction: Option<Direction>,
        /// The rule that allowed it or whose deny condition matched; else the rules none of which allowed it.
        rule: RuleId,
    },
    /// A connection ended.
    Close {
        /// How.
        reason: CloseReason,
        /// Packets, original and reply leg.
        packets: [u64; 2],
        /// Bytes of IP datagrams, original and reply leg.
        bytes: [u64; 2],
        /// Nanoseconds from first packet to end.
        duration_ns: u64,
    },
}

/// A policy verdict as the log shows it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum VerdictKind {
    /// Allowed.
    Allowed,
    /// Allowed, and every message is inspected.
    Redirected,
    /// Denied by policy, let pass by audit mode.
    Audited,
    /// Denied.
    Denied(DropReason),
}

/// What became of a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MessageVerdict {
    /// Passed on.
    Forwarded,
    /// Refused by policy.
    Dropped(DenyReason),
    /// Denied by policy, let pass by audit mode.
    Audited,
    /// Not understood.
    Error,
}

/// How a packet relates to its connection (Hubble's `trace_reason`).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TraceReason {
    /// First packet.
    New,
    /// Later packet of the original leg, or a connection judged again after a policy change.
    Established,
    /// Reply leg.
    Reply,
    /// ICMP error about a connection.
    Related,
}

/// How a connection ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// FIN from both sides.
    Finished,
    /// RST.
    Reset,
    /// Nothing was heard for the state's time-out.
    TimedOut,
    /// Thrown out to make room.
    Evicted,
    /// Cut because policy no longer allows it.
    Revoked,
    /// An end of it went away.
    PortGone,
}
