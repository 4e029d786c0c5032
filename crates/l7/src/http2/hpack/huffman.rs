//! The Huffman code of RFC 7541 Appendix B.
//!
//! The code is canonical: among codes of one length values rise with the symbol, and longer codes stand above shorter
//! ones. So the lengths say everything, and the tables below are worked out from them at compile time. Codes of up to
//! [`FAST_BITS`] bits, which is all that common header fields use, take one look-up.

use super::HpackError;

/// Bits that index the fast table.
const FAST_BITS: u32 = 9;

/// Longest code.
const MAX_BITS: usize = 30;

/// The symbol that must not occur.
const EOS: u16 = 256;

/// Length of each symbol's code, in bits; the last is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The code as it is decoded.
struct Tables {
    /// By the next [`FAST_BITS`] bits: length in the upper octet, symbol in the lower; 0 where the code is longer.
    fast: [u16; 1 << FAST_BITS],
    /// By length: the first code.
    first: [u32; MAX_BITS + 1],
    /// By length: how many codes.
    count: [u32; MAX_BITS + 1],
    /// By length: where its symbols begin in `symbols`.
    offset: [u16; MAX_BITS + 1],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        fast: [0; 1 << FAST_BITS],
        first: [0; MAX_BITS + 1],
        count: [0; MAX_BITS + 1],
        offset: [0; MAX_BITS + 1],
        symbols: [0; 257],
    };
    let mut code = 0u32;
    let mut placed = 0usize;
    let mut length = 1;
    while length <= MAX_BITS {
        code <<= 1;
        tables.first[length] = code;
        tables.offset[length] = placed as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                tables.symbols[placed] = symbol as u16;
                placed += 1;
                if length as u32 <= FAST_BITS {
                    let spare = FAST_BITS - length as u32;
                    let mut low = 0;
                    while low < 1 << spare {
                        tables.fast[((code << spare) + low) as usize] = (length as u16) << 8 | symbol as u16;
                        low += 1;
                    }
                }
                code += 1;
                tables.count[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tables
}

/// Decodes `input` behind what `out` holds.
///
/// # Errors
///
/// [`HpackError::Huffman`]: EOS, or padding of more than seven bits or other than ones (RFC 7541 §5.2).
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let start = out.len();
    // The shortest code has five bits.
    out.resize(start + input.len() * 8 / 5, 0);
    let mut places = out[start..].iter_mut();
    let mut rest = input;
    // The next `bits` bits stand at the top of `window`. Below them are zeros, or the first bits of `rest`.
    let mut window = 0u64;
    let mut bits = 0u32;
    loop {
        if bits < MAX_BITS as u32 {
            if let Some(next) = rest.first_chunk::<8>() {
                window |= u64::from_be_bytes(*next) >> bits;
                let whole = (63 - bits) / 8;
                rest = &rest[whole as usize..];
                bits += whole * 8;
            } else {
                while let Some((&octet, behind)) = rest.split_first().filter(|_| bits <= 56) {
                    window |= u64::from(octet) << (56 - bits);
                    bits += 8;
                    rest = behind;
                }
            }
        }
        let entry = TABLES.fast[(window >> (64 - FAST_BITS)) as usize];
        let (length, symbol) = if entry != 0 { (u32::from(entry >> 8), entry & 0xff) } else { long(window)? };
        if length > bits {
            break;
        }
        let Some(place) = places.next() else { break };
        *place = symbol as u8;
        window <<= length;
        bits -= length;
    }
    let unused = places.len();
    out.truncate(out.len() - unused);
    // What is left is padding: the most significant bits of EOS, which are ones.
    let ones = !(u64::MAX.checked_shr(bits).unwrap_or(0));
    if bits > 7 || window != ones { Err(HpackError::Huffman) } else { Ok(()) }
}

/// A code that is longer than the fast table reads. EOS is one, and is there whole: below the last bits there are zeros.
#[cold]
fn long(window: u64) -> Result<(u32, u16), HpackError> {
    for length in FAST_BITS as usize + 1..=MAX_BITS {
        let code = (window >> (64 - length)) as u32;
        let rank = code.wrapping_sub(TABLES.first[length]);
        if rank < TABLES.count[length] {
            let symbol = TABLES.symbols[usize::from(TABLES.offset[length]) + rank as usize];
            return if symbol == EOS { Err(HpackError::Huffman) } else { Ok((length as u32, symbol)) };
        }
    }
    // The code is complete, so this is not reached.
    Err(HpackError::Huffman)
}

/// Octets that `input` takes when encoded.
pub(super) fn encoded_len(input: &[u8]) -> usize {
    let bits: usize = input.iter().map(|&octet| usize::from(LENGTHS[usize::from(octet)])).sum();
    bits.div_ceil(8)
}

/// Each octet's code.
static CODES: [u32; 256] = codes();

const fn codes() -> [u32; 256] {
    let mut codes = [0; 256];
    let mut next = tables().first;
    let mut symbol = 0;
    while symbol < codes.len() {
        let length = LENGTHS[symbol] as usize;
        codes[symbol] = next[length];
        next[length] += 1;
        symbol += 1;
    }
    codes
}

/// Encodes `input` behind what `out` holds.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    let mut window = 0u64;
    let mut bits = 0u32;
    for &octet in input {
        let length = u32::from(LENGTHS[usize::from(octet)]);
        window = window << length | u64::from(CODES[usize::from(octet)]);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((window >> bits) as u8);
        }
    }
    if bits > 0 {
        out.push((window << (8 - bits)) as u8 | 0xff >> bits);
    }
}
