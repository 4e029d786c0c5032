//! Joins consecutive TCP segments of one connection to one large segment, which whoever receives it can take apart again.
//!
//! These are the rules of generic receive offload (`tcp_gro_receive` and `inet_gro_receive` in net/ipv4): segments are
//! joined only where cutting the result every `mss` bytes gives what was joined, but for the identification of IPv4 packets
//! that must not be fragmented (RFC 6864 gives it no meaning there) and for checksums, which are open on both sides.

use crate::ether::HEADER_LEN as ETHERNET;
use crate::ipv4::MIN_HEADER_LEN as IPV4;
use crate::ipv6::HEADER_LEN as IPV6;
use crate::packet::proto;
use crate::tcp::{CHECKSUM_OFFSET, MIN_HEADER_LEN as TCP};
use crate::{Addr, ChecksumRequest, TcpFlags, checksum};

/// Headers are at most this long: Ethernet, IPv6 without extensions, TCP with all options.
pub const MAX_HEADERS: usize = ETHERNET + IPV6 + 60;

/// Segments with less payload are not worth a call of their own.
const MIN_PAYLOAD: usize = 256;

/// Bytes of the joined frame: what an IPv4 packet can say of itself, and a device takes unless told otherwise
/// (`GSO_LEGACY_MAX_SIZE` of netdevice.h, less one).
const MAX_FRAME: usize = 65_535;

const ACK: u8 = TcpFlags::ACK;
const PSH: u8 = TcpFlags::PSH;

/// Segments that follow each other.
#[derive(Clone, Debug)]
pub struct Run {
    /// Headers of the first segment.
    headers: [u8; MAX_HEADERS],
    /// Their length: the payload begins here in each of the frames.
    len: u8,
    /// Where the TCP header begins.
    l4: u8,
    /// Whether more may follow: all so far were full and none was to be delivered at once.
    open: bool,
    pushed: bool,
    segments: u16,
    /// Payload of each segment but the last.
    mss: u16,
    next_seq: u32,
    /// Identification that the next IPv4 packet must have where it has a meaning.
    next_id: u16,
    /// Payload of all.
    payload: u32,
}

impl Run {
    /// A run of this one frame, whose first buffer holds `bytes` of `len`; `None` if nothing may be joined to it.
    ///
    /// `request` is the frame's: only open checksums can be joined, because a checksum over the whole would say of bytes that
    /// are wrong that they are right.
    #[must_use]
    pub fn begin(bytes: &[u8], len: usize, request: ChecksumRequest) -> Option<Self> {
        let l4 = match bytes.get(12..15)? {
            [0x08, 0x00, 0x45] => ETHERNET + IPV4,
            [0x86, 0xdd, version] if version >> 4 == 6 => ETHERNET + IPV6,
            _ => return None,
        };
        let tcp = bytes.get(l4..l4 + TCP)?;
        let headers = l4 + usize::from(tcp[12] >> 4) * 4;
        let payload = len.checked_sub(headers).filter(|payload| *payload >= MIN_PAYLOAD)?;
        let plain = match l4 {
            // Neither a fragment nor the reserved bit; the length says all of the frame.
            at if at == ETHERNET + IPV4 => {
                bytes[20] & 0xbf == 0
                    && bytes[21] == 0
                    && bytes[23] == proto::TCP
                    && be16(bytes, 16) + ETHERNET == len
            }
            _ => bytes[20] == proto::TCP && be16(bytes, 18) + ETHERNET + IPV6 == len,
        };
        let asked = usize::from(request.start) == l4 && request.offset == CHECKSUM_OFFSET;
        let ordinary = tcp[12] & 0x0f == 0 && tcp[13] == ACK && tcp[18..20] == [0, 0];
        if !(plain && asked && ordinary && headers >= l4 + TCP && headers < bytes.len()) {
            return None;
        }
        let mut kept = [0; MAX_HEADERS];
        kept.get_mut(..headers)?.copy_from_slice(&bytes[..headers]);
        Some(Self {
            headers: kept,
            len: headers as u8,
            l4: l4 as u8,
            open: true,
            pushed: false,
            segments: 1,
            mss: u16::try_from(payload).ok()?,
            next_seq: be32(tcp, 4).wrapping_add(payload as u32),
            next_id: (be16(bytes, 18) as u16).wrapping_add(1),
            payload: payload as u32,
        })
    }

