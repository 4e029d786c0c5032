//! Names and numbers on the wire, against a table of Hubble's public API: what other people's clients are built with.

use hubble::proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;

/// Messages with `field=number`.
const MESSAGES: &[(&str, &str)] = &[
    (
        "flow.Flow",
        "time=1 verdict=2 drop_reason=3 ethernet=4 IP=5 l4=6 source=8 destination=9 Type=10 node_name=11 \
         source_names=13 destination_names=14 l7=15 reply=16 event_type=19 source_service=20 destination_service=21 \
         traffic_direction=22 policy_match_type=23 trace_observation_point=24 drop_reason_desc=25 is_reply=26 \
         debug_capture_point=27 interface=28 proxy_port=29 trace_context=30 sock_xlate_point=31 socket_cookie=32 \
         cgroup_id=33 uuid=34 auth_type=35 trace_reason=36 node_labels=37 file=38 tunnel=39 ip_trace_id=40 emitter=41 \
         egress_allowed_by=21001 ingress_allowed_by=21002 egress_denied_by=21004 ingress_denied_by=21005 \
         policy_log=21006 aggregate=21007 Summary=100000 extensions=150000",
    ),
    ("flow.Emitter", "name=1 version=2"),
    ("flow.FileInfo", "name=1 line=2"),
    ("flow.Layer4", "TCP=1 UDP=2 ICMPv4=3 ICMPv6=4 SCTP=5 VRRP=6 IGMP=7"),
    ("flow.Layer7", "type=1 latency_ns=2 dns=100 http=101 kafka=102"),
    ("flow.TraceContext", "parent=1"),
    ("flow.TraceParent", "trace_id=1"),
    ("flow.Endpoint", "ID=1 identity=2 namespace=3 labels=4 pod_name=5 workloads=6 cluster_name=7"),
    ("flow.Workload", "name=1 kind=2"),
    ("flow.TCP", "source_port=1 destination_port=2 flags=3"),
    ("flow.IP", "source=1 destination=2 ipVersion=3 encrypted=4 source_xlated=5"),
    ("flow.Ethernet", "source=1 destination=2"),
    ("flow.TCPFlags", "FIN=1 SYN=2 RST=3 PSH=4 ACK=5 URG=6 ECE=7 CWR=8 NS=9"),
    ("flow.UDP", "source_port=1 destination_port=2"),
    ("flow.SCTP", "source_port=1 destination_port=2"),
    ("flow.ICMPv4", "type=1 code=2"),
    ("flow.ICMPv6", "type=1 code=2"),
    ("flow.VRRP", "type=1 vrid=2 priority=3"),
    ("flow.IGMP", "type=1 group_address=2"),
    ("flow.Tunnel", "protocol=1 IP=2 l4=3 vni=4"),
    ("flow.Policy", "name=1 namespace=2 labels=3 revision=4 kind=5"),
    ("flow.EventTypeFilter", "type=1 match_sub_type=2 sub_type=3"),
    ("flow.CiliumEventType", "type=1 sub_type=2"),
    (
        "flow.FlowFilter",
        "source_ip=1 source_pod=2 destination_ip=3 destination_pod=4 verdict=5 event_type=6 source_fqdn=7 \
         destination_fqdn=8 http_status_code=9 source_label=10 destination_label=11 protocol=12 source_port=13 \
         destination_port=14 reply=15 source_service=16 destination_service=17 dns_query=18 source_identity=19 \
         destination_identity=20 http_method=21 http_path=22 tcp_flags=23 node_name=24 ip_version=25 \
         source_workload=26 destination_workload=27 trace_id=28 uuid=29 traffic_direction=30 http_url=31 \
         http_header=32 drop_reason_desc=33 source_ip_xlated=34 interface=35 node_labels=36 source_cluster_name=37 \
         destination_cluster_name=38 ip_trace_id=39 encrypted=40 experimental=999",
    ),
    ("flow.FlowFilter.Experimental", "cel_expression=1"),
    ("flow.DNS", "query=1 ips=2 ttl=3 cnames=4 observation_source=5 rcode=6 qtypes=7 rrtypes=8"),
    ("flow.HTTPHeader", "key=1 value=2"),
    ("flow.HTTP", "code=1 method=2 url=3 protocol=4 headers=5"),
    ("flow.Kafka", "error_code=1 api_version=2 api_key=3 correlation_id=4 topic=5"),
    ("flow.Service", "name=1 namespace=2"),
    ("flow.IPTraceID", "trace_id=1 ip_option_type=2"),
    ("flow.LostEvent", "source=1 num_events_lost=2 cpu=3"),
    (
        "flow.AgentEvent",
        "type=1 unknown=100 agent_start=101 policy_update=102 endpoint_regenerate=103 endpoint_update=104 \
         ipcache_update=105 service_upsert=106 service_delete=107",
    ),
    ("flow.AgentEventUnknown", "type=1 notification=2"),
    ("flow.TimeNotification", "time=1"),
    ("flow.PolicyUpdateNotification", "labels=1 revision=2 rule_count=3"),
    ("flow.EndpointRegenNotification", "id=1 labels=2 error=3"),
    ("flow.EndpointUpdateNotification", "id=1 labels=2 error=3 pod_name=4 namespace=5"),
    (
        "flow.IPCacheNotification",
        "cidr=1 identity=2 old_identity=3 host_ip=4 old_host_ip=5 encrypt_key=6 namespace=7 pod_name=8",
    ),
    ("flow.ServiceUpsertNotificationAddr", "ip=1 port=2"),
    (
        "flow.ServiceUpsertNotification",
        "id=1 frontend_address=2 backend_addresses=3 type=4 traffic_policy=5 name=6 namespace=7 ext_traffic_policy=8 \
         int_traffic_policy=9",
    ),
    ("flow.ServiceDeleteNotification", "id=1"),
    ("flow.NetworkInterface", "index=1 name=2"),
    ("flow.DebugEvent", "type=1 source=2 hash=3 arg1=4 arg2=5 arg3=6 message=7 cpu=8"),
    ("flow.Aggregate", "ingress_flow_count=1 egress_flow_count=2 unknown_direction_flow_count=3"),
    ("relay.NodeStatusEvent", "state_change=1 node_names=2 message=3"),
    ("observer.ServerStatusRequest", ""),
    (
        "observer.ServerStatusResponse",
        "num_flows=1 max_flows=2 seen_flows=3 uptime_ns=4 num_connected_nodes=5 num_unavailable_nodes=6 \
         unavailable_nodes=7 version=8 flows_rate=9",
    ),
    (
        "observer.GetFlowsRequest",
        "number=1 follow=3 blacklist=5 whitelist=6 since=7 until=8 first=9 field_mask=10 experimental=999 \
         extensions=150000",
    ),
    ("observer.GetFlowsRequest.Experimental", "field_mask=1"),
    ("observer.GetFlowsResponse", "flow=1 node_status=2 lost_events=3 node_name=1000 time=1001"),
    ("observer.GetAgentEventsRequest", "number=1 follow=2 since=7 until=8 first=9"),
    ("observer.GetAgentEventsResponse", "agent_event=1 node_name=1000 time=1001"),
    ("observer.GetDebugEventsRequest", "number=1 follow=2 since=7 until=8 first=9"),
    ("observer.GetDebugEventsResponse", "debug_event=1 node_name=1000 time=1001"),
    ("observer.GetNodesRequest", ""),
    ("observer.GetNodesResponse", "nodes=1"),
    (
        "observer.Node",
        "name=1 version=2 address=3 state=4 tls=5 uptime_ns=6 num_flows=7 max_flows=8 seen_flows=9",
    ),
    ("observer.TLS", "enabled=1 server_name=2"),
    ("observer.GetNamespacesRequest", ""),
    ("observer.GetNamespacesResponse", "namespaces=1"),
    ("observer.Namespace", "cluster=1 namespace=2"),
];

