//! Moves the sequence numbers of one stack, so that they wrap round where a test wants it.
//!
//! The stack chooses its initial number itself; frames it sends get `delta` added to their sequence number, frames it
//! receives get it taken from their acknowledgement and SACK blocks.

use packet::{L4, testing};

const SEQ: usize = 4;
const ACK: usize = 8;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const OPTION_SACK: u8 = 5;

/// The stack's numbers are this much smaller than what the network sees.
#[derive(Copy, Clone, Debug, Default)]
pub struct Shift {
    delta: u32,
    chosen: bool,
}

impl Shift {
    /// A frame of the stack. The first SYN decides: its number becomes `isn`.
    pub fn outbound(&mut self, frame: &mut [u8], isn: u32) {
        let Some((at, tcp)) = segment(frame) else { return };
        if !self.chosen && tcp.flags.syn() {
            *self = Self { delta: isn.wrapping_sub(tcp.seq), chosen: true };
        }
        edit(frame, at, |l4| put(l4, SEQ, tcp.seq.wrapping_add(self.delta)));
    }

    /// A frame for the stack.
    pub fn inbound(&self, frame: &mut [u8]) {
        let Some((at, tcp)) = segment(frame) else { return };
        if !tcp.flags.ack() {
            return;
        }
        let delta = self.delta;
        edit(frame, at, |l4| {
            put(l4, ACK, tcp.ack.wrapping_sub(delta));
            for edge in sack_edges(l4) {
                let number = get(l4, edge).wrapping_sub(delta);
                put(l4, edge, number);
            }
        });
    }
}

/// The left and right edges of a segment's SACK blocks.
pub fn sack_blocks(l4: &[u8]) -> Vec<(u32, u32)> {
    sack_edges(l4).chunks_exact(2).map(|pair| (get(l4, pair[0]), get(l4, pair[1]))).collect()
}

fn segment(frame: &[u8]) -> Option<(usize, packet::Tcp)> {
    match packet::parse(frame, frame.len()) {
        Ok(packet::Parsed::Ip(packet)) => match packet.l4_header {
            L4::Tcp(tcp) => Some((usize::from(packet.l4), tcp)),
            _ => None,
        },
        _ => None,
    }
}

/// Offsets of the 32-bit numbers inside SACK options.
fn sack_edges(l4: &[u8]) -> Vec<usize> {
    let header = usize::from(l4[12] >> 4) * 4;
    let (mut at, mut edges) = (20, Vec::new());
    while at + 1 < header {
        match l4[at] {
            0 => break,
            1 => at += 1,
            kind => {
                let len = usize::from(l4[at + 1]).max(2);
                if kind == OPTION_SACK {
                    edges.extend((at + 2..at + len).step_by(4));
                }
                at += len;
            }
        }
    }
    edges
}

/// The same frame with no more than `len` bytes of payload, and then without a FIN.
pub fn truncated(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    let packet = testing::packet_of(&frame);
    let (l3, end) = (usize::from(packet.l3), usize::from(packet.payload) + len);
    if end >= packet.end as usize {
        return frame;
    }
    frame.truncate(end);
    if packet.src.is_v4() {
        frame[l3 + 2..l3 + 4].copy_from_slice(&((end - l3) as u16).to_be_bytes());
        frame[l3 + 10..l3 + 12].fill(0);
        let field = !packet::checksum::sum(&frame[l3..l3 + 20]);
        frame[l3 + 10..l3 + 12].copy_from_slice(&field.to_be_bytes());
    } else {
        frame[l3 + 4..l3 + 6].copy_from_slice(&((end - l3 - 40) as u16).to_be_bytes());
    }
    edit(&mut frame, usize::from(packet.l4), |l4| l4[FLAGS] &= !packet::TcpFlags::FIN);
    frame
}

/// Changes the TCP header and sums again.
fn edit(frame: &mut [u8], at: usize, change: impl FnOnce(&mut [u8])) {
    let packet = testing::packet_of(frame);
    let l4 = &mut frame[at..packet.end as usize];
    change(l4);
    l4[CHECKSUM..CHECKSUM + 2].fill(0);
    let pseudo = packet::checksum::pseudo_header_sum(&packet, l4.len() as u32);
    let mut sum = packet::checksum::Sum::starting_with(pseudo);
    sum.add(l4);
    let field = packet::checksum::finish(sum.folded(), packet.proto);
    l4[CHECKSUM..CHECKSUM + 2].copy_from_slice(&field.to_be_bytes());
}

fn get(l4: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([l4[at], l4[at + 1], l4[at + 2], l4[at + 3]])
}

fn put(l4: &mut [u8], at: usize, value: u32) {
    l4[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
