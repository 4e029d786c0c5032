//! HPACK (RFC 7541): header blocks in, fields out, and the other way round.
//!
//! Strict, because two decoders read the same block, ours and the peer's, and must read the same: size updates stand
//! at the start of a block and keep to what was announced, Huffman padding is what §5.2 says, indexes exist. A block
//! that fails here ends the connection, so what a failed block left behind is never looked at again.

mod decode;
mod encode;
mod fields;
mod huffman;
mod reader;
mod static_table;
mod table;

pub use decode::Decoder;
pub use encode::{Encoder, literal, size_update};
pub use fields::{Field, Fields};
pub use reader::Reader;

/// Largest dynamic table that is followed (what browsers announce; others announce 4,096). A peer that announces a
/// larger one is passed on with this number.
pub const MAX_TABLE: u32 = 65_536;

/// Size of the dynamic table before anybody said otherwise (RFC 9113 §6.5.2).
pub const DEFAULT_TABLE: u32 = 4_096;

/// What a field costs beside its octets, in a table and in a list (RFC 7541 §4.1, RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Why a block cannot be decoded.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HpackError {
    /// It ends within a field.
    #[error("header block ends within a field")]
    Truncated,
    /// A number that no block needs.
    #[error("number too large")]
    Integer,
    /// An index behind the end of both tables, or zero.
    #[error("no such index")]
    Index,
    /// Huffman code with EOS in it, or with padding that is not its prefix.
    #[error("bad Huffman code")]
    Huffman,
    /// A size update behind a field, beyond the limit, or missing where a limit fell.
    #[error("bad dynamic table size update")]
    SizeUpdate,
    /// More fields or octets than are read.
    #[error("header list too large")]
    TooLarge,
}

/// What a decoded list may come to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Size of the list as RFC 9113 §6.5.2 counts it.
    pub list: usize,
    /// Number of fields.
    pub fields: usize,
}

#[cfg(test)]
mod tests;
