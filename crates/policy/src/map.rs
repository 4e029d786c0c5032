//! The compiled policy of one endpoint.
//!
//! Precedence is settled when the map is built, not when it is asked: for every class of peers that no rule tells
//! apart there is one table per protocol of disjoint port ranges, each with its final [`Verdict`]. A lookup is
//! therefore peer → class → table → range, whatever the number of rules. The halves (one per [`Direction`]) are
//! shared between endpoints that are subject to the same rules.

mod builder;
mod class;
mod half;
mod peers;
mod table;

pub use builder::MapBuilder;
pub(crate) use half::{ClassPorts, Half, HalfBody};
pub(crate) use peers::PeerTable;
pub(crate) use table::{PROTOS, ProtoSlot};

use crate::direction::Direction;
use crate::identity::Identity;
use crate::verdict::Verdict;
use core::ops::RangeInclusive;
use std::sync::Arc;

/// Answers `(direction, peer, protocol, port)` in O(1).
#[derive(Clone, Debug, Default)]
pub struct PolicyMap {
    ingress: Arc<Half>,
    egress: Arc<Half>,
}

/// One line of a map dump: every packet it covers gets this verdict.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct MapEntry {
    /// Which way.
    pub direction: Direction,
    /// The peer; `None` for every peer without lines of its own.
    pub peer: Option<Identity>,
    /// IP protocol number; `None` for every protocol without lines of its own.
    pub proto: Option<u8>,
    /// First and last port; for ICMP the type.
    pub ports: (u16, u16),
    /// The answer.
    pub verdict: Verdict,
}

impl MapEntry {
    /// The ports as a range.
    #[must_use]
    pub fn port_range(&self) -> RangeInclusive<u16> {
        self.ports.0..=self.ports.1
    }
}

impl PolicyMap {
    pub(crate) fn from_halves(ingress: Arc<Half>, egress: Arc<Half>) -> Self {
        Self { ingress, egress }
    }

    /// Starts a map by hand; for tests of the crates that ask it.
    #[must_use]
    pub fn builder() -> MapBuilder {
        MapBuilder::default()
    }

    /// The verdict for a new connection (or the first packet of one judged again).
    ///
    /// `port` is the destination port; for ICMP and ICMPv6 it is the type. `proto` is the IP protocol number.
    #[must_use]
    #[inline]
    pub fn lookup(&self, direction: Direction, peer: Identity, proto: u8, port: u16) -> Verdict {
        self.half(direction).lookup(peer, proto, port)
    }

    /// Whether that direction is enforced at all.
    #[must_use]
    pub fn is_enforced(&self, direction: Direction) -> bool {
        self.half(direction).is_enforced()
    }

    /// Whether audit mode lets pass, in that direction, what policy denies.
    #[must_use]
    pub fn is_audited(&self, direction: Direction) -> bool {
        self.half(direction).is_audited()
    }

    /// Every line of the map, ingress first, the lines for any peer before those for one.
    pub fn entries(&self) -> impl Iterator<Item = MapEntry> {
        [Direction::Ingress, Direction::Egress]
            .into_iter()
            .flat_map(|direction| self.half(direction).entries(direction))
    }

    /// Bytes of both halves, shared ones counted in full.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.ingress.heap_size() + self.egress.heap_size()
    }

    #[inline]
    pub(crate) fn half(&self, direction: Direction) -> &Arc<Half> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

#[cfg(test)]
mod tests;