/// Enums with `VALUE=number`.
const ENUMS: &[(&str, &str)] = &[
    ("flow.FlowType", "UNKNOWN_TYPE=0 L3_L4=1 L7=2 SOCK=3"),
    ("flow.AuthType", "DISABLED=0 SPIRE=1 TEST_ALWAYS_FAIL=2"),
    (
        "flow.TraceObservationPoint",
        "UNKNOWN_POINT=0 TO_PROXY=1 TO_HOST=2 TO_STACK=3 TO_OVERLAY=4 FROM_ENDPOINT=5 FROM_PROXY=6 FROM_HOST=7 \
         FROM_STACK=8 FROM_OVERLAY=9 FROM_NETWORK=10 TO_NETWORK=11 FROM_CRYPTO=12 TO_CRYPTO=13 TO_ENDPOINT=101",
    ),
    (
        "flow.TraceReason",
        "TRACE_REASON_UNKNOWN=0 NEW=1 ESTABLISHED=2 REPLY=3 RELATED=4 REOPENED=5 SRV6_ENCAP=6 SRV6_DECAP=7 \
         ENCRYPT_OVERLAY=8",
    ),
    ("flow.L7FlowType", "UNKNOWN_L7_TYPE=0 REQUEST=1 RESPONSE=2 SAMPLE=3"),
    ("flow.IPVersion", "IP_NOT_USED=0 IPv4=1 IPv6=2"),
    ("flow.Tunnel.Protocol", "UNKNOWN=0 VXLAN=1 GENEVE=2"),
    (
        "flow.Verdict",
        "VERDICT_UNKNOWN=0 FORWARDED=1 DROPPED=2 ERROR=3 AUDIT=4 REDIRECTED=5 TRACED=6 TRANSLATED=7",
    ),
    (
        "flow.DropReason",
        "DROP_REASON_UNKNOWN=0 INVALID_SOURCE_MAC=130 INVALID_DESTINATION_MAC=131 INVALID_SOURCE_IP=132 \
         POLICY_DENIED=133 INVALID_PACKET_DROPPED=134 CT_TRUNCATED_OR_INVALID_HEADER=135 \
         CT_MISSING_TCP_ACK_FLAG=136 CT_UNKNOWN_L4_PROTOCOL=137 CT_CANNOT_CREATE_ENTRY_FROM_PACKET=138 \
         UNSUPPORTED_L3_PROTOCOL=139 MISSED_TAIL_CALL=140 ERROR_WRITING_TO_PACKET=141 UNKNOWN_L4_PROTOCOL=142 \
         UNKNOWN_ICMPV4_CODE=143 UNKNOWN_ICMPV4_TYPE=144 UNKNOWN_ICMPV6_CODE=145 UNKNOWN_ICMPV6_TYPE=146 \
         ERROR_RETRIEVING_TUNNEL_KEY=147 ERROR_RETRIEVING_TUNNEL_OPTIONS=148 INVALID_GENEVE_OPTION=149 \
         UNKNOWN_L3_TARGET_ADDRESS=150 STALE_OR_UNROUTABLE_IP=151 NO_MATCHING_LOCAL_CONTAINER_FOUND=152 \
         ERROR_WHILE_CORRECTING_L3_CHECKSUM=153 ERROR_WHILE_CORRECTING_L4_CHECKSUM=154 CT_MAP_INSERTION_FAILED=155 \
         INVALID_IPV6_EXTENSION_HEADER=156 IP_FRAGMENTATION_NOT_SUPPORTED=157 SERVICE_BACKEND_NOT_FOUND=158 \
         NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT=160 FAILED_TO_INSERT_INTO_PROXYMAP=161 \
         REACHED_EDT_RATE_LIMITING_DROP_HORIZON=162 UNKNOWN_CONNECTION_TRACKING_STATE=163 \
         LOCAL_HOST_IS_UNREACHABLE=164 NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION=165 \
         UNSUPPORTED_L2_PROTOCOL=166 NO_MAPPING_FOR_NAT_MASQUERADE=167 UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE=168 \
         FIB_LOOKUP_FAILED=169 ENCAPSULATION_TRAFFIC_IS_PROHIBITED=170 INVALID_IDENTITY=171 UNKNOWN_SENDER=172 \
         NAT_NOT_NEEDED=173 IS_A_CLUSTERIP=174 FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND=175 \
         FORBIDDEN_ICMPV6_MESSAGE=176 DENIED_BY_LB_SRC_RANGE_CHECK=177 SOCKET_LOOKUP_FAILED=178 \
         SOCKET_ASSIGN_FAILED=179 PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL=180 POLICY_DENY=181 VLAN_FILTERED=182 \
         INVALID_VNI=183 INVALID_TC_BUFFER=184 NO_SID=185 MISSING_SRV6_STATE=186 NAT46=187 NAT64=188 \
         AUTH_REQUIRED=189 CT_NO_MAP_FOUND=190 SNAT_NO_MAP_FOUND=191 INVALID_CLUSTER_ID=192 \
         UNSUPPORTED_PROTOCOL_FOR_DSR_ENCAP=193 NO_EGRESS_GATEWAY=194 UNENCRYPTED_TRAFFIC=195 TTL_EXCEEDED=196 \
         NO_NODE_ID=197 DROP_RATE_LIMITED=198 IGMP_HANDLED=199 IGMP_SUBSCRIBED=200 MULTICAST_HANDLED=201 \
         DROP_HOST_NOT_READY=202 DROP_EP_NOT_READY=203 DROP_NO_EGRESS_IP=204 DROP_PUNT_PROXY=205",
    ),
    ("flow.TrafficDirection", "TRAFFIC_DIRECTION_UNKNOWN=0 INGRESS=1 EGRESS=2"),
    (
        "flow.DebugCapturePoint",
        "DBG_CAPTURE_POINT_UNKNOWN=0 DBG_CAPTURE_DELIVERY=4 DBG_CAPTURE_FROM_LB=5 DBG_CAPTURE_AFTER_V46=6 \
         DBG_CAPTURE_AFTER_V64=7 DBG_CAPTURE_PROXY_PRE=8 DBG_CAPTURE_PROXY_POST=9 DBG_CAPTURE_SNAT_PRE=10 \
         DBG_CAPTURE_SNAT_POST=11",
    ),
    ("flow.EventType", "UNKNOWN=0 RecordLost=2 EventSample=9"),
    (
        "flow.LostEventSource",
        "UNKNOWN_LOST_EVENT_SOURCE=0 PERF_EVENT_RING_BUFFER=1 OBSERVER_EVENTS_QUEUE=2 HUBBLE_RING_BUFFER=3",
    ),
    (
        "flow.AgentEventType",
        "AGENT_EVENT_UNKNOWN=0 AGENT_STARTED=2 POLICY_UPDATED=3 POLICY_DELETED=4 ENDPOINT_REGENERATE_SUCCESS=5 \
         ENDPOINT_REGENERATE_FAILURE=6 ENDPOINT_CREATED=7 ENDPOINT_DELETED=8 IPCACHE_UPSERTED=9 IPCACHE_DELETED=10 \
         SERVICE_UPSERTED=11 SERVICE_DELETED=12",
    ),
    (
        "flow.SocketTranslationPoint",
        "SOCK_XLATE_POINT_UNKNOWN=0 SOCK_XLATE_POINT_PRE_DIRECTION_FWD=1 SOCK_XLATE_POINT_POST_DIRECTION_FWD=2 \
         SOCK_XLATE_POINT_PRE_DIRECTION_REV=3 SOCK_XLATE_POINT_POST_DIRECTION_REV=4",
    ),
    // Hubble's has 68 more; none of them is ever sent.
    ("flow.DebugEventType", "DBG_EVENT_UNKNOWN=0"),
    ("relay.NodeState", "UNKNOWN_NODE_STATE=0 NODE_CONNECTED=1 NODE_UNAVAILABLE=2 NODE_GONE=3 NODE_ERROR=4"),
];

