//! A large cluster: 10,000 policies, 10,000 identities, 110 local pods; a tenth of it in debug builds.

use policy::engine::SourceFile;
use policy::inventory::{Inventory, Namespace, Node, Pod};

/// Divides the sizes.
pub(crate) const SCALE: usize = if cfg!(debug_assertions) { 10 } else { 1 };
/// Policies, a file each.
pub(crate) const POLICIES: usize = 10_000 / SCALE;
/// Pods, each with an identity of its own.
pub(crate) const PODS: usize = 10_000 / SCALE;
/// Pods on the node that is measured.
pub(crate) const LOCAL: usize = 110;

fn pod(n: usize) -> Pod {
    Pod {
        name: format!("pod-{n}").into(),
        namespace: format!("ns-{}", n % 100).into(),
        labels: vec![
            ("app".into(), format!("app-{n}").into()),
            ("tier".into(), format!("t{}", n % 7).into()),
        ],
        service_account: None,
        node: if n < LOCAL { "n0".into() } else { "n1".into() },
        ips: vec![std::net::IpAddr::from([10, 1, (n >> 8) as u8, n as u8])],
        ports: Vec::new(),
        interface: None,
        mac: None,
        workload: None,
        line: 1,
    }
}

/// So many pods on two nodes.
pub(crate) fn inventory(pods: usize) -> Inventory {
    let namespaces =
        (0..100).map(|n| Namespace { name: format!("ns-{n}").into(), labels: Vec::new(), line: 1 });
    let node = |n: u8| Node {
        name: format!("n{n}").into(),
        labels: Vec::new(),
        ips: vec![std::net::IpAddr::from([192, 168, 0, n])],
        kube_api_server: false,
        line: 1,
    };
    Inventory {
        namespaces: namespaces.collect(),
        nodes: vec![node(0), node(1)],
        pods: (0..pods).map(pod).collect(),
        ..Inventory::default()
    }
}

/// Policy `n`: every third about one pod, the others about a whole tier or namespace.
pub(crate) fn policy(n: usize, port: usize) -> SourceFile {
    let subject = match n % 3 {
        0 => format!("app: app-{}", n % PODS),
        _ => format!("tier: t{}", n % 7),
    };
    let peer = if n.is_multiple_of(50) {
        "{}".to_owned()
    } else {
        format!(
            "{{matchLabels: {{app: app-{}, k8s:io.kubernetes.pod.namespace: ns-{}}}}}",
            (n * 7) % PODS,
            (n * 7) % PODS % 100
        )
    };
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p{n}, namespace: ns-{}}}\nspec:\n  endpointSelector: {{matchLabels: {{{subject}}}}}\n  ingress:\n  - fromEndpoints: [{peer}]\n    toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]\n  egress:\n  - toEntities: [all]\n  - toCIDR: [10.{}.0.0/16]\n",
        n % 100,
        n % 200,
    );
    SourceFile { path: format!("p{n}.yaml"), text }
}
