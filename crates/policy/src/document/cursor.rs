//! Typed reading of a document's tree: every step knows its path, every complaint its place.
//!
//! Readers return `None` after having reported; a document is accepted if nothing was reported as an error, so all
//! mistakes of a document are found in one run.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Diagnostic, Options, Severity};
use crate::suggest;
use crate::yaml::{Key, Node, Value};

/// Findings kept per document; more would not be read.
const MAX_DIAGNOSTICS: usize = 100;

/// What the readers of one document share.
pub(crate) struct Context<'a> {
    pub(crate) file: &'a Arc<str>,
    pub(crate) options: &'a Options,
    pub(crate) diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'a> Context<'a> {
    pub(crate) const fn new(file: &'a Arc<str>, options: &'a Options) -> Self {
        Self { file, options, diagnostics: RefCell::new(Vec::new()) }
    }

    pub(crate) fn failed(&self) -> bool {
        self.diagnostics.borrow().iter().any(|found| found.severity == Severity::Error)
    }

    fn report(&self, diagnostic: Diagnostic) {
        let mut diagnostics = self.diagnostics.borrow_mut();
        if diagnostics.len() < MAX_DIAGNOSTICS {
            diagnostics.push(diagnostic);
        } else if diagnostic.severity == Severity::Error
            && diagnostics.iter().all(|kept| kept.severity == Severity::Warning)
        {
            // An error must survive a flood of warnings, or the document would be accepted.
            diagnostics.pop();
            diagnostics.push(diagnostic);
        }
    }
}

