use super::*;
use crate::event::MessageVerdict;
use crate::testing::{Names, event, message_event, message_record};
use proptest::prelude::*;

fn json(kind: EventKind) -> serde_json::Value {
    let record = Record::from_event(&FlowEvent { kind, ..event() }, &Names, 1);
    serde_json::to_value(record).expect("JSON")
}

fn verdict(verdict: VerdictKind, rule: u32) -> EventKind {
    EventKind::Verdict {
        direction: Direction::Ingress,
        verdict,
        rule: RuleId(rule),
        reason: TraceReason::New,
    }
}

#[test]
fn a_trace_in_hubbles_words_and_order() {
    let record = Record::from_event(&event(), &Names, 1);
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(
        text,
        concat!(
            r#"{"time":"2025-11-21T10:00:00.123000000Z","uuid":"00000000-0000-8000-8000-000000000001","#,
            r#""verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},"#,
            r#""l4":{"TCP":{"source_port":41234,"destination_port":8080,"flags":{"SYN":true}}},"#,
            r#""source":{"ID":1,"identity":1001,"namespace":"production","#,
            r#""labels":["k8s:app=frontend","k8s:io.kubernetes.pod.namespace=production"],"pod_name":"frontend"},"#,
            r#""destination":{"ID":2,"identity":1002,"namespace":"production","#,
            r#""labels":["k8s:app=api-service","k8s:io.kubernetes.pod.namespace=production"],"pod_name":"api"},"#,
            r#""Type":"L3_L4","node_name":"node-1","event_type":{"type":4},"traffic_direction":"INGRESS","#,
            r#""trace_observation_point":"TO_ENDPOINT","trace_reason":"NEW","is_reply":false,"#,
            r#""Summary":"TCP Flags: SYN","extensions":{"epoch":"7","length":60,"in_port":3}}"#,
        )
    );
}

#[test]
fn an_allowed_verdict_names_the_policy() {
    let v = json(verdict(VerdictKind::Allowed, 1));
    assert_eq!(v["verdict"], "FORWARDED");
    assert_eq!((&v["event_type"]["type"], &v["policy_match_type"]), (&5.into(), &2.into()));
    assert_eq!(v["ingress_allowed_by"][0]["name"], "api");
    assert_eq!(v["ingress_allowed_by"][0]["revision"], "7");
    assert_eq!(v["extensions"]["rules"][0]["line"], 12);
    let unenforced = json(verdict(VerdictKind::Allowed, 0));
    assert_eq!((&unenforced["policy_match_type"], unenforced.get("ingress_allowed_by")), (&4.into(), None));
    assert_eq!(json(verdict(VerdictKind::Redirected, 1))["verdict"], "REDIRECTED");
}

#[test]
fn a_default_deny_says_who_switched_it_on_and_what_is_missing() {
    let reason = DropReason::Denied(DenyReason::NoRule);
    let direction = Some(Direction::Ingress);
    for kind in
        [verdict(VerdictKind::Denied(reason), 1), EventKind::Drop { reason, direction, rule: RuleId(1) }]
    {
        let v = json(kind);
        assert_eq!(v["verdict"], "DROPPED");
        assert_eq!((&v["drop_reason"], &v["drop_reason_desc"]), (&133.into(), &"POLICY_DENIED".into()));
        assert_eq!((v.get("is_reply"), v.get("ingress_denied_by")), (None, None));
        let deny = &v["extensions"]["default_deny"];
        assert_eq!((&deny["direction"], &deny["side"]), (&"INGRESS".into(), &"destination".into()));
        assert_eq!(deny["switched_on_by"][0]["file"], "policies/api.yaml");
        assert_eq!(
            v["extensions"]["hint"],
            "no ingress rule of production/api allows 8080/TCP from production/frontend"
        );
    }
}

#[test]
fn a_deny_rule_is_named_on_the_drop_itself() {
    let reason = DropReason::Denied(DenyReason::DenyRule);
    let v = json(EventKind::Drop { reason, direction: Some(Direction::Egress), rule: RuleId(1) });
    assert_eq!((&v["drop_reason"], &v["event_type"]["sub_type"]), (&181.into(), &181.into()));
    assert_eq!(
        (&v["traffic_direction"], &v["egress_denied_by"][0]["name"]),
        (&"EGRESS".into(), &"api".into())
    );
}

