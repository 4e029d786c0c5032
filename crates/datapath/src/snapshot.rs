//! Everything a worker reads and the control thread writes: one immutable value behind one pointer.

use crate::learn::Marks;
use crate::ports::PortTable;
use arc_swap::ArcSwap;
use packet::Addr;
use policy::{L7Kind, PolicySnapshot};
use std::sync::Arc;

/// One version of policy and ports.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Rises with every swap: a connection whose verdict was made under another epoch is judged again.
    pub epoch: u64,
    /// Identities and policy maps.
    pub policy: Arc<PolicySnapshot>,
    /// Ports and routes.
    pub ports: Arc<PortTable>,
    /// Addresses that the appliance uses as its own in ICMP errors, per family.
    pub gateway: Gateway,
    /// DNS answers (see [`learn`](crate::learn)) whose addresses are in force.
    pub learnt: Marks,
    /// Ports whose messages are read without a rule that asks for it.
    pub visibility: Arc<Visibility>,
}

/// Ports whose messages are read and told, though no rule asks for it. Nothing is refused there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Visibility(pub Vec<VisiblePort>);

/// One of them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct VisiblePort {
    /// L4 protocol number.
    pub l4_proto: u8,
    /// Destination port.
    pub port: u16,
    /// What is spoken there.
    pub kind: L7Kind,
}

impl Visibility {
    /// What is spoken on that port.
    #[must_use]
    pub fn kind_of(&self, l4_proto: u8, port: u16) -> Option<L7Kind> {
        self.0.iter().find(|visible| visible.l4_proto == l4_proto && visible.port == port).map(|v| v.kind)
    }
}

/// The appliance's addresses as pods see them: their default gateway.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Gateway {
    /// IPv4 gateway.
    pub v4: Addr,
    /// IPv6 gateway.
    pub v6: Addr,
}

impl Default for Gateway {
    /// 169.254.1.1 and fe80::1, which pods reach by ARP and neighbour discovery alone.
    fn default() -> Self {
        Self {
            v4: Addr::v4([169, 254, 1, 1]),
            v6: Addr::v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        }
    }
}

/// The pointer that is swapped. Workers keep an `arc_swap::Cache` of it and look once per burst.
pub type SharedSnapshot = Arc<ArcSwap<Snapshot>>;
