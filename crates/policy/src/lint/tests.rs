use super::*;
use crate::document::{Options, load, load_inventory};

const INVENTORY: &str = "
namespaces: [{name: a}, {name: b}]
nodes: [{name: n1, ips: [192.168.0.1]}]
pods:
- {name: web, namespace: a, node: n1, labels: {app: web}, ips: [10.0.0.1], ports: [{name: http, port: 8080}]}
- {name: api, namespace: b, node: n1, labels: {app: api}, ips: [10.0.0.2], ports: [{name: http, port: 80}]}
";

fn found(spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: a}}\nspec:\n{spec}"
    );
    let loaded = load(&text, "p.yaml", &Options::default());
    assert!(loaded.is_valid(), "{:?}", loaded.documents);
    let inventory = load_inventory(INVENTORY, "i.yaml").expect("valid");
    lint(&loaded.policies, &loaded.cidr_groups, Some(&inventory)).iter().map(ToString::to_string).collect()
}

#[test]
fn findings() {
    let table: &[(&str, &str)] = &[
        ("  endpointSelector: {matchLabels: {app: none}}\n  ingress: [{}]\n", "selects no pod"),
        ("  endpointSelector: {}\n  egress: [{toFQDNs: [{matchName: a.b}]}]\n", "without a DNS rule"),
        (
            "  endpointSelector: {}\n  ingress: [{fromEndpoints: [{matchLabels: {app: api}}]}]\n",
            "own namespace",
        ),
        (
            "  endpointSelector: {}\n  egress: [{toCIDR: [10.0.0.0/24]}]\n",
            "covers 10.0.0.1 of pod a/web and 1 more",
        ),
        ("  endpointSelector: {}\n  egress: [{toCIDRSet: [{cidrGroupRef: g}]}]\n", "no CiliumCIDRGroup `g`"),
        (
            "  endpointSelector: {}\n  egress: [{toPorts: [{ports: [{port: http, protocol: TCP}]}]}]\n",
            "`http` is ambiguous (8080, 80)",
        ),
        (
            "  endpointSelector: {}\n  ingress: [{toPorts: [{ports: [{port: nope}]}]}]\n",
            "no pod has a port named",
        ),
        (
            "  endpointSelector: {}\n  ingress: [{fromEntities: [cluster], toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]\n  ingressDeny: [{toPorts: [{ports: [{port: '1', endPort: 100}]}]}]\n",
            "never in effect: everything it allows is denied by p (p.yaml:7)",
        ),
        (
            "  endpointSelector: {}\n  ingress:\n  - toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{method: GET}]}}]\n  - fromEntities: [all]\n",
            "application rules have no effect",
        ),
        (
            "  endpointSelector: {}\n  ingress:\n  - fromEntities: [cluster]\n    toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{method: GET}]}}]\n  - fromEntities: [all]\n",
            "application rules have no effect",
        ),
        (
            "  endpointSelector: {}\n  egress:\n  - toPorts: [{ports: [{port: '53', protocol: UDP}], rules: {dns: [{matchName: a.b}]}}]\n  - toPorts: [{ports: [{port: '53', protocol: ANY}, {port: '53', protocol: UDP}]}]\n",
            "application rules have no effect",
        ),
        (
            "  endpointSelector: {}\n  egress:\n  - toPorts: [{ports: [{port: '443', protocol: TCP}], serverNames: [a.b]}]\n  - toEntities: [all]\n",
            "application rules have no effect",
        ),
        (
            "  endpointSelector: {}\n  egress: [{toServices: [{k8sService: {serviceName: s}}]}]\n",
            "no service `s`",
        ),
    ];
    for (spec, expected) in table {
        let found = found(spec);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{spec}: {found:?}");
    }
}

#[test]
fn nothing_to_find() {
    let found = found(
        "  endpointSelector: {matchLabels: {app: web}}\n  ingress: [{fromEntities: [world]}]\n  egress:\n  - toFQDNs: [{matchName: a.b}]\n  - toEntities: [cluster]\n    toPorts: [{ports: [{port: '53', protocol: UDP}], rules: {dns: [{matchPattern: '*'}]}}]\n",
    );
    assert!(found.is_empty(), "{found:?}");
    let apart = self::found(
        "  endpointSelector: {}\n  egress:\n  - toPorts: [{ports: [{port: '53', protocol: UDP}], rules: {dns: [{matchName: a.b}]}}]\n  - toEntities: [all]\n",
    );
    assert!(apart.is_empty(), "DNS rules hold beside a rule without ports: {apart:?}");
}
