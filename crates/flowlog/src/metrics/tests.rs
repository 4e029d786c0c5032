use super::*;
use crate::detail::{MAX_ENCODED, Question, decode, encode};
use crate::testing::{event, message_event, with_detail};
use policy::{DenyReason, RuleId};

#[test]
fn counts_under_hubbles_names() {
    let mut metrics = Metrics::default();
    metrics.event(&event());
    let mut totals = [0; DropReason::COUNT];
    totals[0] = 2;
    totals[3] = 3;
    metrics.set_packet_drops(&totals);
    metrics.set_port("a\"b", Some(PortCounters { received: 1, sent: 2, dropped: 3 }));
    let text = metrics.to_text();
    for expected in [
        "hubble_flows_processed_total{protocol=\"TCP\",type=\"Trace\",verdict=\"FORWARDED\"} 1\n",
        "sluice_dropped_packets_total{reason=\"INVALID_PACKET_DROPPED\"} 5\n",
        "sluice_port_packets_total{port=\"a\\\"b\",way=\"sent\"} 2\n",
    ] {
        assert!(text.contains(expected), "{expected} not in\n{text}");
    }
}

fn said(name: &str) -> Message {
    let mut buffer = vec![0; MAX_ENCODED];
    let len = with_detail(name, |detail| encode(detail, &mut buffer)).expect("has room");
    decode(&buffer[..len]).expect("reads back")
}

/// Values of `name`, without its head.
fn series<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter_map(|l| l.strip_prefix(name)).filter(|l| l.starts_with('{')).collect()
}

