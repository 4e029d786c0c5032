//! Writing header blocks: literals that touch no table, and the encoder that speaks to the server once it no longer
//! hears the client's blocks.

use super::fields::Fields;
use super::static_table::{FIRST_DYNAMIC, Found, find};
use super::table::Table;
use super::{DEFAULT_TABLE, FIELD_OVERHEAD, huffman};

/// Re-encodes header lists for a decoder that followed somebody else's blocks so far.
///
/// Its first block begins with an update to size 0, which empties the decoder's table whatever it held, and one to
/// the size it uses itself. Whatever the decoder demanded of the encoder before (RFC 7541 §4.2) is met by that. Later
/// changes of the limit are followed by [`Encoder::limit`].
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// Updates that the next block begins with: the smallest size since the last one, then the size.
    update: Option<(u32, u32)>,
}

impl Encoder {
    /// An encoder for a decoder that allows a table of `limit`.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        let size = limit.min(DEFAULT_TABLE);
        Self { table: Table::new(size), update: Some((0, size)) }
    }

    /// The decoder's limit has become `limit`, and that was acknowledged.
    pub fn limit(&mut self, limit: u32) {
        let size = limit.min(DEFAULT_TABLE);
        if size as usize != self.table.max_size() {
            self.table.set_max_size(size as usize);
            self.update = Some((self.update.map_or(size, |(least, _)| least.min(size)), size));
        }
    }

    /// Appends a block that says `fields`.
    pub fn encode(&mut self, fields: &Fields, out: &mut Vec<u8>) {
        if let Some((least, size)) = self.update.take() {
            size_update(least, out);
            if least != size {
                size_update(size, out);
            }
        }
        for &field in fields.list() {
            self.field(fields.name(field), fields.value(field), field.never_indexed, out);
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool, out: &mut Vec<u8>) {
        let known = match find(name, value) {
            Found::Field(index) if !never_indexed => return integer(index, 7, 0x80, out),
            Found::Field(index) | Found::Name(index) => index,
            Found::Nothing => 0,
        };
        if never_indexed {
            return with_name(known, 4, 0x10, name, value, out);
        }
        let start = out.len();
        // One field contiguous, as the table holds it; taken back below.
        out.extend_from_slice(name);
        out.extend_from_slice(value);
        let field = out.get(start..).unwrap_or_default();
        let age = self.table.find(field, name.len());
        let worth = worth_indexing(name, value, self.table.max_size());
        if age.is_none() && worth {
            self.table.insert(field, name.len());
        }
        out.truncate(start);
        match age {
            Some(age) => integer(FIRST_DYNAMIC + age, 7, 0x80, out),
            None if worth => with_name(known, 6, 0x40, name, value, out),
            None => with_name(known, 4, 0, name, value, out),
        }
    }
}

/// Fields that differ from request to request only push others out of the table.
fn worth_indexing(name: &[u8], value: &[u8], table: usize) -> bool {
    name.len() + value.len() + FIELD_OVERHEAD <= table / 4
        && !matches!(name, b"content-length" | b"grpc-timeout" | b"date")
}

/// A field as a literal that no table keeps (RFC 7541 §6.2.2), its name by the static table's index where it has one.
pub fn literal(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match find(name, value) {
        Found::Field(index) => integer(index, 7, 0x80, out),
        Found::Name(index) => with_name(index, 4, 0, name, value, out),
        Found::Nothing => with_name(0, 4, 0, name, value, out),
    }
}

/// A dynamic table size update (RFC 7541 §6.3).
pub fn size_update(size: u32, out: &mut Vec<u8>) {
    integer(size as usize, 5, 0x20, out);
}

/// A literal of the kind `pattern`; the name is written out if `index` is 0.
fn with_name(index: usize, prefix: u32, pattern: u8, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    integer(index, prefix, pattern, out);
    if index == 0 {
        string(name, out);
    }
    string(value, out);
}

fn string(octets: &[u8], out: &mut Vec<u8>) {
    let coded = huffman::encoded_len(octets);
    if coded < octets.len() {
        integer(coded, 7, 0x80, out);
        huffman::encode(octets, out);
    } else {
        integer(octets.len(), 7, 0, out);
        out.extend_from_slice(octets);
    }
}

/// RFC 7541 §5.1.
fn integer(value: usize, prefix: u32, pattern: u8, out: &mut Vec<u8>) {
    let most = (1usize << prefix) - 1;
    if value < most {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
