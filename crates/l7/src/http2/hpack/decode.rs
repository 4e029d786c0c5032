//! The decoder: one per direction, following the encoder of that direction's sender.

use super::fields::Fields;
use super::static_table::{FIRST_DYNAMIC, STATIC};
use super::table::Table;
use super::{DEFAULT_TABLE, HpackError, Limits, MAX_TABLE, huffman};

/// Octets that a number may take behind its prefix: enough for 2^28, far beyond any length or index.
const MAX_INTEGER_OCTETS: usize = 4;

/// Decodes the header blocks of one direction.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// Largest table that the encoder may choose.
    allowed: u32,
    /// The limit fell below the table's size to this: the next block must begin with an update to no more.
    owed: Option<u32>,
    /// How often something was done that a block may mean something else after.
    changes: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new(DEFAULT_TABLE), allowed: DEFAULT_TABLE, owed: None, changes: 0 }
    }
}

impl Decoder {
    /// The receiver of these blocks has announced a limit, which the encoder may not know of yet.
    pub fn announced(&mut self, limit: u32) {
        self.allowed = self.allowed.max(limit.min(MAX_TABLE));
    }

    /// The encoder's side has acknowledged `limit`; of those still unacknowledged `pending` is the largest.
    ///
    /// What the encoder must say next (RFC 7541 §4.2, RFC 9113 §4.3.1) is counted from here on: a limit below the
    /// size that the table has calls for an update, and of several limits the smallest counts.
    pub fn acknowledged(&mut self, limit: u32, pending: u32) {
        self.allowed = limit.max(pending).min(MAX_TABLE);
        if (limit as usize) < self.table.max_size() {
            self.changes += 1;
            self.owed = Some(self.owed.map_or(limit, |owed| owed.min(limit)));
        }
    }

    /// The update that the next block in this direction must begin with, be it the encoder's own or one put in by
    /// somebody else.
    #[must_use]
    pub fn owed(&self) -> Option<u32> {
        self.owed
    }

    /// As long as this number stays, the same block says the same.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Decodes a whole block into `fields`, which is emptied first.
    ///
    /// # Errors
    ///
    /// See [`HpackError`]. The decoder is of no use afterwards.
    pub fn decode(&mut self, block: &[u8], fields: &mut Fields, limits: &Limits) -> Result<(), HpackError> {
        fields.clear();
        let mut rest = self.size_updates(block)?;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let start = fields.start();
                let name = self.copy(index, fields, false)?;
                fields.finish(start, name, false, limits)?;
            } else if first & 0x40 != 0 {
                let (start, name) = self.literal(&mut rest, 6, fields)?;
                let (name_octets, value) = fields.from(start).split_at(name);
                self.table.insert(name_octets, value);
                self.changes += 1;
                fields.finish(start, name, false, limits)?;
            } else if first & 0x20 != 0 {
                return Err(HpackError::SizeUpdate);
            } else {
                let never_indexed = first & 0x10 != 0;
                let (start, name) = self.literal(&mut rest, 4, fields)?;
                fields.finish(start, name, never_indexed, limits)?;
            }
        }
        Ok(())
    }

    /// RFC 7541 §6.3: updates stand at the start.
    fn size_updates<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], HpackError> {
        let mut rest = block;
        while rest.first().is_some_and(|first| first & 0xe0 == 0x20) {
            let size = integer(&mut rest, 5)?;
            if size > self.allowed as usize {
                return Err(HpackError::SizeUpdate);
            }
            self.table.set_max_size(size);
            self.changes += 1;
            if self.owed.is_some_and(|owed| size <= owed as usize) {
                self.owed = None;
            }
        }
        if self.owed.is_some() { Err(HpackError::SizeUpdate) } else { Ok(rest) }
    }

    /// Copies the field, or only the name, at `index` behind the octets of `fields`; answers the name's length.
    #[inline]
    fn copy(&self, index: usize, fields: &mut Fields, name_only: bool) -> Result<usize, HpackError> {
        let octets = fields.octets();
        if let Some(age) = index.checked_sub(FIRST_DYNAMIC) {
            let (field, name) = self.table.get(age).ok_or(HpackError::Index)?;
            octets.extend_from_slice(if name_only { &field[..name] } else { field });
            return Ok(name);
        }
        let (name, value) = index.checked_sub(1).and_then(|at| STATIC.get(at)).ok_or(HpackError::Index)?;
        octets.extend_from_slice(name);
        // Most entries have none.
        if !name_only && !value.is_empty() {
            octets.extend_from_slice(value);
        }
        Ok(name.len())
    }

    /// A literal whose index has a prefix of `prefix` bits: where its octets begin, and the name's length.
    #[inline]
    fn literal(
        &self,
        rest: &mut &[u8],
        prefix: u32,
        fields: &mut Fields,
    ) -> Result<(usize, usize), HpackError> {
        let start = fields.start();
        let index = integer(rest, prefix)?;
        let name = if index == 0 {
            string(rest, fields.octets())?;
            fields.start() - start
        } else {
            self.copy(index, fields, true)?
        };
        string(rest, fields.octets())?;
        Ok((start, name))
    }

    #[cfg(test)]
    pub(super) fn extent(&self) -> (usize, usize) {
        self.table.extent()
    }
}

/// RFC 7541 §5.1. The octet that holds the prefix is there.
#[inline]
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let (&first, mut behind) = rest.split_first().ok_or(HpackError::Truncated)?;
    let most = (1u8 << prefix) - 1;
    let mut value = usize::from(first & most);
    if value == usize::from(most) {
        let mut shift = 0;
        loop {
            let (&octet, next) = behind.split_first().ok_or(HpackError::Truncated)?;
            behind = next;
            value += usize::from(octet & 0x7f) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
            if shift >= 7 * MAX_INTEGER_OCTETS {
                return Err(HpackError::Integer);
            }
        }
    }
    *rest = behind;
    Ok(value)
}

/// RFC 7541 §5.2.
#[inline]
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let coded = rest.first().ok_or(HpackError::Truncated)? & 0x80 != 0;
    let len = integer(rest, 7)?;
    let (octets, behind) = rest.split_at_checked(len).ok_or(HpackError::Truncated)?;
    *rest = behind;
    if coded {
        return huffman::decode(octets, out);
    }
    out.extend_from_slice(octets);
    Ok(())
}
