//! Random policies and flows: the compiled maps against the oracle.

mod oracle;

use oracle::World;
use policy::conformance::{DnsFacts, Flow, HttpFacts, KafkaFacts, Offline, TlsFacts};
use policy::document::{Options as ReadOptions, load, load_inventory};
use policy::engine::{EnforcementMode, Options, SourceFile};
use proptest::prelude::*;
use proptest::sample::select;

const INVENTORY: &str = r#"
namespaces:
- {name: a, labels: {team: red}}
- {name: b, labels: {team: blue}}
nodes:
- {name: n1, labels: {role: worker}, ips: [192.168.0.1]}
- {name: n2, labels: {role: cp}, ips: [192.168.0.2], kubeAPIServer: true}
pods:
- {name: web, namespace: a, node: n1, labels: {app: web, tier: front}, ips: [10.0.0.1], ports: [{name: http, port: 80, protocol: TCP}, {name: alt, port: 8080, protocol: TCP}]}
- {name: api, namespace: a, node: n1, labels: {app: api}, ips: [10.0.0.2], ports: [{name: http, port: 8080, protocol: TCP}]}
- {name: db, namespace: b, node: n2, labels: {app: db, tier: back}, ips: [10.0.0.3], ports: [{name: dns, port: 53, protocol: UDP}]}
- {name: web, namespace: b, node: n2, labels: {app: web}, ips: [10.0.0.4]}
external:
- {name: e1, ip: 1.1.1.1, dnsNames: [one.example.com]}
- {name: e2, ip: 10.1.2.3}
- {name: e3, ip: 10.1.9.9, dnsNames: [two.example.com, one.example.com]}
- {name: e4, ip: "2001:db8::1"}
- {name: e5, ip: 9.9.9.9, kubeAPIServer: true}
services:
- {name: s1, namespace: b, labels: {kind: s}, selector: {app: db}}
- {name: s2, namespace: b, endpoints: [1.1.1.1]}
special:
- {name: h, reserved: health}
"#;

const ENDS: [&str; 12] = [
    "pod/a/web",
    "pod/a/api",
    "pod/b/db",
    "pod/b/web",
    "node/n1",
    "node/n2",
    "ext/e1",
    "ext/e2",
    "ext/e3",
    "ext/e4",
    "ext/e5",
    "special/h",
];

/// Text of one of these.
fn one(of: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    select(of.to_vec()).prop_map(str::to_owned)
}

fn selector() -> BoxedStrategy<String> {
    one(&[
        "{}",
        "{matchLabels: {app: web}}",
        "{matchLabels: {app: db, io.kubernetes.pod.namespace: b}}",
        "{matchLabels: {\"k8s:io.kubernetes.pod.namespace\": b}}",
        "{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}",
        "{matchExpressions: [{key: tier, operator: Exists}]}",
        "{matchExpressions: [{key: tier, operator: DoesNotExist}]}",
        "{matchLabels: {io.cilium.k8s.namespace.labels.team: blue}}",
        "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: In, values: [a, b]}]}",
    ])
    .boxed()
}

fn peers(from: &'static str) -> BoxedStrategy<String> {
    let entities = one(&[
        "all",
        "world",
        "cluster",
        "host",
        "remote-node",
        "kube-apiserver",
        "health",
        "none",
        "unmanaged",
        "init, ingress",
    ]);
    let cidr = one(&["10.0.0.0/8", "10.1.0.0/16", "1.1.1.1/32", "0.0.0.0/0", "2001:db8::/32", "::/0"]);
    let set = one(&[
        "{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}",
        "{cidr: 10.1.0.0/16, except: [10.1.9.0/24, 10.1.2.3/32]}",
        "{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}",
        "{cidrGroupRef: g}",
        "{cidrGroupSelector: {matchLabels: {kind: g}}, except: [10.1.2.3/32]}",
    ]);
    let mut kinds = vec![
        Just(String::new()).boxed(),
        Just(format!("{from}Endpoints: []")).boxed(),
        proptest::collection::vec(selector(), 1..3)
            .prop_map(move |list| format!("{from}Endpoints: [{}]", list.join(", ")))
            .boxed(),
        entities.prop_map(move |entity| format!("{from}Entities: [{entity}]")).boxed(),
        cidr.prop_map(move |cidr| format!("{from}CIDR: [\"{cidr}\"]")).boxed(),
        set.prop_map(move |set| format!("{from}CIDRSet: [{set}]")).boxed(),
    ];
    if from == "to" {
        kinds.push(
            one(&[
                "toServices: [{k8sService: {serviceName: s1, namespace: b}}]",
                "toServices: [{k8sService: {serviceName: s2, namespace: b}}]",
                "toServices: [{k8sService: {serviceName: gone, namespace: b}}]",
                "toServices: [{k8sServiceSelector: {selector: {matchLabels: {kind: s}}, namespace: b}}]",
            ])
            .boxed(),
        );
        kinds.push(
            one(&["toFQDNs: [{matchName: one.example.com}]", "toFQDNs: [{matchPattern: \"*.example.com\"}]"])
                .boxed(),
        );
    }
    proptest::strategy::Union::new(kinds).boxed()
}

