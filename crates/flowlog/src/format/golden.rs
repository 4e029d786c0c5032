//! Every kind of record in every layout, against what was looked at and found right.

use super::{Layout, Options, Printer};
use crate::drop_reason::DropReason;
use crate::event::{CloseReason, EventKind, FlowEvent, MessageVerdict, TraceReason, VerdictKind};
use crate::mask::FieldMask;
use crate::record::{Ethernet, Interface, Record, Resolver, ServiceRef, Workload};
use crate::schema::{FLOW, unknown_keys};
use crate::testing::{Names, event, message_record};
use packet::{Addr, FlowKey, PortId, TcpFlags};
use policy::{DenyReason, Direction, EndpointId, Identity, Provenance, RuleId};

/// As [`Names`], with all that a resolver may know beside.
struct Everything;

impl Resolver for Everything {
    fn labels(&self, identity: Identity) -> Vec<String> {
        Names.labels(identity)
    }
    fn address(&self, addr: Addr) -> Option<Workload> {
        Names.address(addr)
    }
    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        let mut workload = Names.endpoint(id)?;
        workload.pod_name.push_str("-7d9c5b8f6-x2x4z");
        Some(workload)
    }
    fn rules(&self, rule: RuleId) -> Vec<Provenance> {
        Names.rules(rule)
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        Names.wall_clock_offset_ns()
    }
    fn node_name(&self) -> &str {
        Names.node_name()
    }
    fn cluster_name(&self) -> &str {
        "default"
    }
    fn node_labels(&self) -> &[String] {
        static ZONE: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| vec!["zone=a".to_owned()]);
        &ZONE
    }
    fn interface(&self, port: PortId) -> Option<Interface> {
        Some(Interface { index: 0, name: format!("lxc{}", port.0) })
    }
    fn service(&self, addr: Addr, _: u8, _: u16) -> Option<ServiceRef> {
        let known = addr == Addr::v4([10, 96, 0, 1]);
        known.then(|| ServiceRef { name: "payments".to_owned(), namespace: "shop".to_owned() })
    }
    fn dns_names(&self, addr: Addr) -> Vec<String> {
        if addr == Addr::v4([192, 0, 2, 1]) {
            return vec!["api.example.com".to_owned(), "example.com".to_owned()];
        }
        Vec::new()
    }
    fn allowed_peers(&self, _: EndpointId, direction: Direction) -> Vec<String> {
        match direction {
            Direction::Ingress => vec!["k8s:app=web: 8080/TCP".to_owned()],
            Direction::Egress => vec!["everybody: 53/UDP".to_owned()],
        }
    }
}

fn of(event: FlowEvent) -> Record {
    Record::from_event(&event, &Names, 1)
}

fn with(kind: EventKind) -> Record {
    of(FlowEvent { kind, ..event() })
}

fn reversed(e: FlowEvent) -> FlowEvent {
    FlowEvent {
        key: e.key.reversed(),
        is_reply: true,
        src_identity: e.dst_identity,
        dst_identity: e.src_identity,
        src_endpoint: e.dst_endpoint,
        dst_endpoint: e.src_endpoint,
        ..e
    }
}