    /// Adds a frame if it continues the run. Answers whether it did; if not, the run is as before.
    #[must_use]
    pub fn extend(&mut self, bytes: &[u8], len: usize, request: ChecksumRequest) -> bool {
        let (headers, l4) = (usize::from(self.len), usize::from(self.l4));
        if !self.open || bytes.len() <= headers || len <= headers {
            return false;
        }
        let (new, first) = (&bytes[..headers], &self.headers[..headers]);
        let payload = len - headers;
        let whole = headers + self.payload as usize + payload;
        let asked = usize::from(request.start) == l4 && request.offset == CHECKSUM_OFFSET;
        if !asked
            || payload > usize::from(self.mss)
            || whole > MAX_FRAME
            || new[..ETHERNET] != first[..ETHERNET]
        {
            return false;
        }
        let same_ip = if l4 == ETHERNET + IPV4 {
            let may_be_fragmented = first[20] & 0x40 == 0;
            new[14..16] == first[14..16]
                && be16(new, 16) + ETHERNET == len
                && new[20..24] == first[20..24]
                && new[26..34] == first[26..34]
                && (!may_be_fragmented || be16(new, 18) == usize::from(self.next_id))
        } else {
            new[14..18] == first[14..18]
                && be16(new, 18) + ETHERNET + IPV6 == len
                && new[20..54] == first[20..54]
        };
        let (new, first) = (&new[l4..], &first[l4..]);
        let same_tcp = new[..4] == first[..4]
            && be32(new, 4) == self.next_seq
            && new[8..13] == first[8..13]
            && new[13] & !PSH == first[13]
            && new[14..16] == first[14..16]
            && new[18..] == first[18..];
        if !(same_ip && same_tcp) {
            return false;
        }
        self.pushed = new[13] & PSH != 0;
        self.open = !self.pushed && payload == usize::from(self.mss);
        self.segments += 1;
        self.next_seq = self.next_seq.wrapping_add(payload as u32);
        self.next_id = self.next_id.wrapping_add(1);
        self.payload += payload as u32;
        true
    }

    /// Frames in it.
    #[must_use]
    pub fn segments(&self) -> usize {
        usize::from(self.segments)
    }

    /// Whether nothing can follow any more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.open
    }

    /// Bytes of payload in each segment but the last.
    #[must_use]
    pub fn mss(&self) -> u16 {
        self.mss
    }

    /// Where the TCP header begins in the frame.
    #[must_use]
    pub fn l4_start(&self) -> u16 {
        u16::from(self.l4)
    }

    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        usize::from(self.l4) == ETHERNET + IPV6
    }

    /// Bytes of headers at the front of each frame, and of the joined one.
    #[must_use]
    pub fn headers_len(&self) -> usize {
        usize::from(self.len)
    }

    /// Headers of the joined segment. Its TCP checksum is open: the field holds the sum of the pseudo-header.
    #[must_use]
    pub fn headers(&self) -> [u8; MAX_HEADERS] {
        let (headers, l4) = (usize::from(self.len), usize::from(self.l4));
        let mut out = self.headers;
        let tcp_len = (headers - l4) as u32 + self.payload;
        let (src, dst) = if self.is_v6() {
            out[18..20].copy_from_slice(&(tcp_len as u16).to_be_bytes());
            (address(&out[22..38]), address(&out[38..54]))
        } else {
            out[16..18].copy_from_slice(&(tcp_len as u16 + IPV4 as u16).to_be_bytes());
            out[24..26].fill(0);
            let checksum = !checksum::sum(&out[ETHERNET..l4]);
            out[24..26].copy_from_slice(&checksum.to_be_bytes());
            (address(&out[26..30]), address(&out[30..34]))
        };
        if self.pushed {
            out[l4 + 13] |= PSH;
        }
        let pseudo = checksum::pseudo_header_sum_of(src, dst, proto::TCP, tcp_len);
        let field = l4 + usize::from(CHECKSUM_OFFSET);
        out[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        out
    }
}

