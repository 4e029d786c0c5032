//! The TCP header fields that a splice rewrites, where they stand in a frame, and those that it needs for segments of
//! its own.

use packet::checksum;
use packet::{L4, Packet, TcpFlags};

const CHECKSUM: usize = 16;
const URGENT: usize = 18;
const MIN_LEN: usize = 20;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// New values for a segment's header.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Rewrite {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
}

/// A header in the first buffer of a frame, to be changed with the checksum kept right. `partial`: the checksum field
/// holds the pseudo-header's sum only, which does not cover the header.
pub(super) struct Header<'a> {
    bytes: &'a mut [u8],
    partial: bool,
}

impl<'a> Header<'a> {
    /// The header of `packet`, of whose frame `head` is the first buffer.
    pub(super) fn new(head: &'a mut [u8], packet: &Packet, partial: bool) -> Option<Self> {
        let (from, to) = (usize::from(packet.l4), usize::from(packet.payload));
        let bytes = head.get_mut(from..to).filter(|bytes| bytes.len() >= MIN_LEN)?;
        Some(Self { bytes, partial })
    }

    fn set_u16(&mut self, at: usize, new: u16) {
        let old = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        if old == new {
            return;
        }
        self.bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        if !self.partial {
            let field = u16::from_be_bytes([self.bytes[CHECKSUM], self.bytes[CHECKSUM + 1]]);
            let field = checksum::update_u16(field, old, new);
            self.bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&field.to_be_bytes());
        }
    }

    /// Writes a byte at any offset.
    fn set_u8(&mut self, at: usize, new: u8) {
        let even = at & !1;
        let mut pair = [self.bytes[even], self.bytes[even + 1]];
        pair[at - even] = new;
        self.set_u16(even, u16::from_be_bytes(pair));
    }

    fn set_u32(&mut self, at: usize, new: u32) {
        for (i, byte) in new.to_be_bytes().into_iter().enumerate() {
            self.set_u8(at + i, byte);
        }
    }

    /// Puts the numbers of the receiver's space in place.
    pub(super) fn rewrite(&mut self, new: &Rewrite) {
        self.set_u32(4, new.seq);
        self.set_u32(8, new.ack);
        self.set_u16(14, new.window);
    }

    /// Takes away the urgent mark: Linux would take the marked byte out of the stream (`tcp_check_urg`), and the
    /// receiver would read something else than was judged.
    pub(super) fn clear_urgent(&mut self) {
        self.set_u8(13, self.bytes[13] & !TcpFlags::URG);
        self.set_u16(URGENT, 0);
    }

    /// Translates the edges of SACK blocks (RFC 2018). Where one has no place in the sender's numbers, the option
    /// goes: it is advice.
    pub(super) fn translate_sack(&mut self, translate: impl Fn(u32) -> Option<u32>) {
        let Some((at, len)) = find(self.bytes, SACK) else { return };
        let edges = (at + 2..at + len).step_by(4);
        let read =
            |bytes: &[u8], at: usize| bytes.get(at..at + 4)?.first_chunk().map(|b| u32::from_be_bytes(*b));
        let mut new = [0; 8];
        let mut fits = true;
        for (slot, edge) in new.iter_mut().zip(edges.clone()) {
            match read(self.bytes, edge).and_then(&translate) {
                Some(edge) => *slot = edge,
                None => fits = false,
            }
        }
        if fits && new.chunks(2).take((len - 2) / 8).all(|block| block[0] != block[1]) {
            for (edge, at) in new.into_iter().zip(edges) {
                self.set_u32(at, edge);
            }
        } else {
            self.blank(at, len);
        }
    }

    /// Overwrites every option of a SYN that would let the ends do what a splice does not follow: only segment size,
    /// window scale, SACK and timestamps stay. Fast open, multipath and signatures go.
    pub(super) fn keep_plain_options(&mut self) {
        let mut at = MIN_LEN;
        while let Some(&kind) = self.bytes.get(at) {
            match kind {
                END => return,
                NOP => at += 1,
                _ => {
                    let len = self.bytes.get(at + 1).map_or(0, |&len| usize::from(len));
                    if len < 2 || at + len > self.bytes.len() {
                        return;
                    }
                    if !matches!(kind, MSS | WINDOW_SCALE | SACK_PERMITTED | TIMESTAMPS) {
                        self.blank(at, len);
                    }
                    at += len;
                }
            }
        }
    }

    fn blank(&mut self, at: usize, len: usize) {
        for at in at..at + len {
            self.set_u8(at, NOP);
        }
    }
}

/// Where an option starts and how long it is, in a header that the parser accepted.
fn find(header: &[u8], kind: u8) -> Option<(usize, usize)> {
    let mut at = MIN_LEN;
    loop {
        match *header.get(at)? {
            END => return None,
            NOP => at += 1,
            other => {
                let len = usize::from(*header.get(at + 1)?);
                if len < 2 || at + len > header.len() {
                    return None;
                }
                if other == kind {
                    return Some((at, len));
                }
                at += len;
            }
        }
    }
}

