use super::*;
use crate::provenance::{Provenance, RuleId, RuleTable};
use crate::verdict::{DenyReason, L7RuleSetId};

const TCP: u8 = 6;
const UDP: u8 = 17;
const A: Identity = Identity(300);
const B: Identity = Identity(301);

fn policy(name: &str, line: u32) -> Provenance {
    Provenance {
        kind: "CiliumNetworkPolicy".into(),
        namespace: "a".into(),
        name: name.into(),
        file: "policies.yaml".into(),
        line,
    }
}

fn allowed(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Allow(_))
}

fn names(rules: &RuleTable, verdict: Verdict) -> Vec<&str> {
    let rule = match verdict {
        Verdict::Allow(permit) => permit.rule(),
        Verdict::Deny(denial) => denial.rule,
    };
    rules.get(rule).iter().map(|p| p.name.as_str()).collect()
}

#[test]
fn an_empty_map_enforces_nothing() {
    let map = PolicyMap::default();
    for direction in [Direction::Ingress, Direction::Egress] {
        assert!(!map.is_enforced(direction));
        assert!(allowed(map.lookup(direction, A, TCP, 80)));
        assert!(allowed(map.lookup(direction, Identity::UNKNOWN, 89, 0)));
    }
}

#[test]
fn default_deny_names_the_policies_that_switched_it_on() {
    let on = [policy("first", 3), policy("second", 9)];
    let (map, rules) = PolicyMap::builder().enforce(Direction::Ingress, &on).build_with_rules();
    let verdict = map.lookup(Direction::Ingress, A, TCP, 80);
    assert!(matches!(verdict, Verdict::Deny(d) if d.reason == DenyReason::NoRule));
    assert_eq!(names(&rules, verdict), ["first", "second"]);
    assert!(allowed(map.lookup(Direction::Egress, A, TCP, 80)));
}

#[test]
fn deny_beats_allow_and_redirect_at_any_specificity() {
    let (map, rules) = PolicyMap::builder()
        .enforce(Direction::Ingress, &[policy("on", 1)])
        .because(&[policy("allow", 2)])
        .allow(Direction::Ingress, A, TCP, 80..=80)
        .redirect(Direction::Ingress, A, TCP, 8080..=8080, L7RuleSetId(7))
        .because(&[policy("deny", 3)])
        .deny(Direction::Ingress, None, None, None)
        .build_with_rules();
    for port in [80, 8080, 9] {
        let verdict = map.lookup(Direction::Ingress, A, TCP, port);
        assert!(matches!(verdict, Verdict::Deny(d) if d.reason == DenyReason::DenyRule), "{port}");
        assert_eq!(names(&rules, verdict), ["deny"]);
    }
}

#[test]
fn a_general_redirect_beats_a_specific_allow() {
    let map = PolicyMap::builder()
        .enforce(Direction::Egress, &[])
        .allow(Direction::Egress, A, TCP, 80..=80)
        .redirect(Direction::Egress, None, TCP, 1..=100, L7RuleSetId(3))
        .build();
    let l7 = |peer, port| match map.lookup(Direction::Egress, peer, TCP, port) {
        Verdict::Allow(permit) => permit.l7(),
        Verdict::Deny(denial) => panic!("{denial:?}"),
    };
    assert_eq!(l7(A, 80), Some(L7RuleSetId(3)));
    assert_eq!(l7(B, 80), Some(L7RuleSetId(3)));
    assert!(!allowed(map.lookup(Direction::Egress, A, TCP, 101)));
    assert!(!allowed(map.lookup(Direction::Egress, A, UDP, 80)));
}

#[test]
fn allows_unite_and_keep_all_their_rules() {
    let (map, rules) = PolicyMap::builder()
        .enforce(Direction::Ingress, &[])
        .because(&[policy("l3", 1)])
        .allow(Direction::Ingress, A, None, None)
        .because(&[policy("l4", 2)])
        .allow(Direction::Ingress, None, TCP, 80..=80)
        .build_with_rules();
    assert_eq!(names(&rules, map.lookup(Direction::Ingress, A, TCP, 80)), ["l3", "l4"]);
    assert_eq!(names(&rules, map.lookup(Direction::Ingress, A, 1, 8)), ["l3"]);
    assert_eq!(names(&rules, map.lookup(Direction::Ingress, B, TCP, 80)), ["l4"]);
    assert!(!allowed(map.lookup(Direction::Ingress, B, 1, 8)));
}

#[test]
fn audit_lets_pass_and_says_what_would_have_denied() {
    let (map, rules) = PolicyMap::builder()
        .enforce(Direction::Ingress, &[policy("on", 1)])
        .audit(Direction::Ingress)
        .build_with_rules();
    let verdict = map.lookup(Direction::Ingress, A, TCP, 80);
    assert!(matches!(verdict, Verdict::Allow(p) if p.audited()));
    assert_eq!(names(&rules, verdict), ["on"]);
    assert!(map.is_audited(Direction::Ingress) && !map.is_audited(Direction::Egress));
}

#[test]
fn every_port_of_a_crowded_table_is_found() {
    let mut builder = PolicyMap::builder().enforce(Direction::Ingress, &[]);
    for port in (0..=65_534u16).step_by(97) {
        builder = builder.allow(Direction::Ingress, A, TCP, port..=port);
    }
    let map = builder.build();
    for port in 0..=u16::MAX {
        let expected = port.is_multiple_of(97);
        assert_eq!(allowed(map.lookup(Direction::Ingress, A, TCP, port)), expected, "{port}");
    }
}

#[test]
fn many_peers_keep_their_classes() {
    let mut builder = PolicyMap::builder().enforce(Direction::Ingress, &[]);
    for n in 0..5_000u32 {
        builder = builder.allow(Direction::Ingress, Identity(256 + n), TCP, n as u16..=n as u16);
    }
    let map = builder.build();
    for n in 0..5_000u32 {
        assert!(allowed(map.lookup(Direction::Ingress, Identity(256 + n), TCP, n as u16)));
        assert!(!allowed(map.lookup(Direction::Ingress, Identity(256 + n), TCP, n as u16 + 1)));
    }
    assert!(!allowed(map.lookup(Direction::Ingress, Identity(9_999), TCP, 1)));
}

#[test]
fn entries_list_what_lookup_answers() {
    let map = PolicyMap::builder()
        .enforce(Direction::Ingress, &[])
        .allow(Direction::Ingress, A, TCP, 80..=90)
        .deny(Direction::Ingress, None, UDP, 53..=53)
        .build();
    let lines: Vec<_> = map.entries().filter(|e| e.direction == Direction::Ingress).collect();
    for line in &lines {
        let (peer, proto) = (line.peer.unwrap_or(B), line.proto.unwrap_or(89));
        for port in [line.ports.0, line.ports.1] {
            assert_eq!(map.lookup(line.direction, peer, proto, port), line.verdict, "{line:?}");
        }
    }
    let own: Vec<_> =
        lines.iter().filter(|e| e.peer == Some(A) && e.proto == Some(TCP)).map(|e| e.ports).collect();
    assert_eq!(own, [(0, 79), (80, 90), (91, u16::MAX)]);
    assert_eq!(map.entries().filter(|e| e.direction == Direction::Egress).count(), 1);
    assert_eq!(RuleId::NONE, RuleId(0));
}
