//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.

use std::sync::Arc;

use super::metadata::{self, DEFAULT_NAMESPACE, Metadata};
use super::ports::{self, Place};
use super::selectors::{self, Keys, Scope};
use super::{Body, Cursor, EmptyList, Fields, anybody, peers};
use crate::Direction;
use crate::label::{Label, NAMESPACE, Source};
use crate::rule::{DefaultDeny, Entry, Policy, PolicyKind, Rule, Subject};
use crate::selector::{Requirement, Selector};

/// Why a rule with authentication is not honoured.
const AUTHENTICATION: &str = "mutual authentication is not supported";

/// Longest `log.value`.
const MAX_LOG: usize = 32;

/// What the rules of one document share.
struct Policies<'a> {
    namespace: Option<&'a str>,
    deny_conditions: bool,
}

/// Reads a document of either kind.
pub(crate) fn policy(root: &Cursor<'_>, namespaced: bool) -> Body {
    let Some(object) = root.fields(&["apiVersion", "kind", "metadata", "spec", "specs", "status"]) else {
        return Body::Invalid(anybody());
    };
    let metadata = metadata::read(&object, &Source::K8s);
    let namespace: Arc<str> = match (namespaced, metadata.namespace.is_empty()) {
        (true, true) => DEFAULT_NAMESPACE.into(),
        (true, false) => Arc::clone(&metadata.namespace),
        (false, false) => {
            root.warn("a clusterwide policy has no namespace: `metadata.namespace` is ignored");
            "".into()
        }
        (false, true) => "".into(),
    };
    let shared =
        Policies { namespace: namespaced.then_some(&*namespace), deny_conditions: metadata.deny_conditions };
    let mut rules = Vec::new();
    let mut subjects = Vec::new();
    let mut one = |at: &Cursor<'_>| {
        let (subject, rule) = rule(at, &shared);
        subjects.push(subject);
        rules.extend(rule);
    };
    let (spec, specs) = (object.get_some("spec"), object.get_some("specs"));
    if spec.is_none() && specs.is_none() {
        root.error_hint("`spec` is missing or empty", "indent the rule's fields below `spec:`");
    }
    if let Some(at) = &spec {
        one(at);
    }
    if let Some(at) = &specs {
        let items = at.items().unwrap_or_default();
        if items.is_empty() && spec.is_none() {
            at.warn("the policy holds no rule");
        }
        items.iter().for_each(one);
    }
    if root.context.failed() {
        let known = !subjects.is_empty() && subjects.iter().all(Option::is_some);
        return Body::Invalid(match namespaced {
            _ if known => subjects.into_iter().flatten().collect(),
            true => vec![whole_namespace(&namespace)],
            false => anybody(),
        });
    }
    Body::Policy(assemble(root, namespaced, namespace, metadata, rules))
}

fn assemble(
    root: &Cursor<'_>,
    namespaced: bool,
    namespace: Arc<str>,
    metadata: Metadata,
    rules: Vec<Rule>,
) -> Policy {
    Policy {
        kind: if namespaced { PolicyKind::Cilium } else { PolicyKind::CiliumClusterwide },
        namespace,
        name: metadata.name,
        file: Arc::clone(root.context.file),
        line: root.line(),
        labels: metadata.labels,
        audit: metadata.audit,
        rules,
    }
}

/// Every endpoint of a namespace.
pub(crate) fn whole_namespace(namespace: &str) -> Subject {
    let key = crate::label::LabelKey::new(Source::K8s, NAMESPACE);
    Subject::Endpoint(Selector::new([Requirement::equals(key, namespace)]))
}

/// Reads a rule; its subject is answered even if the rest is invalid.
fn rule(at: &Cursor<'_>, shared: &Policies<'_>) -> (Option<Subject>, Option<Rule>) {
    let known = &[
        "endpointSelector",
        "nodeSelector",
        "ingress",
        "ingressDeny",
        "egress",
        "egressDeny",
        "enableDefaultDeny",
        "labels",
        "description",
        "log",
    ];
    let Some(fields) = at.fields(known) else { return (None, None) };
    let Some((subject, is_init)) = subject(&fields, shared) else {
        // The rest is read for its mistakes.
        direction(&fields, Direction::Ingress, &scope(shared, false), shared, false);
        direction(&fields, Direction::Egress, &scope(shared, false), shared, false);
        return (None, None);
    };
    let host = matches!(subject, Subject::Node(_));
    let scope = scope(shared, is_init);
    let written = fields.get("enableDefaultDeny").and_then(|at| at.fields(&["ingress", "egress"]));
    let wanted =
        |key: &str| written.as_ref().and_then(|fields| fields.get_some(key)).and_then(|at| at.boolean());
    let (ingress, ingress_default) = {
        let entries = direction(&fields, Direction::Ingress, &scope, shared, host);
        let default = default_deny(&fields, "ingress", entries.is_empty(), wanted("ingress"));
        (entries, default)
    };
    let (egress, egress_default) = {
        let entries = direction(&fields, Direction::Egress, &scope, shared, host);
        let default = default_deny(&fields, "egress", entries.is_empty(), wanted("egress"));
        (entries, default)
    };
    check_any(at, &fields);
    let rule = Rule {
        subject: subject.clone(),
        ingress,
        egress,
        ingress_default,
        egress_default,
        labels: rule_labels(&fields),
        description: fields.string("description"),
        log: log(&fields),
        line: at.line(),
    };
    (Some(subject), Some(rule))
}

