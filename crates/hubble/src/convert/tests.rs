//! Each kind of record, made as the node makes it, against its own JSON: names and shapes there are Hubble's, so what
//! protobuf's JSON of the flow says must be what the record's JSON says.

use super::*;
use crate::proto::DESCRIPTORS;
use flowlog::record::WorkloadRef;
use flowlog::{CloseReason, DropReason as Reason, EventKind, FlowEvent, Message, MessageVerdict};
use flowlog::{Resolver, TraceReason, VerdictKind, Workload};
use l7::Anomaly;
use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
use policy::{DenyReason, Direction, EndpointId, Identity, Provenance, RuleId};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};

struct Names;

impl Resolver for Names {
    fn labels(&self, identity: Identity) -> Vec<String> {
        vec![format!("k8s:app=a{}", identity.0)]
    }
    fn address(&self, _: Addr) -> Option<Workload> {
        None
    }
    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        let owner = WorkloadRef { name: "web".into(), kind: "Deployment".into() };
        Some(Workload {
            namespace: "production".into(),
            pod_name: format!("pod-{}", id.0),
            workloads: vec![owner],
            ..Workload::default()
        })
    }
    fn rules(&self, _: RuleId) -> Vec<Provenance> {
        vec![Provenance {
            kind: "CiliumNetworkPolicy".into(),
            namespace: "production".into(),
            name: "web".into(),
            file: "policies/web.yaml".into(),
            line: 7,
        }]
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        1_763_719_200_000_000_000
    }
    fn node_name(&self) -> &str {
        "node-1"
    }
    fn run_id(&self) -> u64 {
        42
    }
    fn dns_names(&self, _: Addr) -> Vec<String> {
        vec!["example.com".into()]
    }
}

fn event(kind: EventKind) -> FlowEvent {
    FlowEvent {
        at: Instant::from_nanos(123_000_000),
        kind,
        key: FlowKey {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 0, 0, 2]),
            src_port: 41234,
            dst_port: 8080,
            proto: 6,
        },
        icmp: (0, 0),
        tcp_flags: TcpFlags(TcpFlags::SYN | TcpFlags::ACK),
        is_reply: false,
        src_identity: Identity(1001),
        dst_identity: Identity(1002),
        src_endpoint: Some(EndpointId(1)),
        dst_endpoint: Some(EndpointId(2)),
        in_port: PortId(3),
        len: 60,
        epoch: 7,
    }
}

fn over(proto: u8, icmp: (u8, u8)) -> FlowEvent {
    let e = event(EventKind::Trace { reason: TraceReason::New });
    FlowEvent { key: FlowKey { proto, ..e.key }, icmp, ..e }
}

/// What protobuf's own JSON says, with the names as they stand in the protocol.
fn proto_json(flow: &Flow) -> Value {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
    let kind = pool.get_message_by_name("flow.Flow").expect("flow.Flow");
    let message = DynamicMessage::decode(kind, flow.encode_to_vec().as_slice()).expect("a flow");
    assert_eq!(message.unknown_fields().count(), 0);
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(true)
        .skip_default_fields(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON")
}

/// What the record's JSON makes one expect.
fn expected(record: &Record) -> Value {
    let mut json = serde_json::to_value(record).expect("JSON");
    let fields = json.as_object_mut().expect("an object");
    if let Some(extensions) = fields.remove("extensions") {
        let text = serde_json::to_string(record.extensions.as_ref().expect("there")).expect("JSON");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), extensions);
        fields.insert("extensions".into(), json!({ "@type": EXTENSIONS_TYPE, "value": text }));
    }
    fields.insert("emitter".into(), json!({ "name": "Sluice", "version": env!("CARGO_PKG_VERSION") }));
    if record.is_reply == Some(true) {
        fields.insert("reply".into(), true.into());
    }
    // A reason of ours has a number and no name.
    if record.drop_reason >= 1000 || record.drop_reason_desc == "DROP_REASON_UNKNOWN" {
        fields.remove("drop_reason_desc");
    }
    // Hubble's name of this number is another than what it stands for.
    if record.drop_reason == 136 {
        fields.insert("drop_reason_desc".into(), "CT_MISSING_TCP_ACK_FLAG".into());
    }
    // protobuf writes three, six or nine digits of a second.
    if let Some(time) = fields.get_mut("time") {
        let text = time.as_str().expect("text").trim_end_matches("000000Z").trim_end_matches("000Z");
        *time = if text.ends_with('Z') { text.into() } else { format!("{text}Z").into() };
    }
    json
}

