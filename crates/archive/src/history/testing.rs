//! Records for tests: every kind, with the repetition and the variety of a busy node.

use flowlog::Record;
use flowlog::record::{
    CloseInfo, DefaultDeny, Endpoint, EventType, Extensions, FlowType, Http, Icmp, Ip, IpVersion, L4, L7Type,
    Layer7, PolicyRef, Ports, Rule, Tcp, TcpFlagSet, Time, TrafficDirection, Verdict, message_type,
};

/// 2025-11-21T10:00:00Z.
pub(crate) const BEGIN: i128 = 1_763_719_200_000_000_000;

/// Nanoseconds between two records.
pub(crate) const STEP: i128 = 7_300_000;

/// Pods of the node.
const PODS: u64 = 60;

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn pod(n: u64) -> Endpoint {
    let app = n % 12;
    Endpoint {
        id: n as u32 + 1,
        identity: 1000 + app as u32,
        namespace: format!("ns-{}", n % 5),
        labels: vec![format!("k8s:app=app-{app}"), format!("k8s:io.kubernetes.pod.namespace=ns-{}", n % 5)],
        pod_name: format!("app-{app}-{:05x}", mix(n) % 0xfffff),
        ..Endpoint::default()
    }
}

fn rule(n: u64) -> Rule {
    Rule {
        kind: "CiliumNetworkPolicy".into(),
        namespace: "ns-1".into(),
        name: format!("policy-{n}"),
        file: format!("policies/p{n}.yaml"),
        line: 12,
    }
}

/// Record number `n`.
pub(crate) fn record(n: u64) -> Record {
    let r = mix(n);
    // Most connections are between few.
    let (from, to) = (r % PODS, (r >> 8) % 8);
    let kind = (r >> 16) % 10;
    let dropped = kind == 9;
    let l7 = kind == 7 || kind == 8;
    let address = |pod: u64| format!("10.0.{}.{}", pod / 200, pod % 200 + 1);
    let mut extra =
        Extensions { epoch: 7, length: 60 + (r >> 20) as u32 % 1400, in_port: 3, ..Extensions::default() };
    let port = 1024 + (r >> 24) as u16 % 60_000;
    let l4 = match (r >> 40) % 8 {
        0 => L4::Udp(Ports { source_port: port, destination_port: 53 }),
        1 if !l7 => L4::Icmpv4(Icmp { kind: 8, code: 0 }),
        _ => L4::Tcp(Tcp {
            source_port: port,
            destination_port: 8080 + to as u16,
            flags: Some(TcpFlagSet { syn: kind < 3, ack: kind > 1, fin: kind == 5, ..TcpFlagSet::default() }),
        }),
    };
    let mut record = Record {
        time: Some(Time::from_nanos(BEGIN + i128::from(n) * STEP)),
        uuid: format!("0189abcd-0011-8222-8000-{n:012x}"),
        verdict: if dropped { Verdict::Dropped } else { Verdict::Forwarded },
        ip: Some(Ip {
            source: address(from),
            destination: address(to),
            version: IpVersion::V4,
            ..Ip::default()
        }),
        l4: Some(l4),
        source: Some(pod(from)),
        destination: Some(pod(to)),
        flow_type: if l7 { FlowType::L7 } else { FlowType::L3L4 },
        node_name: "node-1".into(),
        traffic_direction: if r & 1 << 50 == 0 {
            TrafficDirection::Ingress
        } else {
            TrafficDirection::Egress
        },
        event_type: Some(EventType { kind: message_type::TRACE, sub_type: 0 }),
        is_reply: (!dropped).then_some(r & 1 << 51 != 0),
        summary: "TCP Flags: SYN".into(),
        ..Record::default()
    };
    if l7 {
        let url = format!("http://app-{}:8080/v1/items/{}?page={}", to % 12, (r >> 30) % 5000, (r >> 52) % 9);
        record.summary = format!("HTTP/1.1 GET {url}");
        record.event_type = Some(EventType { kind: message_type::L7, sub_type: 0 });
        record.l7 = Some(Layer7 {
            kind: if kind == 7 { L7Type::Request } else { L7Type::Response },
            latency_ns: if kind == 7 { 0 } else { r >> 40 },
            http: Some(Http {
                code: if kind == 7 { 0 } else { 200 },
                method: "GET".into(),
                url,
                ..Http::default()
            }),
            ..Layer7::default()
        });
        if kind == 7 {
            let context = serde_json::json!({"parent": {"trace_id": format!("{r:032x}")}});
            record.trace_context = serde_json::from_value(context).ok();
        }
    } else if dropped {
        record.drop_reason = 133;
        record.drop_reason_desc = "POLICY_DENIED".into();
        record.event_type = Some(EventType { kind: message_type::DROP, sub_type: 133 });
        extra.default_deny = Some(DefaultDeny {
            direction: TrafficDirection::Ingress,
            side: "destination".into(),
            switched_on_by: vec![rule(to)],
            ..DefaultDeny::default()
        });
        extra.hint = Some(format!("allow app-{} on port {port}", from % 12));
    } else if kind == 6 {
        record.event_type = Some(EventType { kind: message_type::CLOSE, sub_type: 0 });
        record.verdict = Verdict::Traced;
        extra.close = Some(CloseInfo {
            reason: "finished".into(),
            packets: [r % 100, r % 70],
            bytes: [r % 100_000, r % 1_000_000],
            duration_ns: r >> 30,
        });
    } else {
        extra.rules = vec![rule(to)];
        record.ingress_allowed_by = vec![PolicyRef {
            name: format!("policy-{to}"),
            namespace: "ns-1".into(),
            labels: vec!["k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy".into()],
            revision: 7,
            kind: "CiliumNetworkPolicy".into(),
        }];
    }
    record.extensions = Some(extra);
    record
}
