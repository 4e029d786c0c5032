//! A decoded header list, in a form that is filled again and again without allocating.

use super::{FIELD_OVERHEAD, HpackError, Limits};

/// Octets that a list keeps allocated between blocks. Larger ones are rare.
const KEPT: usize = 8 * 1024;

/// One field of a list.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Field {
    start: u32,
    name: u32,
    value: u32,
    /// Never to be put into a table, by nobody (RFC 7541 §7.1.3).
    pub never_indexed: bool,
}

/// A header list.
#[derive(Debug, Default)]
pub struct Fields {
    octets: Vec<u8>,
    list: Vec<Field>,
    size: usize,
}

impl Fields {
    /// Empties it.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.list.clear();
        self.size = 0;
        if self.octets.capacity() > KEPT {
            self.octets.shrink_to(KEPT);
        }
    }

    /// Gives back what is allocated for more than `octets`.
    pub(super) fn shrink_to(&mut self, octets: usize) {
        self.octets.shrink_to(octets);
    }

    /// Octets of all names and values.
    pub(super) fn octets_len(&self) -> usize {
        self.octets.len()
    }

    /// The fields in order.
    #[must_use]
    pub fn list(&self) -> &[Field] {
        &self.list
    }

    /// Name of a field of this list.
    #[must_use]
    pub fn name(&self, field: Field) -> &[u8] {
        let start = field.start as usize;
        self.octets.get(start..start + field.name as usize).unwrap_or_default()
    }

    /// Value of a field of this list.
    #[must_use]
    pub fn value(&self, field: Field) -> &[u8] {
        let start = field.start as usize + field.name as usize;
        self.octets.get(start..start + field.value as usize).unwrap_or_default()
    }

    /// Name and value of each field.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|&field| (self.name(field), self.value(field)))
    }

    /// Where the next field's octets go.
    pub(super) fn octets(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    pub(super) fn start(&self) -> usize {
        self.octets.len()
    }

    /// Octets from `start` on.
    pub(super) fn from(&self, start: usize) -> &[u8] {
        self.octets.get(start..).unwrap_or_default()
    }

    /// Makes a field of the octets from `start` on, of which `name` are its name.
    pub(super) fn finish(
        &mut self,
        start: usize,
        name: usize,
        never_indexed: bool,
        limits: &Limits,
    ) -> Result<(), HpackError> {
        let len = self.octets.len() - start;
        self.size += len + FIELD_OVERHEAD;
        if self.size > limits.list || self.list.len() >= limits.fields {
            return Err(HpackError::TooLarge);
        }
        self.list.push(Field {
            start: start as u32,
            name: name as u32,
            value: (len - name) as u32,
            never_indexed,
        });
        Ok(())
    }

    /// Adds a field.
    ///
    /// # Errors
    ///
    /// [`HpackError::TooLarge`].
    pub fn push(
        &mut self,
        name: &[u8],
        value: &[u8],
        never_indexed: bool,
        limits: &Limits,
    ) -> Result<(), HpackError> {
        let start = self.start();
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        self.finish(start, name.len(), never_indexed, limits)
    }
}