#[test]
fn a_close_carries_exact_counters() {
    let reason = CloseReason::TimedOut;
    let v = json(EventKind::Close { reason, packets: [3, 2], bytes: [180, 120], duration_ns: 1_500_000_000 });
    assert_eq!((&v["verdict"], &v["event_type"]["type"]), (&"TRACED".into(), &1000.into()));
    assert_eq!(v["extensions"]["close"]["bytes"], serde_json::json!([180, 120]));
    assert_eq!(v["Summary"], "3 packets 180 bytes sent, 2 packets 120 bytes received, 1.500s");
}

fn message(name: &str, verdict: MessageVerdict) -> serde_json::Value {
    let record = message_record(name, verdict);
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(serde_json::from_str::<Record>(&text).expect("reads back"), record);
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_request_in_hubbles_words_and_order() {
    let record = message_record("http-request", MessageVerdict::Dropped(DenyReason::NoRule));
    let text = serde_json::to_string(&record).expect("JSON");
    let (_, rest) = text.split_once(r#""Type":"L7""#).expect("a type");
    assert_eq!(
        rest,
        concat!(
            r#","node_name":"node-1","l7":{"type":"REQUEST","http":{"code":403,"method":"GET","#,
            r#""url":"http://api:8080/v1/pay?id=7","protocol":"HTTP/1.1","#,
            r#""headers":[{"key":"user-agent","value":"curl/8"},{"key":"x-request-id","value":"42"}]}},"#,
            r#""event_type":{"type":129},"traffic_direction":"INGRESS","drop_reason_desc":"POLICY_DENIED","#,
            r#""is_reply":false,"Summary":"HTTP/1.1 403 GET http://api:8080/v1/pay?id=7","#,
            r#""extensions":{"default_deny":{"direction":"INGRESS","side":"destination","switched_on_by":"#,
            r#"[{"kind":"CiliumNetworkPolicy","namespace":"production","name":"api","file":"policies/api.yaml","line":12}]},"#,
            r#""hint":"no ingress rule of production/api allows GET /v1/pay?id=7 of api:8080 from production/frontend","#,
            r#""epoch":"7","length":60,"in_port":3},"#,
            r#""ingress_denied_by":[{"name":"api","namespace":"production","labels":"#,
            r#"["k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy","k8s:io.cilium.k8s.policy.name=api","#,
            r#""k8s:io.cilium.k8s.policy.namespace=production"],"revision":"7","kind":"CiliumNetworkPolicy"}]}"#,
        )
    );
}

#[test]
fn messages_in_hubbles_fields() {
    let forwarded = MessageVerdict::Forwarded;
    for (name, l7) in [
        (
            "http-response",
            r#"{"type":"RESPONSE","latency_ns":"4200000","http":{"code":200,"method":"GET",
               "url":"http://api:8080/v1/pay","protocol":"HTTP/1.1"}}"#,
        ),
        (
            "dns-request proxy",
            r#"{"type":"REQUEST","dns":{"query":"example.com.","observation_source":"proxy","qtypes":["A"]}}"#,
        ),
        (
            "dns-cname",
            r#"{"type":"RESPONSE","latency_ns":"2000000","dns":{"query":"example.com.",
               "ips":["93.184.216.34","93.184.216.35"],"ttl":30,"cnames":["a.net.","b.net."],
               "observation_source":"proxy","qtypes":["A"],"rrtypes":["CNAME","A"]}}"#,
        ),
        (
            "dns-refused",
            r#"{"type":"RESPONSE","latency_ns":"2000000","dns":{"query":"example.com.",
               "observation_source":"proxy","rcode":3,"qtypes":["A"]}}"#,
        ),
        (
            "kafka-request",
            r#"{"type":"REQUEST","kafka":{"api_version":11,"api_key":"fetch","correlation_id":5,"topic":"orders"}}"#,
        ),
        (
            "kafka-response",
            r#"{"type":"RESPONSE","latency_ns":"3000000","kafka":{"error_code":29,"api_version":11,
               "api_key":"fetch","correlation_id":5,"topic":"orders"}}"#,
        ),
    ] {
        let v = message(name, forwarded);
        let expected: serde_json::Value = serde_json::from_str(l7).expect("JSON");
        assert_eq!(v["l7"], expected, "{name}");
        let reply = expected["type"] == "RESPONSE";
        assert_eq!((&v["verdict"], &v["is_reply"]), (&"FORWARDED".into(), &reply.into()));
        assert_eq!(v["traffic_direction"], "INGRESS");
        assert_eq!((v.get("drop_reason_desc"), v.get("ingress_denied_by")), (None, None));
        assert_eq!(v["extensions"]["rules"][0]["line"], 12);
    }
}

