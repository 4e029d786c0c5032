use super::*;
use crate::drop_reason::DropReason;
use crate::event::{EventKind, FlowEvent};
use crate::testing::{Names, event};
use policy::{DenyReason, Direction, RuleId};

fn shows(flags: &[(&str, &str)], record: &Record) -> bool {
    let mut builder = FilterBuilder::default();
    for (name, value) in flags {
        match name.strip_prefix('!') {
            Some(name) => builder.flag(name, value, true),
            None => builder.flag(name, value, false),
        };
    }
    let filters = builder.build().expect("valid flags");
    let json = serde_json::to_string(&filters).expect("filters are JSON");
    assert_eq!(serde_json::from_str::<Filters>(&json).expect("reads back"), filters);
    filters.compile().expect("valid filters").matches(record)
}

#[test]
fn truth_table() {
    let kind = EventKind::Drop {
        reason: DropReason::Denied(DenyReason::NoRule),
        direction: Some(Direction::Ingress),
        rule: RuleId(1),
    };
    let record = Record::from_event(&FlowEvent { kind, ..event() }, &Names, 1);
    let table: &[(&[(&str, &str)], bool)] = &[
        (&[], true),
        (&[("verdict", "DROPPED")], true),
        (&[("verdict", "FORWARDED")], false),
        (&[("verdict", "FORWARDED"), ("verdict", "DROPPED")], true),
        (&[("verdict", "DROPPED"), ("protocol", "udp")], false),
        (&[("pod", "production/front")], true),
        (&[("pod", "production/api")], true),
        (&[("pod", "frontend")], false),
        (&[("pod", "frontend"), ("namespace", "production")], true),
        (&[("from-pod", "production/frontend"), ("to-pod", "production/api")], true),
        (&[("from-pod", "production/api")], false),
        (&[("from-pod", "/frontend")], true),
        (&[("namespace", "production"), ("from-label", "app=frontend"), ("verdict", "DROPPED")], true),
        (&[("namespace", "staging")], false),
        (&[("namespace", "staging"), ("from-pod", "production/frontend")], false),
        (&[("to-namespace", "production")], true),
        (&[("label", "app in (web, api-service)")], true),
        (&[("label", "app=frontend,app!=x")], true),
        (&[("label", "!app")], false),
        (&[("label", "k8s:app=frontend")], true),
        (&[("label", "reserved:host")], false),
        (&[("ip", "10.0.0.0/31")], true),
        (&[("to-ip", "10.0.0.1")], false),
        (&[("ip", "fd00::/8")], false),
        (&[("port", "8080")], true),
        (&[("from-port", "8080")], false),
        (&[("pod", "production/frontend"), ("port", "8080")], true),
        (&[("pod", "production/frontend"), ("port", "80")], false),
        (&[("identity", "1001")], true),
        (&[("to-identity", "1001")], false),
        (&[("identity", "host")], false),
        (&[("traffic-direction", "ingress")], true),
        (&[("traffic-direction", "egress")], false),
        (&[("type", "drop")], true),
        (&[("type", "drop:133")], true),
        (&[("type", "drop:181")], false),
        (&[("type", "trace:to-endpoint")], false),
        (&[("drop-reason-desc", "POLICY_DENIED")], true),
        (&[("drop-reason-desc", "POLICY_DENY")], false),
        (&[("tcp-flags", "SYN")], true),
        (&[("tcp-flags", "SYN,ACK")], false),
        (&[("ip-version", "v4")], true),
        (&[("ip-version", "v6")], false),
        (&[("uuid", &record.uuid)], true),
        (&[("uuid", "x")], false),
        (&[("!verdict", "DROPPED")], false),
        (&[("!verdict", "FORWARDED")], true),
        (&[("!verdict", "FORWARDED"), ("!pod", "production/api")], false),
        (&[("verdict", "DROPPED"), ("!port", "53")], true),
    ];
    for (flags, expected) in table {
        assert_eq!(shows(flags, &record), *expected, "{flags:?}");
    }
}

#[test]
fn refuses_what_it_cannot_read() {
    for (name, value) in [
        ("verdict", "MAYBE"),
        ("port", "http"),
        ("ip", "10.0.0.300"),
        ("label", "a in b"),
        ("label", ""),
        ("identity", "nobody"),
        ("tcp-flags", "SYN,XYZ"),
        ("type", "nothing"),
        ("protocol", "ipx"),
    ] {
        let built = FilterBuilder::default().flag(name, value, false).build();
        assert!(matches!(built, Err(FilterError::Value { .. })), "--{name} {value}: {built:?}");
    }
    let both = FilterBuilder::default().flag("pod", "a", false).flag("from-pod", "b", false).build();
    assert_eq!(both, Err(FilterError::Conflict("pod".into(), "from-pod".into())));
    assert!(serde_json::from_str::<Filters>(r#"{"allowlist":[{"surprise":[1]}]}"#).is_err());
}