fn scope<'a>(shared: &Policies<'a>, subject_is_init: bool) -> Scope<'a> {
    Scope { namespace: shared.namespace, subject_is_init }
}

/// Whom the rule protects, and whether that names endpoints without labels.
fn subject(fields: &Fields<'_>, shared: &Policies<'_>) -> Option<(Subject, bool)> {
    match (fields.get_some("endpointSelector"), fields.get_some("nodeSelector")) {
        (Some(at), None) => {
            let written = selectors::read(&at, Keys::Sourced)?;
            let is_init = written.names_init();
            Some((Subject::Endpoint(selectors::subject(&at, written, shared.namespace)), is_init))
        }
        (None, Some(at)) if shared.namespace.is_some() => {
            at.error_hint(
                "`nodeSelector` is for clusterwide policies only",
                "write `kind: CiliumClusterwideNetworkPolicy` without a namespace",
            );
            None
        }
        (None, Some(at)) => {
            let written = selectors::read(&at, Keys::Sourced)?;
            Some((Subject::Node(Selector::new(written.requirements())), false))
        }
        (Some(_), Some(at)) => {
            at.error("`endpointSelector` and `nodeSelector` cannot be combined");
            None
        }
        (None, None) => {
            fields.at.error_hint(
                "`endpointSelector` is missing",
                "write `endpointSelector: {}` for every pod of the namespace, or `matchLabels` below it",
            );
            None
        }
    }
}

/// At least one list must say something.
fn check_any(at: &Cursor<'_>, fields: &Fields<'_>) {
    let lists = ["ingress", "ingressDeny", "egress", "egressDeny"];
    let len = |at: &Cursor<'_>| at.items().map_or(1, |items| items.len());
    // A list that is no list has been reported; asking for its items again would report it twice.
    let is_list = |at: &Cursor<'_>| matches!(at.node.value, crate::yaml::Value::List(_));
    let written: Vec<Cursor<'_>> = lists.iter().filter_map(|key| fields.get(key)).collect();
    if written.is_empty() {
        at.error_hint(
            "the rule has none of `ingress`, `egress`, `ingressDeny`, `egressDeny`",
            "write `ingress: [{}]` to deny everything that no other rule allows",
        );
        return;
    }
    let all_empty = written.iter().all(|at| is_list(at) && len(at) == 0);
    let switches = ["ingress", "egress"].iter().any(|key| fields.get(key).is_some());
    if all_empty && (at.context.options.empty_list == EmptyList::Nothing || !switches) {
        at.error_hint(
            "every list of the rule is empty",
            "write `ingress: [{}]` to deny everything that no other rule allows",
        );
    }
}

/// The effect of a rule on the default of a direction.
fn default_deny(fields: &Fields<'_>, key: &str, no_entries: bool, wanted: Option<bool>) -> DefaultDeny {
    let list = fields.get(key);
    if !no_entries {
        return if wanted == Some(false) { DefaultDeny::Off } else { DefaultDeny::On };
    }
    if let Some(at) =
        list.filter(|at| matches!(&at.node.value, crate::yaml::Value::List(items) if items.is_empty()))
    {
        return match at.context.options.empty_list {
            EmptyList::Deny if wanted != Some(false) => {
                at.warn_hint(
                    format!("an empty list puts {key} into default deny here; Cilium ignores or rejects it"),
                    format!("write `{key}: [{{}}]`, which means that in both"),
                );
                DefaultDeny::On
            }
            EmptyList::Nothing => {
                at.warn_hint(
                    format!("an empty list says nothing about {key}"),
                    format!("write `{key}: [{{}}]` to put it into default deny"),
                );
                DefaultDeny::Untouched
            }
            EmptyList::Deny => DefaultDeny::Untouched,
        };
    }
    if wanted == Some(true) {
        fields.at.warn_hint(
            format!("`enableDefaultDeny.{key}: true` has no effect without an element under `{key}`"),
            format!("write `{key}: [{{}}]`"),
        );
    }
    DefaultDeny::Untouched
}

