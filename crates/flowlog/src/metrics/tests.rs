use super::*;
use crate::detail::{MAX_ENCODED, Question, decode, encode};
use crate::drop_reason::DropReason;
use crate::event::{MessageVerdict, TraceReason, VerdictKind};
use crate::record::{Workload, WorkloadRef};
use crate::testing::{event, message_event, with_detail};
use packet::{Addr, TcpFlags};
use policy::{DenyReason, Direction, EndpointId, Identity, Provenance, RuleId};
use std::cell::Cell;

/// Two pods, one of them owned by something, and what is outside.
#[derive(Default)]
struct Names {
    asked: Cell<u32>,
}

impl Resolver for Names {
    fn labels(&self, identity: Identity) -> Vec<String> {
        self.asked.set(self.asked.get() + 1);
        match identity.0 {
            2 => vec!["reserved:world".into()],
            16_777_300 => {
                vec!["cidr:192.0.2.0/24".into(), "reserved:kube-apiserver".into(), "reserved:world".into()]
            }
            1001 => vec!["k8s:app=frontend".into()],
            1002 => vec!["k8s:app=x".into(), "k8s:app.kubernetes.io/name=api".into()],
            _ => Vec::new(),
        }
    }
    fn address(&self, addr: Addr) -> Option<Workload> {
        self.asked.set(self.asked.get() + 1);
        let remote = Workload { namespace: "other".into(), pod_name: "remote".into(), ..Workload::default() };
        (addr == Addr::v4([10, 0, 9, 9])).then_some(remote)
    }
    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        self.asked.set(self.asked.get() + 1);
        let owner = WorkloadRef { name: "frontend".into(), kind: "Deployment".into() };
        let pod = |name: &str, workloads| Workload {
            namespace: "production".into(),
            pod_name: name.into(),
            workloads,
            ..Workload::default()
        };
        match id.0 {
            1 => Some(pod("frontend-7f", vec![owner])),
            2 => Some(pod("api-0", Vec::new())),
            _ => None,
        }
    }
    fn rules(&self, _: RuleId) -> Vec<Provenance> {
        Vec::new()
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        1_763_719_200_000_000_000
    }
    fn node_name(&self) -> &str {
        "node-1"
    }
    fn dns_names(&self, addr: Addr) -> Vec<String> {
        let known = addr == Addr::v4([192, 0, 2, 7]);
        if known { vec!["a.example.com".into(), "b.example.com".into()] } else { Vec::new() }
    }
}

fn said(name: &str) -> Message<'static> {
    let mut buffer = vec![0; MAX_ENCODED];
    let len = with_detail(name, |detail| encode(detail, &mut buffer)).expect("has room");
    decode(&buffer[..len]).expect("reads back").into_owned()
}

fn verdict(direction: Direction, verdict: VerdictKind, rule: RuleId) -> EventKind {
    EventKind::Verdict { direction, verdict, rule, reason: TraceReason::New }
}

/// A SYN to the world.
fn to_world(last: u8, port: u16, kind: EventKind) -> FlowEvent {
    let mut e = FlowEvent { kind, dst_identity: Identity::WORLD, dst_endpoint: None, ..event() };
    e.key.dst = Addr::v4([192, 0, 2, last]);
    e.key.dst_port = port;
    e
}

fn drop_of(reason: DropReason) -> EventKind {
    EventKind::Drop { reason, direction: Some(Direction::Ingress), rule: RuleId::NONE }
}

const NO_RULE: DropReason = DropReason::Denied(DenyReason::NoRule);