fn traces() -> Vec<(String, Record)> {
    let e = event();
    let trace = |reason| EventKind::Trace { reason };
    let to = |key: FlowKey, dst_identity| FlowEvent { key, dst_endpoint: None, dst_identity, ..e };
    let v6 = |last: u8| Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    let flags = |flags| TcpFlags(flags);
    let far = FlowKey { dst: Addr::v4([192, 0, 2, 1]), dst_port: 443, ..e.key };
    let service = FlowKey { dst: Addr::v4([10, 96, 0, 1]), ..e.key };
    let named = |event: FlowEvent| Record::from_event(&event, &Everything, 1);
    let mut raw = of(FlowEvent { key: FlowKey { proto: 0, ..FlowKey::default() }, ..e });
    raw.ethernet = Some(Box::new(Ethernet {
        source: "02:00:00:00:00:01".into(),
        destination: "ff:ff:ff:ff:ff:ff".into(),
    }));
    let list = [
        ("new", of(e)),
        (
            "established",
            of(FlowEvent {
                kind: trace(TraceReason::Established),
                tcp_flags: flags(TcpFlags::FIN | TcpFlags::ACK),
                ..e
            }),
        ),
        (
            "reply",
            of(FlowEvent {
                kind: trace(TraceReason::Reply),
                tcp_flags: flags(TcpFlags::SYN | TcpFlags::ACK),
                ..reversed(e)
            }),
        ),
        (
            "udp",
            of(FlowEvent { key: FlowKey { proto: 17, dst_port: 53, ..e.key }, tcp_flags: flags(0), ..e }),
        ),
        ("sctp", of(FlowEvent { key: FlowKey { proto: 132, ..e.key }, ..e })),
        (
            "icmp",
            of(FlowEvent {
                icmp: (8, 0),
                ..to(FlowKey { proto: 1, src_port: 0, dst_port: 0, ..e.key }, Identity::HOST)
            }),
        ),
        (
            "icmp related",
            of(FlowEvent {
                kind: trace(TraceReason::Related),
                icmp: (3, 3),
                key: FlowKey { proto: 1, src_port: 0, dst_port: 0, ..e.key },
                ..reversed(e)
            }),
        ),
        (
            "ipv6",
            of(FlowEvent {
                key: FlowKey { src: v6(1), dst: v6(2), ..e.key },
                src_endpoint: None,
                src_identity: Identity::WORLD_IPV6,
                ..e
            }),
        ),
        (
            "icmpv6",
            of(FlowEvent {
                key: FlowKey { src: v6(1), dst: v6(2), proto: 58, src_port: 0, dst_port: 0 },
                icmp: (135, 0),
                ..e
            }),
        ),
        ("to a name", named(to(far, Identity(16_777_217)))),
        ("to a service", named(to(service, Identity::WORLD_IPV4))),
        ("all names", named(e)),
        ("not IP", raw),
    ];
    list.into_iter().map(|(name, record)| (format!("trace {name}"), record)).collect()
}

fn verdicts() -> Vec<(String, Record)> {
    let mut list = Vec::new();
    let denied = |reason| VerdictKind::Denied(DropReason::Denied(reason));
    for direction in [Direction::Ingress, Direction::Egress] {
        for (name, verdict, rule) in [
            ("allowed", VerdictKind::Allowed, 1),
            ("not enforced", VerdictKind::Allowed, 0),
            ("redirected", VerdictKind::Redirected, 1),
            ("audited", VerdictKind::Audited, 1),
            ("denied by default", denied(DenyReason::NoRule), 1),
            ("denied by a rule", denied(DenyReason::DenyRule), 1),
            ("denied by an invalid policy", denied(DenyReason::InvalidPolicy), 1),
        ] {
            let kind =
                EventKind::Verdict { direction, verdict, rule: RuleId(rule), reason: TraceReason::New };
            let record = Record::from_event(&FlowEvent { kind, ..event() }, &Everything, 1);
            list.push((format!("verdict {direction:?} {name}"), record));
        }
    }
    list
}

fn drops() -> Vec<(String, Record)> {
    let one = |reason: &DropReason| {
        let policy = matches!(reason, DropReason::Denied(_));
        let (direction, rule) = if policy { (Some(Direction::Egress), 1) } else { (None, 0) };
        let record = with(EventKind::Drop { reason: *reason, direction, rule: RuleId(rule) });
        (format!("drop {reason:?}"), record)
    };
    // One anomaly stands for all: they differ in name only.
    let anomalies = |reason: &&DropReason| !matches!(reason, DropReason::L7(_));
    let first = DropReason::ALL.iter().find(|reason| matches!(reason, DropReason::L7(_)));
    DropReason::ALL.iter().filter(anomalies).chain(first).map(one).collect()
}

fn messages() -> Vec<(String, Record)> {
    use MessageVerdict::{Audited, Dropped, Error, Forwarded};
    let mut list = Vec::new();
    for name in [
        "http-request",
        "http-response",
        "grpc-request",
        "grpc-response",
        "dns-request proxy",
        "dns-response proxy",
        "dns-refused",
        "dns-cname",
        "kafka-request",
        "kafka-response",
        "tls-hello",
    ] {
        list.push((name.to_owned(), message_record(name, Forwarded)));
    }
    for name in ["http-request", "grpc-request", "dns-request proxy", "kafka-request", "tls-hello"] {
        for (how, verdict) in
            [("by default", Dropped(DenyReason::NoRule)), ("by a rule", Dropped(DenyReason::DenyRule))]
        {
            list.push((format!("{name} denied {how}"), message_record(name, verdict)));
        }
        list.push((format!("{name} audited"), message_record(name, Audited)));
    }
    list.push(("anomaly".to_owned(), message_record("anomaly", Error)));
    list.push(("odd but passed".to_owned(), message_record("anomaly", Forwarded)));
    list
}

