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

/// A record in which every field that a filter can ask for is set.
fn full() -> Record {
    let mut r = message_record("kafka-request", crate::MessageVerdict::Dropped(DenyReason::NoRule));
    let service =
        |name: &str| Box::new(crate::record::ServiceRef { name: name.into(), namespace: "shop".into() });
    r.source_service = Some(service("cart"));
    r.destination_service = Some(service("payments"));
    r.node_name = "east/node-1".into();
    r.node_labels = vec!["zone=a".into(), "io.cilium/egress-gateway=".into()];
    r.interface = Some(Box::new(crate::record::Interface { index: 7, name: "lxc7".into() }));
    let parent = crate::record::TraceParent { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into() };
    r.trace_context = Some(Box::new(crate::record::TraceContext { parent: Some(parent) }));
    r.ip_trace_id = Some(Box::new(crate::record::IpTraceId { trace_id: 99, ip_option_type: 136 }));
    let ip = r.ip.as_mut().expect("addresses");
    ip.source_xlated = "192.0.2.7".into();
    ip.encrypted = true;
    for (end, kind, name, cluster) in [
        (&mut r.source, "Deployment", "frontend", "east"),
        (&mut r.destination, "StatefulSet", "api", "prod-west"),
    ] {
        let end = end.as_mut().expect("both ends");
        end.cluster_name = cluster.into();
        end.workloads = vec![crate::record::WorkloadRef { name: name.into(), kind: kind.into() }];
    }
    r
}

#[test]
fn truth_table_of_what_hubble_asks_beside() {
    let (record, blank) = (full(), Record { time: full().time, ..Record::default() });
    // The value that matches, and one that does not.
    let table: &[(&str, &str, &str)] = &[
        ("service", "shop/pay", "shop/other"),
        ("from-service", "shop/cart", "cart"),
        ("to-service", "/payments", "staging/payments"),
        ("workload", "api", "ap"),
        ("from-workload", "Deployment/frontend", "StatefulSet/frontend"),
        ("to-workload", "StatefulSet/", "Deployment/"),
        ("cluster", "prod-*", "prod"),
        ("from-cluster", "east", "west"),
        ("to-cluster", "*-west", "east"),
        ("node-label", "zone=a", "zone=b"),
        ("node-label", "io.cilium/egress-gateway", "egress"),
        ("node-name", "node-*", "node-2"),
        ("node-name", "ea*/node-1", "default/node-1"),
        ("interface", "lxc7", "lxc"),
        ("snat-ip", "192.0.2.0/24", "10.0.0.1"),
        ("trace-id", "4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4737"),
        ("ip-trace-id", "99", "100"),
        ("encrypted", "", "-"),
        ("policy", "api", "ap"),
        ("policy", "production/api", "staging/api"),
        ("kafka-topic", "orders", "order"),
        ("kafka-topic", "ev*", "ev"),
        ("kafka-api-key", "FETCH", "produce"),
        ("kafka-api-key", "1", "0"),
        ("reply", "false", "true"),
        ("drop-reason-desc", "policy_denied", "MISSED_TAIL_CALL"),
        ("ip-version", "v4", "none"),
    ];
    for (flag, yes, no) in table {
        let not = format!("!{flag}");
        assert!(shows(&[(flag, yes)], &record), "--{flag} {yes}");
        assert!(!shows(&[(&not, yes)], &record), "--not --{flag} {yes}");
        assert!(!shows(&[(flag, yes)], &blank), "--{flag} {yes} of a record without it");
        if *no != "-" {
            assert!(!shows(&[(flag, no)], &record), "--{flag} {no}");
            assert!(shows(&[(&not, no)], &record), "--not --{flag} {no}");
            assert!(shows(&[(flag, no), (flag, yes)], &record), "--{flag} twice is or");
            assert!(!shows(&[(flag, yes), ("verdict", "FORWARDED")], &record), "--{flag} and another is and");
        }
    }
    assert!(!shows(&[("unencrypted", "")], &record));
    assert!(shows(&[("ip-version", "none")], &blank), "no IP at all");
    assert!(shows(&[("service", "payments"), ("namespace", "shop")], &record));
    assert!(!shows(&[("service", "payments"), ("namespace", "production")], &record));
}

