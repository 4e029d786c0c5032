//! Documents: text to rules.
//!
//! Owns what users write: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup and NetworkPolicy, in
//! YAML or JSON, several to a file, and inventory files. Everything is checked here, once; what comes out are
//! [`Policy`] values that need no further checking. A document is accepted whole or not at all, and every mistake in
//! it is reported with its line, its path and, where it can be guessed, what to write instead.

mod cidr_group;
mod cilium;
mod cursor;
mod diagnostic;
mod inventory;
mod kubernetes;
pub(crate) mod l7;
mod metadata;
mod peers;
mod ports;
mod selectors;

use std::rc::Rc;
use std::sync::Arc;

use crate::rule::{CidrGroup, Policy, Subject};
use crate::selector::Selector;
use crate::yaml::{self, Node};

pub use ::l7::kafka::api_key as kafka_api_key;
pub(crate) use cursor::{Context, Cursor, Fields};
pub use diagnostic::{Diagnostic, Severity};
pub use inventory::load_inventory;

/// Largest file read, in bytes; a larger one is refused before it is looked at. A policy takes about 1 KiB.
pub const MAX_FILE_BYTES: usize = 8 << 20;

/// The kinds that are read, for a guess at what a misspelt one should be.
const KINDS: [&str; 4] =
    ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "CiliumCIDRGroup", "NetworkPolicy"];

/// How documents are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What an explicit empty list (`ingress: []`) means.
    pub empty_list: EmptyList,
    /// If named, peer selectors without a cluster label are limited to this cluster.
    pub cluster: Option<Arc<str>>,
    /// Largest file, in bytes.
    pub max_file_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { empty_list: EmptyList::Deny, cluster: None, max_file_bytes: MAX_FILE_BYTES }
    }
}

/// What `ingress: []` and `egress: []` mean.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum EmptyList {
    /// The direction is put into default deny, as those who write it mean.
    #[default]
    Deny,
    /// Nothing, as in Cilium; a rule with nothing but empty lists is invalid.
    Nothing,
}

/// What became of the documents of a file.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Accepted policies, in order of writing.
    pub policies: Vec<Policy>,
    /// Accepted CIDR groups, in order of writing.
    pub cidr_groups: Vec<CidrGroup>,
    /// One status for each document, in order of writing.
    pub documents: Vec<DocumentStatus>,
}

impl Loaded {
    /// Every finding, in order of writing.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.documents.iter().flat_map(|document| &document.diagnostics)
    }

    /// Whether no document was rejected.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.documents.iter().all(|document| document.outcome != Outcome::Rejected)
    }
}

/// What became of one document.
#[derive(Clone, PartialEq, Debug)]
pub struct DocumentStatus {
    /// Position in the file, from 0; the items of a list count one by one.
    pub index: usize,
    /// Line on which it starts, from 1.
    pub line: u32,
    /// Its `kind`, as written.
    pub kind: String,
    /// Its namespace; empty for kinds without one.
    pub namespace: String,
    /// Its name, as written.
    pub name: String,
    /// Accepted, rejected, or none of ours.
    pub outcome: Outcome,
    /// Findings, errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// For a rejected policy, whom it selects or, where that cannot be told, may select.
    pub may_select: Vec<Subject>,
}

impl DocumentStatus {
    /// Whether the document is in force.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.outcome == Outcome::Accepted
    }

    /// The first error.
    #[must_use]
    pub fn error(&self) -> Option<&Diagnostic> {
        self.diagnostics.iter().find(|found| found.severity == Severity::Error)
    }
}

/// What became of a document.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is in force.
    Accepted,
    /// It is a policy or CIDR group, and invalid.
    Rejected,
    /// It is something else, which is no mistake.
    NotAPolicy,
}

/// Reads the documents of a file.
#[must_use]
pub fn load(text: &str, file: &str, options: &Options) -> Loaded {
    let file: Arc<str> = file.into();
    let mut loader = Loader { file: &file, options, loaded: Loaded::default() };
    if text.len() > options.max_file_bytes {
        let message =
            format!("the file has {} bytes; at most {} are read", text.len(), options.max_file_bytes);
        loader.unreadable(1, 1, message);
        return loader.loaded;
    }
    for (line, text) in yaml::split(text) {
        match yaml::parse(text, line) {
            Ok(Some(node)) => loader.document(&node),
            Ok(None) => {}
            Err(error) => loader.unreadable(error.line, error.column, error.message),
        }
    }
    loader.loaded
}

/// What a document's reader answers: what it holds, if it is valid, and whom it is about, valid or not.
pub(crate) enum Body {
    Policy(Policy),
    CidrGroup(CidrGroup),
    Invalid(Vec<Subject>),
}

