use super::*;
use prefix_trie::PrefixMap;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The oracle: a textbook prefix trie per family.
#[derive(Default)]
struct Tries {
    v4: PrefixMap<ipnet::Ipv4Net, Identity>,
    v6: PrefixMap<ipnet::Ipv6Net, Identity>,
}

impl Tries {
    fn new(prefixes: &[(IpNet, Identity)]) -> Self {
        let mut tries = Self::default();
        for &(prefix, identity) in prefixes {
            match prefix {
                IpNet::V4(p) => drop(tries.v4.insert(p.trunc(), identity)),
                IpNet::V6(p) => drop(tries.v6.insert(p.trunc(), identity)),
            }
        }
        tries
    }

    fn lookup(&self, addr: IpAddr) -> Identity {
        match addr {
            IpAddr::V4(a) => self.v4.get_lpm(&a.into()).map_or(Identity::WORLD_IPV4, |(_, id)| *id),
            IpAddr::V6(a) => self.v6.get_lpm(&a.into()).map_or(Identity::WORLD_IPV6, |(_, id)| *id),
        }
    }
}

/// Few distinct bytes, so that prefixes nest and collide.
fn byte() -> impl Strategy<Value = u8> {
    proptest::sample::select(vec![0, 1, 10, 127, 128, 254, 255])
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    [byte(), byte(), byte(), byte()].prop_map(Ipv4Addr::from)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    // Never an IPv4-mapped address: the wire cannot carry one (`packet::Addr`).
    proptest::array::uniform16(byte()).prop_map(|mut bytes| {
        bytes[0] |= 0x20;
        Ipv6Addr::from(bytes)
    })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (v4(), 0..=32u8).prop_map(|(a, bits)| IpNet::new(a.into(), bits).expect("length in range").trunc()),
        (v6(), 0..=128u8).prop_map(|(a, bits)| IpNet::new(a.into(), bits).expect("length in range").trunc()),
    ]
}

fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4().prop_map(IpAddr::V4), v6().prop_map(IpAddr::V6)]
}

proptest! {
    #[test]
    fn agrees_with_a_trie(
        prefixes in proptest::collection::vec((prefix(), 1..9_999u32), 0..200),
        addrs in proptest::collection::vec(addr(), 1..50),
    ) {
        let prefixes: Vec<_> = prefixes.into_iter().map(|(p, id)| (p, Identity(id))).collect();
        let tries = Tries::new(&prefixes);
        let cache = IpCache::new(prefixes.iter().copied());
        let edges = prefixes.iter().flat_map(|(p, _)| [p.network(), p.broadcast()]);
        for addr in addrs.into_iter().chain(edges) {
            prop_assert_eq!(cache.lookup(addr.into()), tries.lookup(addr), "{}", addr);
        }
    }

    #[test]
    fn patched_hosts_equal_a_rebuild(
        prefixes in proptest::collection::vec((prefix(), 1..9_999u32), 0..50),
        changes in proptest::collection::vec((addr(), proptest::option::of(1..9_999u32)), 0..20),
    ) {
        let mut prefixes: Vec<_> = prefixes.into_iter().map(|(p, id)| (p, Identity(id))).collect();
        let patched = IpCache::new(prefixes.iter().copied())
            .with_hosts(changes.iter().map(|&(a, id)| (a.into(), id.map(Identity))));
        for (addr, identity) in &changes {
            prefixes.retain(|(p, _)| *p != IpNet::from(*addr));
            prefixes.extend(identity.map(|id| (IpNet::from(*addr), Identity(id))));
        }
        let rebuilt = IpCache::new(prefixes.iter().copied());
        for addr in changes.iter().map(|(a, _)| *a).chain(prefixes.iter().map(|(p, _)| p.network())) {
            prop_assert_eq!(patched.lookup(addr.into()), rebuilt.lookup(addr.into()), "{}", addr);
        }
    }
}

#[test]
fn a_miss_is_the_world_of_its_family() {
    let cache = IpCache::default();
    assert_eq!(cache.lookup(Addr::v4([1, 1, 1, 1])), Identity::WORLD_IPV4);
    assert_eq!(cache.lookup(Addr::v6([0x20; 16])), Identity::WORLD_IPV6);
}

#[test]
fn the_whole_address_space_as_one_prefix() {
    let all: IpNet = "0.0.0.0/0".parse().expect("a prefix");
    let cache = IpCache::new([(all, Identity(400))]);
    for addr in [[0, 0, 0, 0], [255, 255, 255, 255], [127, 255, 255, 255]] {
        assert_eq!(cache.lookup(Addr::v4(addr)), Identity(400));
    }
}
