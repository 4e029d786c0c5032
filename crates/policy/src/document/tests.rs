use super::*;
use crate::label::{Label, LabelSet};
use crate::rule::{DefaultDeny, L7Rules, NameMatch, Peer, Peers, Port, Ports};

fn one(text: &str, options: &Options) -> Policy {
    let mut loaded = load(text, "p.yaml", options);
    assert!(loaded.is_valid(), "{:?}", loaded.documents);
    assert_eq!(loaded.policies.len(), 1);
    loaded.policies.remove(0)
}

fn cilium(kind: &str, spec: &str) -> Policy {
    let namespace = if kind == "CiliumNetworkPolicy" { ", namespace: a" } else { "" };
    let head = format!("apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: p{namespace}}}\nspec:\n");
    one(&format!("{head}{spec}"), &Options::default())
}

fn pod(namespace: &str, app: &str) -> LabelSet {
    LabelSet::new([Label::k8s(NAMESPACE, namespace), Label::k8s("app", app)])
}

use crate::label::NAMESPACE;

fn first_peer(policy: &Policy) -> Selector {
    match &policy.rules[0].ingress[0].peers {
        Peers::List(peers) => match &peers[0] {
            Peer::Endpoints(selector) => selector.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn peers_of_a_namespaced_policy_are_scoped_to_it() {
    let peer = |selector: &str| {
        let spec = format!("  endpointSelector: {{}}\n  ingress: [{{fromEndpoints: [{selector}]}}]\n");
        first_peer(&cilium("CiliumNetworkPolicy", &spec))
    };
    let all = peer("{}");
    assert!(all.matches(&pod("a", "x")) && !all.matches(&pod("b", "x")));
    let named = peer("{matchLabels: {\"k8s:io.kubernetes.pod.namespace\": b}}");
    assert!(named.matches(&pod("b", "x")) && !named.matches(&pod("a", "x")));
    let host = LabelSet::new([Label::reserved("host")]);
    assert!(peer("{matchLabels: {\"reserved:host\": \"\"}}").matches(&host));
    let outside =
        peer("{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: NotIn, values: [a]}]}");
    assert!(outside.matches(&host), "a namespace key of any operator replaces the scope");
}

#[test]
fn peers_of_a_clusterwide_policy_are_pods() {
    let spec = "  endpointSelector: {}\n  ingress: [{fromEndpoints: [{}]}]\n";
    let peer = first_peer(&cilium("CiliumClusterwideNetworkPolicy", spec));
    assert!(peer.matches(&pod("a", "x")) && peer.matches(&pod("b", "x")));
    assert!(!peer.matches(&LabelSet::new([Label::reserved("host")])));
    let init =
        "  endpointSelector: {matchLabels: {\"reserved:init\": \"\"}}\n  ingress: [{fromEndpoints: [{}]}]\n";
    assert!(first_peer(&cilium("CiliumClusterwideNetworkPolicy", init)).is_all());
}

#[test]
fn a_subject_stays_in_its_namespace() {
    let spec = "  endpointSelector: {matchLabels: {\"k8s:io.kubernetes.pod.namespace\": b, app: x}}\n  ingress: [{}]\n";
    let policy = cilium("CiliumNetworkPolicy", spec);
    let Subject::Endpoint(selector) = &policy.rules[0].subject else { panic!("an endpoint") };
    assert!(selector.matches(&pod("a", "x")) && !selector.matches(&pod("b", "x")));
}

#[test]
fn a_cluster_scope_is_added_where_wanted() {
    let options = Options { cluster: Some("c1".into()), ..Options::default() };
    let text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {}\n  ingress: [{fromEndpoints: [{}]}]\n";
    let peer = first_peer(&one(text, &options));
    assert_eq!(
        peer.to_string(),
        "k8s:io.cilium.k8s.policy.cluster=c1,k8s:io.kubernetes.pod.namespace=default"
    );
}

#[test]
fn absent_empty_and_open_peers_differ() {
    let table = [
        ("{}", Peers::None),
        ("{fromEndpoints: []}", Peers::None),
        ("{fromEndpoints: [], toPorts: [{ports: [{port: \"1\"}]}]}", Peers::None),
        ("{toPorts: [{ports: [{port: \"1\"}]}]}", Peers::Any),
        ("{icmps: [{fields: [{type: 8}]}]}", Peers::Any),
        ("{toPorts: []}", Peers::None),
    ];
    for (element, expected) in table {
        let spec = format!("  endpointSelector: {{}}\n  ingress: [{element}]\n");
        let policy = cilium("CiliumNetworkPolicy", &spec);
        assert_eq!(policy.rules[0].ingress[0].peers, expected, "{element}");
        assert_eq!(policy.rules[0].ingress_default, DefaultDeny::On);
        assert_eq!(policy.rules[0].egress_default, DefaultDeny::Untouched);
    }
}

#[test]
fn empty_lists_mean_deny_or_nothing() {
    let text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {}\n  ingress: []\n  egress: [{}]\n";
    let deny = one(text, &Options::default());
    assert_eq!((deny.rules[0].ingress_default, deny.rules[0].ingress.len()), (DefaultDeny::On, 0));
    let nothing = one(text, &Options { empty_list: EmptyList::Nothing, ..Options::default() });
    assert_eq!(nothing.rules[0].ingress_default, DefaultDeny::Untouched);
    let off = cilium(
        "CiliumNetworkPolicy",
        "  endpointSelector: {}\n  enableDefaultDeny: {ingress: false}\n  ingressDeny: [{}]\n",
    );
    assert_eq!(off.rules[0].ingress_default, DefaultDeny::Off);
    assert!(off.rules[0].ingress[0].deny);
}

#[test]
fn ports_and_rules() {
    let spec = "  endpointSelector: {}\n  egress:\n  - toPorts:\n    - ports:\n      - {port: \"53\", protocol: UDP}\n      - {port: \"0100\"}\n      - {port: HTTP}\n      - {port: \"0\"}\n      - {port: \"90\", endPort: 80}\n    - ports: [{port: \"53\"}]\n      rules: {dns: [{matchPattern: \"*.A.io\"}]}\n";
    let policy = cilium("CiliumNetworkPolicy", spec);
    let entries = &policy.rules[0].egress;
    assert_eq!(entries.len(), 2, "one entry for each element of toPorts");
    let Ports::List(ports) = &entries[0].ports else { panic!("ports") };
    let ports: Vec<_> = ports.iter().map(|rule| rule.port.clone()).collect();
    assert_eq!(
        ports,
        [
            Port::Numbers(53..=53),
            Port::Numbers(64..=64),
            Port::Named("http".into()),
            Port::Any,
            Port::Numbers(90..=90)
        ]
    );
    assert_eq!(entries[1].l7, Some(L7Rules::Dns(vec![NameMatch::Pattern("*.a.io".into())])));
    assert_eq!((policy.line, policy.rules[0].line, entries[0].line), (1, 5, 7));
}

#[test]
fn kubernetes_policies_follow_the_conversion() {
    let read = |spec: &str| {
        let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: a}\nspec: ";
        one(&format!("{head}{spec}\n"), &Options::default()).rules.remove(0)
    };
    let defaults = |spec: &str| {
        let rule = read(spec);
        (rule.ingress_default == DefaultDeny::On, rule.egress_default == DefaultDeny::On)
    };
    assert_eq!(defaults("{podSelector: {}}"), (true, false));
    assert_eq!(defaults("{podSelector: {}, policyTypes: [Egress]}"), (false, true));
    assert_eq!(defaults("{podSelector: {}, egress: [{}]}"), (true, true));
    assert_eq!(defaults("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}"), (true, true));
    assert_eq!(read("{podSelector: {}, ingress: [{}]}").ingress[0].peers, Peers::Any);
    let rule =
        read("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 80}, {}]}]}");
    let Ports::List(ports) = &rule.ingress[0].ports else { panic!("ports") };
    assert!(ports.iter().all(|port| port.protocol == crate::rule::Protocol::Tcp));
    assert_eq!(ports[1].port, Port::Any);
}

#[test]
fn a_rejected_policy_says_whom_it_may_select() {
    let select = |text: &str| load(text, "p.yaml", &Options::default()).documents[0].may_select.clone();
    let head =
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: a}\nspec:\n";
    let known = select(&format!("{head}  endpointSelector: {{matchLabels: {{app: x}}}}\n  ingres: [{{}}]\n"));
    let [Subject::Endpoint(selector)] = known.as_slice() else { panic!("{known:?}") };
    assert!(selector.matches(&pod("a", "x")) && !selector.matches(&pod("a", "y")));
    let unknown = select(&format!("{head}  endpointSelctor: {{}}\n  ingress: [{{}}]\n"));
    let [Subject::Endpoint(selector)] = unknown.as_slice() else { panic!("{unknown:?}") };
    assert!(selector.matches(&pod("a", "y")) && !selector.matches(&pod("b", "y")));
    assert_eq!(select("a: [\n"), anybody());
}

#[test]
fn one_bad_document_does_not_hide_the_others() {
    let good = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec: {endpointSelector: {}, ingress: [{}]}\n";
    let text = format!("{good}---\na: [\n---\nkind: Pod\napiVersion: v1\n---\n{good}");
    let loaded = load(&text, "p.yaml", &Options::default());
    let outcomes: Vec<_> = loaded.documents.iter().map(|document| document.outcome).collect();
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Rejected, Outcome::NotAPolicy, Outcome::Accepted]);
    assert_eq!(loaded.policies[1].line, 11);
}

#[test]
fn large_files_are_refused_unread() {
    let loaded = load(&"[".repeat(MAX_FILE_BYTES + 1), "big.yaml", &Options::default());
    assert_eq!(
        loaded.documents[0].diagnostics[0].to_string(),
        "big.yaml:1:1: error: the file has 8388609 bytes; at most 8388608 are read"
    );
}

#[test]
fn lists_and_json_are_read() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {"podSelector": {}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}]}"#;
    let loaded = load(text, "p.json", &Options::default());
    assert_eq!(loaded.policies.len(), 1);
    assert_eq!(loaded.documents[1].outcome, Outcome::NotAPolicy);
}