#[test]
fn messages_under_hubbles_names_and_labels() {
    use MessageVerdict::{Dropped, Forwarded};
    let mut metrics = Metrics::default();
    for (name, verdict, is_reply) in [
        ("http-request", Forwarded, false),
        ("http-request", Dropped(DenyReason::NoRule), false),
        ("http-response", Forwarded, true),
        ("dns-request proxy", Forwarded, false),
        ("dns-request proxy", Dropped(DenyReason::NoRule), false),
        ("dns-cname", Forwarded, true),
        ("dns-refused", Forwarded, true),
        ("kafka-request", Forwarded, false),
        ("kafka-response", Forwarded, true),
        ("tls-hello", Dropped(DenyReason::DenyRule), false),
    ] {
        metrics.message(&message_event(verdict, is_reply), Some(&said(name)));
    }
    let text = metrics.to_text();
    for (name, expected) in [
        ("hubble_http_requests_total", &[r#"{method="GET",protocol="HTTP/1.1",reporter="server"} 2"#][..]),
        ("hubble_http_responses_total", &[r#"{method="GET",reporter="server",status="200"} 1"#]),
        ("hubble_http_request_duration_seconds_sum", &[r#"{method="GET",reporter="server"} 0.0042"#]),
        ("hubble_http_request_duration_seconds_count", &[r#"{method="GET",reporter="server"} 1"#]),
        (
            "hubble_dns_queries_total",
            &[
                r#"{ips_returned="0",qtypes="A",rcode=""} 1"#,
                r#"{ips_returned="0",qtypes="A",rcode="Policy denied"} 1"#,
            ],
        ),
        (
            "hubble_dns_responses_total",
            &[
                r#"{ips_returned="0",qtypes="A",rcode="Non-Existent Domain"} 1"#,
                r#"{ips_returned="2",qtypes="A",rcode="No Error"} 1"#,
            ],
        ),
        (
            "hubble_dns_response_types_total",
            &[r#"{qtypes="A",type="A"} 1"#, r#"{qtypes="A",type="CNAME"} 1"#],
        ),
        (
            "hubble_kafka_requests_total",
            &[r#"{api_key="fetch",error_code="0",reporter="server",topic="orders"} 1"#],
        ),
        (
            "hubble_kafka_request_duration_seconds_count",
            &[r#"{api_key="fetch",reporter="server",topic="orders"} 1"#],
        ),
        (
            "hubble_drop_total",
            &[
                r#"{protocol="DNS",reason="POLICY_DENIED"} 1"#,
                r#"{protocol="HTTP",reason="POLICY_DENIED"} 1"#,
                r#"{protocol="TLS",reason="POLICY_DENY"} 1"#,
            ],
        ),
        (
            "hubble_policy_verdicts_total",
            &[
                r#"{action="dropped",direction="ingress",match="l7/dns"} 1"#,
                r#"{action="dropped",direction="ingress",match="l7/http"} 1"#,
                r#"{action="dropped",direction="ingress",match="l7/tls"} 1"#,
                r#"{action="forwarded",direction="ingress",match="l7/dns"} 1"#,
                r#"{action="forwarded",direction="ingress",match="l7/http"} 1"#,
                r#"{action="forwarded",direction="ingress",match="l7/kafka"} 1"#,
            ],
        ),
    ] {
        let mut found = series(&text, name);
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
    let buckets = series(&text, "hubble_http_request_duration_seconds_bucket");
    assert_eq!(buckets.len(), 12);
    assert_eq!(buckets[0], r#"{method="GET",reporter="server",le="0.005"} 1"#);
    assert_eq!(buckets[11], r#"{method="GET",reporter="server",le="+Inf"} 1"#);
}

#[test]
fn verdicts_by_what_matched() {
    let mut metrics = Metrics::default();
    let reason = crate::TraceReason::New;
    for (verdict, rule) in [
        (VerdictKind::Allowed, RuleId(1)),
        (VerdictKind::Allowed, RuleId::NONE),
        (VerdictKind::Redirected, RuleId(1)),
        (VerdictKind::Denied(DropReason::Denied(DenyReason::NoRule)), RuleId(1)),
        (VerdictKind::Denied(DropReason::Denied(DenyReason::DenyRule)), RuleId(1)),
    ] {
        let kind = EventKind::Verdict { direction: Direction::Egress, verdict, rule, reason };
        metrics.event(&FlowEvent { kind, ..event() });
    }
    let text = metrics.to_text();
    assert_eq!(
        series(&text, "hubble_policy_verdicts_total"),
        [
            r#"{action="dropped",direction="egress",match="l3-l4"} 1"#,
            r#"{action="dropped",direction="egress",match="none"} 1"#,
            r#"{action="forwarded",direction="egress",match="all"} 1"#,
            r#"{action="forwarded",direction="egress",match="l3-l4"} 1"#,
            r#"{action="redirected",direction="egress",match="l3-l4"} 1"#,
        ]
    );
}

#[test]
fn peers_cannot_make_series_without_end() {
    use l7::http::Version;
    let mut metrics = Metrics::default();
    let event = message_event(MessageVerdict::Forwarded, false);
    for n in 0..2_000_u16 {
        let text = |what: &str| format!("{what}{n}");
        for message in [
            Message::HttpRequest {
                version: Version::Http11,
                method: text("M"),
                host: text("h"),
                path: text("/"),
                headers: Vec::new(),
            },
            Message::HttpResponse {
                version: Version::Http11,
                status: n.wrapping_mul(33),
                latency_ns: 1,
                method: text("M"),
                host: text("h"),
                path: text("/"),
                grpc_status: None,
            },
            Message::DnsAnswer {
                question: Question { name: text("n"), qtype: n },
                rcode: n as u8,
                addresses: Vec::new(),
                cnames: Vec::new(),
                ttl: u32::from(n),
                latency_ns: 1,
            },
            Message::KafkaRequest {
                api_key: n as i16,
                api_version: n as i16,
                correlation_id: i32::from(n),
                client_id: text("c"),
                topics: vec![text("t")],
            },
        ] {
            metrics.message(&event, Some(&message));
        }
    }
    let text = metrics.to_text();
    assert_eq!(series(&text, "hubble_http_requests_total").len(), 1);
    assert!(series(&text, "hubble_http_responses_total").len() <= 900);
    assert!(series(&text, "hubble_dns_responses_total").len() <= 24 * 12);
    assert!(series(&text, "hubble_kafka_requests_total").len() <= 35 + 128);
    assert!(text.contains(r#"topic="other""#) && text.contains(r#"method="other""#));
}