/// The sender's clock in a segment's timestamps option (RFC 7323 §3.2).
pub(super) fn timestamp(head: &[u8], packet: &Packet) -> Option<u32> {
    let header = head.get(usize::from(packet.l4)..usize::from(packet.payload))?;
    if !matches!(packet.l4_header, L4::Tcp(_)) || header.len() < MIN_LEN + 12 {
        return None;
    }
    let (at, len) = find(header, TIMESTAMPS)?;
    let value = header.get(at + 2..at + 6).filter(|_| len == 10)?;
    value.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// Options of a segment of our own: timestamps, and one SACK block.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Options {
    bytes: [u8; 24],
    len: usize,
}

impl Options {
    /// With both clocks, if timestamps are used, and the block, if there is one.
    pub(super) fn new(clocks: Option<(u32, u32)>, block: Option<(u32, u32)>) -> Self {
        let mut new = Self::default();
        if let Some((ours, theirs)) = clocks {
            new.push(&[NOP, NOP, TIMESTAMPS, 10]);
            new.push(&ours.to_be_bytes());
            new.push(&theirs.to_be_bytes());
        }
        if let Some((left, right)) = block {
            new.push(&[NOP, NOP, SACK, 10]);
            new.push(&left.to_be_bytes());
            new.push(&right.to_be_bytes());
        }
        new
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// As they stand in the header.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::emit::{self, Envelope, Segment};
    use packet::{Addr, MacAddr, Parsed, packet::proto};

    fn frame(options: &[u8]) -> (Vec<u8>, Packet) {
        let envelope = Envelope {
            eth_src: MacAddr([2, 0, 0, 0, 0, 1]),
            eth_dst: MacAddr([2, 0, 0, 0, 0, 2]),
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 0, 0, 2]),
            ttl: 64,
            traffic_class: 0,
        };
        let flags = TcpFlags(TcpFlags::ACK | TcpFlags::URG);
        let segment = Segment { src_port: 1, dst_port: 2, seq: 7, ack: 9, flags, window: 100 };
        let mut buf = vec![0; 200];
        let len = emit::tcp(&mut buf, &envelope, &segment, options, b"abc").expect("fits");
        buf.truncate(len);
        let Ok(Parsed::Ip(packet)) = packet::parse(&buf, len) else { panic!("parses") };
        (buf, packet)
    }

    /// The checksum over the changed frame is right.
    fn sums_up(bytes: &[u8], packet: &Packet) -> bool {
        let l4 = &bytes[usize::from(packet.l4)..];
        let mut sum = checksum::Sum::starting_with(checksum::pseudo_header_sum_of(
            packet.src,
            packet.dst,
            proto::TCP,
            l4.len() as u32,
        ));
        sum.add(l4);
        sum.folded() == 0xffff
    }

    #[test]
    fn rewriting_keeps_the_checksum() {
        let (mut bytes, packet) = frame(Options::new(Some((5, 6)), Some((100, 200))).as_slice());
        let mut header = Header::new(&mut bytes, &packet, false).expect("there");
        header.rewrite(&Rewrite { seq: 0xffff_fff0, ack: 3, window: 65535 });
        header.clear_urgent();
        header.translate_sack(|edge| Some(edge + 0x0102_0304));
        assert!(sums_up(&bytes, &packet));
        let Ok(Parsed::Ip(again)) = packet::parse(&bytes, bytes.len()) else { panic!("parses") };
        let L4::Tcp(tcp) = again.l4_header else { panic!("TCP") };
        assert_eq!((tcp.seq, tcp.ack, tcp.window, tcp.flags.0), (0xffff_fff0, 3, 65535, TcpFlags::ACK));
        assert_eq!(timestamp(&bytes, &again), Some(5));
        let at = find(&bytes[usize::from(again.l4)..], SACK).expect("SACK").0 + usize::from(again.l4);
        assert_eq!(bytes[at + 2..at + 6], (100_u32 + 0x0102_0304).to_be_bytes());
    }

    #[test]
    fn a_block_without_a_place_is_blanked() {
        let (mut bytes, packet) = frame(Options::new(None, Some((100, 200))).as_slice());
        Header::new(&mut bytes, &packet, false).expect("there").translate_sack(|_| None);
        assert!(sums_up(&bytes, &packet));
        assert_eq!(find(&bytes[usize::from(packet.l4)..usize::from(packet.payload)], SACK), None);
    }

    #[test]
    fn only_plain_options_stay() {
        // Segment size, fast open with a cookie, window scale, signature (cut short by the end).
        let options = [2, 4, 5, 180, 34, 6, 1, 2, 3, 4, 3, 3, 7, 1, 30, 2, 0, 0, 0, 0];
        let (mut bytes, packet) = frame(&options);
        Header::new(&mut bytes, &packet, false).expect("there").keep_plain_options();
        assert!(sums_up(&bytes, &packet));
        let left = &bytes[usize::from(packet.l4) + MIN_LEN..usize::from(packet.payload)];
        assert_eq!(left, [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 3, 3, 7, 1, 1, 1, 0, 0, 0, 0]);
    }
}
