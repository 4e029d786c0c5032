use super::cache::Cache;
use super::selectors::Selectors;
use super::*;
use crate::rule::NameMatch;
use packet::Addr;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

fn wanting(patterns: &[&str]) -> Arc<Selectors> {
    let mut list: Vec<NameMatch> = patterns.iter().map(|text| NameMatch::pattern(text)).collect();
    list.sort_unstable();
    Arc::new(Selectors::new(list))
}

fn answer<'a>(name: &'a str, addresses: &'a [IpAddr], ttl: u32) -> Answer<'a> {
    Answer { name, addresses, cnames: &[], ttl, endpoint: None }
}

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn known(cache: &Cache, name: &str) -> Vec<IpAddr> {
    let name = cache.names().get(name);
    name.iter().flat_map(|name| &name.addresses).map(|record| record.addr.to_ip()).collect()
}

#[test]
fn what_is_told_again_lives_on_and_ttls_have_bounds() {
    let mut cache = Cache::default();
    cache.set_limits(Limits { min_ttl: 10, grace: 5, ..Limits::default() });
    cache.learn(&answer("A.example.", &[ip(1)], 3), 100);
    cache.learn(&answer("a.example", &[ip(2)], u32::MAX), 100);
    let name = cache.names().get("a.example").expect("known");
    let ends: Vec<u64> = name.addresses.iter().map(|record| record.expires).collect();
    assert_eq!(ends, [110, 100 + MAX_TTL]);
    assert!(cache.expire(109).is_empty() && cache.expire(110).is_empty());
    cache.learn(&answer("a.example", &[ip(1)], 1), 112);
    assert!(cache.expire(115).is_empty(), "its grace ended when it was told again");
    assert!(cache.expire(122).is_empty());
    assert_eq!(cache.expire(127), [Addr::from(ip(1))]);
    cache.learn(&answer("a.example", &[ip(1)], 1), 128);
    cache.settle(&[ip(1).into()], |_| false, 128);
    assert_eq!(known(&cache, "a.example"), [ip(1), ip(2)], "told again while it was in question");
    cache.learn(&answer("a.example", &[ip(2)], 1), 128);
    assert_eq!(
        cache.names().get("a.example").map(|n| n.expires()),
        Some(100 + MAX_TTL),
        "the later end counts"
    );
    cache.check();
}

#[test]
fn addresses_that_nobody_can_have_and_names_that_are_none_are_passed_over() {
    let mut cache = Cache::default();
    let odd =
        ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1", "::ffff:127.0.0.1"];
    let odd: Vec<IpAddr> = odd.iter().filter_map(|text| text.parse().ok()).collect();
    assert_eq!(odd.len(), 8);
    cache.learn(&answer("a.example", &odd, 60), 0);
    let long = "a".repeat(1_021);
    for name in ["", ".", "a b", "a\n", "ä.example", &long] {
        cache.learn(&answer(name, &[ip(1)], 60), 0);
    }
    assert_eq!((cache.names().len(), cache.by_address().len()), (0, 0));
    cache.learn(&answer("a.example", &["::ffff:192.0.2.1".parse().expect("an address")], 60), 0);
    assert_eq!(known(&cache, "a.example"), [ip(1)], "what a packet to it would carry");
}

#[test]
fn a_name_keeps_its_latest_addresses() {
    let mut cache = Cache::default();
    cache.set_limits(Limits { addresses_per_name: 3, ..Limits::default() });
    cache.learn(&answer("a.example", &[ip(9), ip(8)], 60), 0);
    cache.learn(&answer("a.example", &[ip(1), ip(2)], 30), 10);
    assert_eq!(known(&cache, "a.example"), [ip(1), ip(2), ip(9)], "those of the last answer stay");
    cache.learn(&answer("a.example", &[ip(3), ip(4), ip(5), ip(6)], 30), 10);
    assert_eq!(known(&cache, "a.example"), [ip(3), ip(4), ip(5)]);
    cache.check();
}

