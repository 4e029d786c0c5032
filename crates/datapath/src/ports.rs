//! Which port leads where.
//!
//! Immutable, part of the snapshot: the control thread builds a new table when a pod comes or goes.

use hashbrown::HashMap;
use packet::{Addr, MacAddr, Packet, PortId};
use policy::EndpointId;

/// Smallest MTU a port may have: what IPv6 needs (RFC 8200 §5).
pub const MIN_MTU: u32 = 1280;

/// One attachment point.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// Interface name, for people.
    pub name: String,
    /// What is on the other side.
    pub kind: PortKind,
    /// Our own Ethernet address on it: what the other side uses as gateway.
    pub mac: MacAddr,
    /// Ethernet address of the other side.
    pub peer_mac: MacAddr,
    /// Largest IP datagram that the other side accepts, in bytes.
    pub mtu: u32,
    /// Whether frames may arrive with partial L4 checksums (any veth).
    pub partial_checksums: bool,
}

/// What is on the other side of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortKind {
    /// A pod of this node.
    Pod {
        /// The endpoint whose policy applies; `None` until the pod has an identity.
        endpoint: Option<EndpointId>,
        /// The pod's own addresses.
        addrs: Vec<Addr>,
    },
    /// The node's kernel stack.
    Host,
}

/// Where a destination address leads.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// To a pod of this node.
    Pod(PortId),
    /// To the node's kernel: host addresses, other nodes, the world.
    Host(PortId),
    /// Nowhere: a pod address without a pod, or no host port.
    None,
}

/// All ports, and the way from addresses to them.
#[derive(Clone, Debug, Default)]
pub struct PortTable {
    ports: Vec<Option<Port>>,
    by_addr: HashMap<Addr, PortId, foldhash::fast::RandomState>,
    host: Option<PortId>,
    host_addrs: Vec<Addr>,
    pod_prefixes: Vec<(Addr, u8)>,
}

impl PortTable {
    /// Builds the table. `host_addrs` are the node's own addresses; `pod_prefixes` the address ranges of local pods
    /// (address and prefix length counted on the 128-bit form), which never lead to the host port.
    #[must_use]
    pub fn new(list: Vec<Port>, host_addrs: Vec<Addr>, pod_prefixes: Vec<(Addr, u8)>) -> Self {
        let mut table = Self { host_addrs, pod_prefixes, ..Self::default() };
        for port in list {
            let slot = usize::from(port.id.0);
            if table.ports.len() <= slot {
                table.ports.resize(slot + 1, None);
            }
            match &port.kind {
                PortKind::Pod { addrs, .. } => {
                    for addr in addrs {
                        table.by_addr.insert(*addr, port.id);
                    }
                }
                PortKind::Host => table.host = Some(port.id),
            }
            table.ports[slot] = Some(port);
        }
        table
    }

    /// The port with that number.
    #[must_use]
    pub fn get(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id.0))?.as_ref()
    }

    /// All ports.
    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().flatten()
    }

    /// Where `dst` leads.
    #[must_use]
    pub fn route(&self, dst: Addr) -> Route {
        if let Some(port) = self.by_addr.get(&dst) {
            return Route::Pod(*port);
        }
        // The host's own address on the pod network lies inside the pods' range.
        let is_pod_range = || self.pod_prefixes.iter().any(|(prefix, len)| covers(*prefix, *len, dst));
        if !self.is_host_addr(dst) && is_pod_range() {
            return Route::None;
        }
        match self.host {
            Some(port) => Route::Host(port),
            None => Route::None,
        }
    }

    /// Whether `addr` is one of the node's own.
    #[must_use]
    pub fn is_host_addr(&self, addr: Addr) -> bool {
        self.host_addrs.contains(&addr)
    }

    /// Whether `addr` belongs to a pod of this node.
    #[must_use]
    pub fn is_local_pod(&self, addr: Addr) -> bool {
        self.by_addr.contains_key(&addr)
    }
}

impl Port {
    /// Whether a packet may come from this port: that side's own Ethernet address, and for a pod its own IP.
    ///
    /// A pod may also send from its link-local IPv6 address, but only neighbour discovery does (checked by its
    /// caller).
    #[must_use]
    pub fn owns_source(&self, packet: &Packet) -> bool {
        packet.eth_src == self.peer_mac
            && match &self.kind {
                PortKind::Pod { addrs, .. } => addrs.contains(&packet.src),
                PortKind::Host => true,
            }
    }
}

fn covers(prefix: Addr, len: u8, addr: Addr) -> bool {
    let shift = 128 - u32::from(len.min(128));
    shift == 128 || prefix.0 >> shift == addr.0 >> shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> Addr {
        Addr::v4([a, b, c, d])
    }

    fn port(id: u16, kind: PortKind) -> Port {
        Port {
            id: PortId(id),
            name: format!("p{id}"),
            kind,
            mac: MacAddr([2, 0, 0, 0, 0, id as u8]),
            peer_mac: MacAddr([2, 0, 0, 0, 1, id as u8]),
            mtu: 1500,
            partial_checksums: true,
        }
    }

    #[test]
    fn a_pod_address_without_a_pod_leads_nowhere_and_everything_else_to_the_host() {
        let table = PortTable::new(
            vec![
                port(0, PortKind::Host),
                port(3, PortKind::Pod { endpoint: None, addrs: vec![v4(10, 0, 0, 3)] }),
            ],
            vec![v4(192, 168, 0, 1), v4(10, 0, 0, 1)],
            vec![(v4(10, 0, 0, 0), 96 + 24)],
        );
        assert_eq!(table.route(v4(10, 0, 0, 1)), Route::Host(PortId(0)));
        assert_eq!(table.route(v4(10, 0, 0, 3)), Route::Pod(PortId(3)));
        assert_eq!(table.route(v4(10, 0, 0, 4)), Route::None);
        assert_eq!(table.route(v4(10, 0, 1, 4)), Route::Host(PortId(0)));
        assert!(table.is_host_addr(v4(192, 168, 0, 1)));
        assert!(table.get(PortId(1)).is_none());
    }
}
