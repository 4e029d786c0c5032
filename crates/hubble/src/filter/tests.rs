use super::*;
use crate::proto::flow;
use crate::proto::observer::GetFlowsRequest;
use prost::Message as _;

fn read(filter: flow::FlowFilter) -> Result<FlowFilter, Refused> {
    one(Place { list: "whitelist", at: 0 }, &filter.into())
}

/// As a request's filters are made ready.
fn compile(whitelist: &[Strict], blacklist: &[Strict]) -> Result<flowlog::filter::CompiledFilters, Refused> {
    Ok(filters(whitelist, blacklist)?.compile()?)
}

#[test]
fn every_field_arrives_under_its_own_name() {
    let text = |name: &str| vec![name.to_owned()];
    let workload = |name: &str| flow::Workload { name: name.into(), kind: "Deployment".into() };
    let filter = flow::FlowFilter {
        uuid: text("u"),
        source_ip: text("10.0.0.1"),
        source_ip_xlated: text("192.0.2.1"),
        source_pod: text("a/b"),
        source_fqdn: text("a.example"),
        source_label: text("app=a"),
        source_service: text("a/s"),
        source_workload: vec![workload("a")],
        source_cluster_name: text("east"),
        destination_ip: text("10.0.0.2"),
        destination_pod: text("c/d"),
        destination_fqdn: text("b.example"),
        destination_label: text("app=b"),
        destination_service: text("b/s"),
        destination_workload: vec![workload("b")],
        destination_cluster_name: text("west"),
        traffic_direction: vec![flow::TrafficDirection::Egress.into()],
        verdict: vec![flow::Verdict::Dropped.into(), flow::Verdict::Audit.into()],
        drop_reason_desc: vec![flow::DropReason::PolicyDenied.into()],
        interface: vec![flow::NetworkInterface { index: 3, name: "lxc3".into() }],
        event_type: vec![flow::EventTypeFilter { r#type: 4, match_sub_type: true, sub_type: 0 }],
        http_status_code: text("5+"),
        protocol: text("http"),
        source_port: text("1"),
        destination_port: text("2"),
        reply: vec![true],
        dns_query: text("q"),
        source_identity: vec![7],
        destination_identity: vec![8],
        http_method: text("GET"),
        http_path: text("/p"),
        http_url: text("http://u"),
        http_header: vec![flow::HttpHeader { key: "k".into(), value: "v".into() }],
        tcp_flags: vec![flow::TcpFlags { syn: true, ack: true, ..flow::TcpFlags::default() }],
        node_name: text("n"),
        node_labels: text("zone=a"),
        ip_version: vec![flow::IpVersion::IPv6.into()],
        trace_id: text("t"),
        ip_trace_id: vec![9],
        encrypted: vec![false],
        experimental: Some(flow::flow_filter::Experimental { cel_expression: text("true") }),
    };
    // The JSON names of both sides are the protocol's, so equal JSON is an equal filter.
    let expected = r#"{
        "uuid": ["u"], "source_ip": ["10.0.0.1"], "source_ip_xlated": ["192.0.2.1"], "source_pod": ["a/b"],
        "source_fqdn": ["a.example"], "source_label": ["app=a"], "source_service": ["a/s"],
        "source_workload": [{"name": "a", "kind": "Deployment"}], "source_cluster_name": ["east"],
        "destination_ip": ["10.0.0.2"], "destination_pod": ["c/d"], "destination_fqdn": ["b.example"],
        "destination_label": ["app=b"], "destination_service": ["b/s"],
        "destination_workload": [{"name": "b", "kind": "Deployment"}], "destination_cluster_name": ["west"],
        "traffic_direction": ["EGRESS"], "verdict": ["DROPPED", "AUDIT"], "drop_reason_desc": ["POLICY_DENIED"],
        "interface": [{"index": 3, "name": "lxc3"}],
        "event_type": [{"type": 4, "match_sub_type": true, "sub_type": 0}], "http_status_code": ["5+"],
        "protocol": ["http"], "source_port": ["1"], "destination_port": ["2"], "reply": [true],
        "dns_query": ["q"], "source_identity": [7], "destination_identity": [8], "http_method": ["GET"],
        "http_path": ["/p"], "http_url": ["http://u"], "http_header": [{"key": "k", "value": "v"}],
        "tcp_flags": [{"SYN": true, "ACK": true}], "node_name": ["n"], "node_labels": ["zone=a"],
        "ip_version": ["IPv6"], "trace_id": ["t"], "ip_trace_id": [9], "encrypted": [false],
        "experimental": {"cel_expression": ["true"]}
    }"#;
    let expected: FlowFilter = serde_json::from_str(expected).expect("a filter");
    assert_eq!(read(filter), Ok(expected));
    // And nothing was forgotten above: every field of the protocol is in it.
    assert_eq!(schema_fields(), 41);
}

fn schema_fields() -> usize {
    crate::schema::fields("flow.FlowFilter").len()
}

#[test]
fn every_value_of_every_enum_is_understood() {
    let all = |range: std::ops::RangeInclusive<i32>| range.collect::<Vec<_>>();
    let reasons = (0..1000).filter(|n| flow::DropReason::try_from(*n).is_ok()).collect::<Vec<_>>();
    assert_eq!(reasons.len(), 76);
    let filter = flow::FlowFilter {
        verdict: all(0..=7),
        traffic_direction: all(0..=2),
        ip_version: all(0..=2),
        drop_reason_desc: reasons,
        ..flow::FlowFilter::default()
    };
    let read = read(filter).expect("known values");
    assert_eq!(read.verdict, Verdict::ALL);
    assert_eq!(read.traffic_direction, TrafficDirection::ALL);
    assert_eq!(read.ip_version, IpVersion::ALL);
    assert_eq!(read.drop_reason_desc.len(), 76);
}

#[test]
fn a_reason_is_asked_for_by_the_name_that_the_flow_log_has() {
    let filter = flow::FlowFilter { drop_reason_desc: vec![133, 136, 0], ..flow::FlowFilter::default() };
    let reasons = read(filter).expect("known").drop_reason_desc;
    let ours = |number: u32| flowlog::DropReason::ALL.iter().map(|r| r.hubble()).find(|r| r.1 == number);
    assert_eq!(reasons[..2], [ours(133).expect("one").0, ours(136).expect("one").0]);
    assert_ne!(reasons[1], "CT_MISSING_TCP_ACK_FLAG", "or this test shows nothing");
}

#[test]
fn values_that_do_not_exist_are_named() {
    let of = |field: &str| match field {
        "verdict" => flow::FlowFilter { verdict: vec![1, 8], ..flow::FlowFilter::default() },
        "traffic_direction" => flow::FlowFilter { traffic_direction: vec![3], ..flow::FlowFilter::default() },
        "ip_version" => flow::FlowFilter { ip_version: vec![-1], ..flow::FlowFilter::default() },
        _ => flow::FlowFilter { drop_reason_desc: vec![159], ..flow::FlowFilter::default() },
    };
    for (field, number) in
        [("verdict", 8), ("traffic_direction", 3), ("ip_version", -1), ("drop_reason_desc", 159)]
    {
        let error = read(of(field)).expect_err("no such value").to_string();
        assert_eq!(error, format!("whitelist[0].{field}: {number} is not one of its values"));
    }
}

#[test]
fn fields_of_a_newer_protocol_are_refused() {
    // whitelist { 41: "x" } by hand: a string field that this version does not know.
    let mut inner =
        flow::FlowFilter { protocol: vec!["tcp".into()], ..flow::FlowFilter::default() }.encode_to_vec();
    prost::encoding::string::encode(41, &"x".to_owned(), &mut inner);
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(6, &inner, &mut bytes);
    let request = GetFlowsRequest::decode(bytes.as_slice()).expect("well-formed");
    assert_eq!(request.whitelist.len(), 1);
    assert_eq!(request.whitelist[0].known().protocol, ["tcp"]);
    let error = compile(&request.whitelist, &[]).expect_err("not known").to_string();
    assert_eq!(error, "whitelist[0]: field number 41 of a flow filter is not known to this server");
    let error = compile(&[], &request.whitelist).expect_err("not known").to_string();
    assert_eq!(error, "blacklist[0]: field number 41 of a flow filter is not known to this server");
}

#[test]
fn what_the_flow_log_cannot_honour_is_refused_by_name() {
    let cel = flow::flow_filter::Experimental { cel_expression: vec!["true".into()] };
    let filter = flow::FlowFilter { experimental: Some(cel), ..flow::FlowFilter::default() };
    let error = compile(&[filter.into()], &[]).expect_err("not honoured").to_string();
    assert!(error.contains("cel_expression"), "{error}");
    let filter = flow::FlowFilter { source_ip: vec!["nonsense".into()], ..flow::FlowFilter::default() };
    let error = compile(&[], &[filter.into()]).expect_err("no address").to_string();
    assert!(error.contains("nonsense"), "{error}");
}
