//! Internet checksums (RFC 1071, RFC 1624), full, incremental and partial; CRC32c for SCTP.
//!
//! Sums are one's complement sums folded to 16 bits, as numbers read in network byte order. "Partial" is what a
//! local sender on a veth hands over: the L4 field holds the folded pseudo-header sum, *not* complemented, and the
//! rest was left to hardware that is not there.

use crate::addr::Addr;
use crate::frame::{ChecksumRequest, Frame};
use crate::io::PacketIo;
use crate::packet::{L4, Packet, proto};
use crate::{sctp, tcp, udp};

/// What the L4 checksum field of a frame turned out to be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ChecksumState {
    /// Present and right.
    Valid,
    /// The field holds the folded pseudo-header sum: a local sender left the rest to hardware that is not there.
    Partial,
    /// The protocol allows it to be absent, and it is (UDP over IPv4).
    Absent,
    /// Neither partial nor right: never repaired, for that would hide an evasion.
    Invalid,
}

/// One's complement sum over bytes that come in pieces, of any lengths.
#[derive(Copy, Clone, Default, Debug)]
pub struct Sum {
    total: u64,
    odd: bool,
}

impl Sum {
    /// Starts from an already folded sum, such as that of a pseudo-header.
    #[must_use]
    pub const fn starting_with(folded: u16) -> Self {
        Self { total: folded as u64, odd: false }
    }

    /// Adds the bytes that follow those added so far.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let folded = sum(bytes);
        // A piece that begins at an odd place has its bytes in each other's columns (RFC 1071 §2 (B)).
        self.total += u64::from(if self.odd { folded.swap_bytes() } else { folded });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The sum of everything added.
    #[must_use]
    pub const fn folded(self) -> u16 {
        fold(self.total)
    }
}

/// One's complement sum of `bytes`, folded, not complemented; an odd last byte is padded with zero.
#[must_use]
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    // The byte order of what is summed only swaps the folded result (RFC 1071 §2 (B)).
    fold(sum_words(bytes)).swap_bytes()
}

/// The same, not folded, with the two bytes of each column swapped: words of 64 bits, each carry put back in at once.
#[inline]
fn sum_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (blocks, few) = words.as_chunks::<4>();
    let mut total = if blocks.is_empty() { 0 } else { sum_blocks(blocks) };
    // At most three: without a loop.
    for at in 0..3 {
        if let Some(word) = few.get(at) {
            total = add(total, u64::from_le_bytes(*word));
        }
    }
    if !rest.is_empty() {
        total = add(total, last_word(bytes, rest));
    }
    total
}

#[inline(always)]
fn sum_blocks(blocks: &[[[u8; 8]; 4]]) -> u64 {
    // Four sums that do not wait for each other.
    let mut lanes = [0_u64; 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block) {
            *lane = add(*lane, u64::from_le_bytes(*word));
        }
    }
    let [a, b, c, d] = lanes;
    add(add(a, b), add(c, d))
}

/// The `rest` of less than eight bytes at the end of `bytes`, with zeros behind it.
#[inline(always)]
fn last_word(bytes: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (8 * (8 - rest.len() as u32) % 64);
    }
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// One's complement sum of two numbers.
#[inline(always)]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    // Two numbers that carry leave less than all ones.
    sum + carry as u64
}

/// [`sum`] over an IPv4 header without options.
#[inline]
pub(crate) fn sum_20(header: &[u8; 20]) -> u16 {
    let total: u64 = header.as_chunks::<4>().0.iter().map(|w| u64::from(u32::from_ne_bytes(*w))).sum();
    // The callers compare with 0xffff, which is the same in either order; swap anyway, so that the value is right.
    u16::from_be_bytes(fold(total).to_ne_bytes())
}

/// Adds the carries back in until 16 bits are left: the two halves, and the carry of that once more, which cannot carry
/// again.
#[inline(always)]
const fn fold(total: u64) -> u16 {
    let (words, carry) = ((total >> 32) as u32).overflowing_add(total as u32);
    let words = words.wrapping_add(carry as u32);
    let (halves, carry) = ((words >> 16) as u16).overflowing_add(words as u16);
    halves.wrapping_add(carry as u16)
}

/// The checksum field after a 16-bit word it covers changed from `old` to `new` (RFC 1624, equation 3).
#[must_use]
#[inline]
pub const fn update_u16(field: u16, old: u16, new: u16) -> u16 {
    !fold(!field as u64 + !old as u64 + new as u64)
}

/// The same for a 32-bit value at an even offset.
#[must_use]
#[inline]
pub const fn update_u32(field: u16, old: u32, new: u32) -> u16 {
    !fold(!field as u64 + !old as u64 + new as u64)
}

/// The same for an address (a 16-byte IPv6 or 4-byte IPv4 field).
#[must_use]
pub const fn update_addr(field: u16, old: Addr, new: Addr) -> u16 {
    // The mapped prefix of IPv4 addresses is in both and cancels out.
    !fold(!field as u64 + !sum_addr(old) as u64 + sum_addr(new) as u64)
}

