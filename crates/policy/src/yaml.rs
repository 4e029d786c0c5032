//! Strict YAML and JSON: text to a tree in which every node knows its line and column.
//!
//! Each document of a file is parsed on its own, so that a mistake in one does not hide the others. Duplicate keys
//! are refused at every level. Aliases share nodes instead of copying them and are counted at their expanded size,
//! so a few lines cannot stand for a billion nodes; size and nesting are bounded.
//!
//! Plain scalars are resolved as the reader behind `kubectl` does (`yes` is a boolean, `010` is eight), because a
//! document must not mean something else here.

mod scalar;
mod split;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

pub(crate) use split::split;

/// Largest expanded number of nodes in one document: a policy of 10,000 CIDRs has 20,000.
pub(crate) const MAX_NODES: usize = 500_000;
/// Deepest nesting: the deepest policy field is at 14.
const MAX_DEPTH: usize = 64;

/// A node and where it starts.
#[derive(Debug)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) line: u32,
    /// From 1.
    pub(crate) column: u32,
    pub(crate) value: Value,
    /// Nodes below and including this one, aliases expanded.
    weight: usize,
    /// Levels below and including this one.
    depth: usize,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is no 64-bit integer.
    Float,
    String(Arc<str>),
    List(Vec<Rc<Node>>),
    Map(Vec<(Key, Rc<Node>)>),
}

/// A mapping's key and where it starts.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) text: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Text that cannot be read as a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
}

impl Node {
    /// The value under a key, if this is a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Self>> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| &*k.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// What kind of value this is, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads one document whose first line is line `first_line` of its file. `None` for an empty one.
pub(crate) fn parse(text: &str, first_line: u32) -> Result<Option<Rc<Node>>, SyntaxError> {
    Builder { parser: Parser::new_from_str(text), first_line, anchors: HashMap::new(), nodes: 0 }.document()
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    first_line: u32,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
}

/// A collection whose end has not been seen.
struct Open {
    line: u32,
    column: u32,
    anchor: usize,
    weight: usize,
    depth: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<(Key, Rc<Node>)>, seen: HashSet<Arc<str>>, key: Option<Key> },
}

impl<'a> Builder<'a> {
    fn document(mut self) -> Result<Option<Rc<Node>>, SyntaxError> {
        let mut stack: Vec<Open> = Vec::new();
        let mut root = None;
        while let Some(next) = self.parser.next_event() {
            let (event, span) = next.map_err(|error| SyntaxError {
                line: self.line(error.marker().line()),
                column: column(error.marker().col()),
                message: format!("not valid YAML: {}", error.info()),
            })?;
            let (line, column) = self.place(&span);
            let fail = |message: String| SyntaxError { line, column, message };
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                return Err(fail(format!("more than {MAX_NODES} values in one document")));
            }
            let (node, anchor) = match event {
                Event::SequenceStart(anchor, ..) | Event::MappingStart(anchor, ..) => {
                    if stack.len() >= MAX_DEPTH {
                        return Err(fail(format!("nested deeper than {MAX_DEPTH} levels")));
                    }
                    let kind = match event {
                        Event::SequenceStart(..) => OpenKind::List(Vec::new()),
                        _ => OpenKind::Map { entries: Vec::new(), seen: HashSet::new(), key: None },
                    };
                    stack.push(Open { line, column, anchor, weight: 1, depth: 1, kind });
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(open) = stack.pop() else { continue };
                    let anchor = open.anchor;
                    (Rc::new(open.close()), anchor)
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let tag = tag.as_deref().map(|tag| (tag.is_yaml_core_schema(), &*tag.suffix));
                    let value = scalar::resolve(&text, style == ScalarStyle::Plain, tag).map_err(&fail)?;
                    let node = Node { line, column, value, weight: 1, depth: 1 };
                    (Rc::new(node), anchor)
                }
                Event::Alias(anchor) => match self.anchors.get(&anchor) {
                    Some(node) => (Rc::clone(node), 0),
                    None => return Err(fail("an alias inside its own anchor".to_owned())),
                },
                _ => continue,
            };
            if anchor != 0 {
                self.anchors.insert(anchor, Rc::clone(&node));
            }
            match stack.last_mut() {
                None => root = Some(node),
                Some(open) => open.add(node, line, column)?,
            }
        }
        Ok(root.filter(|node| !matches!(node.value, Value::Null)))
    }

    fn line(&self, line: usize) -> u32 {
        self.first_line.saturating_add(u32::try_from(line.saturating_sub(1)).unwrap_or(u32::MAX))
    }

    fn place(&self, span: &Span) -> (u32, u32) {
        (self.line(span.start.line()), column(span.start.col()))
    }
}

impl Open {
    /// Puts a finished node into the collection: an item, a key, or a key's value. `line` and `column` are where it
    /// is written, which for an alias is not where the node is.
    fn add(&mut self, node: Rc<Node>, line: u32, column: u32) -> Result<(), SyntaxError> {
        let fail = |message: String| SyntaxError { line, column, message };
        self.weight = self.weight.saturating_add(node.weight);
        self.depth = self.depth.max(node.depth + 1);
        if self.weight > MAX_NODES {
            return Err(fail(format!("aliases expand to more than {MAX_NODES} values")));
        }
        if self.depth > MAX_DEPTH {
            return Err(fail(format!("aliases nest deeper than {MAX_DEPTH} levels")));
        }
        match &mut self.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, seen, key } => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Value::String(text) = &node.value else {
                        return Err(fail(format!(
                            "a key must be a string, this is {}: put it in quotes",
                            node.kind()
                        )));
                    };
                    if &**text == "<<" {
                        return Err(fail(
                            "merge keys (<<) are not supported: write the fields out".to_owned(),
                        ));
                    }
                    if !seen.insert(Arc::clone(text)) {
                        return Err(fail(format!("duplicate key `{text}`: it is written above already")));
                    }
                    *key = Some(Key { text: Arc::clone(text), line, column });
                }
            },
        }
        Ok(())
    }

    fn close(self) -> Node {
        Node {
            line: self.line,
            column: self.column,
            value: match self.kind {
                OpenKind::List(items) => Value::List(items),
                OpenKind::Map { entries, .. } => Value::Map(entries),
            },
            weight: self.weight,
            depth: self.depth,
        }
    }
}

fn column(zero_based: usize) -> u32 {
    u32::try_from(zero_based).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests;
