//! Field masks: which fields of a record are wanted, as protobuf's `FieldMask` has it.

mod picked;

use crate::record::Record;
use crate::schema::{FLOW, Shape, field};
use picked::Picked;
use serde::Serialize;

/// Most paths, far above the number of fields.
const MAX_PATHS: usize = 256;

/// Fields to keep.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldMask {
    root: Node,
}

/// Wanted fields of one message; none means all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Node(Vec<(String, Node)>);

/// A path that names no field.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MaskError {
    /// The field is not there.
    #[error("field mask: a flow has no field {path:?}; the nearest it has is {nearest:?}")]
    Unknown {
        /// The path as given.
        path: String,
        /// As far as it exists.
        nearest: String,
    },
    /// More than there are fields.
    #[error("field mask: more than {MAX_PATHS} paths")]
    TooMany,
}

impl FieldMask {
    /// Reads paths such as `source.pod_name`; a path to a message keeps all of it.
    ///
    /// # Errors
    ///
    /// A path that names no field of a flow.
    pub fn new<S: AsRef<str>>(paths: impl IntoIterator<Item = S>) -> Result<Self, MaskError> {
        let mut mask = Self::default();
        for (count, path) in paths.into_iter().enumerate() {
            if count == MAX_PATHS {
                return Err(MaskError::TooMany);
            }
            check(path.as_ref())?;
            mask.root.add(path.as_ref());
        }
        Ok(mask)
    }

    /// Whether everything is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.0.is_empty()
    }

    /// The record with nothing but the wanted fields, in the order in which a record has them.
    #[must_use]
    pub fn apply<'a>(&'a self, record: &'a Record) -> impl Serialize + 'a {
        Picked { node: &self.root, value: record }
    }
}

impl Node {
    fn add(&mut self, path: &str) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let at = self.0.iter().position(|(known, _)| known == name);
        match (at.and_then(|at| self.0.get_mut(at)), rest) {
            (Some((_, node)), None) => node.0.clear(),
            // All of it is wanted already.
            (Some((_, node)), Some(_)) if node.0.is_empty() => {}
            (Some((_, node)), Some(rest)) => node.add(rest),
            (None, rest) => {
                let mut node = Self::default();
                if let Some(rest) = rest {
                    node.add(rest);
                }
                self.0.push((name.to_owned(), node));
            }
        }
    }

    fn get(&self, name: &str) -> Option<&Self> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }
}

fn check(path: &str) -> Result<(), MaskError> {
    let mut fields = FLOW;
    let mut known: Vec<&str> = Vec::new();
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let unknown = || MaskError::Unknown { path: path.to_owned(), nearest: known.join(".") };
        let shape = field(fields, part).ok_or_else(unknown)?;
        known.push(part);
        fields = match shape {
            Shape::Message(inner) => inner,
            // What is ours has no table.
            Shape::Open => return Ok(()),
            Shape::Value | Shape::List(_) if parts.peek().is_none() => return Ok(()),
            Shape::Value | Shape::List(_) => {
                return Err(MaskError::Unknown { path: path.to_owned(), nearest: known.join(".") });
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Names, event};

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("JSON")
    }

    #[test]
    fn keeps_what_is_named_and_nothing_else() {
        let record = Record::from_event(&event(), &Names, 1);
        let masked = |paths: &[&str]| json(&FieldMask::new(paths).expect("paths").apply(&record));
        assert_eq!(
            masked(&["verdict", "source.pod_name", "l4.TCP.flags.SYN", "extensions.epoch", "auth_type"]),
            concat!(
                r#"{"verdict":"FORWARDED","l4":{"TCP":{"flags":{"SYN":true}}},"#,
                r#""source":{"pod_name":"frontend"},"extensions":{"epoch":"7"}}"#
            )
        );
        assert_eq!(
            masked(&["l4.UDP.source_port"]),
            r#"{"l4":{}}"#,
            "the message is there, of another protocol"
        );
        assert_eq!(masked(&["tunnel", "l7.http.url"]), "{}");
        assert_eq!(masked(&[]), json(&record));
        let source = format!("{{\"source\":{}}}", json(&record.source));
        assert_eq!(masked(&["source", "source.identity"]), source, "the wider path wins");
        assert_eq!(masked(&["source.identity", "source"]), source, "in any order");
    }

    #[test]
    fn refuses_what_no_flow_has() {
        let nearest = |path: &str| match FieldMask::new([path]) {
            Err(MaskError::Unknown { nearest, .. }) => nearest,
            other => panic!("{path}: {other:?}"),
        };
        for (path, expected) in [
            ("surprise", ""),
            ("source.podname", "source"),
            ("verdict.x", "verdict"),
            ("source.workloads.name", "source.workloads"),
            ("l4.TCP.flags.syn", "l4.TCP.flags"),
            ("", ""),
        ] {
            assert_eq!(nearest(path), expected, "{path}");
        }
        assert_eq!(FieldMask::new(vec!["verdict"; MAX_PATHS + 1]), Err(MaskError::TooMany));
    }
}