/// One of everything, in an order that is always the same.
fn everything() -> Vec<(FlowEvent, Option<Message<'static>>)> {
    use MessageVerdict::{Dropped, Forwarded};
    let base = event();
    let reply = |e: FlowEvent| FlowEvent { key: e.key.reversed(), is_reply: true, ..e };
    let with_proto = |proto: u8, icmp: (u8, u8)| {
        let mut e = FlowEvent { icmp, tcp_flags: TcpFlags(0), ..event() };
        e.key.proto = proto;
        e
    };
    let mut v6 = with_proto(58, (128, 0));
    (v6.key.src, v6.key.dst) = (Addr::v6([1; 16]), Addr::v6([2; 16]));
    let close =
        EventKind::Close { reason: CloseReason::Reset, packets: [1; 2], bytes: [1; 2], duration_ns: 1 };
    let mut list: Vec<(FlowEvent, Option<Message<'static>>)> = [
        base,
        reply(FlowEvent { tcp_flags: TcpFlags(TcpFlags::SYN | TcpFlags::ACK), ..base }),
        FlowEvent { tcp_flags: TcpFlags(TcpFlags::FIN | TcpFlags::RST), ..base },
        FlowEvent { kind: verdict(Direction::Egress, VerdictKind::Allowed, RuleId::NONE), ..base },
        FlowEvent { kind: verdict(Direction::Ingress, VerdictKind::Redirected, RuleId(1)), ..base },
        FlowEvent { kind: verdict(Direction::Ingress, VerdictKind::Denied(NO_RULE), RuleId(1)), ..base },
        FlowEvent {
            kind: verdict(Direction::Ingress, VerdictKind::Allowed, RuleId(1)),
            src_identity: Identity::HOST,
            ..base
        },
        FlowEvent { kind: drop_of(NO_RULE), ..base },
        FlowEvent { kind: drop_of(DropReason::InvalidSource), ..base },
        FlowEvent { kind: close, ..base },
        to_world(7, 443, base.kind),
        to_world(7, 443, drop_of(NO_RULE)),
        to_world(7, 443, drop_of(DropReason::TtlExceeded)),
        with_proto(1, (3, 3)),
        with_proto(1, (77, 1)),
        v6,
        with_proto(132, (1, 0)),
        with_proto(17, (0, 0)),
    ]
    .map(|e| (e, None))
    .into();
    for (name, kind, is_reply) in [
        ("http-request", Forwarded, false),
        ("http-request", Dropped(DenyReason::NoRule), false),
        ("http-response", Forwarded, true),
        ("dns-request proxy", Forwarded, false),
        ("dns-request proxy", Dropped(DenyReason::NoRule), false),
        ("dns-cname", Forwarded, true),
        ("dns-refused", Forwarded, true),
        ("kafka-request", Forwarded, false),
        ("kafka-request", Dropped(DenyReason::DenyRule), false),
        ("kafka-response", Forwarded, true),
        ("tls-hello", Dropped(DenyReason::DenyRule), false),
    ] {
        list.push((message_event(kind, is_reply), Some(said(name))));
    }
    list
}

