//! Events and names that the tests of this crate share.

use crate::event::{EventKind, FlowEvent, TraceReason};
use crate::record::{Resolver, Workload};
use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
use policy::{EndpointId, Identity, Provenance, RuleId};

/// A forwarded SYN from production/frontend to production/api.
pub(crate) fn event() -> FlowEvent {
    FlowEvent {
        at: Instant::from_nanos(123_000_000),
        kind: EventKind::Trace { reason: TraceReason::New },
        key: FlowKey {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 0, 0, 2]),
            src_port: 41234,
            dst_port: 8080,
            proto: 6,
        },
        icmp: (0, 0),
        tcp_flags: TcpFlags(TcpFlags::SYN),
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

/// Knows two pods and one rule.
pub(crate) struct Names;

fn pod(name: &str, app: &str) -> Workload {
    Workload {
        namespace: "production".to_owned(),
        pod_name: name.to_owned(),
        labels: vec![format!("k8s:app={app}"), "k8s:io.kubernetes.pod.namespace=production".to_owned()],
        workloads: Vec::new(),
    }
}

impl Resolver for Names {
    fn labels(&self, identity: Identity) -> Vec<String> {
        identity.reserved_name().map(|name| format!("reserved:{name}")).into_iter().collect()
    }
    fn address(&self, _: Addr) -> Option<Workload> {
        None
    }
    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        match id.0 {
            1 => Some(pod("frontend", "frontend")),
            2 => Some(pod("api", "api-service")),
            _ => None,
        }
    }
    fn rules(&self, rule: RuleId) -> Vec<Provenance> {
        if rule == RuleId::NONE {
            return Vec::new();
        }
        vec![Provenance {
            kind: "CiliumNetworkPolicy".to_owned(),
            namespace: "production".to_owned(),
            name: "api".to_owned(),
            file: "policies/api.yaml".to_owned(),
            line: 12,
        }]
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        // 2025-11-21T10:00:00Z
        1_763_719_200_000_000_000
    }
    fn node_name(&self) -> &str {
        "node-1"
    }
}
