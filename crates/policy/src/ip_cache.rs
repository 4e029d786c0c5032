//! Longest prefix → identity.

use crate::identity::Identity;
use packet::Addr;

/// Immutable longest-prefix table. A miss is `world-ipv4` or `world-ipv6`.
#[derive(Clone, Debug, Default)]
pub struct IpCache {}

impl IpCache {
    /// The identity of the longest prefix that covers `addr`.
    #[must_use]
    pub fn lookup(&self, addr: Addr) -> Identity {
        if addr.is_v4() { Identity::WORLD_IPV4 } else { Identity::WORLD_IPV6 }
    }
}