const fn sum_addr(addr: Addr) -> u16 {
    let value = match addr.as_v4() {
        Some(v4) => v4 as u128,
        None => addr.0,
    };
    fold((value as u64 & 0xffff_ffff) + (value as u64 >> 32) + fold((value >> 64) as u64) as u64)
}

/// Folded sum of the pseudo-header for an L4 of `l4_len` bytes (RFC 9293 §3.1, RFC 8200 §8.1).
#[must_use]
#[inline]
pub fn pseudo_header_sum(packet: &Packet, l4_len: u32) -> u16 {
    pseudo_header_sum_of(packet.src, packet.dst, packet.proto, l4_len)
}

/// [`pseudo_header_sum`] from the values themselves.
#[must_use]
#[inline]
pub fn pseudo_header_sum_of(src: Addr, dst: Addr, l4_proto: u8, l4_len: u32) -> u16 {
    // For both families alike: the prefix of mapped addresses is 0xffff, which is zero to a one's complement sum.
    let halves = |addr: Addr| add((addr.0 >> 64) as u64, addr.0 as u64);
    fold(add(add(halves(src), halves(dst)), u64::from(l4_proto) + u64::from(l4_len)))
}

/// Classifies the L4 checksum of an unfragmented packet.
///
/// O(1) for a partial checksum, one pass over all buffers otherwise. `may_be_partial` says whether the port hands
/// over partial checksums (a veth does, an uplink does not).
///
/// The checksum of a fragmented datagram lies over bytes that are in other frames. A fragment is therefore
/// answered [`Valid`](ChecksumState::Valid), and the receiver checks it after reassembly; so is a protocol whose
/// header we do not read.
#[inline(always)]
pub fn classify<I: PacketIo>(io: &I, frame: &Frame, packet: &Packet, may_be_partial: bool) -> ChecksumState {
    if !matches!(packet.l4_header, L4::Tcp(_)) || packet.fragment.is_some() {
        return classify_other(io, frame, packet, may_be_partial);
    }
    let head = io.bytes(frame);
    let field = field_at(head, packet, tcp::CHECKSUM_OFFSET);
    internet(io, frame, head, packet, field, may_be_partial)
}

/// [`classify`] for what is not a whole TCP segment.
#[inline(never)]
fn classify_other<I: PacketIo>(
    io: &I,
    frame: &Frame,
    packet: &Packet,
    may_be_partial: bool,
) -> ChecksumState {
    if packet.fragment.is_some() {
        return ChecksumState::Valid;
    }
    let head = io.bytes(frame);
    match packet.l4_header {
        L4::Udp { .. } => {
            let field = field_at(head, packet, udp::CHECKSUM_OFFSET);
            match (field, packet.src.is_v4()) {
                (0, true) => ChecksumState::Absent,
                // RFC 8200 §8.1: a UDP packet over IPv6 must have a checksum.
                (0, false) => ChecksumState::Invalid,
                _ => internet(io, frame, head, packet, field, may_be_partial),
            }
        }
        // ICMP is summed by whoever sends it, also on a veth.
        L4::Icmp(_) => verified(sum_l4(io, frame, head, packet, icmp_start(packet)) == 0xffff),
        L4::Sctp(_) => {
            // The kernel leaves the field zero when the device claims to do the CRC, as veth does.
            let field = wide_field_at(head, packet, sctp::CHECKSUM_OFFSET);
            if may_be_partial && field == [0; 4] {
                return ChecksumState::Partial;
            }
            verified(crc_l4(io, frame, packet).to_le_bytes() == field)
        }
        // TCP was seen to.
        L4::Tcp(_) => ChecksumState::Invalid,
        L4::Fragment | L4::Other => ChecksumState::Valid,
    }
}

/// Writes the final L4 checksum of a frame that [`classify`] called partial.
///
/// For packets that came out of [`parse`](crate::parse()) of this very frame; others are left alone.
pub fn complete<I: PacketIo>(io: &mut I, frame: &mut Frame, packet: &Packet) {
    let l4 = usize::from(packet.l4);
    if packet.fragment.is_some() {
        return;
    }
    match packet.l4_header {
        L4::Tcp(_) | L4::Udp { .. } => {
            let Some(request) = request(packet) else { return };
            // The field holds the pseudo-header sum and is summed along.
            let value = finish(sum_l4(io, frame, io.bytes(frame), packet, 0), packet.proto);
            let at = l4 + usize::from(request.offset);
            if let Some(field) = io.bytes_mut(frame).get_mut(at..at + 2) {
                field.copy_from_slice(&value.to_be_bytes());
            }
        }
        L4::Sctp(_) => {
            let crc = crc_l4(io, frame, packet);
            let at = l4 + usize::from(sctp::CHECKSUM_OFFSET);
            if let Some(field) = io.bytes_mut(frame).get_mut(at..at + 4) {
                field.copy_from_slice(&crc.to_le_bytes());
            }
        }
        L4::Icmp(_) | L4::Fragment | L4::Other => {}
    }
}

