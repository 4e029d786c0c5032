//! The answer to a request that policy refuses: the response of that very API and version, with an authorization error
//! for everything that the request asked for.
//!
//! The error stands as deep as it can: at the partitions, else at the topics (groups, resources), else at the top.

use super::schema::{Api, Field, Kind, Role};
use super::table;
use super::walk::{Sink, walk};
use super::wire::{Reader, Writer};
use std::borrow::Cow;

/// Elements of a request that its refusal repeats; a request that asks for more is answered for the first of them.
pub(super) const MAX_ELEMENTS: usize = 16 * 1024;

/// What a response repeats of one element of a request's list, and of what is nested in it.
#[derive(Clone, Default, Debug)]
pub(super) struct Element<'a> {
    pub(super) topic: Option<Cow<'a, str>>,
    pub(super) id: [u8; 16],
    pub(super) partition: i32,
    pub(super) sort: i64,
    pub(super) key: Option<Cow<'a, str>>,
    pub(super) each: Vec<Element<'a>>,
}

/// Collects what a response repeats.
#[derive(Debug)]
struct Capture<'a> {
    stack: Vec<Element<'a>>,
    top: Element<'a>,
    left: usize,
}

impl<'a> Capture<'a> {
    fn here(&mut self) -> &mut Element<'a> {
        self.stack.last_mut().unwrap_or(&mut self.top)
    }
}

impl<'a> Sink<'a> for Capture<'a> {
    fn topic(&mut self, name: &'a str) {
        self.here().topic = Some(Cow::Borrowed(name));
    }

    fn topic_id(&mut self, id: [u8; 16]) {
        self.here().id = id;
    }

    fn number(&mut self, role: Role, number: i64) {
        match role {
            Role::Partition => self.here().partition = i32::try_from(number).unwrap_or(-1),
            _ => self.here().sort = number,
        }
    }

    fn key(&mut self, _role: Role, text: &'a str) {
        self.here().key = Some(Cow::Borrowed(text));
    }

    fn open(&mut self) {
        self.stack.push(Element::default());
    }

    fn close(&mut self, list: Role) {
        let Some(element) = self.stack.pop() else { return };
        match list {
            Role::Each if self.left > 0 => {
                self.left -= 1;
                self.here().each.push(element);
            }
            Role::Flat => self.here().each.extend(element.each),
            _ => {}
        }
    }
}

/// Reads from a request's body what its refusal repeats; of a body that is not all at hand, what is.
pub(super) fn capture<'a>(api: &'static Api, version: i16, mut reader: Reader<'a>) -> Element<'a> {
    let mut capture = Capture { stack: Vec::new(), top: Element::default(), left: MAX_ELEMENTS };
    let whole = walk(api.request, version, api.is_flexible(version), &mut reader, &mut capture);
    if whole.is_err() {
        while capture.stack.last().is_some() {
            let begun = capture.here();
            let role = if begun.topic.is_some() || !begun.each.is_empty() { Role::Each } else { Role::Plain };
            capture.close(role);
        }
    }
    capture.top
}

/// Appends the whole frame of a refusal with the API's own error code.
pub(super) fn write(
    api: &'static Api,
    version: i16,
    correlation_id: i32,
    asked: &Element<'_>,
    out: &mut Vec<u8>,
) {
    write_code(api, version, correlation_id, asked, api.code, out);
}

/// Appends the whole frame of a response with `code` as error.
pub(super) fn write_code(
    api: &'static Api,
    version: i16,
    correlation_id: i32,
    asked: &Element<'_>,
    code: i16,
    out: &mut Vec<u8>,
) {
    let flexible = api.is_flexible(version);
    frame(out, |out| {
        out.extend_from_slice(&correlation_id.to_be_bytes());
        let mut writer = Writer::new(out, flexible);
        // The header of ApiVersions is never flexible, so that clients of any age can read it.
        if api.key != table::API_VERSIONS {
            writer.tags();
        }
        structure(api.response, version, asked, code, &mut writer);
    });
}

/// Appends a frame: its size, and what `body` appends.
pub(super) fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let size = u32::try_from(out.len() - start - 4).unwrap_or(0);
    if let Some(prefix) = out.get_mut(start..start + 4) {
        prefix.copy_from_slice(&size.to_be_bytes());
    }
}

/// Whether an error can be said for one of the elements nested in `asked`.
fn is_said_deeper(fields: &'static [Field], version: i16, asked: &Element<'_>) -> bool {
    !asked.each.is_empty()
        && fields.iter().any(|field| {
            field.is_in(version)
                && field.role == Role::Each
                && matches!(field.kind, Kind::List(inner) if inner
                    .iter()
                    .any(|field| field.is_in(version) && matches!(field.role, Role::Error | Role::Each)))
        })
}

pub(super) fn structure(
    fields: &'static [Field],
    version: i16,
    asked: &Element<'_>,
    code: i16,
    writer: &mut Writer<'_>,
) {
    let here = if is_said_deeper(fields, version, asked) { 0 } else { code };
    for field in fields.iter().filter(|field| field.is_in(version)) {
        one(field, version, asked, here, code, writer);
    }
    writer.tags();
}

fn one(
    field: &'static Field,
    version: i16,
    asked: &Element<'_>,
    here: i16,
    code: i16,
    writer: &mut Writer<'_>,
) {
    let nullable = version >= field.null;
    let absent = if nullable { None } else { Some("") };
    match (field.kind, field.role) {
        (Kind::Fixed(16), Role::TopicId) => writer.raw(&asked.id),
        (Kind::Fixed(16), _) => writer.raw(&[0; 16]),
        (Kind::Fixed(width), Role::Error) => writer.number(here.into(), width),
        (Kind::Fixed(width), Role::Partition) => writer.number(asked.partition.into(), width),
        (Kind::Fixed(width), Role::Sort) => writer.number(asked.sort, width),
        (Kind::Fixed(width), _) => writer.number(field.default, width),
        (Kind::Text, Role::Topic) => writer.text(asked.topic.as_deref().or(absent)),
        (Kind::Text, Role::Key) => writer.text(asked.key.as_deref().or(absent)),
        (Kind::Text, _) => writer.text(absent),
        (Kind::Bytes, _) => writer.count(if nullable { None } else { Some(0) }),
        (Kind::Records, _) => writer.count(Some(0)),
        (Kind::List(fields), Role::Each) => {
            writer.count(Some(asked.each.len()));
            for element in &asked.each {
                structure(fields, version, element, code, writer);
            }
        }
        (Kind::List(_) | Kind::Many(_), _) => writer.count(Some(0)),
        (Kind::Record(_), _) if nullable => writer.number(-1, 1),
        (Kind::Record(fields), _) => structure(fields, version, &Element::default(), 0, writer),
    }
}