fn counted(list: &[&str], events: &[(FlowEvent, Option<Message<'static>>)]) -> Metrics {
    let mut metrics = Metrics::new(&MetricsConfig::parse(list).expect("valid"), DEFAULT_MAX_SERIES);
    let names = Names::default();
    for (event, message) in events {
        metrics.count(event, message.as_ref(), &names);
    }
    metrics
}

/// The values of Hubble's metrics, without heads, buckets and those that say how many there are.
fn values(metrics: &Metrics) -> Vec<String> {
    let text = metrics.to_text();
    let wanted = |line: &&str| {
        line.starts_with("hubble_") && !line.contains("_bucket{") && !line.starts_with("hubble_lost_events")
    };
    text.lines().filter(wanted).map(|line| line.trim_start_matches("hubble_").to_owned()).collect()
}

#[test]
fn every_plugin_has_hubbles_names_and_labels() {
    let events = everything();
    for (plugin, expected) in [
        (
            "drop",
            &[
                r#"drop_total{protocol="DNS",reason="POLICY_DENIED"} 1"#,
                r#"drop_total{protocol="HTTP",reason="POLICY_DENIED"} 1"#,
                r#"drop_total{protocol="Kafka",reason="POLICY_DENY"} 1"#,
                r#"drop_total{protocol="TCP",reason="INVALID_SOURCE_IP"} 1"#,
                r#"drop_total{protocol="TCP",reason="POLICY_DENIED"} 2"#,
                r#"drop_total{protocol="TCP",reason="TTL_EXCEEDED"} 1"#,
                r#"drop_total{protocol="TLS",reason="POLICY_DENY"} 1"#,
            ][..],
        ),
        (
            "flow",
            &[
                r#"flows_processed_total{protocol="DNS",subtype="DNS",type="L7",verdict="DROPPED"} 1"#,
                r#"flows_processed_total{protocol="DNS",subtype="DNS",type="L7",verdict="FORWARDED"} 3"#,
                r#"flows_processed_total{protocol="HTTP",subtype="HTTP",type="L7",verdict="DROPPED"} 1"#,
                r#"flows_processed_total{protocol="HTTP",subtype="HTTP",type="L7",verdict="FORWARDED"} 2"#,
                r#"flows_processed_total{protocol="ICMPv4",subtype="to-endpoint",type="Trace",verdict="FORWARDED"} 2"#,
                r#"flows_processed_total{protocol="ICMPv6",subtype="to-endpoint",type="Trace",verdict="FORWARDED"} 1"#,
                r#"flows_processed_total{protocol="Kafka",subtype="Kafka",type="L7",verdict="DROPPED"} 1"#,
                r#"flows_processed_total{protocol="Kafka",subtype="Kafka",type="L7",verdict="FORWARDED"} 2"#,
                r#"flows_processed_total{protocol="SCTP",subtype="to-endpoint",type="Trace",verdict="FORWARDED"} 1"#,
                r#"flows_processed_total{protocol="TCP",subtype="",type="Drop",verdict="DROPPED"} 4"#,
                r#"flows_processed_total{protocol="TCP",subtype="",type="PolicyVerdict",verdict="DROPPED"} 1"#,
                r#"flows_processed_total{protocol="TCP",subtype="",type="PolicyVerdict",verdict="FORWARDED"} 2"#,
                r#"flows_processed_total{protocol="TCP",subtype="",type="PolicyVerdict",verdict="REDIRECTED"} 1"#,
                r#"flows_processed_total{protocol="TCP",subtype="reset",type="Close",verdict="TRACED"} 1"#,
                r#"flows_processed_total{protocol="TCP",subtype="to-endpoint",type="Trace",verdict="FORWARDED"} 3"#,
                r#"flows_processed_total{protocol="TCP",subtype="to-stack",type="Trace",verdict="FORWARDED"} 1"#,
                r#"flows_processed_total{protocol="TLS",subtype="TLS",type="L7",verdict="DROPPED"} 1"#,
                r#"flows_processed_total{protocol="UDP",subtype="to-endpoint",type="Trace",verdict="FORWARDED"} 1"#,
            ],
        ),
        (
            "flows-to-world",
            &[
                r#"flows_to_world_total{protocol="TCP",verdict="DROPPED"} 1"#,
                r#"flows_to_world_total{protocol="TCP",verdict="FORWARDED"} 1"#,
            ],
        ),
        (
            "flows-to-world:any-drop;port;syn-only",
            &[
                r#"flows_to_world_total{port="443",protocol="TCP",verdict="DROPPED"} 2"#,
                r#"flows_to_world_total{port="443",protocol="TCP",verdict="FORWARDED"} 1"#,
            ],
        ),
        (
            "icmp",
            &[
                r#"icmp_total{family="IPv4",type="DestinationUnreachable(Port)"} 1"#,
                r#"icmp_total{family="IPv4",type="other"} 1"#,
                r#"icmp_total{family="IPv6",type="EchoRequest"} 1"#,
            ],
        ),
        (
            "policy",
            &[
                r#"policy_verdicts_total{action="dropped",direction="ingress",match="l7/dns"} 1"#,
                r#"policy_verdicts_total{action="dropped",direction="ingress",match="l7/http"} 1"#,
                r#"policy_verdicts_total{action="dropped",direction="ingress",match="l7/kafka"} 1"#,
                r#"policy_verdicts_total{action="dropped",direction="ingress",match="l7/tls"} 1"#,
                r#"policy_verdicts_total{action="dropped",direction="ingress",match="none"} 1"#,
                r#"policy_verdicts_total{action="forwarded",direction="egress",match="all"} 1"#,
                r#"policy_verdicts_total{action="forwarded",direction="ingress",match="l7/dns"} 1"#,
                r#"policy_verdicts_total{action="forwarded",direction="ingress",match="l7/http"} 1"#,
                r#"policy_verdicts_total{action="forwarded",direction="ingress",match="l7/kafka"} 1"#,
                r#"policy_verdicts_total{action="redirected",direction="ingress",match="l3-l4"} 1"#,
            ],
        ),
        (
            "port-distribution",
            &[
                r#"port_distribution_total{port="0",protocol="ICMPv4"} 2"#,
                r#"port_distribution_total{port="0",protocol="ICMPv6"} 1"#,
                r#"port_distribution_total{port="443",protocol="TCP"} 1"#,
                r#"port_distribution_total{port="8080",protocol="SCTP"} 1"#,
                r#"port_distribution_total{port="8080",protocol="TCP"} 5"#,
                r#"port_distribution_total{port="8080",protocol="UDP"} 1"#,
            ],
        ),
        (
            "tcp",
            &[
                r#"tcp_flags_total{family="IPv4",flag="FIN"} 1"#,
                r#"tcp_flags_total{family="IPv4",flag="RST"} 1"#,
                r#"tcp_flags_total{family="IPv4",flag="SYN"} 5"#,
                r#"tcp_flags_total{family="IPv4",flag="SYN-ACK"} 1"#,
            ],
        ),
        ("sctp", &[r#"sctp_chunk_types_total{chunk_type="INIT",family="IPv4"} 1"#]),
        (
            "dns",
            &[
                r#"dns_queries_total{ips_returned="0",qtypes="A",rcode=""} 1"#,
                r#"dns_queries_total{ips_returned="0",qtypes="A",rcode="Policy denied"} 1"#,
                r#"dns_responses_total{ips_returned="0",qtypes="A",rcode="Non-Existent Domain"} 1"#,
                r#"dns_responses_total{ips_returned="2",qtypes="A",rcode="No Error"} 1"#,
                r#"dns_response_types_total{qtypes="A",type="A"} 1"#,
                r#"dns_response_types_total{qtypes="A",type="CNAME"} 1"#,
            ],
        ),
        (
            "dns:query",
            &[
                r#"dns_queries_total{ips_returned="0",qtypes="A",query="example.com",rcode=""} 1"#,
                r#"dns_queries_total{ips_returned="0",qtypes="A",query="example.com",rcode="Policy denied"} 1"#,
                r#"dns_responses_total{ips_returned="0",qtypes="A",query="example.com",rcode="Non-Existent Domain"} 1"#,
                r#"dns_responses_total{ips_returned="2",qtypes="A",query="example.com",rcode="No Error"} 1"#,
                r#"dns_response_types_total{qtypes="A",type="A"} 1"#,
                r#"dns_response_types_total{qtypes="A",type="CNAME"} 1"#,
            ],
        ),
        (
            "http",
            &[
                r#"http_requests_total{method="GET",protocol="HTTP/1.1",reporter="server"} 2"#,
                r#"http_responses_total{method="GET",reporter="server",status="200"} 1"#,
                r#"http_request_duration_seconds_sum{method="GET",reporter="server"} 0.0042"#,
                r#"http_request_duration_seconds_count{method="GET",reporter="server"} 1"#,
            ],
        ),
        (
            "httpV2",
            &[
                r#"http_requests_total{method="GET",protocol="HTTP/1.1",reporter="server",status="200"} 1"#,
                r#"http_requests_total{method="GET",protocol="HTTP/1.1",reporter="server",status="403"} 1"#,
                r#"http_request_duration_seconds_sum{method="GET",reporter="server"} 0.0042"#,
                r#"http_request_duration_seconds_count{method="GET",reporter="server"} 1"#,
            ],
        ),
        (
            "kafka",
            &[
                r#"kafka_requests_total{api_key="fetch",error_code="0",reporter="server",topic="orders"} 1"#,
                r#"kafka_requests_total{api_key="fetch",error_code="29",reporter="server",topic="orders"} 1"#,
                r#"kafka_request_duration_seconds_sum{api_key="fetch",reporter="server",topic="orders"} 0.003"#,
                r#"kafka_request_duration_seconds_count{api_key="fetch",reporter="server",topic="orders"} 1"#,
            ],
        ),
    ] {
        assert_eq!(values(&counted(&[plugin], &events)), expected, "{plugin}");
    }
}

#[test]
fn buckets_are_cumulative_and_aaaa_can_be_left_out() {
    let events = everything();
    let text = counted(&["httpV2"], &events).to_text();
    let buckets: Vec<_> = text.lines().filter(|line| line.contains("_bucket{")).collect();
    assert_eq!(buckets.len(), 12);
    assert!(buckets[0].ends_with(r#"{method="GET",reporter="server",le="0.005"} 1"#), "{}", buckets[0]);
    assert!(buckets[11].ends_with(r#"{method="GET",reporter="server",le="+Inf"} 1"#), "{}", buckets[11]);
    let question = Question { name: "x".into(), qtype: 28 };
    let aaaa = [(message_event(MessageVerdict::Forwarded, false), Some(Message::DnsQuery(question)))];
    assert!(values(&counted(&["dns:ignoreAAAA"], &aaaa)).is_empty());
    assert_eq!(values(&counted(&["dns"], &aaaa)).len(), 1);
}

#[test]
fn every_context_option_says_who() {
    let world = to_world(7, 443, event().kind);
    let server = FlowEvent { dst_identity: Identity(16_777_300), ..to_world(8, 443, event().kind) };
    let mut remote = event();
    (remote.key.src, remote.src_endpoint) = (Addr::v4([10, 0, 9, 9]), None);
    let labels = |option: &str, e: &FlowEvent| {
        let list = [format!("icmp:{option}")];
        let mut e = *e;
        (e.key.proto, e.icmp) = (1, (8, 0));
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let values = values(&counted(&list, &[(e, None)]));
        assert_eq!(values.len(), 1, "{option}");
        let text = values[0].replace(r#"family="IPv4","#, "").replace(r#"type="EchoRequest""#, "");
        let text = text.trim_start_matches("icmp_total{").trim_end_matches("} 1");
        text.trim_matches(',').replace(",,", ",")
    };
    let base = event();
    let closing = FlowEvent { kind: verdict(Direction::Egress, VerdictKind::Allowed, RuleId(1)), ..base };
    for (option, e, expected) in [
        ("sourceContext=identity", &base, r#"source="k8s:app=frontend""#),
        ("sourceContext=namespace", &base, r#"source="production""#),
        ("sourceContext=pod", &base, r#"source="production/frontend-7f""#),
        ("sourceContext=pod-name", &base, r#"source="frontend-7f""#),
        ("sourceContext=pod", &remote, r#"source="other/remote""#),
        ("destinationContext=dns", &world, r#"destination="a.example.com,b.example.com""#),
        ("destinationContext=ip", &world, r#"destination="192.0.2.7""#),
        ("destinationContext=reserved-identity", &world, r#"destination="reserved:world""#),
        ("destinationContext=reserved-identity", &server, r#"destination="reserved:kube-apiserver""#),
        ("destinationContext=reserved-identity", &base, r#"destination="""#),
        ("sourceContext=workload", &base, r#"source="production/frontend""#),
        ("sourceContext=workload-name", &base, r#"source="frontend""#),
        ("sourceContext=app", &base, r#"source="frontend""#),
        ("destinationContext=app", &base, r#"destination="api""#),
        ("destinationContext=workload|pod-name|ip", &base, r#"destination="api-0""#),
        ("destinationContext=workload|pod-name|ip", &world, r#"destination="192.0.2.7""#),
        ("sourceEgressContext=pod-name", &closing, r#"source="frontend-7f""#),
        ("sourceEgressContext=pod-name", &base, r#"source="""#),
        ("sourceIngressContext=app;sourceContext=ip", &base, r#"source="frontend""#),
        ("sourceIngressContext=app;sourceContext=ip", &closing, r#"source="10.0.0.1""#),
        ("destinationEgressContext=app;destinationContext=ip", &closing, r#"destination="api""#),
        ("destinationIngressContext=ip", &base, r#"destination="10.0.0.2""#),
        (
            "labelsContext=source_ip,source_pod,source_namespace,source_workload,source_workload_kind,source_app",
            &base,
            r#"source_app="frontend",source_ip="10.0.0.1",source_namespace="production",source_pod="frontend-7f",source_workload="frontend",source_workload_kind="Deployment""#,
        ),
        (
            "labelsContext=destination_ip,destination_pod,destination_namespace,destination_workload,destination_workload_kind,destination_app,traffic_direction",
            &closing,
            r#"destination_app="api",destination_ip="10.0.0.2",destination_namespace="production",destination_pod="api-0",destination_workload="",destination_workload_kind="",traffic_direction="egress""#,
        ),
        (
            "sourceContext=app;destinationContext=app;labelsContext=traffic_direction",
            &base,
            r#"destination="api",source="frontend",traffic_direction="ingress""#,
        ),
    ] {
        assert_eq!(labels(option, e), expected, "{option}");
    }
    // A response is counted as its request's peers have it; with the old plugin as it goes.
    let response = [(message_event(MessageVerdict::Forwarded, true), Some(said("http-response")))];
    let new = values(&counted(&["httpV2:sourceContext=pod-name"], &response));
    assert!(new[0].contains(r#"source="frontend-7f""#), "{new:?}");
    let old = values(&counted(&["http:sourceContext=pod-name"], &response));
    assert!(old[0].contains(r#"source="api-0""#), "{old:?}");
}

#[test]
fn peers_are_resolved_once_and_not_at_all_without_contexts() {
    let names = Names::default();
    let mut metrics = Metrics::new(
        &MetricsConfig::parse(&["flow", "tcp", "drop", "port-distribution"]).expect("valid"),
        100,
    );
    (0..10).for_each(|_| metrics.count(&event(), None, &names));
    assert_eq!(names.asked.get(), 0);
    let mut metrics = Metrics::new(&MetricsConfig::parse(&["flow:sourceContext=pod"]).expect("valid"), 100);
    metrics.count(&event(), None, &names);
    let once = names.asked.get();
    (0..10).for_each(|_| metrics.count(&event(), None, &names));
    assert!(once > 0 && names.asked.get() == once);
    metrics.renamed();
    metrics.count(&event(), None, &names);
    assert!(names.asked.get() > once);
    assert_eq!(values(&metrics).len(), 1, "the same words are the same series");
}

#[test]
fn exemplars_name_the_trace_of_the_request() {
    let mut events = vec![(message_event(MessageVerdict::Forwarded, false), Some(said("http-request")))];
    let Some((_, Some(Message::HttpRequest { headers, path, .. }))) = events.first_mut() else { panic!() };
    headers.push(("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()));
    *path = "/v1/pay".into();
    events.push((message_event(MessageVerdict::Forwarded, true), Some(said("http-response"))));
    events.push((message_event(MessageVerdict::Forwarded, true), Some(said("http-response"))));
    let open = |list: &[&str]| {
        let mut page = Page::new(Format::OpenMetrics);
        counted(list, &events).write(&mut page);
        page.finish()
    };
    let text = open(&["httpV2:exemplars=true"]);
    let traced: Vec<_> = text.lines().filter(|line| line.contains("traceID")).collect();
    assert_eq!(
        traced,
        [
            r#"hubble_http_requests_total{method="GET",protocol="HTTP/1.1",reporter="server",status="200"} 2 # {traceID="0af7651916cd43dd8448eb211c80319c"} 1 1763719200.123"#,
            r#"hubble_http_request_duration_seconds_bucket{method="GET",reporter="server",le="0.005"} 2 # {traceID="0af7651916cd43dd8448eb211c80319c"} 0.0042 1763719200.123"#,
        ]
    );
    assert!(!open(&["httpV2"]).contains("traceID"));
    for wrong in ["00-xyz-b7-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "", "-"] {
        let Some((_, Some(Message::HttpRequest { headers, .. }))) = events.first_mut() else { panic!() };
        headers.last_mut().expect("a header").1 = wrong.into();
        let metrics = counted(&["httpV2:exemplars=true"], &events);
        let mut page = Page::new(Format::OpenMetrics);
        metrics.write(&mut page);
        assert!(!page.finish().contains("traceID"), "{wrong}");
    }
}

#[test]
fn series_of_a_pod_go_a_minute_after_it() {
    let mut metrics = counted(
        &[
            "flow:sourceContext=pod|reserved-identity",
            "tcp:sourceContext=app",
            "kafka:labelsContext=destination_pod",
            "httpV2:destinationContext=pod-name",
            "drop",
        ],
        &everything(),
    );
    assert!(metrics.names_pods());
    let count =
        |metrics: &Metrics, text: &str| values(metrics).iter().filter(|line| line.contains(text)).count();
    let before = count(&metrics, "frontend-7f");
    assert!(before > 3);
    let here = |pod: &PodName| &*pod.1 != "frontend-7f" && &*pod.1 != "api-0";
    let everyone = |_: &PodName| true;
    metrics.sweep(Instant::from_secs(100), &here);
    metrics.sweep(Instant::from_secs(159), &here);
    assert_eq!(count(&metrics, "frontend-7f"), before, "not before the minute is over");
    metrics.sweep(Instant::from_secs(159), &everyone);
    metrics.sweep(Instant::from_secs(165), &here);
    assert_eq!(count(&metrics, "frontend-7f"), before, "it was back meanwhile");
    metrics.sweep(Instant::from_secs(225), &here);
    assert_eq!(count(&metrics, "frontend-7f") + count(&metrics, "api-0"), 0);
    assert!(!metrics.names_pods());
    assert!(count(&metrics, r#"source="frontend""#) > 0 && count(&metrics, "drop_total") > 0, "others stay");
    // Whoever comes by the same name counts from the beginning.
    metrics.count(&event(), None, &Names::default());
    assert!(values(&metrics).iter().any(|line| line.contains("frontend-7f") && line.ends_with("} 1")));
}

#[test]
fn series_are_bounded_and_what_is_left_out_is_counted() {
    use l7::http::Version;
    let names = Names::default();
    let list = ["flow:destinationContext=ip", "port-distribution", "httpV2", "dns:query", "kafka"];
    let mut metrics = Metrics::new(&MetricsConfig::parse(&list).expect("valid"), 50);
    let answered = message_event(MessageVerdict::Forwarded, true);
    for n in 0..2_000_u16 {
        let mut e = event();
        e.key.dst = Addr::v4([172, 16, (n >> 8) as u8, n as u8]);
        e.key.dst_port = n;
        metrics.count(&e, None, &names);
        let text = |what: &str| std::borrow::Cow::Owned(format!("{what}{n}"));
        for message in [
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
            metrics.count(&answered, Some(&message), &names);
        }
    }
    let text = metrics.to_text();
    let number = |name: &str, metric: &str| -> u64 {
        let start = format!("{name}{{metric=\"{metric}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).expect("a line").parse().expect("a number")
    };
    for metric in
        ["hubble_flows_processed_total", "hubble_port_distribution_total", "hubble_dns_responses_total"]
    {
        let prefix = format!("{metric}{{");
        let sum: u64 = text
            .lines()
            .filter(|line| line.starts_with(&prefix))
            .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number"))
            .sum();
        assert_eq!(number("sluice_metrics_series", metric), 50, "{metric}");
        let other = if metric == "hubble_flows_processed_total" { 8_000 } else { 2_000 };
        assert_eq!(sum + number("sluice_metrics_overflow_total", metric), other, "{metric}");
        assert!(number("sluice_metrics_overflow_total", metric) > 0, "{metric}");
    }
    assert!(text.contains(r#"method="other""#) && text.contains(r#"status="other""#));
}

#[test]
fn a_plugin_whose_options_stay_goes_on() {
    let mut metrics = counted(&["tcp", "drop"], &everything());
    let before = values(&metrics);
    let list = MetricsConfig::parse(&["flow", "drop", "tcp:sourceContext=pod"]).expect("valid");
    metrics.reconfigure(&list, DEFAULT_MAX_SERIES);
    let after = values(&metrics);
    assert!(
        !after.is_empty() && after.iter().all(|line| line.starts_with("drop_total") && before.contains(line))
    );
    metrics.reconfigure(&list, 100);
    assert!(values(&metrics).is_empty(), "with another limit everything begins anew");
    metrics.set_lost(3);
    assert!(metrics.to_text().contains("hubble_lost_events_total{source=\"perf_event_ring_buffer\"} 3\n"));
}

/// The page that `scripts/check-openmetrics.py` reads, with everything on it.
#[test]
fn nothing_is_written_twice() {
    let list = [
        "dns:query",
        "drop:sourceContext=pod",
        "flow",
        "flows-to-world:port",
        "httpV2:exemplars",
        "icmp",
        "kafka",
        "policy",
        "port-distribution",
        "sctp",
        "tcp",
    ];
    let text = counted(&list, &everything()).to_text();
    let mut series: Vec<_> = text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.rsplit_once(' '))
        .map(|(s, _)| s)
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all);
}