/// What to ask the sending backend for, instead of [`complete`].
///
/// `None` for anything but TCP and UDP: transmit metadata knows only the Internet checksum, so a partial SCTP frame
/// needs [`complete`]. The sender sums to the end of the *frame*; ask only if the datagram ends there too.
#[must_use]
pub fn request(packet: &Packet) -> Option<ChecksumRequest> {
    let offset = match packet.l4_header {
        L4::Tcp(_) => tcp::CHECKSUM_OFFSET,
        L4::Udp { .. } => udp::CHECKSUM_OFFSET,
        _ => return None,
    };
    packet.fragment.is_none().then_some(ChecksumRequest { start: packet.l4, offset })
}

/// The checksum field for a folded sum over everything it covers (itself counted as zero or as the partial sum).
#[must_use]
pub const fn finish(folded: u16, l4_proto: u8) -> u16 {
    match !folded {
        // RFC 768: a computed zero is sent as all ones, because zero means "none".
        0 if l4_proto == proto::UDP => 0xffff,
        field => field,
    }
}

/// CRC32c of an SCTP packet given in pieces; the field itself has to be presented as zeros.
#[must_use]
pub fn crc32c(pieces: &[&[u8]]) -> u32 {
    pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece))
}

fn verified(right: bool) -> ChecksumState {
    if right { ChecksumState::Valid } else { ChecksumState::Invalid }
}

/// TCP and UDP: partial in O(1), else the whole sum.
#[inline(always)]
fn internet<I: PacketIo>(
    io: &I,
    frame: &Frame,
    head: &[u8],
    packet: &Packet,
    field: u16,
    may_be_partial: bool,
) -> ChecksumState {
    let pseudo = pseudo_header_sum(packet, l4_len(packet));
    if may_be_partial && field == pseudo {
        return ChecksumState::Partial;
    }
    verified(sum_l4(io, frame, head, packet, pseudo) == 0xffff)
}

/// ICMPv6 has a pseudo-header (RFC 4443 §2.3), ICMP has none.
fn icmp_start(packet: &Packet) -> u16 {
    if packet.proto == proto::ICMPV6 { pseudo_header_sum(packet, l4_len(packet)) } else { 0 }
}

/// Bytes of L4, header and payload.
fn l4_len(packet: &Packet) -> u32 {
    packet.end - u32::from(packet.l4)
}

fn field_at(head: &[u8], packet: &Packet, offset: u16) -> u16 {
    let at = usize::from(packet.l4) + usize::from(offset);
    match head.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u16::from_be_bytes(*bytes),
        None => 0,
    }
}

fn wide_field_at(head: &[u8], packet: &Packet, offset: u16) -> [u8; 4] {
    let at = usize::from(packet.l4) + usize::from(offset);
    head.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
}

/// Sum from the L4 header to the end of the datagram; Ethernet padding stays out. `head` is the frame's first buffer.
#[inline(always)]
fn sum_l4<I: PacketIo>(io: &I, frame: &Frame, head: &[u8], packet: &Packet, start: u16) -> u16 {
    let (l4, end) = (usize::from(packet.l4), packet.end as usize);
    if let Some(whole) = head.get(l4..end) {
        return fold(add(sum_words(whole), u64::from(start.swap_bytes()))).swap_bytes();
    }
    let mut total = Sum::starting_with(start);
    each_within(io, frame, l4, end, &mut |piece| total.add(piece));
    total.folded()
}

/// CRC32c from the L4 header to the end of the datagram with the field counted as zero.
fn crc_l4<I: PacketIo>(io: &I, frame: &Frame, packet: &Packet) -> u32 {
    let l4 = usize::from(packet.l4);
    let field = l4 + usize::from(sctp::CHECKSUM_OFFSET);
    let before = io.bytes(frame).get(l4..field).unwrap_or_default();
    let mut crc = crc32c(&[before, &[0; 4]]);
    each_within(io, frame, field + 4, packet.end as usize, &mut |piece| {
        crc = crc32c::crc32c_append(crc, piece);
    });
    crc
}

/// Calls `each` with the bytes `from..to` of the frame, counted over all its buffers.
fn each_within<I: PacketIo>(io: &I, frame: &Frame, from: usize, to: usize, each: &mut dyn FnMut(&[u8])) {
    let mut at = 0;
    io.for_each_buffer(frame, &mut |buffer| {
        let start = from.saturating_sub(at).min(buffer.len());
        let stop = to.saturating_sub(at).min(buffer.len());
        if start < stop {
            each(&buffer[start..stop]);
        }
        at += buffer.len();
    });
}

#[cfg(test)]
mod tests;