fn ports(from: &'static str, deny: bool) -> BoxedStrategy<String> {
    let port = one(&[
        "{port: \"80\", protocol: TCP}",
        "{port: \"80\", endPort: 90, protocol: TCP}",
        "{port: \"0\", protocol: TCP}",
        "{port: \"53\", protocol: ANY}",
        "{port: \"53\", protocol: UDP}",
        "{port: http, protocol: TCP}",
        "{port: alt}",
        "{port: \"8080\"}",
    ]);
    let plain = proptest::collection::vec(port, 1..3)
        .prop_map(|list| format!("toPorts: [{{ports: [{}]}}]", list.join(", ")));
    let mut kinds = vec![
        Just(String::new()).boxed(),
        plain.boxed(),
        one(&[
            "icmps: [{fields: [{type: 8, family: IPv4}]}]",
            "icmps: [{fields: [{type: 128, family: IPv6}, {type: 0}]}]",
        ])
        .boxed(),
    ];
    // A deny element may hold conditions where the document is annotated so.
    kinds.push(one(&[
        "toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{method: GET, path: \"/a.*\"}]}}]",
        "toPorts: [{ports: [{port: \"80\", endPort: 90, protocol: TCP}], rules: {http: [{path: \"/b\"}]}}]",
        "toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{headers: [X-Env]}, {headerMatches: [{name: X-Env, value: b, mismatch: REPLACE}]}]}}]",
        "toPorts: [{ports: [{port: \"9092\", protocol: TCP}], rules: {kafka: [{role: produce, topic: one}, {apiKey: fetch}]}}]",
        "toPorts: [{ports: [{port: \"9092\", protocol: TCP}], rules: {kafka: [{topic: two}]}}]",
        "toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {kafka: [{topic: two}]}}]",
        "toPorts: [{ports: [{port: \"443\", protocol: TCP}], serverNames: [\"*.example.com\"]}]",
        "toPorts: [{ports: [{port: \"443\", protocol: TCP}], serverNames: [one.example.com]}]",
    ]).boxed());
    if from == "to" {
        kinds.push(one(&[
            "toPorts: [{ports: [{port: \"53\", protocol: ANY}], rules: {dns: [{matchPattern: \"*.example.com\"}]}}]",
            "toPorts: [{ports: [{port: \"53\", protocol: UDP}], rules: {dns: [{matchName: one.example.com}]}}]",
        ]).boxed());
    }
    if !deny {
        kinds.push(
            one(&[
                "toPorts: [{ports: [{port: \"8080\", protocol: TCP}], rules: {http: [{}]}}]",
                "toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}], authentication: {mode: required}",
            ])
            .boxed(),
        );
    }
    proptest::strategy::Union::new(kinds).boxed()
}

/// One `ingress:` (or other) list.
fn list(key: &'static str, from: &'static str) -> BoxedStrategy<String> {
    let deny = key.ends_with("Deny");
    let element = (peers(from), ports(from, deny)).prop_map(|(peers, ports)| {
        let parts: Vec<String> = [peers, ports].into_iter().filter(|part| !part.is_empty()).collect();
        format!("{{{}}}", parts.join(", "))
    });
    proptest::collection::vec(element, 1..3)
        .prop_map(move |list| format!("  {key}:\n  - {}\n", list.join("\n  - ")))
        .boxed()
}

fn document() -> BoxedStrategy<String> {
    let kind = one(&["CiliumNetworkPolicy a", "CiliumNetworkPolicy b", "CiliumClusterwideNetworkPolicy"]);
    let subject = prop_oneof![
        4 => selector().prop_map(|selector| format!("endpointSelector: {selector}")),
        1 => Just("nodeSelector: {matchLabels: {role: worker}}".to_owned()),
    ];
    let maybe = |key, from| proptest::option::weighted(0.5, list(key, from));
    let lists = (
        maybe("ingress", "from"),
        maybe("egress", "to"),
        maybe("ingressDeny", "from"),
        maybe("egressDeny", "to"),
    );
    let default = one(&["", "", "  enableDefaultDeny: {ingress: false, egress: false}\n"]);
    let notes = one(&[
        "sluice.io/extensions: deny-conditions",
        "sluice.io/extensions: deny-conditions",
        "sluice.io/extensions: deny-conditions, sluice.io/audit: \"true\"",
        "",
    ]);
    (kind, subject, lists, default, notes)
        .prop_map(|(kind, subject, (a, b, c, d), default, notes)| {
            let (kind, namespace) = kind.split_once(' ').unwrap_or((&kind, ""));
            let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
            let lists: String = [a, b, c, d].into_iter().flatten().collect();
            format!("apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: p{namespace}, annotations: {{{notes}}}}}\nspec:\n  {subject}\n{lists}{default}---\n")
        })
        .boxed()
}

