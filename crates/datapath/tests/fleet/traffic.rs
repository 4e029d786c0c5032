//! Numbered frames of numbered streams. The last eight bytes of each say which stream it belongs to and which number it
//! has in it; a stream is one direction of one flow.

use super::{Arrival, DNS};
use crate::support::{A, C, from};
use packet::{Leg, testing};

const CLIENT: &str = "10.0.0.1";
const SERVER: &str = "10.0.0.3";

/// Where plain flows go to.
const PLAIN: u16 = 2_000;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    Datagram,
    /// In two fragments.
    Fragments,
    /// An ICMP error about the flow's other direction; from the server only.
    Error,
}

/// Makes frames. The first `inspected` flows are DNS.
pub struct Traffic {
    pub flows: u16,
    inspected: u16,
    next: Vec<u32>,
    datagrams: u32,
    pub frames: u64,
}

impl Traffic {
    pub fn new(flows: u16, inspected: u16) -> Self {
        Self { flows, inspected, next: vec![0; usize::from(flows) * 2], datagrams: 0, frames: 0 }
    }

    /// The next frames of a stream.
    pub fn next(&mut self, flow: u16, leg: Leg, kind: Kind) -> Vec<Arrival> {
        let stream = u32::from(flow) * 2 + leg.index() as u32;
        let (client, server) = (1_000 + flow, if flow < self.inspected { DNS } else { PLAIN });
        let (src, dst, src_port, dst_port, port) = match leg {
            Leg::Original => (CLIENT, SERVER, client, server, A),
            Leg::Reply => (SERVER, CLIENT, server, client, C),
        };
        // Inspected datagrams must be messages.
        let head: &[u8] = match (server == DNS, leg) {
            (true, Leg::Original) => b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
            (true, Leg::Reply) => b"\0\x07\x81\x80\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
            _ => b"",
        };
        let mut number = || {
            let next = &mut self.next[stream as usize];
            let said = [stream.to_be_bytes(), next.to_be_bytes()].concat();
            *next += 1;
            said
        };
        let frames = match kind {
            Kind::Datagram => {
                vec![testing::udp(src, dst, src_port, dst_port, &[head, &number()].concat())]
            }
            Kind::Fragments => {
                // Eight bytes of UDP header, and the first fragment ends with its number.
                let payload = [number(), number()].concat();
                self.datagrams += 1;
                testing::fragments(&testing::udp(src, dst, src_port, dst_port, &payload), 16, self.datagrams)
            }
            Kind::Error => {
                let about = testing::udp(CLIENT, SERVER, client, server, &number());
                vec![testing::icmp(SERVER, CLIENT, 3, 3, [0; 4], &about[14..])]
            }
        };
        self.frames += frames.len() as u64;
        frames.into_iter().map(|frame| (port, from(port, frame))).collect()
    }
}

/// Holds what comes out against what went in.
pub struct Referee {
    next: Vec<u32>,
    pub seen: u64,
}

impl Referee {
    pub fn new(flows: u16) -> Self {
        Self { next: vec![0; usize::from(flows) * 2], seen: 0 }
    }

    /// One that expects the numbers behind a loss, too: order only.
    pub fn check(&mut self, frame: &[u8]) {
        let (stream, number) = said(frame);
        assert_eq!(number, self.next[stream], "the next frame of stream {stream}");
        self.next[stream] += 1;
        self.seen += 1;
    }
}

/// Stream and number of a frame.
pub fn said(frame: &[u8]) -> (usize, u32) {
    let &[a, b, c, d, e, f, g, h] = frame.last_chunk().expect("eight bytes");
    (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]))
}