/// Methods of the Observer: name, request, response, whether the response is a stream.
const METHODS: &[(&str, &str, &str, bool)] = &[
    ("GetFlows", "GetFlowsRequest", "GetFlowsResponse", true),
    ("GetAgentEvents", "GetAgentEventsRequest", "GetAgentEventsResponse", true),
    ("GetDebugEvents", "GetDebugEventsRequest", "GetDebugEventsResponse", true),
    ("GetNodes", "GetNodesRequest", "GetNodesResponse", false),
    ("GetNamespaces", "GetNamespacesRequest", "GetNamespacesResponse", false),
    ("ServerStatus", "ServerStatusRequest", "ServerStatusResponse", false),
];

/// Types of fields that the numbers alone do not fix: scalar type or message, and whether it is a list.
const TYPES: &[(&str, &str)] = &[
    ("flow.Flow.time", ".google.protobuf.Timestamp"),
    ("flow.Flow.is_reply", ".google.protobuf.BoolValue"),
    ("flow.Flow.extensions", ".google.protobuf.Any"),
    ("flow.Flow.drop_reason", "Uint32"),
    ("flow.Flow.socket_cookie", "Uint64"),
    ("flow.Flow.source_names", "repeated String"),
    ("flow.Flow.egress_denied_by", "repeated .flow.Policy"),
    ("flow.Layer7.latency_ns", "Uint64"),
    ("flow.CiliumEventType.type", "Int32"),
    ("flow.Policy.revision", "Uint64"),
    ("flow.Kafka.correlation_id", "Int32"),
    ("flow.LostEvent.num_events_lost", "Uint64"),
    ("flow.LostEvent.cpu", ".google.protobuf.Int32Value"),
    ("flow.PolicyUpdateNotification.rule_count", "Int64"),
    ("flow.EndpointUpdateNotification.id", "Uint64"),
    ("flow.IPCacheNotification.old_identity", ".google.protobuf.UInt32Value"),
    ("flow.FlowFilter.reply", "repeated Bool"),
    ("flow.FlowFilter.source_identity", "repeated Uint32"),
    ("flow.FlowFilter.ip_trace_id", "repeated Uint64"),
    ("observer.ServerStatusResponse.flows_rate", "Double"),
    ("observer.ServerStatusResponse.num_connected_nodes", ".google.protobuf.UInt32Value"),
    ("observer.GetFlowsRequest.field_mask", ".google.protobuf.FieldMask"),
    ("observer.GetFlowsRequest.whitelist", "repeated .flow.FlowFilter"),
];