#[test]
fn who_has_most_told_loses_first_and_wanted_names_last() {
    let mut cache = Cache::default();
    cache.set_limits(Limits { names: 4, ..Limits::default() });
    cache.set_selectors(wanting(&["*.wanted.example"]));
    let ask = |cache: &mut Cache, name: &str, endpoint: u16, ttl: u32| {
        let endpoint = Some(crate::EndpointId(endpoint));
        cache.learn(&Answer { name, addresses: &[ip(1)], cnames: &[], ttl, endpoint }, 0);
    };
    ask(&mut cache, "a.wanted.example", 1, 1);
    ask(&mut cache, "b.example", 1, 9);
    for n in 0..20 {
        ask(&mut cache, &format!("{n}.flood.example"), 2, 100 + n);
    }
    let names = |cache: &Cache| -> Vec<String> {
        let mut names: Vec<_> = cache.names().iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&cache), ["18.flood.example", "19.flood.example", "a.wanted.example", "b.example"]);
    for n in 0..20 {
        ask(&mut cache, &format!("{n}.wanted.example"), 2, 100 + n);
    }
    assert_eq!(
        names(&cache),
        ["17.wanted.example", "18.wanted.example", "19.wanted.example", "a.wanted.example"],
        "the flood pushed out its own"
    );
    cache.set_limits(Limits { addresses: 1, ..Limits::default() });
    assert_eq!(cache.names().len(), 1);
    cache.check();
}

/// What happens to a cache.
#[derive(Clone, Debug)]
enum Event {
    Told {
        name: u8,
        addresses: BTreeSet<u8>,
        ttl: u32,
    },
    /// Time passes, and these addresses have connections when it is looked at.
    Later {
        seconds: u64,
        live: BTreeSet<u8>,
    },
    Wanted(BTreeSet<u8>),
}

fn event() -> impl Strategy<Value = Event> {
    let set = || proptest::collection::btree_set(0..6_u8, 0..4);
    prop_oneof![
        3 => (0..5_u8, set(), 0..40_u32)
            .prop_map(|(name, addresses, ttl)| Event::Told { name, addresses, ttl }),
        2 => (0..60_u64, set()).prop_map(|(seconds, live)| Event::Later { seconds, live }),
        1 => set().prop_map(Event::Wanted),
    ]
}

/// The naive cache: a list of who told what until when.
#[derive(Default)]
struct Model {
    pairs: BTreeMap<(u8, u8), (u64, Option<u64>)>,
}

impl Model {
    fn later(&mut self, live: &BTreeSet<u8>, now: u64) {
        let mut kept = BTreeMap::new();
        for ((name, addr), (expires, grace)) in std::mem::take(&mut self.pairs) {
            let grace = match grace {
                None if expires <= now => Some(now + 20),
                Some(end) if end <= now && live.contains(&addr) => Some(now + 30),
                Some(end) if end <= now => continue,
                other => other,
            };
            kept.insert((name, addr), (expires, grace));
        }
        self.pairs = kept;
    }
}

proptest! {
    #[test]
    fn agrees_with_a_naive_cache(events in proptest::collection::vec(event(), 1..60)) {
        let (mut cache, mut model, mut now) = (Cache::default(), Model::default(), 1_000);
        cache.set_limits(Limits { min_ttl: 5, grace: 20, ..Limits::default() });
        let (name, mut wanted) = (|n: u8| format!("{n}.example"), BTreeSet::new());
        for event in events {
            match event {
                Event::Told { name: n, addresses, ttl } => {
                    let list: Vec<IpAddr> = addresses.iter().map(|last| ip(*last)).collect();
                    cache.learn(&answer(&name(n), &list, ttl), now);
                    for addr in addresses {
                        let entry = model.pairs.entry((n, addr)).or_default();
                        *entry = (entry.0.max(now + u64::from(ttl).max(5)), None);
                    }
                }
                Event::Later { seconds, live } => {
                    now += seconds;
                    let question = cache.expire(now);
                    let lives = |addr: Addr| live.iter().any(|last| Addr::from(ip(*last)) == addr);
                    cache.settle(&question, lives, now);
                    model.later(&live, now);
                }
                Event::Wanted(names) => {
                    let texts: Vec<String> = names.iter().map(|n| name(*n)).collect();
                    cache.set_selectors(wanting(&texts.iter().map(String::as_str).collect::<Vec<_>>()));
                    wanted = names;
                }
            }
            cache.check();
            let records = cache.names().iter().flat_map(|(name, entry)| {
                entry.addresses.iter().map(move |r| ((name.to_string(), r.addr), (r.expires, r.grace)))
            });
            let expected = model.pairs.iter().map(|((n, addr), end)| ((name(*n), Addr::from(ip(*addr))), *end));
            prop_assert_eq!(records.collect::<BTreeMap<_, _>>(), expected.collect::<BTreeMap<_, _>>());
            for last in 0..6 {
                let names = model.pairs.keys().filter(|(_, addr)| *addr == last).map(|(n, _)| n);
                let selectors = names.filter(|n| wanted.contains(*n)).count();
                prop_assert_eq!(cache.selectors_of(ip(last).into()).len(), selectors);
            }
        }
    }

    #[test]
    fn limits_hold_whatever_is_told(
        told in proptest::collection::vec((0..9_u8, proptest::collection::vec(0..40_u8, 1..9), 0..3_u16), 1..80),
    ) {
        let mut cache = Cache::default();
        cache.set_limits(Limits { names: 5, addresses: 12, addresses_per_name: 4, ..Limits::default() });
        cache.set_selectors(wanting(&["1.example", "2.example", "3.*"]));
        for (at, (name, addresses, endpoint)) in told.into_iter().enumerate() {
            let (name, list) = (format!("{name}.example"), addresses.into_iter().map(ip).collect::<Vec<_>>());
            let endpoint = Some(crate::EndpointId(endpoint));
            let ttl = at as u32 % 7;
            cache.learn(&Answer { name: &name, addresses: &list, cnames: &[], ttl, endpoint }, at as u64);
            cache.check();
            prop_assert!(cache.names().len() <= 5);
            let counts: Vec<usize> = cache.names().iter().map(|(_, name)| name.addresses.len()).collect();
            prop_assert!(counts.iter().sum::<usize>() <= 12 && counts.iter().all(|n| (1..=4).contains(n)));
        }
    }
}

