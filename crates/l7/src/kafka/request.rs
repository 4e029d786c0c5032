//! A request: its header, and the topics that its body names.

use super::ids::TopicIds;
use super::schema::{Api, Field, Role};
use super::table;
use super::walk::{Sink, walk};
use super::wire::{Fault, Reader};

/// What a judge is told of a topic without a name: no rule can name it, because of the parentheses.
const OPAQUE: &str = "(opaque)";
/// Type of a resource that is a topic (Kafka: `ConfigResource.Type`).
const RESOURCE_TOPIC: i64 = 2;
/// Topics of a request that are kept without reserving memory.
const INLINE: usize = 8;

/// The header that all requests begin with.
#[derive(Copy, Clone, Debug)]
pub(super) struct Header<'a> {
    pub(super) correlation_id: i32,
    pub(super) client_id: &'a str,
}

impl<'a> Header<'a> {
    /// Reads what follows key and version. Version 0 of the header has no client id, version 2 has tagged fields.
    pub(super) fn read(
        key: i16,
        version: i16,
        flexible: bool,
        reader: &mut Reader<'a>,
    ) -> Result<Self, Fault> {
        let correlation_id = reader.int32()?;
        let client_id = if key == table::CONTROLLED_SHUTDOWN && version == 0 {
            ""
        } else {
            reader.text(false)?.unwrap_or_default()
        };
        if flexible {
            reader.tags()?;
        }
        Ok(Self { correlation_id, client_id })
    }
}

/// How a request calls a topic.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Named<'a> {
    Name(&'a str),
    Id([u8; 16]),
}

/// The topics of one request.
#[derive(Debug)]
pub(super) struct Topics<'a> {
    few: [Named<'a>; INLINE],
    len: usize,
    many: Vec<Named<'a>>,
    sort: i64,
    /// Whether the current element has a name, and whether it has the id that is none.
    named: bool,
    zero: bool,
}

impl<'a> Topics<'a> {
    pub(super) const fn new() -> Self {
        Self { few: [Named::Name(""); INLINE], len: 0, many: Vec::new(), sort: 0, named: false, zero: false }
    }

    /// Reads the body of a request up to the last field that counts.
    pub(super) fn read(api: &'static Api, version: i16, reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut topics = Self::new();
        walk(api.request, version, api.is_flexible(version), reader, &mut topics)?;
        topics.settle();
        Ok(topics)
    }

    /// Reads one structure.
    pub(super) fn read_fields(
        fields: &'static [Field],
        version: i16,
        flexible: bool,
        mut reader: Reader<'a>,
    ) -> Result<Self, Fault> {
        let mut topics = Self::new();
        walk(fields, version, flexible, &mut reader, &mut topics)?;
        topics.settle();
        Ok(topics)
    }

    pub(super) fn push(&mut self, topic: Named<'a>) {
        if let Some(free) = self.few.get_mut(self.len) {
            *free = topic;
            self.len += 1;
        } else {
            if self.many.is_empty() {
                self.many.extend_from_slice(&self.few);
            }
            self.many.push(topic);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> &[Named<'a>] {
        if self.many.is_empty() { &self.few[..self.len] } else { &self.many }
    }

    /// Calls `f` with the names of all topics; ids that are not known are told as such.
    pub(super) fn with_names<R>(&self, ids: &TopicIds, f: impl FnOnce(&[&str]) -> R) -> R {
        let unknown: Vec<String> = self
            .all()
            .iter()
            .filter_map(|topic| match topic {
                Named::Id(id) if ids.name(id).is_none() => Some(unknown_name(id)),
                _ => None,
            })
            .collect();
        let mut texts = unknown.iter();
        let mut name = |topic: &Named<'a>| match topic {
            Named::Name(name) => Some(*name),
            Named::Id(id) => ids.name(id).or_else(|| texts.next().map(String::as_str)),
        };
        if self.many.is_empty() {
            let mut names = [OPAQUE; INLINE];
            for (slot, topic) in names.iter_mut().zip(self.all()) {
                *slot = name(topic).unwrap_or(OPAQUE);
            }
            return f(&names[..self.len]);
        }
        let names: Vec<&str> = self.all().iter().map(|topic| name(topic).unwrap_or(OPAQUE)).collect();
        f(&names)
    }

    /// An element with the zero id and without a name: a topic that nobody knows.
    fn settle(&mut self) {
        if self.zero && !self.named {
            self.push(Named::Id([0; 16]));
        }
        self.zero = false;
        self.named = false;
    }
}

impl<'a> Sink<'a> for Topics<'a> {
    fn topic(&mut self, name: &'a str) {
        self.named = true;
        self.push(Named::Name(name));
    }

    fn topic_id(&mut self, id: [u8; 16]) {
        if id == [0; 16] {
            self.zero = true;
        } else {
            self.push(Named::Id(id));
        }
    }

    fn number(&mut self, role: Role, number: i64) {
        if role == Role::Sort {
            self.sort = number;
        }
    }

    fn key(&mut self, role: Role, text: &'a str) {
        if role == Role::Config && self.sort == RESOURCE_TOPIC {
            self.push(Named::Name(text));
        }
    }

    fn opaque(&mut self) {
        self.push(Named::Name(OPAQUE));
    }

    fn open(&mut self) {
        self.settle();
    }

    fn close(&mut self, _list: Role) {
        self.settle();
    }
}

/// The name of an id that is not known. No rule can name it: a topic has no parentheses.
fn unknown_name(id: &[u8; 16]) -> String {
    use core::fmt::Write;
    let mut text = String::from("(");
    for (i, byte) in id.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text.push(')');
    text
}
