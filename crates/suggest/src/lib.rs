//! The least policy that allows what was seen, as CiliumNetworkPolicy YAML with its evidence.
//!
//! Flow records go in, from this node's log or from Hubble's; what went through becomes rules, workload by workload and
//! side by side: the egress of the source, the ingress of the destination. Replies never become rules, what default deny
//! refused only if asked for, what a deny rule refused never. Labels, paths and names in records come from the network:
//! memory is bounded, what no policy can hold is left out and noted, and what is written is escaped.
//!
//! ```
//! use flowlog::Record;
//!
//! let line = r#"{"verdict":"FORWARDED","is_reply":false,"event_type":{"type":4},
//!     "IP":{"source":"10.0.0.1","destination":"10.0.0.2"},"l4":{"TCP":{"source_port":40000,"destination_port":5432}},
//!     "source":{"identity":300,"labels":["k8s:app=api","k8s:io.kubernetes.pod.namespace=shop"]},
//!     "destination":{"identity":301,"labels":["k8s:app=db","k8s:io.kubernetes.pod.namespace=shop"]}}"#;
//! let record: Record = serde_json::from_str(line).expect("a record");
//! let suggestion = suggest::suggest([&record], &suggest::Options::default());
//! assert_eq!(suggestion.documents.len(), 2);
//! assert!(suggestion.to_yaml().contains("port: '5432'"));
//! ```

#![forbid(unsafe_code)]

mod build;
mod cidr;
mod document;
mod existing;
mod fact;
mod few;
mod http;
mod kafka;
mod names;
mod options;
mod path;
mod seen;
mod select;
mod who;

pub use document::Document;
pub use options::{Options, Subject, SubjectError};

use flowlog::Record;
use seen::Log;

/// What is suggested.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Suggestion {
    /// One policy a workload, by namespace and name.
    pub documents: Vec<Document>,
    /// What was left out or widened, for people.
    pub notes: Vec<String>,
}

/// Gathers records, and makes a suggestion of them at the end.
#[derive(Clone, Debug)]
pub struct Suggester {
    log: Log,
    options: Options,
}

impl Suggester {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { log: Log::new(options.include_denied, options.max_bytes), options }
    }

    /// Takes note of a record.
    pub fn observe(&mut self, record: &Record) {
        self.log.observe(record);
    }

    /// The policies for what was seen.
    #[must_use]
    pub fn finish(&self) -> Suggestion {
        let built = build::build(&self.log, &self.options);
        Suggestion { documents: built.documents, notes: built.notes }
    }
}

/// The least policies that allow what these records show.
#[must_use]
pub fn suggest<'a>(records: impl IntoIterator<Item = &'a Record>, options: &Options) -> Suggestion {
    let mut suggester = Suggester::new(options.clone());
    records.into_iter().for_each(|record| suggester.observe(record));
    suggester.finish()
}

/// What has to be added for one flow, refused or not. The policies add to what is in force and never switch on default
/// deny, so that nothing else breaks.
#[must_use]
pub fn for_flow(record: &Record) -> Suggestion {
    let options = Options { include_denied: true, add_only: true, ..Options::default() };
    suggest([record], &options)
}

impl Suggestion {
    /// The documents as one YAML file; empty if there are none.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let documents: Vec<String> = self.documents.iter().map(Document::to_yaml).collect();
        documents.join("---\n")
    }

    /// The documents as one `List` object, which both `kubectl` and the policy folder take.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"apiVersion": "v1", "kind": "List", "items": self.documents})
    }
}