#[test]
fn names_survive_a_restart_for_as_long_as_they_hold() {
    let mut before = Cache::default();
    let cnames: [Box<str>; 1] = ["cdn.example".into()];
    before.learn(&Answer { cnames: &cnames, ..answer("a.example", &[ip(1), ip(2)], 60) }, 1_000);
    before.learn(&answer("b.example", &[ip(3)], 5), 1_000);
    before.learn(&answer("c.example", &["2001:db8::1".parse().expect("an address")], 600), 1_000);
    before.expire(1_010);
    let state = FqdnState::new(before.names().iter().map(|(_, name)| &**name));
    let text = serde_json::to_string(&state).expect("JSON");
    let read: FqdnState = serde_json::from_str(&text).expect("its own output");
    assert_eq!(read, state);

    let mut after = Cache::default();
    read.restore(&mut after, 1_020);
    let name = after.names().get("a.example").expect("restored");
    assert_eq!(
        (&name.addresses, &name.cnames[..]),
        (&before.names().get("a.example").expect("known").addresses, &cnames[..])
    );
    let graced = after.names().get("b.example").expect("within its grace");
    assert_eq!(graced.addresses[0].grace, Some(1_140), "a restored connection may need it");
    after.check();

    let mut much_later = Cache::default();
    read.restore(&mut much_later, 1_500);
    assert_eq!(much_later.names().len(), 1, "c alone: the others ended long ago");
    let mut back_in_time = Cache::default();
    read.restore(&mut back_in_time, 0);
    let ends = back_in_time.names().iter().map(|(_, name)| name.expires());
    assert!(ends.max() <= Some(MAX_TTL), "a clock that was wrong makes nothing last for ever");
}

#[test]
fn a_hostile_file_teaches_no_more_than_an_answer_could() {
    let text = r#"{"names": [
        {"name": "a\u0007.example", "seen": 1, "addresses": [{"ip": "192.0.2.1", "expires": 2000}]},
        {"name": "b.example", "seen": 99999, "addresses": [
            {"ip": "127.0.0.1", "expires": 2000}, {"ip": "192.0.2.1", "expires": 18446744073709551615},
            {"ip": "192.0.2.2", "expires": 0, "grace": 18446744073709551615}]},
        {"name": "c.example", "seen": 1, "addresses": []}]}"#;
    let state: FqdnState = serde_json::from_str(text).expect("well-formed");
    let mut cache = Cache::default();
    state.restore(&mut cache, 1_000);
    assert_eq!(cache.names().len(), 1);
    let name = cache.names().get("b.example").expect("restored");
    assert_eq!((name.seen, name.addresses.len()), (1_000, 2));
    assert_eq!(name.addresses[0].expires, 1_000 + MAX_TTL);
    assert_eq!(name.addresses[1].grace, Some(1_120));
    let unknown = text.replace("\"seen\": 1,", "\"seen\": 1, \"owner\": 2,");
    assert!(serde_json::from_str::<FqdnState>(&unknown).is_err());
}