/// A node, with its path.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) node: &'a Rc<Node>,
    pub(crate) path: Rc<str>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn root(context: &'a Context<'a>, node: &'a Rc<Node>) -> Self {
        Self { context, node, path: "".into() }
    }

    pub(crate) fn line(&self) -> u32 {
        self.node.line
    }

    /// Reports an error here.
    pub(crate) fn error(&self, message: impl Into<String>) {
        self.report(Severity::Error, message.into(), None);
    }

    /// Reports an error here, with what to write instead.
    pub(crate) fn error_hint(&self, message: impl Into<String>, suggestion: impl Into<String>) {
        self.report(Severity::Error, message.into(), Some(suggestion.into()));
    }

    /// Reports a warning here.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.report(Severity::Warning, message.into(), None);
    }

    /// Reports a warning here, with what to write instead.
    pub(crate) fn warn_hint(&self, message: impl Into<String>, suggestion: impl Into<String>) {
        self.report(Severity::Warning, message.into(), Some(suggestion.into()));
    }

    fn report(&self, severity: Severity, message: String, suggestion: Option<String>) {
        self.context.report(Diagnostic {
            severity,
            file: Arc::clone(self.context.file),
            line: self.node.line,
            column: self.node.column,
            path: self.path.to_string(),
            message,
            suggestion,
        });
    }

    /// The fields of a mapping, of which only `known` are admitted.
    pub(crate) fn fields(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        let entries = self.mapping()?;
        for (key, value) in entries {
            if !known.contains(&&*key.text) {
                self.unknown(key, value, known);
            }
        }
        Some(Fields { at: self.clone() })
    }

    /// The entries of a mapping.
    pub(crate) fn mapping(&self) -> Option<&'a [(Key, Rc<Node>)]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            Value::List(_) => {
                self.error_hint(
                    "expected a mapping, found a list",
                    "write the fields directly below, without a leading `- `",
                );
                None
            }
            _ => {
                self.error(format!("expected a mapping, found {}", self.node.kind()));
                None
            }
        }
    }

    fn unknown(&self, key: &Key, value: &Node, known: &[&str]) {
        let path = join(&self.path, &key.text);
        self.context.report(Diagnostic {
            severity: Severity::Error,
            file: Arc::clone(self.context.file),
            line: key.line,
            column: key.column,
            path,
            message: format!("unknown field `{}`", key.text),
            suggestion: suggest::field(&self.path, &key.text, value, known),
        });
    }

    /// The child under a key of this mapping.
    pub(crate) fn child(&self, key: &str, node: &'a Rc<Node>) -> Self {
        Self { context: self.context, node, path: join(&self.path, key).into() }
    }

    /// The items of a list. A mapping is reported, and read as the only item.
    pub(crate) fn items(&self) -> Option<Vec<Self>> {
        let Value::List(items) = &self.node.value else {
            let message = format!("expected a list, found {}", self.node.kind());
            match &self.node.value {
                Value::Null => self.error_hint(message, "write `[]` for an empty list, or remove the field"),
                Value::Map(_) => {
                    self.error_hint(message, "start each element with `- `");
                    // Most likely the one element was meant; it is read for its own mistakes.
                    return Some(vec![self.clone()]);
                }
                _ => self.error_hint(message, "put it in brackets: `[…]`"),
            }
            return None;
        };
        let item =
            |(i, node)| Self { context: self.context, node, path: format!("{}[{i}]", self.path).into() };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A string.
    pub(crate) fn string(&self) -> Option<Arc<str>> {
        match &self.node.value {
            Value::String(text) => return Some(Arc::clone(text)),
            Value::Int(value) => {
                let leaf = self.path.rsplit('.').next().unwrap_or("");
                let why = if leaf == "port" { ": the API takes a port as a string here" } else { "" };
                self.error_hint(
                    format!("expected a string, found the number {value}{why}"),
                    format!("write \"{value}\", in quotes"),
                );
            }
            Value::Bool(_) => self.error_hint(
                "expected a string, found a boolean: unquoted yes, no, on, off, y and n are booleans",
                "put it in quotes",
            ),
            Value::Float => self.error_hint("expected a string, found a number", "put it in quotes"),
            Value::Null => self.error_hint("expected a string, found nothing", "write \"\" for an empty one"),
            _ => self.error(format!("expected a string, found {}", self.node.kind())),
        }
        None
    }

    /// An integer in a range.
    pub(crate) fn integer(&self, min: i64, max: i64) -> Option<i64> {
        match &self.node.value {
            Value::Int(value) if (min..=max).contains(value) => Some(*value),
            Value::Int(value) => {
                self.error(format!("{value} is not between {min} and {max}"));
                None
            }
            Value::String(text) if text.parse::<i64>().is_ok() => {
                self.error_hint(
                    format!("expected a number, found the string \"{text}\""),
                    format!("write {text}, without quotes"),
                );
                None
            }
            _ => {
                self.error(format!("expected a number, found {}", self.node.kind()));
                None
            }
        }
    }

    /// A boolean.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            Value::String(text) if matches!(&**text, "true" | "false") => {
                self.error_hint(
                    format!("expected a boolean, found the string \"{text}\""),
                    format!("write {text}, without quotes"),
                );
                None
            }
            _ => {
                self.error(format!("expected a boolean, found {}", self.node.kind()));
                None
            }
        }
    }

    /// One of some words, in exactly this spelling.
    pub(crate) fn word(&self, admitted: &[&str]) -> Option<Arc<str>> {
        let text = self.string()?;
        if admitted.contains(&&*text) {
            return Some(text);
        }
        let message = format!("`{text}` is not one of {}", admitted.join(", "));
        match suggest::closest(&text, admitted) {
            Some(word) => self.error_hint(message, format!("write `{word}`")),
            None => self.error(message),
        }
        None
    }
}

/// The fields of a mapping.
pub(crate) struct Fields<'a> {
    pub(crate) at: Cursor<'a>,
}

impl<'a> Fields<'a> {
    /// The value of a field, if it is written.
    pub(crate) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        self.at.node.get(key).map(|node| self.at.child(key, node))
    }

    /// The value of a field, if it is written and not null.
    pub(crate) fn get_some(&self, key: &str) -> Option<Cursor<'a>> {
        self.get(key).filter(|at| !matches!(at.node.value, Value::Null))
    }

    /// The value of a field; its absence is an error.
    pub(crate) fn need(&self, key: &str) -> Option<Cursor<'a>> {
        let found = self.get_some(key);
        if found.is_none() {
            self.at.error(format!("`{key}` is missing"));
        }
        found
    }

    /// A string field.
    pub(crate) fn string(&self, key: &str) -> Option<Arc<str>> {
        self.get(key).and_then(|at| at.string())
    }

    /// The items of a list field; nothing if it is not written.
    pub(crate) fn items(&self, key: &str) -> Vec<Cursor<'a>> {
        self.get(key).and_then(|at| at.items()).unwrap_or_default()
    }
}

fn join(path: &str, key: &str) -> String {
    let key = if key.contains(['.', '/', ':', ' ']) { format!("\"{key}\"") } else { key.to_owned() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
