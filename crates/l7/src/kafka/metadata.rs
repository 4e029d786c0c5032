//! Metadata for topics of which policy refuses some.
//!
//! A client that is refused one topic still needs to hear of the brokers and of its other topics, or it would neither
//! understand the refusal nor go on. So the topics of a Metadata request are judged one by one; what remains of the
//! request is asked in its place, and the refused topics are put into the response with their error.
//!
//! A request for the brokers alone names no topics, and brokers that tell all of them nevertheless have theirs left out: a
//! client would take a topic for granted that it may not use, and never ask about it and be told.

use super::ids::{Learner, TopicIds};
use super::refusal::{self, Element};
use super::request::Topics;
use super::schema::{Api, Kind, Role};
use super::table;
use super::walk::{Sink, walk};
use super::wire::{Fault, Reader, Writer};
use std::borrow::Cow;

/// Topics of a request that are judged one by one; more are judged together.
const MAX_ONE_BY_ONE: usize = 64;

/// What is put into a response.
#[derive(Debug)]
pub(super) struct Merge {
    /// The refused topics.
    refused: Element<'static>,
    /// Whether topics of the response are kept; in version 0 a request for none asks for all.
    keep: bool,
}

/// A request split by policy.
#[derive(Debug)]
pub(super) struct Split {
    /// The request that is asked in its place.
    pub(super) frame: Vec<u8>,
    pub(super) merge: Merge,
    /// First topic that was allowed.
    pub(super) topic: String,
}

/// How policy took the topics of a request.
#[derive(Debug)]
pub(super) enum Judged {
    /// Nobody was asked: all topics are wanted, or too many.
    Together,
    /// Nobody was asked: none is wanted, only the brokers.
    Brokers,
    /// All may pass; the first of them.
    All(String),
    /// Some may.
    Some(Split),
    /// None may.
    None(Split),
}

struct Nothing;

impl Sink<'_> for Nothing {}

/// One topic of a request, as what a refusal repeats.
#[derive(Default)]
struct Asked {
    name: Option<String>,
    id: [u8; 16],
}

impl Sink<'_> for Asked {
    fn topic(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    fn topic_id(&mut self, id: [u8; 16]) {
        self.id = id;
    }
}

/// Asks about each topic of the request in `bytes`, whose body begins at `body`.
pub(super) fn judge(
    api: &'static Api,
    version: i16,
    bytes: &[u8],
    (body, end): (usize, usize),
    ids: &TopicIds,
    mut allow: impl FnMut(&[&str]) -> bool,
) -> Result<Judged, Fault> {
    let flexible = api.is_flexible(version);
    let mut reader = Reader::new(bytes, body, end);
    let [field] = api.request else { return Ok(Judged::Together) };
    let Kind::List(fields) = field.kind else { return Ok(Judged::Together) };
    let count = match reader.count(flexible)? {
        // In version 0 an empty list asks for all.
        Some(0) if version > 0 => return Ok(Judged::Brokers),
        Some(count) if (1..=MAX_ONE_BY_ONE).contains(&count) => count,
        _ => return Ok(Judged::Together),
    };
    let mut kept = Vec::new();
    let mut kept_count = 0usize;
    let mut first = String::new();
    let mut refused = Element::default();
    for _ in 0..count {
        let start = reader;
        let mut asked = Asked::default();
        walk(fields, version, flexible, &mut reader, &mut asked)?;
        if flexible {
            reader.tags()?;
        }
        let topics = Topics::read_fields(fields, version, flexible, start)?;
        let allowed = topics.with_names(ids, |names| {
            let allowed = allow(names);
            if allowed && first.is_empty() {
                first.push_str(names.first().copied().unwrap_or_default());
            }
            allowed
        });
        if allowed {
            kept.extend_from_slice(bytes.get(start.at()..reader.at()).ok_or(Fault::Short)?);
            kept_count += 1;
        } else {
            let topic = asked.name.map(Cow::Owned);
            refused.each.push(Element { topic, id: asked.id, ..Element::default() });
        }
    }
    if refused.each.is_empty() {
        return Ok(Judged::All(first));
    }
    let mut frame = Vec::new();
    refusal::frame(&mut frame, |out| {
        out.extend_from_slice(bytes.get(4..body).unwrap_or_default());
        Writer::new(out, flexible).count(Some(kept_count));
        out.extend_from_slice(&kept);
        out.extend_from_slice(bytes.get(reader.at()..end).unwrap_or_default());
    });
    let split = Split { frame, merge: Merge { refused, keep: kept_count > 0 }, topic: first };
    Ok(if kept_count > 0 { Judged::Some(split) } else { Judged::None(split) })
}

/// The response in `bytes`, with the refused topics put into it; and its first error code.
pub(super) fn merge(
    api: &'static Api,
    version: i16,
    bytes: &[u8],
    end: usize,
    merge: &Merge,
    ids: &mut TopicIds,
) -> Result<(Vec<u8>, i16), Fault> {
    let flexible = api.is_flexible(version);
    let mut reader = Reader::new(bytes, 8, end);
    if flexible {
        reader.tags()?;
    }
    let at = api.response.iter().position(|field| field.role == Role::Each).ok_or(Fault::Bad)?;
    let (before, from) = api.response.split_at(at);
    let Some(Kind::List(fields)) = from.first().map(|field| field.kind) else { return Err(Fault::Bad) };
    walk(before, version, flexible, &mut reader, &mut Nothing)?;
    let head = bytes.get(4..reader.at()).ok_or(Fault::Short)?;
    let count = reader.count(flexible)?.unwrap_or(0);
    let start = reader.at();
    let mut learner = Learner::new(ids);
    for _ in 0..count {
        learner.open();
        walk(fields, version, flexible, &mut reader, &mut learner)?;
        if flexible {
            reader.tags()?;
        }
        learner.close(Role::Each);
    }
    let code = learner.first_code();
    let topics = bytes.get(start..reader.at()).ok_or(Fault::Short)?;
    let rest = bytes.get(reader.at()..end).ok_or(Fault::Short)?;
    let (count, topics) = if merge.keep { (count, topics) } else { (0, &[][..]) };
    let mut out = Vec::new();
    refusal::frame(&mut out, |out| {
        out.extend_from_slice(head);
        let mut writer = Writer::new(out, flexible);
        writer.count(Some(count + merge.refused.each.len()));
        writer.raw(topics);
        for topic in &merge.refused.each {
            refusal::structure(fields, version, topic, table::TOPIC, &mut writer);
        }
        writer.raw(rest);
    });
    Ok((out, code))
}

impl Merge {
    /// Topics are left out, and none is put in.
    pub(super) fn brokers() -> Self {
        Self { refused: Element::default(), keep: false }
    }

    /// Whether no topic was refused.
    pub(super) fn is_empty(&self) -> bool {
        self.refused.each.is_empty()
    }

    /// A response without brokers, when the server's cannot be read whole.
    pub(super) fn alone(&self, api: &'static Api, version: i16, correlation_id: i32, out: &mut Vec<u8>) {
        refusal::write(api, version, correlation_id, &self.refused, out);
    }
}
