//! Numeric peer classes, with Cilium's numbers (`pkg/identity/numericidentity.go`).

pub(crate) mod filter;
pub(crate) mod table;
mod well_known;

use core::fmt;

pub use filter::counts as is_security_label;
pub use table::IdentityState;

/// A numeric class of peers that share their security-relevant labels.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Identity(pub u32);

impl Identity {
    /// Not known; in a policy map key, any peer.
    pub const UNKNOWN: Self = Self(0);
    /// The local node.
    pub const HOST: Self = Self(1);
    /// Outside the cluster.
    pub const WORLD: Self = Self(2);
    /// A pod in the cluster that is not managed.
    pub const UNMANAGED: Self = Self(3);
    /// The health endpoint of a node.
    pub const HEALTH: Self = Self(4);
    /// An endpoint whose labels are not known yet.
    pub const INIT: Self = Self(5);
    /// Every other node.
    pub const REMOTE_NODE: Self = Self(6);
    /// A node that runs the API server.
    pub const KUBE_APISERVER: Self = Self(7);
    /// The ingress controller's source address.
    pub const INGRESS: Self = Self(8);
    /// Outside, IPv4.
    pub const WORLD_IPV4: Self = Self(9);
    /// Outside, IPv6.
    pub const WORLD_IPV6: Self = Self(10);
    /// First identity of the cluster-local range, 256–65535.
    pub const FIRST_CLUSTER: Self = Self(256);
    /// First identity of the node-local range (CIDR, FQDN), 16777217–33554431.
    pub const FIRST_NODE_LOCAL: Self = Self(0x0100_0001);

    /// The reserved identity of that name.
    #[must_use]
    pub fn from_reserved_name(name: &str) -> Option<Self> {
        (0..=10).map(Self).find(|identity| identity.reserved_name() == Some(name))
    }

    /// The name of a reserved identity (`host`, `world`, …), without the `reserved:` source.
    #[must_use]
    pub const fn reserved_name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "unknown",
            1 => "host",
            2 => "world",
            3 => "unmanaged",
            4 => "health",
            5 => "init",
            6 => "remote-node",
            7 => "kube-apiserver",
            8 => "ingress",
            9 => "world-ipv4",
            10 => "world-ipv6",
            _ => return None,
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
