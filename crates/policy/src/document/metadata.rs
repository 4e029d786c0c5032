//! The head of an object: names, labels, and the annotations that mean something here.

use std::rc::Rc;
use std::sync::Arc;

use super::{Cursor, Fields};
use crate::label::{Label, Source};
use crate::validate;
use crate::yaml::{Node, Value};

/// Namespace of an object that names none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";
/// Annotation: what the policy would deny is let through and reported.
const AUDIT: &str = "sluice.io/audit";
/// Annotation: comma-separated extensions that the policy uses and Cilium does not have.
const EXTENSIONS: &str = "sluice.io/extensions";
/// Extension: deny rules may carry application rules, server names and `toFQDNs`.
const DENY_CONDITIONS: &str = "deny-conditions";

const FIELDS: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What the head of an object says.
#[derive(Default)]
pub(crate) struct Metadata {
    pub(crate) name: Arc<str>,
    /// Empty if not written.
    pub(crate) namespace: Arc<str>,
    pub(crate) labels: Vec<Label>,
    pub(crate) audit: bool,
    pub(crate) deny_conditions: bool,
}

/// Reads `metadata`; labels get this source.
pub(crate) fn read(object: &Fields<'_>, source: &Source) -> Metadata {
    let mut metadata = Metadata::default();
    let Some(fields) = object.need("metadata").and_then(|at| at.fields(FIELDS)) else {
        return metadata;
    };
    if let Some(name) = fields.need("name")
        && let Some(text) = name.string()
    {
        if text.is_empty() {
            name.error("the name is empty");
        } else if !validate::subdomain(&text) {
            name.warn(format!(
                "`{text}` is not a lower-case DNS name: a Kubernetes API server would refuse it"
            ));
        }
        metadata.name = text;
    }
    if let Some(namespace) = fields.get_some("namespace").and_then(|at| at.string()) {
        metadata.namespace = namespace;
    }
    for (key, value) in strings(&fields, "labels") {
        metadata.labels.push(Label::new(source.clone(), key, value));
    }
    if let Some(at) = fields.get_some("annotations") {
        for (key, value) in strings(&fields, "annotations") {
            annotation(&at, &key, &value, &mut metadata);
        }
    }
    metadata
}

fn annotation(at: &Cursor<'_>, key: &str, value: &str, metadata: &mut Metadata) {
    match key {
        AUDIT => match value {
            "true" => metadata.audit = true,
            "false" => {}
            _ => at.error(format!("annotation {AUDIT} must be \"true\" or \"false\"")),
        },
        EXTENSIONS => {
            for extension in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                if extension == DENY_CONDITIONS {
                    metadata.deny_conditions = true;
                } else {
                    at.error_hint(
                        format!("unknown extension `{extension}`"),
                        format!("there is `{DENY_CONDITIONS}`"),
                    );
                }
            }
        }
        _ if key.starts_with("sluice.io/") => {
            at.warn_hint(
                format!("unknown annotation `{key}`"),
                format!("there are {AUDIT} and {EXTENSIONS}"),
            );
        }
        _ => {}
    }
}

/// A mapping of strings to strings, if it is written.
pub(crate) fn strings(fields: &Fields<'_>, key: &str) -> Vec<(Arc<str>, Arc<str>)> {
    let Some(at) = fields.get_some(key) else { return Vec::new() };
    let entries = at.mapping().unwrap_or_default();
    entries
        .iter()
        .filter_map(|(key, node)| Some((Arc::clone(&key.text), at.child(&key.text, node).string()?)))
        .collect()
}

/// The text of a field that is looked at before the object is read.
pub(crate) fn text(node: &Node, key: &str) -> String {
    match node.get(key).map(|node| &node.value) {
        Some(Value::String(text)) => text.to_string(),
        _ => String::new(),
    }
}

/// The namespace that an object of this kind is in.
pub(crate) fn namespace_of(node: &Rc<Node>, kind: &str) -> String {
    if !matches!(kind, "CiliumNetworkPolicy" | "NetworkPolicy") {
        return String::new();
    }
    let written = node.get("metadata").map(|at| text(at, "namespace")).unwrap_or_default();
    if written.is_empty() { DEFAULT_NAMESPACE.to_owned() } else { written }
}
