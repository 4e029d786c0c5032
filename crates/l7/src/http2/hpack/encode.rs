//! Writing header blocks: literals that touch no table, and the encoder that speaks to the server once it no longer
//! hears the client's blocks.

use std::collections::VecDeque;

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
    /// A hash of each entry of the table, oldest first.
    hashes: VecDeque<u32>,
    /// Updates that the next block begins with: the smallest size since the last one, then the size.
    update: Option<(u32, u32)>,
}

impl Encoder {
    /// An encoder for a decoder that allows a table of `limit`.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        let size = limit.min(DEFAULT_TABLE);
        Self { table: Table::new(size), hashes: VecDeque::new(), update: Some((0, size)) }
    }

    /// The decoder's limit has become `limit`, and that was acknowledged.
    pub fn limit(&mut self, limit: u32) {
        let size = limit.min(DEFAULT_TABLE);
        if size as usize != self.table.max_size() {
            self.table.set_max_size(size as usize);
            self.forget_evicted();
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
        if never_indexed {
            return match find(name, value) {
                Found::Field(index) | Found::Name(index) => with_name(index, 4, 0x10, name, value, out),
                Found::Nothing => with_name(0, 4, 0x10, name, value, out),
            };
        }
        let hash = hash(name, value);
        if let Some(age) = self.find(hash, name, value) {
            return integer(FIRST_DYNAMIC + age, 7, 0x80, out);
        }
        let known = match find(name, value) {
            Found::Field(index) => return integer(index, 7, 0x80, out),
            Found::Name(index) => index,
            Found::Nothing => 0,
        };
        if !worth_indexing(name, value, self.table.max_size()) {
            return with_name(known, 4, 0, name, value, out);
        }
        self.table.insert(name, value);
        self.hashes.push_back(hash);
        self.forget_evicted();
        with_name(known, 6, 0x40, name, value, out);
    }

    fn forget_evicted(&mut self) {
        let evicted = self.hashes.len().saturating_sub(self.table.len());
        self.hashes.drain(..evicted);
    }

    /// Age of the entry with this name and value.
    fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let same = |age| self.table.get(age).is_some_and(|(field, len)| field.split_at(len) == (name, value));
        let (older, newer) = self.hashes.as_slices();
        let mut age = 0;
        for hashes in [newer, older] {
            for &other in hashes.iter().rev() {
                if other == hash && same(age) {
                    return Some(age);
                }
                age += 1;
            }
        }
        None
    }
}

/// Tells most fields apart; which of those alike is meant is looked at octet by octet.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = |hash: u64, octets: &[u8]| {
        let (whole, rest) = octets.as_chunks::<8>();
        let hash = whole.iter().fold(hash, |hash, octets| mix(hash, u64::from_le_bytes(*octets)));
        rest.iter().fold(hash, |hash, &octet| mix(hash, u64::from(octet)))
    };
    (words(words(name.len() as u64, name), value) >> 32) as u32
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