fn flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    for src in ENDS {
        for dst in ENDS.iter().filter(|dst| **dst != src) {
            for (proto, port) in [
                ("TCP", 80),
                ("TCP", 8080),
                ("TCP", 85),
                ("UDP", 53),
                ("TCP", 53),
                ("TCP", 443),
                ("TCP", 9092),
                ("SCTP", 80),
                ("ICMP", 8),
                ("ICMPv6", 128),
            ] {
                let odd = src.len() % 2 == 1;
                let http = (proto == "TCP" && [80, 85, 8080].contains(&port)).then(|| HttpFacts {
                    method: "GET".into(),
                    path: if port == 85 { "/b".into() } else { "/abc".into() },
                    headers: odd.then(|| ("X-Env".to_owned(), "a".to_owned())).into_iter().collect(),
                    ..HttpFacts::default()
                });
                let kafka = (port == 9092).then(|| KafkaFacts {
                    api_key: i16::from(dst.len() % 2 == 1),
                    topics: if odd { vec!["one".into(), "two".into()] } else { vec!["one".into()] },
                    ..KafkaFacts::default()
                });
                let tls = (port == 443).then(|| TlsFacts {
                    server_name: match dst.len() % 3 {
                        0 => None,
                        1 => Some("one.example.com".into()),
                        _ => Some("two.example.com".into()),
                    },
                });
                let dns = (port == 53).then(|| DnsFacts {
                    name: if src.len() % 2 == 0 { "one.example.com" } else { "x.example.com" }.into(),
                });
                let id = flows.len().to_string();
                flows.push(Flow {
                    id,
                    src: src.into(),
                    dst: (*dst).into(),
                    proto: proto.into(),
                    port,
                    http,
                    dns,
                    kafka,
                    tls,
                });
            }
        }
    }
    flows
}

const GROUP: &str = "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g, labels: {kind: g}}\nspec: {externalCIDRs: [1.1.1.0/24, 10.1.2.0/24]}\n---\n";

/// Settings: mostly the default ones.
fn settings() -> BoxedStrategy<Options> {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        Just(options)
    };
    prop_oneof![
        4 => with(|_| {}),
        1 => with(|options| options.enforcement = EnforcementMode::Always),
        1 => with(|options| options.enforcement = EnforcementMode::Never),
        1 => with(|options| options.audit = true),
        1 => with(|options| options.audit_namespaces = vec!["a".into()]),
        1 => with(|options| options.audit_endpoints = vec!["b/db".into(), "/n1".into()]),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn compiled_maps_agree_with_the_oracle(
        documents in proptest::collection::vec(document(), 1..6),
        options in settings(),
    ) {
        let inventory = load_inventory(INVENTORY, "inventory.yaml").expect("a valid inventory");
        let text = format!("{GROUP}{}", documents.concat());
        let loaded = load(&text, "p.yaml", &ReadOptions::default());
        let flows = flows();
        let (policies, groups) = (&loaded.policies, &loaded.cidr_groups);
        let world = World { inventory: &inventory, policies, groups, options: &options };
        let files = [SourceFile { path: "p.yaml".into(), text: text.clone() }];
        let offline = Offline::new(&inventory, &files, &options);
        let verdicts = offline.verdicts(&flows).expect("all ends exist");
        for (flow, line) in flows.iter().zip(&verdicts.verdicts) {
            let [egress, ingress] = world.flow(flow);
            let word = |allowed| if allowed { "allowed" } else { "denied" };
            prop_assert_eq!(&line.egress, &egress.word, "egress of {:?}\n{}", flow, text);
            prop_assert_eq!(&line.ingress, &ingress.word, "ingress of {:?}\n{}", flow, text);
            prop_assert_eq!(line.egress_l7, egress.l7.map(word), "egress L7 of {:?}\n{}", flow, text);
            prop_assert_eq!(line.ingress_l7, ingress.l7.map(word), "ingress L7 of {:?}\n{}", flow, text);
        }
    }
}

#[test]
fn most_generated_documents_are_valid() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let valid = (0..200).filter(|_| {
        let text = document().new_tree(&mut runner).expect("a document").current();
        load(&text, "p.yaml", &ReadOptions::default()).is_valid()
    });
    assert!(valid.count() > 100);
}