struct Loader<'a> {
    file: &'a Arc<str>,
    options: &'a Options,
    loaded: Loaded,
}

impl Loader<'_> {
    /// Records a document that is no YAML; nobody knows whom it was to select.
    fn unreadable(&mut self, line: u32, column: u32, message: String) {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            file: Arc::clone(self.file),
            line,
            column,
            path: String::new(),
            message,
            suggestion: None,
        };
        self.loaded.documents.push(DocumentStatus {
            index: self.loaded.documents.len(),
            line,
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
            outcome: Outcome::Rejected,
            diagnostics: vec![diagnostic],
            may_select: anybody(),
        });
    }

    fn document(&mut self, node: &Rc<Node>) {
        let kind = metadata::text(node, "kind");
        let items = node.get("items").map(|items| &items.value);
        match (items, kind.strip_suffix("List")) {
            (Some(yaml::Value::List(items)), Some(kind)) if kind.is_empty() || KINDS.contains(&kind) => {
                for item in items {
                    self.object(item, kind);
                }
            }
            _ => self.object(node, ""),
        }
    }

    /// Reads one object; `list_kind` is the kind that a typed list implies for items that do not say.
    fn object(&mut self, node: &Rc<Node>, list_kind: &str) {
        let context = Context::new(self.file, self.options);
        let root = Cursor::root(&context, node);
        let written = metadata::text(node, "kind");
        let kind = if written.is_empty() { list_kind } else { &written };
        let api = metadata::text(node, "apiVersion");
        let body = match (kind, api.as_str()) {
            ("CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy", "cilium.io/v2") => {
                Some(cilium::policy(&root, kind == "CiliumNetworkPolicy"))
            }
            ("CiliumCIDRGroup", "cilium.io/v2" | "cilium.io/v2alpha1") => Some(cidr_group::group(&root)),
            ("NetworkPolicy", "networking.k8s.io/v1") => Some(kubernetes::policy(&root)),
            _ => unknown_kind(&root, kind, &api),
        };
        let mut status = DocumentStatus {
            index: self.loaded.documents.len(),
            line: node.line,
            kind: kind.to_owned(),
            namespace: metadata::namespace_of(node, kind),
            name: node.get("metadata").map(|at| metadata::text(at, "name")).unwrap_or_default(),
            outcome: Outcome::Accepted,
            diagnostics: Vec::new(),
            may_select: Vec::new(),
        };
        match body {
            None => status.outcome = Outcome::NotAPolicy,
            Some(Body::Policy(policy)) if !context.failed() => self.loaded.policies.push(policy),
            Some(Body::CidrGroup(group)) if !context.failed() => self.loaded.cidr_groups.push(group),
            Some(body) => {
                status.outcome = Outcome::Rejected;
                status.may_select = match body {
                    Body::Policy(policy) => policy.rules.into_iter().map(|rule| rule.subject).collect(),
                    Body::Invalid(subjects) => subjects,
                    Body::CidrGroup(_) => Vec::new(),
                };
            }
        }
        status.diagnostics = context.diagnostics.into_inner();
        status.diagnostics.sort_by_key(|found| (found.line, found.column));
        self.loaded.documents.push(status);
    }
}

/// What a document of no known kind and version is: not ours (`None`), or one of ours with a mistake in its head.
fn unknown_kind(root: &Cursor<'_>, kind: &str, api: &str) -> Option<Body> {
    if root.mapping().is_none() {
        return Some(Body::Invalid(anybody()));
    }
    if kind.is_empty() {
        root.error_hint("`kind` is missing", "write `kind: CiliumNetworkPolicy`, for example");
        return Some(Body::Invalid(anybody()));
    }
    let wanted = match kind {
        "NetworkPolicy"
            if api.is_empty() || api.ends_with("/v1beta1") || api.starts_with("networking.k8s.io/") =>
        {
            "networking.k8s.io/v1"
        }
        "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" | "CiliumCIDRGroup" => "cilium.io/v2",
        _ => {
            if let Some(near) = crate::suggest::closest(kind, &KINDS).filter(|near| *near != kind) {
                root.warn_hint(
                    format!("`{kind}` is not a policy, the document is ignored"),
                    format!("did you mean `{near}`?"),
                );
            }
            return None;
        }
    };
    let message = if api.is_empty() {
        "`apiVersion` is missing".to_owned()
    } else {
        format!("apiVersion `{api}` is not supported")
    };
    root.error_hint(message, format!("write `apiVersion: {wanted}`"));
    Some(Body::Invalid(anybody()))
}

/// Everything a policy can select.
pub(crate) fn anybody() -> Vec<Subject> {
    vec![Subject::Endpoint(Selector::all()), Subject::Node(Selector::all())]
}

#[cfg(test)]
mod tests;