#[test]
fn what_hubble_has_no_field_for() {
    let forwarded = MessageVerdict::Forwarded;
    assert_eq!(message("grpc-response", forwarded)["extensions"]["grpc_status"], 7);
    let kafka = message("kafka-request", forwarded);
    assert_eq!(kafka["extensions"]["kafka_client_id"], "consumer");
    assert_eq!(kafka["extensions"]["kafka_topics"], serde_json::json!(["orders", "events"]));
    let tls = message("tls-hello", forwarded);
    assert_eq!(tls["extensions"]["tls"], serde_json::json!({ "server_name": "example.com" }));
    assert_eq!((&tls["l7"], &tls["Type"]), (&serde_json::json!({ "type": "REQUEST" }), &"L7".into()));
}

#[test]
fn refused_messages_have_reason_and_rule() {
    let denied = message("http-request", MessageVerdict::Dropped(DenyReason::DenyRule));
    assert_eq!((&denied["verdict"], &denied["drop_reason_desc"]), (&"DROPPED".into(), &"POLICY_DENY".into()));
    assert_eq!(denied["ingress_denied_by"][0]["name"], "api");
    assert_eq!((denied["extensions"].get("default_deny"), denied["extensions"].get("hint")), (None, None));
    assert_eq!(denied["extensions"]["rules"][0]["file"], "policies/api.yaml");
    let audited = message("http-request", MessageVerdict::Audited);
    assert_eq!((&audited["verdict"], audited.get("drop_reason_desc")), (&"AUDIT".into(), None));
    assert_eq!(audited["extensions"]["default_deny"]["direction"], "INGRESS");
    for (name, wanted) in [
        ("dns-request proxy", "DNS query example.com"),
        ("kafka-request", "Kafka fetch of orders, events"),
        ("tls-hello", "TLS to example.com"),
    ] {
        let v = message(name, MessageVerdict::Dropped(DenyReason::NoRule));
        let hint = format!("no ingress rule of production/api allows {wanted} from production/frontend");
        assert_eq!(
            (&v["extensions"]["hint"], &v["drop_reason_desc"]),
            (&hint.into(), &"POLICY_DENIED".into())
        );
    }
    let broken = message("anomaly", MessageVerdict::Error);
    assert_eq!((&broken["verdict"], &broken["drop_reason_desc"]), (&"ERROR".into(), &"HTTP_CHUNK".into()));
    assert_eq!(broken["extensions"]["anomaly"], "http-chunk");
    let odd = message("anomaly", MessageVerdict::Forwarded);
    assert_eq!((odd.get("drop_reason_desc"), &odd["extensions"]["anomaly"]), (None, &"http-chunk".into()));
}

#[test]
fn a_message_without_content_is_still_a_record() {
    let event = message_event(MessageVerdict::Dropped(DenyReason::NoRule), false);
    let record = Record::from_event(&event, &Names, 1);
    assert_eq!((record.summary.as_str(), record.drop_reason_desc.as_str()), ("", "POLICY_DENIED"));
    assert_eq!(record.flow_type, FlowType::L7);
}

#[test]
fn reads_what_hubble_writes() {
    let line = r#"{"time":"2024-01-02T03:04:05.678Z","verdict":"FORWARDED","ethernet":{"source":"aa"},
        "l4":{"UDP":{"source_port":53}},"source":{"identity":2,"cluster_name":"x"},"Type":"L3_L4",
        "is_reply":true,"reply":true,"interface":{"index":3},"ingress_allowed_by":[{"name":"p","revision":"9"}]}"#;
    let record: Record = serde_json::from_str(line).expect("reads");
    assert_eq!(record.l4.as_ref().and_then(L4::ports), Some((53, 0)));
    assert_eq!(record.ingress_allowed_by[0].revision, 9);
}

#[test]
fn every_drop_reason_has_a_text_and_a_name() {
    for reason in DropReason::ALL {
        let (name, number) = reason.hubble();
        assert_ne!(crate::drop_text(number), number.to_string(), "{name} has no text");
    }
}

fn any_kind() -> impl Strategy<Value = EventKind> {
    let direction = prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)];
    let reason = (0..DropReason::COUNT).prop_map(|i| DropReason::ALL[i]);
    (direction, reason, 0_u32..3, any::<[u64; 2]>(), 0..6).prop_map(|(direction, reason, rule, n, which)| {
        match which {
            0 => verdict(VerdictKind::Allowed, rule),
            1 => verdict(VerdictKind::Audited, rule),
            2 => verdict(VerdictKind::Denied(reason), rule),
            3 => EventKind::Trace { reason: TraceReason::Related },
            4 => EventKind::Drop { reason, direction: Some(direction), rule: RuleId(rule) },
            _ => EventKind::Close { reason: CloseReason::Reset, packets: n, bytes: n, duration_ns: n[0] },
        }
    })
}

