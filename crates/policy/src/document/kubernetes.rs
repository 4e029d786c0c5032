//! NetworkPolicy of `networking.k8s.io`, read as Cilium converts it.
//!
//! Where Kubernetes and Cilium disagree Cilium is followed: rules under a direction that `policyTypes` does not
//! name are enforced all the same.

use std::sync::Arc;

use super::cilium::whole_namespace;
use super::metadata::{self, DEFAULT_NAMESPACE};
use super::selectors::{self, Keys};
use super::{Body, Cursor, Fields, anybody, peers, ports};
use crate::Direction;
use crate::label::Source;
use crate::rule::{
    DefaultDeny, Entry, Peer, Peers, Policy, PolicyKind, Port, PortRule, Ports, Protocol, Rule, Subject,
};
use crate::selector::Selector;
use crate::yaml::Value;

/// Reads a policy.
pub(crate) fn policy(root: &Cursor<'_>) -> Body {
    let Some(object) = root.fields(&["apiVersion", "kind", "metadata", "spec", "status"]) else {
        return Body::Invalid(anybody());
    };
    let metadata = metadata::read(&object, &Source::K8s);
    let namespace: Arc<str> = if metadata.namespace.is_empty() {
        DEFAULT_NAMESPACE.into()
    } else {
        Arc::clone(&metadata.namespace)
    };
    let rule = object.need("spec").and_then(|spec| rule(&spec, &namespace));
    match rule {
        Some(rule) => Body::Policy(Policy {
            kind: PolicyKind::Kubernetes,
            namespace,
            name: metadata.name,
            file: Arc::clone(root.context.file),
            line: root.line(),
            labels: metadata.labels,
            audit: metadata.audit,
            rules: vec![rule],
        }),
        None => Body::Invalid(vec![whole_namespace(&namespace)]),
    }
}

fn rule(at: &Cursor<'_>, namespace: &str) -> Option<Rule> {
    let fields = at.fields(&["podSelector", "policyTypes", "ingress", "egress"])?;
    let written = match fields.get_some("podSelector") {
        Some(at) => selectors::read(&at, Keys::Pod)?,
        None => {
            at.warn_hint(
                "no `podSelector`: every pod of the namespace is selected",
                "write `podSelector: {}`",
            );
            selectors::Written::default()
        }
    };
    let subject: Selector = selectors::subject(at, written, Some(namespace));
    let mut types = Vec::new();
    if let Some(list) = fields.get_some("policyTypes") {
        types = list.items()?.iter().filter_map(|at| at.word(&["Ingress", "Egress"])).collect();
    }
    let names = |word: &str| types.iter().any(|name| &**name == word);
    let read = |key: &str, direction| {
        let mut entries = Vec::new();
        let list = fields.get_some(key).and_then(|at| at.items()).unwrap_or_default();
        for at in &list {
            element(at, direction, namespace, &mut entries);
        }
        if !list.is_empty()
            && !types.is_empty()
            && !names(if key == "ingress" { "Ingress" } else { "Egress" })
        {
            fields.at.warn(format!("`policyTypes` does not name this direction, and the rules under `{key}` are enforced all the same"));
        }
        (entries, !list.is_empty())
    };
    let (ingress, has_ingress) = read("ingress", Direction::Ingress);
    let (egress, has_egress) = read("egress", Direction::Egress);
    let on = |condition| if condition { DefaultDeny::On } else { DefaultDeny::Untouched };
    Some(Rule {
        subject: Subject::Endpoint(subject),
        ingress_default: on(has_ingress || names("Ingress") || !names("Egress")),
        egress_default: on(has_egress || names("Egress")),
        ingress,
        egress,
        labels: Vec::new(),
        description: None,
        log: None,
        line: at.line(),
    })
}

fn element(at: &Cursor<'_>, direction: Direction, namespace: &str, entries: &mut Vec<Entry>) {
    let (key, known): (_, &[&str]) = match direction {
        Direction::Ingress => ("from", &["from", "ports"]),
        Direction::Egress => ("to", &["to", "ports"]),
    };
    let Some(fields) = at.fields(known) else { return };
    let list = fields.get_some(key).and_then(|at| at.items()).unwrap_or_default();
    let peers = if list.is_empty() {
        Peers::Any
    } else {
        peers::list(list.iter().filter_map(|at| peer(at, namespace)).collect())
    };
    let list = fields.get_some("ports").and_then(|at| at.items()).unwrap_or_default();
    let ports =
        if list.is_empty() { Ports::Any } else { Ports::List(list.iter().filter_map(port).collect()) };
    entries.push(Entry {
        peers,
        ports,
        l7: None,
        server_names: Vec::new(),
        deny: false,
        unsupported: None,
        line: at.line(),
    });
}

fn peer(at: &Cursor<'_>, namespace: &str) -> Option<Peer> {
    let fields = at.fields(&["podSelector", "namespaceSelector", "ipBlock"])?;
    let selects = fields.get_some("podSelector").is_some() || fields.get_some("namespaceSelector").is_some();
    match (fields.get_some("ipBlock"), selects) {
        (None, true) => selectors::kubernetes_peer(&fields, namespace).map(Peer::Endpoints),
        (Some(block), false) => {
            let fields: Fields<'_> = block.fields(&["cidr", "except"])?;
            peers::cidr_with_except(&fields, &fields.need("cidr")?)
        }
        (Some(_), true) => {
            at.error_hint("`ipBlock` cannot be combined with selectors", "write two elements");
            None
        }
        (None, false) => {
            at.error_hint("the peer is empty", "write `podSelector`, `namespaceSelector` or `ipBlock`");
            None
        }
    }
}

fn port(at: &Cursor<'_>) -> Option<PortRule> {
    let fields = at.fields(&["protocol", "port", "endPort"])?;
    let protocol = match fields.get_some("protocol") {
        None => Protocol::Tcp,
        Some(at) => match &*at.word(&["TCP", "UDP", "SCTP"])? {
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
    };
    let end = match fields.get_some("endPort") {
        Some(end) => Some(u16::try_from(end.integer(1, 65535)?).ok()?),
        None => None,
    };
    let Some(port_at) = fields.get_some("port") else {
        if end.is_some() {
            at.error("`endPort` needs `port`");
        }
        return Some(PortRule { protocol, port: Port::Any });
    };
    let port = match &port_at.node.value {
        Value::Int(_) => {
            let number = port_at.integer(0, 65535)?;
            ports::number_or_name(&port_at, &number.to_string(), end)?
        }
        _ => ports::number_or_name(&port_at, &port_at.string()?, end)?,
    };
    Some(PortRule { protocol, port })
}
