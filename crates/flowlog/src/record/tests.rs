use super::*;
use crate::testing::{Names, event};
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

proptest! {
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
