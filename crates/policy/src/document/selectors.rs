//! Label selectors: reading, checking, and the scopes that are added to them.

use std::sync::Arc;

use super::{Cursor, Fields};
use crate::label::{self, LabelKey, NAMESPACE, NAMESPACE_LABELS_PREFIX, Source};
use crate::selector::{Requirement, Selector};
use crate::validate;

/// Whose labels a selector's keys name.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// `source:key`, or a key of any source.
    Sourced,
    /// Kubernetes labels of a pod: source `k8s`.
    Pod,
    /// Kubernetes labels of a pod's namespace.
    Namespace,
}

/// A selector as written, before scoping.
#[derive(Default)]
pub(crate) struct Written {
    labels: Vec<Requirement>,
    expressions: Vec<Requirement>,
}

impl Written {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }

    pub(crate) fn requirements(self) -> impl Iterator<Item = Requirement> {
        self.labels.into_iter().chain(self.expressions)
    }

    fn any_key(&self, mut test: impl FnMut(&LabelKey) -> bool) -> bool {
        self.labels.iter().chain(&self.expressions).any(|requirement| test(&requirement.key))
    }

    /// Whether the selector names `reserved:init`, which has no namespace.
    pub(crate) fn names_init(&self) -> bool {
        self.any_key(|key| key.source == Source::Reserved && &*key.key == "init")
    }
}

/// What a policy adds to the selectors of its peers.
pub(crate) struct Scope<'a> {
    /// Namespace of the policy; `None` for clusterwide ones.
    pub(crate) namespace: Option<&'a str>,
    /// Whether the subject selects endpoints without labels.
    pub(crate) subject_is_init: bool,
}

/// Reads a selector.
pub(crate) fn read(at: &Cursor<'_>, keys: Keys) -> Option<Written> {
    let fields = at.fields(&["matchLabels", "matchExpressions"])?;
    let mut written = Written::default();
    let mut valid = true;
    if let Some(labels) = fields.get_some("matchLabels") {
        for (key, node) in labels.mapping()? {
            let value_at = labels.child(&key.text, node);
            let key = label_key(&value_at, &key.text, keys);
            let value = label_value(&value_at);
            match (key, value) {
                (Some(key), Some(value)) => written.labels.push(Requirement::equals(key, &value)),
                _ => valid = false,
            }
        }
    }
    if fields.get_some("matchExpressions").is_some() {
        for item in fields.get("matchExpressions").and_then(|at| at.items())? {
            match expression(&item, keys) {
                Some(requirement) => written.expressions.push(requirement),
                None => valid = false,
            }
        }
    }
    valid.then_some(written)
}

fn expression(at: &Cursor<'_>, keys: Keys) -> Option<Requirement> {
    let fields = at.fields(&["key", "operator", "values"])?;
    let key_at = fields.need("key")?;
    let key = label_key(&key_at, &key_at.string()?, keys)?;
    let operator_at = fields.need("operator")?;
    let operator = operator_at.word(&["In", "NotIn", "Exists", "DoesNotExist"])?;
    let mut values = Vec::new();
    if fields.get_some("values").is_some() {
        for value in fields.items("values") {
            values.push(label_value(&value)?);
        }
    }
    let values = values.iter().map(|value| &**value);
    let empty = values.len() == 0;
    Some(match &*operator {
        "In" | "NotIn" if empty => {
            at.error(format!("operator {operator} needs `values`"));
            return None;
        }
        "In" => Requirement::is_in(key, values),
        "NotIn" => Requirement::not_in(key, values),
        _ if !empty => {
            at.error_hint(
                format!("operator {operator} takes no `values`"),
                "remove them, or write `operator: In`",
            );
            return None;
        }
        "Exists" => Requirement::exists(key),
        _ => Requirement::does_not_exist(key),
    })
}

fn label_value(at: &Cursor<'_>) -> Option<Arc<str>> {
    let value = at.string()?;
    match validate::label_value(&value) {
        Ok(()) => Some(value),
        Err(message) => {
            at.error(message);
            None
        }
    }
}