fn check(name: &str, record: &Record) {
    assert_eq!(proto_json(&flow(record, true)), expected(record), "{name}");
    let mut without = expected(record);
    without.as_object_mut().expect("an object").remove("extensions");
    assert_eq!(proto_json(&flow(record, false)), without, "{name} without extensions");
}

#[test]
fn packets_of_every_protocol() {
    let protocols = [
        ("TCP", 6, (0, 0)),
        ("UDP", 17, (0, 0)),
        ("SCTP", 132, (1, 0)),
        ("ICMPv4", 1, (8, 0)),
        ("ICMPv6", 58, (129, 0)),
        ("VRRP", 112, (0, 0)),
        ("IGMP", 2, (0, 0)),
        ("another", 47, (0, 0)),
        ("not IP", 0, (0, 0)),
    ];
    for (name, proto, icmp) in protocols {
        check(name, &Record::from_event(&over(proto, icmp), &Names, 1));
    }
    let v6 = FlowEvent {
        key: FlowKey {
            src: "2001:db8::1".parse::<std::net::IpAddr>().expect("address").into(),
            ..over(6, (0, 0)).key
        },
        is_reply: true,
        ..over(6, (0, 0))
    };
    let record = Record::from_event(&v6, &Names, 2);
    check("IPv6 reply", &record);
    #[expect(deprecated, reason = "older clients read it")]
    let reply = flow(&record, true).reply;
    assert!(reply);
}

#[test]
fn every_kind_of_event() {
    let rule = RuleId(1);
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let denied = |reason| VerdictKind::Denied(Reason::Denied(reason));
    let mut kinds = vec![
        EventKind::Close {
            reason: CloseReason::Finished,
            packets: [3, 2],
            bytes: [180, 5_000_000_000],
            duration_ns: 1,
        },
        EventKind::Close { reason: CloseReason::Revoked, packets: [1, 0], bytes: [60, 0], duration_ns: 1 },
    ];
    for reason in [TraceReason::New, TraceReason::Established, TraceReason::Reply, TraceReason::Related] {
        kinds.push(EventKind::Trace { reason });
    }
    for direction in [ingress, egress] {
        for verdict in [
            VerdictKind::Allowed,
            VerdictKind::Redirected,
            VerdictKind::Audited,
            denied(DenyReason::NoRule),
            denied(DenyReason::DenyRule),
        ] {
            kinds.push(EventKind::Verdict { direction, verdict, rule, reason: TraceReason::New });
        }
    }
    for reason in Reason::ALL {
        kinds.push(EventKind::Drop { reason: *reason, direction: Some(ingress), rule });
        kinds.push(EventKind::Drop { reason: *reason, direction: None, rule: RuleId::NONE });
    }
    for kind in kinds {
        check(&format!("{kind:?}"), &Record::from_event(&event(kind), &Names, 3));
    }
}

fn messages() -> Vec<Message<'static>> {
    let question = flowlog::detail::Question { name: "example.com".into(), qtype: 28 };
    let http = l7::http::Version::Http11;
    vec![
        Message::HttpRequest {
            version: http,
            method: "GET".into(),
            host: "api:8080".into(),
            path: "/v1/pay?id=7".into(),
            headers: vec![("user-agent", "curl/8".into()), ("x-request-id", "42".into())],
        },
        Message::HttpResponse {
            version: http,
            status: 503,
            latency_ns: 4_000_000_000,
            method: "GET".into(),
            host: "api:8080".into(),
            path: "/".into(),
            grpc_status: Some(14),
        },
        Message::DnsQuery(question.clone()),
        Message::DnsAnswer {
            question,
            rcode: 3,
            addresses: vec!["10.1.2.3".parse().expect("address"), "2001:db8::1".parse().expect("address")],
            cnames: vec!["c.example".into()],
            ttl: 30,
            latency_ns: 2_000_000,
        },
        Message::KafkaRequest {
            api_key: 0,
            api_version: 9,
            correlation_id: -5,
            client_id: "c".into(),
            topics: vec!["orders".into(), "bills".into()],
        },
        Message::KafkaResponse {
            api_key: 1,
            api_version: 12,
            correlation_id: 6,
            topic: "orders".into(),
            error_code: -1,
            latency_ns: 7,
        },
        Message::TlsHello { server_name: Some("www.example.com".into()), encrypted: true },
        Message::Anomaly(Anomaly::ALL[0]),
    ]
}

