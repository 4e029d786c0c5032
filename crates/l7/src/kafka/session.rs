//! Fetch sessions (KIP-227): an incremental fetch names only what changes, so what it reads is what was named before.
//!
//! The topics of a session are those of the fetch that began it and of all that followed; each incremental fetch is
//! judged with all of them, so that a rule that is revoked ends a session too. One that began on another connection
//! is answered with FETCH_SESSION_ID_NOT_FOUND, upon which clients name everything again.

use super::wire::{Fault, Reader};

/// FETCH_SESSION_ID_NOT_FOUND.
pub(super) const NOT_FOUND: i16 = 70;
/// Fetch version from which there are sessions.
const SESSIONS: i16 = 7;
/// Last fetch version that begins with the id of a replica.
const REPLICA_ID: i16 = 14;
/// Sessions of one connection that are remembered; a consumer has one.
const MAX_SESSIONS: usize = 4;
/// Bytes of names of one session; larger ones are not remembered.
const MAX_NAMES: usize = 4096;

/// Topics by session.
#[derive(Default, Debug)]
pub(super) struct Sessions {
    known: Vec<(i32, Vec<String>)>,
}

/// What a fetch says of its session.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Fetch {
    /// It names all that it reads and begins none.
    Alone,
    /// It names all that it reads and may begin one.
    Begins,
    /// It goes on with this one.
    GoesOn(i32),
}

impl Fetch {
    /// Reads the body of a fetch that is at hand.
    pub(super) fn read(version: i16, mut reader: Reader<'_>) -> Result<Self, Fault> {
        if version < SESSIONS {
            return Ok(Self::Alone);
        }
        // Wait, least and most bytes, isolation.
        reader.take(if version <= REPLICA_ID { 17 } else { 13 })?;
        let (id, epoch) = (reader.int32()?, reader.int32()?);
        Ok(match epoch {
            0 => Self::Begins,
            -1 => Self::Alone,
            _ => Self::GoesOn(id),
        })
    }
}

/// The session that a response to a fetch names; `reader` is at its body.
pub(super) fn begun(version: i16, mut reader: Reader<'_>) -> Option<i32> {
    if version < SESSIONS {
        return None;
    }
    reader.take(6).ok()?;
    reader.int32().ok().filter(|id| *id != 0)
}

/// The names to remember, each once, unless they are too many.
pub(super) fn names(topics: &[&str]) -> Option<Vec<String>> {
    let bytes: usize = topics.iter().map(|topic| topic.len() + 8).sum();
    if bytes > MAX_NAMES {
        return None;
    }
    let mut names: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

impl Sessions {
    /// Takes a session out, to judge with it.
    pub(super) fn take(&mut self, id: i32) -> Option<Vec<String>> {
        let at = self.known.iter().position(|(known, _)| *known == id)?;
        Some(self.known.swap_remove(at).1)
    }

    /// Remembers a session; the oldest makes room.
    pub(super) fn put(&mut self, id: i32, names: Vec<String>) {
        self.known.retain(|(known, _)| *known != id);
        if self.known.len() >= MAX_SESSIONS {
            self.known.remove(0);
        }
        self.known.push((id, names));
    }
}
