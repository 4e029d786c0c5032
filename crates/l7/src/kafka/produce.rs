//! Produce: judged by its first bytes when it has one topic, refused while it streams by.
//!
//! A produce carries records of any size behind the name of their topic, so neither may need the frame at hand.

use super::refusal::Element;
use super::request::Named;
use super::wire::{Fault, Reader};
use std::borrow::Cow;

/// Produce version from which topics come by id.
const TOPIC_IDS: i16 = 13;
/// Produce version from which there is a transactional id.
const TRANSACTIONAL_ID: i16 = 3;
/// Bytes of topics and partitions that are answered; further ones are not.
const ROOM: usize = 64 * 1024;
/// What a topic takes of the room beside its name, and what a partition takes.
const ELEMENT: usize = 8;

/// What stands before the first partition.
#[derive(Copy, Clone, Debug)]
pub(super) struct Head<'a> {
    /// Whether the client expects an answer.
    pub(super) answered: bool,
    /// The first, if there is just one.
    pub(super) only: Option<Named<'a>>,
}

impl<'a> Head<'a> {
    /// Reads a body up to the name of its only topic, or to the number of topics.
    pub(super) fn read(version: i16, flexible: bool, reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let (answered, topics) = read_count(version, flexible, reader)?;
        let only = if topics == 1 { Some(read_name(version, flexible, reader)?) } else { None };
        Ok(Self { answered, only })
    }
}

fn read_count(version: i16, flexible: bool, reader: &mut Reader<'_>) -> Result<(bool, usize), Fault> {
    if version >= TRANSACTIONAL_ID {
        reader.text(flexible)?;
    }
    let acks = reader.int16()?;
    reader.int32()?;
    Ok((acks != 0, reader.count(flexible)?.ok_or(Fault::Bad)?))
}

fn read_name<'a>(version: i16, flexible: bool, reader: &mut Reader<'a>) -> Result<Named<'a>, Fault> {
    if version >= TOPIC_IDS {
        return reader.uuid().map(Named::Id);
    }
    reader.text(flexible)?.map(Named::Name).ok_or(Fault::Bad)
}

/// What comes next in the stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Next {
    Count,
    Topic,
    Partition,
    PartitionTags,
    TopicTags,
    /// Size of a tagged field, and where it goes on after the last.
    Tag {
        left: usize,
        of_topic: bool,
    },
    Rest,
}

/// A produce that is being swallowed. Collects the partitions for its answer.
#[derive(Debug)]
pub(super) struct Refused {
    /// Bytes of the frame still to come.
    left: usize,
    version: i16,
    flexible: bool,
    next: Next,
    topics: usize,
    partitions: usize,
    room: usize,
    /// What is answered.
    pub(super) asked: Element<'static>,
    pub(super) correlation_id: i32,
}

impl Refused {
    /// The body begins; the frame has `left` bytes to come, body included.
    pub(super) fn new(version: i16, flexible: bool, left: usize, correlation_id: i32) -> Self {
        Self {
            left,
            version,
            flexible,
            next: Next::Count,
            topics: 0,
            partitions: 0,
            room: ROOM,
            asked: Element::default(),
            correlation_id,
        }
    }

    /// The version of the request.
    pub(super) const fn version(&self) -> i16 {
        self.version
    }

    /// Reads on. How many bytes are to be swallowed, and whether that was the last of them.
    pub(super) fn read_on(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut reader = Reader::new(bytes, 0, self.left);
        let swallowed = loop {
            let before = reader;
            match self.one(&mut reader) {
                Ok(()) if self.next == Next::Rest => break self.left,
                // Bytes that are still to come were stepped over.
                Ok(()) if reader.at() >= bytes.len() => break reader.at(),
                Ok(()) => {}
                Err(Fault::Short) => break before.at(),
                // What cannot be read cannot be answered in full; what was read is.
                Err(Fault::Bad) => break self.left,
            }
        };
        self.left -= swallowed;
        (swallowed, self.left == 0)
    }

    fn one(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        self.next = match self.next {
            Next::Count => {
                self.topics = read_count(self.version, self.flexible, reader)?.1;
                self.next_topic()
            }
            Next::Topic => {
                let name = read_name(self.version, self.flexible, reader)?;
                let partitions = reader.count(self.flexible)?.ok_or(Fault::Bad)?;
                self.topics = self.topics.saturating_sub(1);
                self.partitions = partitions;
                let mut element = Element::default();
                self.room = self.room.saturating_sub(ELEMENT);
                match name {
                    Named::Name(name) => {
                        self.room = self.room.saturating_sub(name.len());
                        element.topic = Some(Cow::Owned(name.to_owned()));
                    }
                    Named::Id(id) => element.id = id,
                }
                self.asked.each.push(element);
                self.next_partition()
            }
            Next::Partition => {
                let partition = reader.int32()?;
                let len = reader.count(self.flexible)?.unwrap_or(0);
                reader.skip(len)?;
                self.partitions = self.partitions.saturating_sub(1);
                self.room = self.room.saturating_sub(ELEMENT);
                if let Some(topic) = self.asked.each.last_mut() {
                    topic.each.push(Element { partition, ..Element::default() });
                }
                if self.flexible { Next::PartitionTags } else { self.next_partition() }
            }
            Next::PartitionTags => self.tags(reader.varint()?, false),
            Next::TopicTags => self.tags(reader.varint()?, true),
            Next::Tag { left, of_topic } => {
                reader.varint()?;
                let len = reader.varint()?;
                reader.skip(len)?;
                self.tags(left.saturating_sub(1), of_topic)
            }
            Next::Rest => Next::Rest,
        };
        Ok(())
    }

    fn next_topic(&self) -> Next {
        if self.topics == 0 || self.room == 0 { Next::Rest } else { Next::Topic }
    }

    fn next_partition(&self) -> Next {
        match (self.partitions, self.room) {
            (_, 0) => Next::Rest,
            (0, _) if self.flexible => Next::TopicTags,
            (0, _) => self.next_topic(),
            _ => Next::Partition,
        }
    }

    fn tags(&self, left: usize, of_topic: bool) -> Next {
        match (left, of_topic) {
            (0, true) => self.next_topic(),
            (0, false) => self.next_partition(),
            _ => Next::Tag { left, of_topic },
        }
    }
}