prop_compose! {
    fn any_service()(name in "[a-z]{1,8}", namespace in ".{0,8}") -> ServiceRef {
        ServiceRef { name, namespace }
    }
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    (0..Verdict::ALL.len()).prop_map(|at| Verdict::ALL[at])
}

prop_compose! {
    /// The parts that no event of ours fills, as Hubble's files have them.
    fn any_rest()(
        text in proptest::collection::vec(".{0,12}", 8),
        verdict in any_verdict(),
        services in any::<bool>().prop_flat_map(|some| proptest::option::of(any_service()).prop_map(move |s| s.filter(|_| some))),
        number in any::<(u32, u64)>(),
        flags in any::<(bool, bool, bool)>(),
        point in 0..TracePoint::ALL.len(),
        reason in 0..TraceReasonName::ALL.len(),
    ) -> Record {
        let boxed = |yes: bool| yes.then(|| Box::new(IpTraceId { trace_id: number.1, ip_option_type: number.0 }));
        Record {
            verdict,
            uuid: text[0].clone(),
            ethernet: flags.0.then(|| Box::new(Ethernet { source: text[1].clone(), destination: text[2].clone() })),
            ip: flags.1.then(|| Ip {
                source: text[3].clone(),
                source_xlated: text[4].clone(),
                encrypted: flags.2,
                ..Ip::default()
            }),
            source_service: services.clone().map(Box::new),
            destination_service: services.map(Box::new),
            node_labels: text[5..7].to_vec(),
            source_names: text[..2].to_vec(),
            interface: flags.2.then(|| Box::new(Interface { index: number.0, name: text[7].clone() })),
            trace_context: flags.0.then(|| {
                Box::new(TraceContext { parent: flags.1.then(|| TraceParent { trace_id: text[6].clone() }) })
            }),
            ip_trace_id: boxed(flags.1),
            trace_observation_point: TracePoint::ALL[point],
            trace_reason: TraceReasonName::ALL[reason],
            is_reply: flags.0.then_some(flags.1),
            summary: text[2].clone(),
            source: Some(Endpoint {
                cluster_name: text[3].clone(),
                workloads: vec![WorkloadRef { name: text[4].clone(), kind: text[5].clone() }],
                ..Endpoint::default()
            }),
            ..Record::default()
        }
    }
}

proptest! {
    #[test]
    fn json_of_any_record_round_trips(record in any_rest()) {
        let text = serde_json::to_string(&record).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Record>(&text).expect("reads back"), record);
    }

    #[test]
    fn json_round_trips(
        kind in any_kind(), at in any::<u64>(), proto in any::<u8>(), ports in any::<(u16, u16)>(),
        src in any::<[u8; 16]>(), dst in any::<[u8; 4]>(), flags in any::<u8>(), icmp in any::<(u8, u8)>(),
        seq in any::<u64>(), is_reply in any::<bool>(), ids in any::<(u32, u32)>(), epoch in any::<u64>(),
    ) {
        let key = packet::FlowKey {
            src: packet::Addr::v6(src), dst: packet::Addr::v4(dst), src_port: ports.0, dst_port: ports.1, proto,
        };
        let event = FlowEvent {
            at: packet::Instant::from_nanos(at), kind, key, icmp, tcp_flags: packet::TcpFlags(flags), is_reply,
            src_identity: policy::Identity(ids.0), dst_identity: policy::Identity(ids.1), epoch,
            src_endpoint: None, ..event()
        };
        let record = Record::from_event(&event, &Names, seq);
        let text = serde_json::to_string(&record).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Record>(&text).expect("reads back"), record);
    }
}

#[test]
fn requests_know_their_trace() {
    let trace = |value: &str| {
        let message = Message::HttpRequest {
            version: ::l7::http::Version::Http11,
            method: "GET".into(),
            host: "api".into(),
            path: "/".into(),
            headers: vec![("traceparent", value.into())],
        };
        let event = message_event(MessageVerdict::Forwarded, false);
        let context = Record::from_message(&event, Some(&message), &Names, 1).trace_context;
        context.and_then(|context| context.parent).map(|parent| parent.trace_id)
    };
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(trace(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
    for wrong in [
        "",
        "00",
        "00-xyz-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        &id.to_uppercase(),
    ] {
        assert_eq!(trace(wrong), None, "{wrong}");
    }
}