#[test]
fn messages_of_every_protocol_and_verdict() {
    let verdicts = [
        MessageVerdict::Forwarded,
        MessageVerdict::Dropped(DenyReason::NoRule),
        MessageVerdict::Dropped(DenyReason::DenyRule),
        MessageVerdict::Audited,
        MessageVerdict::Error,
    ];
    for message in messages() {
        for verdict in verdicts {
            for is_reply in [false, true] {
                let kind =
                    EventKind::Message { verdict, direction: Some(Direction::Egress), rule: RuleId(1) };
                let e = FlowEvent { is_reply, ..event(kind) };
                check(
                    &format!("{message:?} {verdict:?}"),
                    &Record::from_message(&e, Some(&message), &Names, 4),
                );
            }
        }
    }
}

#[test]
fn a_tls_hello_is_a_request_whose_name_is_in_the_summary_and_the_extensions() {
    let hello = Message::TlsHello { server_name: Some("www.example.com".into()), encrypted: false };
    let kind = EventKind::Message { verdict: MessageVerdict::Forwarded, direction: None, rule: RuleId::NONE };
    let flow = flow(&Record::from_message(&event(kind), Some(&hello), &Names, 5), true);
    let l7 = flow.l7.expect("a message");
    assert_eq!((l7.r#type(), l7.record), (crate::proto::flow::L7FlowType::Request, None));
    #[expect(deprecated, reason = "clients print it")]
    let summary = flow.summary;
    assert_eq!(summary, "TLS ClientHello www.example.com");
    let any = flow.extensions.expect("extensions");
    let text = String::decode(any.value.as_slice()).expect("a StringValue");
    let extensions: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(extensions["tls"], json!({ "server_name": "www.example.com" }));
}

#[test]
fn what_only_other_nodes_say() {
    // A record in which everything is set that ours leave open.
    let text = json!({
        "time": "2025-11-21T10:00:00.000000001Z", "uuid": "u", "verdict": "TRANSLATED",
        "ethernet": { "source": "02:00:00:00:00:01", "destination": "02:00:00:00:00:02" },
        "IP": {
            "source": "10.0.0.1", "source_xlated": "192.0.2.1", "destination": "10.0.0.2", "ipVersion": "IPv4",
            "encrypted": true,
        },
        "l4": { "TCP": { "source_port": 1, "destination_port": 2, "flags": {
            "FIN": true, "SYN": true, "RST": true, "PSH": true, "ACK": true, "URG": true, "ECE": true, "CWR": true,
            "NS": true,
        } } },
        "source": { "identity": 1, "cluster_name": "east", "labels": ["reserved:host"] },
        "Type": "SOCK", "node_name": "east/n", "node_labels": ["zone=a"],
        "source_service": { "name": "s", "namespace": "a" },
        "destination_service": { "name": "d", "namespace": "b" },
        "event_type": { "type": 7, "sub_type": 3 },
        "trace_observation_point": "TO_CRYPTO", "trace_reason": "SRV6_DECAP",
        "interface": { "index": 7, "name": "lxc7" },
        "trace_context": { "parent": { "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736" } },
        "ip_trace_id": { "trace_id": "18446744073709551615", "ip_option_type": 136 },
        "l7": { "type": "SAMPLE", "latency_ns": "18446744073709551615" },
    });
    let record: Record = serde_json::from_value(text.clone()).expect("a record");
    assert_eq!(serde_json::to_value(&record).expect("JSON"), text, "the record keeps it");
    check("full", &record);
}
