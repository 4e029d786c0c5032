//! Connections across a restart.

use super::conn::{QueueKind, REVOKED};
use super::tcp::{State, Tracking};
use super::{ConnId, Conntrack, NewConn, timer};
use core::time::Duration;
use flowlog::DropReason;
use packet::{FlowKey, Instant, PortId};
use policy::{EndpointId, Identity};

/// What of a connection outlives the process. Sequence numbers do not: while we were away the connection may have
/// gone on, so they are learned again from the next segment of each leg. Nor does the verdict: policy is asked again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ConnState {
    /// Five-tuple of the original leg.
    pub key: FlowKey,
    /// Port that the original leg arrives on.
    pub in_port: PortId,
    /// Port that it leaves by.
    pub out_port: PortId,
    /// Identity of its source.
    pub src_identity: Identity,
    /// Identity of its destination.
    pub dst_identity: Identity,
    /// Local endpoint it comes from.
    pub src_endpoint: Option<EndpointId>,
    /// Local endpoint it goes to.
    pub dst_endpoint: Option<EndpointId>,
    /// Packets per leg.
    pub packets: [u64; 2],
    /// Bytes per leg.
    pub bytes: [u64; 2],
    /// Time since its first packet.
    pub age: Duration,
    /// Whether its messages were read. What stood in its streams, and whether its ends count alike, is not known any
    /// more, so it is put back as one that is over: both ends are reset when they speak.
    pub inspected: bool,
}

impl Conntrack {
    /// Every connection that was answered and is not over.
    pub fn export(&self, now: Instant) -> impl Iterator<Item = ConnState> {
        let live = |state| matches!(state, State::Established | State::HalfClosed | State::Replied);
        self.iter().filter(move |conn| live(conn.state()) && !conn.revoked()).map(move |conn| ConnState {
            key: conn.key,
            in_port: conn.in_port,
            out_port: conn.out_port,
            src_identity: conn.src_identity,
            dst_identity: conn.dst_identity,
            src_endpoint: conn.src_endpoint,
            dst_endpoint: conn.dst_endpoint,
            packets: conn.packets(),
            bytes: conn.bytes,
            age: now.saturating_since(conn.created),
            inspected: conn.is_inspected(),
        })
    }

    /// Puts an exported connection back, unless its key is there already.
    ///
    /// # Errors
    /// `ConntrackFull` if there is no room (nothing gives way to a restored connection).
    pub fn import(&mut self, saved: &ConnState, now: Instant) -> Result<ConnId, DropReason> {
        let hash = self.hash(&saved.key);
        if let Some((id, _)) = self.lookup(&saved.key, hash) {
            return Ok(id);
        }
        if self.len() >= self.config.max_entries as usize {
            return Err(DropReason::ConntrackFull);
        }
        let tracking = if saved.key.proto == packet::packet::proto::TCP {
            Tracking::unknown(State::Established)
        } else {
            Tracking::idle(State::Replied)
        };
        let new = NewConn {
            key: saved.key,
            hash,
            in_port: saved.in_port,
            out_port: saved.out_port,
            src_identity: saved.src_identity,
            dst_identity: saved.dst_identity,
            src_endpoint: saved.src_endpoint,
            dst_endpoint: saved.dst_endpoint,
            adopt: true,
        };
        let id = self.insert(new, tracking, now);
        let conn = self.get_mut(id);
        conn.set_counts(saved.packets, saved.bytes);
        let age = u64::try_from(saved.age.as_nanos()).unwrap_or(u64::MAX);
        conn.created = Instant::from_nanos(now.as_nanos().saturating_sub(age));
        conn.last_seen = timer::tick_of(now);
        if saved.inspected && saved.key.proto == packet::packet::proto::TCP {
            self.get_mut(id).marks |= REVOKED;
            self.loads.requeue(&mut self.slab, id.0, QueueKind::Finished);
        }
        Ok(id)
    }
}