#[derive(Default)]
struct Found {
    messages: BTreeMap<String, BTreeMap<String, i32>>,
    enums: BTreeMap<String, BTreeMap<String, i32>>,
    types: BTreeMap<String, String>,
}

impl Found {
    fn message(&mut self, outer: &str, message: &DescriptorProto) {
        use prost_types::field_descriptor_proto::{Label, Type};
        let name = format!("{outer}.{}", message.name());
        for field in &message.field {
            let kind = match field.r#type() {
                Type::Message | Type::Enum => field.type_name().to_owned(),
                scalar => format!("{scalar:?}"),
            };
            let list = if field.label() == Label::Repeated { "repeated " } else { "" };
            self.types.insert(format!("{name}.{}", field.name()), format!("{list}{kind}"));
        }
        let fields = message.field.iter().map(|field| (field.name().to_owned(), field.number()));
        self.messages.insert(name.clone(), fields.collect());
        message.nested_type.iter().for_each(|inner| self.message(&name, inner));
        message.enum_type.iter().for_each(|inner| self.enumeration(&name, inner));
    }

    fn enumeration(&mut self, outer: &str, kind: &EnumDescriptorProto) {
        let values = kind.value.iter().map(|value| (value.name().to_owned(), value.number()));
        self.enums.insert(format!("{outer}.{}", kind.name()), values.collect());
    }
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors")
}

