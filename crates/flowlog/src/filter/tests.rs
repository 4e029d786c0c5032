use super::*;
use crate::drop_reason::DropReason;
use crate::event::{EventKind, FlowEvent};
use crate::testing::{Names, event, message_record};
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
fn truth_table_of_messages() {
    use crate::MessageVerdict::{Dropped, Forwarded};
    let mut request = message_record("http-request", Dropped(DenyReason::NoRule));
    request.destination_names = vec!["api.example.com".to_owned()];
    let response = message_record("http-response", Forwarded);
    let grpc = message_record("grpc-response", Forwarded);
    let query = message_record("dns-request proxy", Forwarded);
    let kafka = message_record("kafka-request", Forwarded);
    let tls = message_record("tls-hello", Forwarded);
    let broken = message_record("anomaly", crate::MessageVerdict::Error);
    let packet = Record::from_event(&event(), &Names, 1);
    let records = [&request, &response, &grpc, &query, &kafka, &tls, &broken, &packet];
    // Which of them are shown, in this order.
    let table: &[(&[(&str, &str)], [u8; 8])] = &[
        (&[("type", "l7")], [1, 1, 1, 1, 1, 1, 1, 0]),
        (&[("!type", "l7")], [0, 0, 0, 0, 0, 0, 0, 1]),
        (&[("protocol", "http")], [1, 1, 1, 0, 0, 0, 0, 0]),
        (&[("protocol", "HTTP/2")], [0, 0, 1, 0, 0, 0, 0, 0]),
        (&[("protocol", "http/1.1")], [1, 1, 0, 0, 0, 0, 0, 0]),
        (&[("protocol", "grpc")], [0, 0, 1, 0, 0, 0, 0, 0]),
        (&[("protocol", "dns"), ("protocol", "kafka")], [0, 0, 0, 1, 1, 0, 0, 0]),
        (&[("protocol", "tls")], [0, 0, 0, 0, 0, 1, 0, 0]),
        (&[("protocol", "tcp")], [1, 1, 1, 1, 1, 1, 1, 1]),
        (&[("http-method", "get")], [1, 1, 0, 0, 0, 0, 0, 0]),
        (&[("http-method", "GET"), ("http-method", "POST")], [1, 1, 1, 0, 0, 0, 0, 0]),
        (&[("http-status", "200")], [0, 1, 1, 0, 0, 0, 0, 0]),
        (&[("http-status", "2+")], [0, 1, 1, 0, 0, 0, 0, 0]),
        (&[("http-status", "20+"), ("http-method", "GET")], [0, 1, 0, 0, 0, 0, 0, 0]),
        (&[("http-status", "5+")], [0, 0, 0, 0, 0, 0, 0, 0]),
        (&[("http-path", "/v1/.*")], [1, 1, 1, 0, 0, 0, 0, 0]),
        (&[("http-path", "^/v1/pay$")], [1, 1, 1, 0, 0, 0, 0, 0]),
        (&[("http-path", "id=7")], [0, 0, 0, 0, 0, 0, 0, 0]),
        (&[("http-url", r"api:8080/.*\?id=")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("!http-url", "id=")], [0, 1, 1, 1, 1, 1, 1, 1]),
        (&[("http-header", "X-Request-ID: 42")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("http-header", "x-request-id:43")], [0, 0, 0, 0, 0, 0, 0, 0]),
        (&[("dns-query", r"^example\.com\.$")], [0, 0, 0, 1, 0, 0, 0, 0]),
        (&[("dns-query", "google")], [0, 0, 0, 0, 0, 0, 0, 0]),
        (&[("fqdn", "*.example.com")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("to-fqdn", "API.example.com.")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("from-fqdn", "api.example.com")], [0, 0, 0, 0, 0, 0, 0, 0]),
        (&[("to-fqdn", "a*ple*m")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("to-fqdn", "example.com")], [0, 0, 0, 0, 0, 0, 0, 0]),
        (&[("verdict", "DROPPED"), ("type", "l7")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("verdict", "ERROR")], [0, 0, 0, 0, 0, 0, 1, 0]),
        (&[("drop-reason-desc", "POLICY_DENIED")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("drop-reason-desc", "http_chunk")], [0, 0, 0, 0, 0, 0, 1, 0]),
        (&[("to-pod", "production/api"), ("protocol", "http")], [1, 0, 0, 0, 0, 0, 0, 0]),
        (&[("traffic-direction", "ingress"), ("http-status", "2+")], [0, 1, 1, 0, 0, 0, 0, 0]),
    ];
    for (flags, expected) in table {
        let shown: Vec<u8> = records.iter().map(|record| u8::from(shows(flags, record))).collect();
        assert_eq!(shown, expected, "{flags:?}");
    }
}

#[test]
fn expressions_of_clients_are_bounded() {
    let filter = |f: FlowFilter| Filters { allowlist: vec![f], denylist: Vec::new() }.compile().map(|_| ());
    let some = |n| FlowFilter { http_path: vec!["a".into(); n], ..FlowFilter::default() };
    let filters = |n, m| Filters { allowlist: vec![some(n)], denylist: vec![some(m)] }.compile().map(|_| ());
    assert_eq!((filters(32, 32), filters(33, 32)), (Ok(()), Err(FilterError::TooMany)));
    for text in [r"\w{1000}{1000}".to_owned(), "x".repeat(5000), "(".to_owned()] {
        let big = FlowFilter { dns_query: vec![text.clone()], ..FlowFilter::default() };
        assert_eq!(filter(big), Err(FilterError::Value { flag: "dns-query".into(), value: text }));
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
        ("http-status", "20"),
        ("http-status", "+"),
        ("http-status", "2xx"),
        ("http-status", "2000+"),
        ("http-path", "("),
        ("http-url", "["),
        ("http-header", "x-request-id"),
        ("http-header", ":1"),
        ("to-fqdn", "a b"),
        ("to-fqdn", ""),
    ] {
        let built = FilterBuilder::default().flag(name, value, false).build();
        assert!(matches!(built, Err(FilterError::Value { .. })), "--{name} {value}: {built:?}");
    }
    let both = FilterBuilder::default().flag("pod", "a", false).flag("from-pod", "b", false).build();
    assert_eq!(both, Err(FilterError::Conflict("pod".into(), "from-pod".into())));
    assert!(serde_json::from_str::<Filters>(r#"{"allowlist":[{"surprise":[1]}]}"#).is_err());
}
