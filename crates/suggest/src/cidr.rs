//! Outside addresses as prefixes.

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Lengths of the networks in which many addresses are put together, IPv4 and IPv6.
const LEVELS: [(u8, u8); 3] = [(32, 128), (24, 64), (16, 48)];

/// Addresses as they can be written in a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Outside {
    /// These prefixes.
    Prefixes(Vec<IpNet>),
    /// Too many to tell apart.
    World,
}

/// At most `threshold` prefixes that hold all addresses, or the world. Addresses of one network are put together as
/// narrowly as possible, and single ones stay single.
pub(crate) fn prefixes(addresses: &BTreeSet<IpAddr>, threshold: usize) -> Outside {
    for (v4, v6) in LEVELS {
        let mut networks: BTreeMap<IpNet, Vec<IpNet>> = BTreeMap::new();
        for address in addresses {
            let single = IpNet::from(*address);
            let length = if address.is_ipv4() { v4 } else { v6 };
            let network = IpNet::new(*address, length).map_or(single, |network| network.trunc());
            networks.entry(network).or_default().push(single);
        }
        if networks.len() <= threshold.max(1) {
            let narrow = networks.into_values().filter_map(|members| common(&members));
            return Outside::Prefixes(narrow.collect());
        }
    }
    Outside::World
}

/// The longest prefix that holds all of these.
fn common(members: &[IpNet]) -> Option<IpNet> {
    let mut prefix = *members.first()?;
    for member in members {
        while !prefix.contains(member) {
            prefix = prefix.supernet()?;
        }
    }
    Some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[&str], threshold: usize) -> Vec<String> {
        let addresses = list.iter().map(|text| text.parse().expect("an address")).collect();
        match prefixes(&addresses, threshold) {
            Outside::Prefixes(list) => list.iter().map(ToString::to_string).collect(),
            Outside::World => vec!["world".to_owned()],
        }
    }

    #[test]
    fn few_addresses_stay_single() {
        assert_eq!(
            of(&["192.0.2.1", "192.0.2.2", "2001:db8::1"], 3),
            ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128"]
        );
    }

    #[test]
    fn many_become_the_narrowest_common_prefix() {
        assert_eq!(
            of(&["192.0.2.1", "192.0.2.2", "192.0.2.6", "203.0.113.9"], 3),
            ["192.0.2.0/29", "203.0.113.9/32"]
        );
        assert_eq!(of(&["10.1.1.1", "10.1.2.1", "10.1.3.1", "10.9.0.1"], 2), ["10.1.0.0/22", "10.9.0.1/32"]);
        assert_eq!(of(&["2001:db8::1", "2001:db8::2"], 1), ["2001:db8::/126"]);
    }

    #[test]
    fn too_many_are_the_world() {
        assert_eq!(of(&["10.0.0.1", "20.0.0.1", "30.0.0.1"], 2), ["world"]);
        assert_eq!(of(&["10.0.0.1", "20.0.0.1"], 0), ["world"]);
    }
}