fn closes() -> Vec<(String, Record)> {
    let reasons = [
        CloseReason::Finished,
        CloseReason::Reset,
        CloseReason::TimedOut,
        CloseReason::Evicted,
        CloseReason::Revoked,
        CloseReason::PortGone,
    ];
    let one = |reason: CloseReason| {
        let kind = EventKind::Close {
            reason,
            packets: [12, 9],
            bytes: [u64::from(u32::MAX) + 1, 840],
            duration_ns: 1_234_567_890,
        };
        (format!("close {reason:?}"), with(kind))
    };
    reasons.into_iter().map(one).collect()
}

fn all() -> Vec<(String, Record)> {
    [traces(), verdicts(), drops(), messages(), closes()].concat()
}

fn printed(layout: Layout, options: Options) -> String {
    let mut text = String::new();
    for (name, record) in all() {
        text.push_str(&format!("# {name}\n"));
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, Options { layout, ..options.clone() });
        printer.record(&record).expect("memory");
        printer.flush().expect("memory");
        drop(printer);
        text.push_str(&String::from_utf8(out).expect("text"));
    }
    text
}

#[test]
fn compact() {
    insta::assert_snapshot!("compact", printed(Layout::Compact, Options::default()));
}

#[test]
fn compact_with_every_option() {
    let options =
        Options { policy_names: true, node_name: true, numeric: true, color: true, ..Options::default() };
    insta::assert_snapshot!("compact-options", printed(Layout::Compact, options));
}

#[test]
fn dict() {
    insta::assert_snapshot!(
        "dict",
        printed(Layout::Dict, Options { policy_names: true, ..Options::default() })
    );
}

#[test]
fn json() {
    insta::assert_snapshot!("json", printed(Layout::Json, Options::default()));
}

#[test]
fn table() {
    let mut out = Vec::new();
    let mut printer =
        Printer::new(&mut out, Options { layout: Layout::Table, node_name: true, ..Options::default() });
    for (_, record) in all() {
        printer.record(&record).expect("memory");
    }
    printer.flush().expect("memory");
    drop(printer);
    insta::assert_snapshot!("table", String::from_utf8(out).expect("text"));
}

#[test]
fn addresses_instead_of_names() {
    let (_, record) = traces().remove(9);
    let mut out = Vec::new();
    Printer::new(&mut out, Options { ip_translation: false, ..Options::default() })
        .record(&record)
        .expect("memory");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "Nov 21 10:00:00.123: 10.0.0.1:41234 (ID:1001) -> 192.0.2.1:443 (ID:16777217) to-stack FORWARDED (TCP Flags: SYN)\n"
    );
}

#[test]
fn every_key_is_one_of_hubbles_or_under_extensions() {
    for (name, record) in all() {
        let value = serde_json::to_value(&record).expect("JSON");
        assert_eq!(unknown_keys(&value, FLOW, ""), [""; 0], "{name}");
        // What is printed is read back, and the same line comes of it.
        let again: Record = serde_json::from_value(value.clone()).expect("reads back");
        assert_eq!(again, record, "{name}");
    }
    let strange = serde_json::json!({ "l4": { "TCP": { "window": 1 } }, "verdict": {}, "x": 1, "extensions": { "y": 1 } });
    assert_eq!(unknown_keys(&strange, FLOW, ""), ["l4.TCP.window", "verdict", "x"]);
}

#[test]
fn every_drop_says_why_and_policy_drops_say_who() {
    for (name, record) in [verdicts(), drops(), messages()].concat() {
        if record.verdict != crate::record::Verdict::Dropped {
            continue;
        }
        assert!(!record.drop_reason_desc.is_empty() && record.drop_reason != 0, "{name}");
        let extra = record.extensions.as_ref().expect("extensions");
        if record.drop_reason_desc == "POLICY_DENIED" {
            let deny = extra.default_deny.as_ref().unwrap_or_else(|| panic!("{name}: no default deny"));
            assert_eq!(deny.switched_on_by[0].name, "api", "{name}");
            assert!(extra.hint.as_ref().is_some_and(|hint| hint.starts_with("no ")), "{name}");
        } else if record.drop_reason_desc.starts_with("POLICY_DENY") {
            assert_eq!(extra.rules[0].line, 12, "{name}");
        }
    }
}

#[test]
fn masks_keep_the_envelope() {
    let mask = FieldMask::new(["verdict", "destination.pod_name"]).expect("paths");
    let mut out = Vec::new();
    let options = Options { layout: Layout::Json, mask, ..Options::default() };
    Printer::new(&mut out, options).record(&of(event())).expect("memory");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "{\"flow\":{\"verdict\":\"FORWARDED\",\"destination\":{\"pod_name\":\"api\"}},\"node_name\":\"node-1\",\
         \"time\":\"2025-11-21T10:00:00.123000000Z\"}\n"
    );
}
