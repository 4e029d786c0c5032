//! Everything a worker reads and the control thread writes: one immutable value behind one pointer.

use crate::ports::PortTable;
use arc_swap::ArcSwap;
use packet::Addr;
use policy::PolicySnapshot;
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
    /// Number of the last DNS answer (see [`learn`](crate::learn)) whose addresses are in force.
    pub learnt: u64,
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