/// A key of a selector. Cilium checks it in the form `source.key`, so that is what must be a qualified name.
fn label_key(at: &Cursor<'_>, text: &str, keys: Keys) -> Option<LabelKey> {
    let (key, checked) = match keys {
        Keys::Sourced => {
            let key = LabelKey::parse(text);
            let source = text.split_once(':').map_or("any", |(source, _)| source);
            let checked = format!("{source}.{}", key.key);
            (key, checked)
        }
        Keys::Pod => (LabelKey::new(Source::K8s, text), text.to_owned()),
        Keys::Namespace => {
            (LabelKey::new(Source::K8s, format!("{NAMESPACE_LABELS_PREFIX}{text}")), text.to_owned())
        }
    };
    match validate::qualified_name(&checked) {
        Ok(()) => Some(key),
        Err(message) => {
            at.error(format!("label key `{text}`: {message}"));
            None
        }
    }
}

/// The selector of a rule's subject. Namespaced policies only ever select in their namespace.
pub(crate) fn subject(at: &Cursor<'_>, mut written: Written, namespace: Option<&str>) -> Selector {
    let Some(namespace) = namespace else {
        return Selector::new(written.requirements());
    };
    let pinned = Requirement::equals(LabelKey::new(Source::K8s, NAMESPACE), namespace);
    let others = written.labels.len();
    written.labels.retain(|requirement| requirement.key != pinned.key || *requirement == pinned);
    if written.labels.len() < others {
        at.warn(format!(
            "a namespaced policy selects in its own namespace only: `{NAMESPACE}` is taken as `{namespace}`"
        ));
    }
    Selector::new(written.requirements().chain([pinned]))
}

/// The selector of a peer of a Cilium policy.
pub(crate) fn peer(at: &Cursor<'_>, written: Written, scope: &Scope<'_>) -> Selector {
    if written.any_key(|key| key.source == Source::Reserved) {
        return Selector::new(written.requirements());
    }
    let k8s_or_any = |key: &LabelKey| matches!(key.source, Source::K8s | Source::Any);
    let mut added = Vec::new();
    let scoped = written.any_key(|key| {
        k8s_or_any(key) && (&*key.key == NAMESPACE || key.key.starts_with(NAMESPACE_LABELS_PREFIX))
    });
    if !scoped {
        let key = LabelKey::new(Source::K8s, NAMESPACE);
        match scope.namespace {
            Some(namespace) => added.push(Requirement::equals(key, namespace)),
            None if scope.subject_is_init => {}
            None => added.push(Requirement::exists(key)),
        }
    }
    let clustered = written.any_key(|key| k8s_or_any(key) && &*key.key == label::CLUSTER);
    if let Some(cluster) = at.context.options.cluster.as_deref().filter(|_| !clustered) {
        added.push(Requirement::equals(LabelKey::new(Source::K8s, label::CLUSTER), cluster));
    }
    Selector::new(written.requirements().chain(added))
}

/// The selector of a peer of a Kubernetes policy: pods of chosen namespaces, or of the policy's own.
pub(crate) fn kubernetes_peer(fields: &Fields<'_>, namespace: &str) -> Option<Selector> {
    let mut requirements = Vec::new();
    match fields.get_some("namespaceSelector") {
        Some(at) => {
            let written = read(&at, Keys::Namespace)?;
            if written.is_empty() {
                requirements.push(Requirement::exists(LabelKey::new(Source::K8s, NAMESPACE)));
            }
            requirements.extend(written.requirements());
        }
        None => requirements.push(Requirement::equals(LabelKey::new(Source::K8s, NAMESPACE), namespace)),
    }
    if let Some(at) = fields.get_some("podSelector") {
        requirements.extend(read(&at, Keys::Pod)?.requirements());
    }
    if let Some(cluster) = fields.at.context.options.cluster.as_deref() {
        requirements.push(Requirement::equals(LabelKey::new(Source::K8s, label::CLUSTER), cluster));
    }
    Some(Selector::new(requirements))
}