#[test]
fn packets_of_protocols_that_are_only_refused() {
    for (proto, name) in [(2, "igmp"), (112, "VRRP")] {
        let kind = EventKind::Drop { reason: DropReason::UnknownL4, direction: None, rule: RuleId::NONE };
        let key = packet::FlowKey { proto, ..event().key };
        let record = Record::from_event(&FlowEvent { kind, key, ..event() }, &Names, 1);
        assert!(shows(&[("protocol", name)], &record) && !shows(&[("protocol", "tcp")], &record));
        assert_eq!(record.summary, name.to_uppercase());
    }
}

#[test]
fn filters_are_read_as_protobuf_writes_them() {
    let read = FlowFilter::from_json(
        r#"{"sourcePod":["default/"],"verdict":["DROPPED",1],"trafficDirection":[2],"ipVersion":[1],
            "ip_trace_id":["18446744073709551615",7],"drop_reason_desc":[133,"POLICY_DENY"],
            "event_type":[{"type":4,"matchSubType":true}],"reply":null}
           {"destination_workload":[{"kind":"Deployment"}],"interface":[{"name":"eth0"}],"source_identity":[2]}"#,
    )
    .expect("filters");
    let expected = [
        FlowFilter {
            source_pod: vec!["default/".into()],
            verdict: vec![crate::record::Verdict::Dropped, crate::record::Verdict::Forwarded],
            traffic_direction: vec![crate::record::TrafficDirection::Egress],
            ip_version: vec![crate::record::IpVersion::V4],
            ip_trace_id: vec![u64::MAX, 7],
            drop_reason_desc: vec!["POLICY_DENIED".into(), "POLICY_DENY".into()],
            event_type: vec![EventTypeFilter { kind: 4, match_sub_type: true, sub_type: 0 }],
            ..FlowFilter::default()
        },
        FlowFilter {
            destination_workload: vec![crate::record::WorkloadRef {
                kind: "Deployment".into(),
                name: String::new(),
            }],
            interface: vec![InterfaceFilter { name: "eth0".into(), index: 0 }],
            source_identity: vec![2],
            ..FlowFilter::default()
        },
    ];
    assert_eq!(read, expected);
    assert_eq!(FlowFilter::from_json(" "), Ok(Vec::new()));
}

#[test]
fn what_cannot_be_honoured_is_named() {
    for (text, said) in [
        (r#"{"surprise":[1]}"#, "unknown field `surprise`"),
        (r#"{"event_type":[{"kind":1}]}"#, "unknown field `kind`"),
        (r#"{"verdict":["MAYBE"]}"#, "unknown variant `MAYBE`"),
        (r#"{"verdict":[99]}"#, "invalid type: integer `99`"),
        (r#"{"source_identity":["2"]}"#, "invalid type: string \"2\""),
        ("[]", "a filter is an object, not []"),
        ("{", "EOF while parsing"),
    ] {
        let error = FlowFilter::from_json(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let refused = |text: &str| {
        let lists = FlowFilter::from_json(text).expect("reads");
        Filters::from_lists(Vec::new(), lists.clone()).expect_err(text);
        Filters::try_from((lists, Vec::new())).expect_err(text).to_string()
    };
    for (text, said) in [
        (
            r#"{"experimental":{"cel_expression":["true"]}}"#,
            "the filter experimental.cel_expression is not supported",
        ),
        (r#"{"drop_reason_desc":["NO_SUCH"]}"#, "--drop-reason-desc"),
        (r#"{"protocol":["ipx"]}"#, "--protocol"),
        (r#"{"node_labels":["a in b"]}"#, "--node-label"),
        (r#"{"source_ip_xlated":["x"]}"#, "--snat-ip"),
        (r#"{"policy":["shop/"]}"#, "--policy"),
        (r#"{"kafka_topic":[""]}"#, "--kafka-topic"),
        (r#"{"source_cluster_name":[""]}"#, "--cluster"),
    ] {
        assert!(refused(text).contains(said), "{text}: {}", refused(text));
    }
    let many = format!("{{\"uuid\":[{}\"x\"]}}", "\"x\",".repeat(MAX_ENTRIES));
    assert_eq!(refused(&many), "too many filters");
    assert_eq!(FlowFilter::from_json(&"{}".repeat(MAX_ENTRIES + 1)), Err(FilterError::TooMany));
}
