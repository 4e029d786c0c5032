//! Walks a body along its fields and tells a sink what it finds.

use super::schema::{Field, Kind, Role};
use super::wire::{Fault, Reader};

/// Who is told.
pub(super) trait Sink<'a> {
    /// A topic by name.
    fn topic(&mut self, _name: &'a str) {}
    /// A topic by id.
    fn topic_id(&mut self, _id: [u8; 16]) {}
    /// A partition, or a number that a response repeats.
    fn number(&mut self, _role: Role, _number: i64) {}
    /// A text that a response repeats, or the name of a resource.
    fn key(&mut self, _role: Role, _text: &'a str) {}
    /// A request within the request.
    fn opaque(&mut self) {}
    /// An error code. Whether that is enough.
    fn error(&mut self, _code: i16) -> bool {
        false
    }
    /// An element of a list begins.
    fn open(&mut self) {}
    /// It ends; the role is the list's.
    fn close(&mut self, _list: Role) {}
}

/// How a walk ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Walk {
    /// All fields were read.
    Done,
    /// The sink had enough, or the next field is a list of which only the length is known.
    Stopped,
}

/// Reads the fields of `version`.
pub(super) fn walk<'a>(
    fields: &'static [Field],
    version: i16,
    flexible: bool,
    reader: &mut Reader<'a>,
    sink: &mut impl Sink<'a>,
) -> Result<Walk, Fault> {
    for field in fields.iter().filter(|field| field.is_in(version)) {
        if one(field, version, flexible, reader, sink)? == Walk::Stopped {
            return Ok(Walk::Stopped);
        }
    }
    Ok(Walk::Done)
}

fn one<'a>(
    field: &'static Field,
    version: i16,
    flexible: bool,
    reader: &mut Reader<'a>,
    sink: &mut impl Sink<'a>,
) -> Result<Walk, Fault> {
    let nullable = version >= field.null;
    match field.kind {
        Kind::Fixed(width) => return number(field.role, width, reader, sink),
        Kind::Text => {
            let text = reader.text(flexible)?;
            if text.is_none() && !nullable {
                return Err(Fault::Bad);
            }
            match (field.role, text) {
                (Role::Topic, Some(name)) => sink.topic(name),
                (Role::Key | Role::Config, Some(text)) => sink.key(field.role, text),
                _ => {}
            }
        }
        Kind::Bytes | Kind::Records => {
            let len = reader.count(flexible)?;
            if len.is_none() && !nullable {
                return Err(Fault::Bad);
            }
            if field.role == Role::Opaque {
                sink.opaque();
            }
            reader.take(len.unwrap_or(0))?;
        }
        Kind::List(_) | Kind::Many(_) => {
            let count = reader.count(flexible)?;
            if count.is_none() && !nullable {
                return Err(Fault::Bad);
            }
            return elements(field, count.unwrap_or(0), version, flexible, reader, sink);
        }
        Kind::Record(fields) => {
            if nullable && reader.int8()? < 0 {
                return Ok(Walk::Done);
            }
            return structure(fields, version, flexible, reader, sink);
        }
    }
    Ok(Walk::Done)
}

fn number<'a>(
    role: Role,
    width: u8,
    reader: &mut Reader<'a>,
    sink: &mut impl Sink<'a>,
) -> Result<Walk, Fault> {
    let number = match width {
        1 => i64::from(reader.int8()?),
        2 => i64::from(reader.int16()?),
        4 => i64::from(reader.int32()?),
        8 => reader.int64()?,
        _ => {
            let id = reader.uuid()?;
            if role == Role::TopicId {
                sink.topic_id(id);
            }
            return Ok(Walk::Done);
        }
    };
    match role {
        Role::Partition | Role::Sort | Role::Acks => sink.number(role, number),
        Role::Error if sink.error(number as i16) => return Ok(Walk::Stopped),
        _ => {}
    }
    Ok(Walk::Done)
}

/// The elements of a list: each takes at least one byte, so that the loop ends with the frame whatever the count.
fn elements<'a>(
    field: &'static Field,
    count: usize,
    version: i16,
    flexible: bool,
    reader: &mut Reader<'a>,
    sink: &mut impl Sink<'a>,
) -> Result<Walk, Fault> {
    for _ in 0..count {
        sink.open();
        let ended = match field.kind {
            Kind::List([]) => Walk::Stopped,
            Kind::List(fields) => structure(fields, version, flexible, reader, sink)?,
            Kind::Many(item) => one(item, version, flexible, reader, sink)?,
            _ => Walk::Stopped,
        };
        sink.close(field.role);
        if ended == Walk::Stopped {
            return Ok(Walk::Stopped);
        }
    }
    Ok(Walk::Done)
}

fn structure<'a>(
    fields: &'static [Field],
    version: i16,
    flexible: bool,
    reader: &mut Reader<'a>,
    sink: &mut impl Sink<'a>,
) -> Result<Walk, Fault> {
    let ended = walk(fields, version, flexible, reader, sink)?;
    if ended == Walk::Done && flexible {
        reader.tags()?;
    }
    Ok(ended)
}