fn be16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn address(bytes: &[u8]) -> Addr {
    match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => Addr::v4(v4),
        Err(_) => Addr::v6(bytes.try_into().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What segments are made of.
    #[derive(Clone)]
    struct Stream {
        v6: bool,
        options: usize,
        dont_fragment: bool,
        id: u16,
        seq: u32,
    }

    impl Stream {
        fn l4(&self) -> usize {
            if self.v6 { 54 } else { 34 }
        }

        fn request(&self) -> ChecksumRequest {
            ChecksumRequest { start: self.l4() as u16, offset: 16 }
        }

        /// The next segment, as a stack makes it whose device completes checksums.
        fn next(&mut self, payload: &[u8], flags: u8) -> Vec<u8> {
            let (l4, tcp_len) = (self.l4(), 20 + self.options + payload.len());
            let mut frame = vec![0; l4 + 20 + self.options];
            frame[..12].copy_from_slice(b"\x02aaaaa\x02bbbbb");
            let (src, dst) = if self.v6 {
                frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
                frame[18..20].copy_from_slice(&(tcp_len as u16).to_be_bytes());
                frame[20..22].copy_from_slice(&[6, 64]);
                frame[22..54].copy_from_slice(&[[1; 16], [2; 16]].concat());
                (Addr::v6([1; 16]), Addr::v6([2; 16]))
            } else {
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
                frame[16..18].copy_from_slice(&(20 + tcp_len as u16).to_be_bytes());
                frame[18..20].copy_from_slice(&self.id.to_be_bytes());
                frame[20] = if self.dont_fragment { 0x40 } else { 0 };
                frame[22..24].copy_from_slice(&[64, 6]);
                frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
                let sum = !checksum::sum(&frame[14..34]);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
                (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]))
            };
            let tcp = &mut frame[l4..];
            tcp[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
            tcp[4..8].copy_from_slice(&self.seq.to_be_bytes());
            tcp[8..12].copy_from_slice(&[0, 0, 0, 9]);
            tcp[12..16].copy_from_slice(&[((20 + self.options) as u8 / 4) << 4, flags, 1, 0]);
            tcp[20..].fill(1);
            let pseudo = checksum::pseudo_header_sum_of(src, dst, proto::TCP, tcp_len as u32);
            tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
            frame.extend_from_slice(payload);
            self.id = self.id.wrapping_add(1);
            self.seq = self.seq.wrapping_add(payload.len() as u32);
            frame
        }
    }

    fn stream(v6: bool) -> Stream {
        Stream { v6, options: 12, dont_fragment: true, id: 7, seq: u32::MAX - 2_000 }
    }

    /// Joins as many as go together.
    fn join(frames: &[Vec<u8>], request: ChecksumRequest) -> (Run, usize) {
        let mut run = Run::begin(&frames[0], frames[0].len(), request).expect("may begin a run");
        let joined = 1 + frames[1..].iter().take_while(|f| run.extend(f, f.len(), request)).count();
        (run, joined)
    }

    #[test]
    fn cutting_what_was_joined_gives_what_there_was() {
        for v6 in [false, true] {
            for (options, dont_fragment, last, push) in
                [(0, true, 1448, false), (12, false, 1, true), (40, true, 700, true), (12, true, 1448, true)]
            {
                let mut stream = Stream { options, dont_fragment, ..stream(v6) };
                let fresh = stream.clone();
                let sizes = [1448, 1448, 1448, 1448, last];
                let payloads: Vec<Vec<u8>> = (0..5).map(|n| vec![n as u8; sizes[n]]).collect();
                let flags = |n| if n == 4 && push { ACK | PSH } else { ACK };
                let frames: Vec<_> = (0..5).map(|n| stream.next(&payloads[n], flags(n))).collect();
                let (run, joined) = join(&frames, stream.request());
                assert_eq!((joined, run.segments(), run.mss()), (5, 5, 1448));
                assert_eq!(run.is_complete(), push || last < 1448);
                assert_eq!((usize::from(run.l4_start()), run.is_v6()), (stream.l4(), v6));

                // The one that was joined is the one that a stack would have given to a device that cuts.
                let headers = run.headers();
                let mut whole = fresh.clone();
                let whole = whole.next(&payloads.concat(), if push { ACK | PSH } else { ACK });
                assert_eq!(headers[..run.headers_len()], whole[..run.headers_len()]);

                // Cut as such a device cuts: flags of the end at the end, numbers counted up.
                let (mut cut, payload) = (fresh, payloads.concat());
                let mss = usize::from(run.mss());
                let count = payload.len().div_ceil(mss);
                for (n, piece) in payload.chunks(mss).enumerate() {
                    let flags = headers[stream.l4() + 13] & if n + 1 == count { 0xff } else { !PSH };
                    assert_eq!(cut.next(piece, flags), frames[n], "segment {n}");
                }
            }
        }
    }

    #[test]
    fn what_differs_is_not_joined() {
        for v6 in [false, true] {
            let mut from = stream(v6);
            let l4 = from.l4();
            let first = from.next(&[1; 1000], ACK);
            let request = from.request();
            let good = from.clone().next(&[2; 1000], ACK);
            assert_eq!(join(&[first.clone(), good.clone()], request).1, 2);
            let mut may_differ: Vec<usize> = vec![l4 + 16, l4 + 17];
            if !v6 {
                // The identification, and the checksum of the header, which is made anew.
                may_differ.extend([18, 19, 24, 25]);
            }
            for at in 0..l4 + 32 {
                for bit in 0..8 {
                    let mut other = good.clone();
                    other[at] ^= 1 << bit;
                    let push = at == l4 + 13 && 1 << bit == PSH;
                    let joined = join(&[first.clone(), other], request).1 == 2;
                    assert_eq!(joined, push || may_differ.contains(&at), "byte {at}, bit {bit}");
                }
            }
            let again = |change: fn(&mut Stream), len: usize, flags: u8| {
                let mut from = from.clone();
                change(&mut from);
                join(&[first.clone(), from.next(&vec![2; len], flags)], request).1
            };
            assert_eq!(again(|_| (), 1001, ACK), 1, "longer than the first");
            assert_eq!(again(|_| (), 0, ACK), 1, "no payload");
            assert_eq!(again(|s| s.seq -= 1000, 1000, ACK), 1, "repeated");
            assert_eq!(again(|s| s.seq += 1, 1000, ACK), 1, "a hole");
            assert_eq!(again(|s| s.options = 16, 1000, ACK), 1);
            let mut run = Run::begin(&first, first.len(), request).expect("begins");
            assert!(!run.extend(&good, good.len() + 1, request), "more in the frame than in the packet");
            let udp = ChecksumRequest { offset: 6, ..request };
            assert!(!run.extend(&good, good.len(), udp));
            assert!(run.extend(&good, good.len(), request), "as before");
        }
    }

    #[test]
    fn numbers_that_have_a_meaning_are_kept() {
        let mut from = Stream { dont_fragment: false, ..stream(false) };
        let first = from.next(&[1; 1000], ACK);
        from.id += 1;
        assert_eq!(join(&[first, from.next(&[2; 1000], ACK)], from.request()).1, 1);
    }

    #[test]
    fn a_run_ends_where_its_length_does() {
        let mut from = stream(true);
        let frames: Vec<_> = (0..10).map(|_| from.next(&[0; 8_000], ACK)).collect();
        let (run, joined) = join(&frames, from.request());
        assert_eq!((joined, run.headers_len()), (8, 86));
        assert!(run.headers()[18..20] == (64_000_u16 + 32).to_be_bytes());
    }

    #[test]
    fn only_ordinary_data_with_open_checksums_begin_a_run() {
        for v6 in [false, true] {
            let from = stream(v6);
            let request = from.request();
            let begins = |frame: &[u8], request| Run::begin(frame, frame.len(), request).is_some();
            let good = from.clone().next(&[1; 1000], ACK);
            assert!(begins(&good, request));
            assert!(!begins(&good, ChecksumRequest { offset: 6, ..request }), "of UDP");
            assert!(!begins(&good, ChecksumRequest { start: request.start + 4, ..request }));
            for flags in 0..=255_u8 {
                let frame = from.clone().next(&[1; 1000], flags);
                assert_eq!(begins(&frame, request), flags == ACK, "{flags:#x}");
            }
            assert!(!begins(&from.clone().next(&[1; 200], ACK), request), "little");
            for len in 0..good.len() {
                assert!(!begins(&good[..len], request), "cut to {len}");
            }
            let mut fragment = good.clone();
            fragment[if v6 { 20 } else { 21 }] = 44;
            assert!(!begins(&fragment, request));
            let mut short = good;
            short[from.l4() + 12] = 0x40;
            assert!(!begins(&short, request), "a header of 16 bytes");
        }
    }
}