fn found() -> Found {
    let mut found = Found::default();
    for file in descriptors().file.iter().filter(|file| !file.package().starts_with("google")) {
        file.message_type.iter().for_each(|message| found.message(file.package(), message));
        file.enum_type.iter().for_each(|kind| found.enumeration(file.package(), kind));
    }
    found
}

fn table(rows: &[(&str, &str)]) -> BTreeMap<String, BTreeMap<String, i32>> {
    let number = |pair: &str| {
        let (name, number) = pair.split_once('=').expect("name=number");
        (name.to_owned(), number.parse().expect("a number"))
    };
    rows.iter()
        .map(|(name, list)| ((*name).to_owned(), list.split_whitespace().map(number).collect()))
        .collect()
}

#[test]
fn messages_are_hubbles() {
    assert_eq!(found().messages, table(MESSAGES));
}

#[test]
fn enums_are_hubbles() {
    assert_eq!(found().enums, table(ENUMS));
}

#[test]
fn types_are_hubbles() {
    let types = found().types;
    for (field, kind) in TYPES {
        assert_eq!(types.get(*field).map(String::as_str), Some(*kind), "{field}");
    }
}

#[test]
fn the_service_is_hubbles() {
    let files = descriptors();
    let services: Vec<_> = files
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
        .collect();
    let [(package, service)] = services.as_slice() else { panic!("one service, not {}", services.len()) };
    assert_eq!((*package, service.name()), ("observer", "Observer"));
    let methods: Vec<_> = service
        .method
        .iter()
        .map(|method| {
            assert!(!method.client_streaming());
            let bare = |name: &str| name.trim_start_matches(".observer.").to_owned();
            let (input, output) = (bare(method.input_type()), bare(method.output_type()));
            (method.name().to_owned(), input, output, method.server_streaming())
        })
        .collect();
    let expected: Vec<_> =
        METHODS.iter().map(|m| (m.0.to_owned(), m.1.to_owned(), m.2.to_owned(), m.3)).collect();
    assert_eq!(methods, expected);
}