/// The entries of a direction: allows, then denies.
fn direction(
    fields: &Fields<'_>,
    direction: Direction,
    scope: &Scope<'_>,
    shared: &Policies<'_>,
    host: bool,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for deny in [false, true] {
        let key = match (direction, deny) {
            (Direction::Ingress, false) => "ingress",
            (Direction::Ingress, true) => "ingressDeny",
            (Direction::Egress, false) => "egress",
            (Direction::Egress, true) => "egressDeny",
        };
        let place = Place { direction, host, deny, deny_conditions: shared.deny_conditions };
        for at in fields.items(key) {
            element(&at, place, scope, &mut entries);
        }
    }
    entries
}

fn element(at: &Cursor<'_>, place: Place, scope: &Scope<'_>, entries: &mut Vec<Entry>) {
    let known = match (place.direction, place.deny, place.deny_conditions) {
        (Direction::Ingress, false, _) => INGRESS,
        (Direction::Ingress, true, _) => INGRESS_DENY,
        (Direction::Egress, false, _) | (Direction::Egress, true, true) => EGRESS,
        (Direction::Egress, true, false) => EGRESS_DENY,
    };
    let Some(fields) = at.fields(known) else { return };
    let (has_ports, elements) = ports::read(&fields, place);
    let read = peers::read(&fields, place.direction, scope, has_ports);
    let mut unsupported = read.unsupported;
    if let Some(at) = fields.get_some("authentication") {
        if place.deny {
            at.error("`authentication` has no meaning in a deny rule");
        }
        if authentication(&at) {
            at.warn(format!("{AUTHENTICATION}: what this rule would allow is denied"));
            unsupported = Some(AUTHENTICATION);
        }
    }
    for element in elements {
        entries.push(Entry {
            peers: read.peers.clone(),
            ports: element.ports,
            l7: element.l7,
            server_names: element.server_names,
            deny: place.deny,
            unsupported: unsupported.or(element.unsupported),
            line: at.line(),
        });
    }
}

/// Whether authentication is asked for.
fn authentication(at: &Cursor<'_>) -> bool {
    let mode = at.fields(&["mode"]).and_then(|fields| fields.need("mode"));
    mode.and_then(|at| at.word(&["disabled", "required", "test-always-fail"]))
        .is_none_or(|mode| &*mode != "disabled")
}

fn rule_labels(fields: &Fields<'_>) -> Vec<Label> {
    let mut labels = Vec::new();
    for at in fields.get_some("labels").and_then(|at| at.items()).unwrap_or_default() {
        let Some(item) = at.fields(&["key", "value", "source"]) else { continue };
        let Some(key) = item.need("key").and_then(|at| at.string()) else { continue };
        let source = item.string("source").filter(|text| !text.is_empty());
        let source = source.map_or(Source::Unspec, |text| Source::parse(&text));
        labels.push(Label::new(source, key, item.string("value").unwrap_or_default()));
    }
    labels
}

fn log(fields: &Fields<'_>) -> Option<Arc<str>> {
    let value = fields.get_some("log")?.fields(&["value"])?.get("value")?;
    let text = value.string()?;
    if text.chars().count() > MAX_LOG {
        value.error(format!("longer than {MAX_LOG} characters"));
    } else if text.chars().any(char::is_control) {
        value.error("holds characters that cannot be printed");
    }
    Some(text)
}

const INGRESS: &[&str] = &[
    "fromEndpoints",
    "fromRequires",
    "fromCIDR",
    "fromCIDRSet",
    "fromEntities",
    "fromNodes",
    "fromGroups",
    "toPorts",
    "icmps",
    "authentication",
];
const INGRESS_DENY: &[&str] = &[
    "fromEndpoints",
    "fromRequires",
    "fromCIDR",
    "fromCIDRSet",
    "fromEntities",
    "fromNodes",
    "fromGroups",
    "toPorts",
    "icmps",
];
const EGRESS: &[&str] = &[
    "toEndpoints",
    "toRequires",
    "toCIDR",
    "toCIDRSet",
    "toEntities",
    "toNodes",
    "toGroups",
    "toServices",
    "toFQDNs",
    "toPorts",
    "icmps",
    "authentication",
];
const EGRESS_DENY: &[&str] = &[
    "toEndpoints",
    "toRequires",
    "toCIDR",
    "toCIDRSet",
    "toEntities",
    "toNodes",
    "toGroups",
    "toServices",
    "toPorts",
    "icmps",
];
