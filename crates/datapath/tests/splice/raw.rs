//! Both ends of one connection by hand: every segment said as a case says it, every frame that leaves looked at.
//!
//! Numbers are offsets into a stream as that end counts it: 0 is the first byte behind its SYN.

use super::node::{self, CLIENT, GATEWAY_MAC, HTTP, Node, Rules, SERVER};
use super::shift::sack_blocks;
use super::stack::{CLIENT_PORT, tcp_of, timestamps};
use packet::emit::Segment;
use packet::{PortId, TcpFlags, testing};
use std::time::Duration;

/// Who speaks.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum End {
    Client,
    Server,
}

impl End {
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub const fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }

    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    const fn port(self) -> PortId {
        match self {
            Self::Client => CLIENT,
            Self::Server => SERVER,
        }
    }
}

/// A segment to say.
#[derive(Clone, Debug, Default)]
pub struct Say {
    pub at: Option<i64>,
    pub ack: Option<i64>,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub timestamps: Option<(u32, u32)>,
    pub sack: Vec<(i64, i64)>,
    /// Behind the options that follow from the rest.
    pub options: Vec<u8>,
    pub ttl: Option<u8>,
    pub bad_checksum: bool,
    pub payload: Vec<u8>,
}

/// A segment that came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub at: i64,
    pub ack: i64,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub timestamps: Option<(u32, u32)>,
    pub sack: Vec<(i64, i64)>,
    pub payload: Vec<u8>,
}

impl Seen {
    /// Nothing but an acknowledgement.
    pub fn is_bare(&self) -> bool {
        let control = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::URG;
        self.payload.is_empty() && self.flags & control == 0
    }
}

/// What one end knows.
#[derive(Clone, Debug, Default)]
struct Side {
    isn: u32,
    /// Initial number of the other end, as told.
    peer_isn: Option<u32>,
    /// Offset behind the last that it sent.
    next: i64,
    /// Offset behind what it was told without a gap, and what lies behind gaps.
    told: i64,
    ahead: Vec<(i64, i64)>,
    /// Last timestamp it was told.
    echo: u32,
    /// Frames that came and were not looked at.
    unseen: Vec<Seen>,
}

pub struct Wire {
    pub node: Node,
    sides: [Side; 2],
    timestamps: bool,
}

impl Wire {
    pub fn new(rules: Rules, isns: [u32; 2], timestamps: bool) -> Self {
        let side = |isn| Side { isn, next: -1, told: -1, ..Side::default() };
        Self { node: Node::new(rules, 2_048), sides: isns.map(side), timestamps }
    }

    /// Sends a segment and lets the worker handle it.
    pub fn say(&mut self, end: End, say: &Say) {
        self.put(end, say);
        self.node.poll();
        self.collect();
    }

    /// Sends a segment that arrives in one burst with those put before it and the next one said.
    pub fn put(&mut self, end: End, say: &Say) {
        let side = &self.sides[end.index()];
        let at = say.at.unwrap_or(side.next);
        let ack = say.ack.unwrap_or(side.told);
        let number = |isn: u32, offset: i64| isn.wrapping_add(1).wrapping_add(offset as u32);
        let ports = match end {
            End::Client => (CLIENT_PORT, HTTP),
            End::Server => (HTTP, CLIENT_PORT),
        };
        let has_ack = say.flags & TcpFlags::ACK != 0;
        let segment = Segment {
            src_port: ports.0,
            dst_port: ports.1,
            seq: number(side.isn, at),
            ack: if has_ack { number(side.peer_isn.unwrap_or(0), ack) } else { 0 },
            flags: TcpFlags(say.flags),
            window: say.window,
        };
        let options = self.options(end, say);
        let [from, to] = [end, end.peer()].map(|e| node::addr_of(e.port(), false));
        let mut frame = testing::tcp_with(&testing::envelope(from, to), &segment, &options, &say.payload);
        frame = testing::with_macs(frame, node::mac_of(end.port()), GATEWAY_MAC);
        if let Some(ttl) = say.ttl {
            frame = testing::with_ttl(frame, ttl);
        }
        finish(&mut frame, say);
        let control = i64::from(say.flags & TcpFlags::SYN != 0) + i64::from(say.flags & TcpFlags::FIN != 0);
        let side = &mut self.sides[end.index()];
        side.next = side.next.max(at + say.payload.len() as i64 + control);
        self.node.arrive(end.port(), &frame);
    }

    fn options(&self, end: End, say: &Say) -> Vec<u8> {
        let side = &self.sides[end.index()];
        let mut options = Vec::new();
        if self.timestamps {
            let now = (self.node.now.as_nanos() / 1_000_000) as u32;
            let (value, echo) = say.timestamps.unwrap_or((now, side.echo));
            options.extend([1, 1, 8, 10]);
            options.extend(value.to_be_bytes());
            options.extend(echo.to_be_bytes());
        }
        if !say.sack.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * say.sack.len() as u8]);
            let base = side.peer_isn.unwrap_or(0).wrapping_add(1);
            for (left, right) in &say.sack {
                options.extend(base.wrapping_add(*left as u32).to_be_bytes());
                options.extend(base.wrapping_add(*right as u32).to_be_bytes());
            }
        }
        options.extend(&say.options);
        options.resize(options.len().next_multiple_of(4), 1);
        options
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let until = self.node.now + time;
        let step = time.div_f64(200.0).max(Duration::from_millis(5));
        while self.node.now < until {
            let soon = self.node.now + step;
            let due = self.node.worker.next_timer().filter(|due| *due > self.node.now);
            self.node.now = due.map_or(soon, |due| due.min(soon)).min(until);
            self.node.poll();
            self.collect();
        }
    }

    /// Frames that came to `end` and were not taken.
    pub fn unseen(&mut self, end: End) -> &mut Vec<Seen> {
        &mut self.sides[end.index()].unseen
    }

    /// Offset behind what `end` was told without a gap.
    pub fn told(&self, end: End) -> i64 {
        self.sides[end.index()].told
    }

    fn collect(&mut self) {
        for end in End::BOTH {
            for frame in self.node.sent(end.port()) {
                self.sides[end.index()].take(&frame);
            }
        }
    }
}

impl Side {
    fn take(&mut self, frame: &[u8]) {
        let Some((tcp, l4)) = tcp_of(frame) else { return };
        if tcp.flags.syn() {
            self.peer_isn.get_or_insert(tcp.seq);
        }
        let base = self.peer_isn.unwrap_or(0).wrapping_add(1);
        let near = |number: u32, base: u32| i64::from(number.wrapping_sub(base) as i32);
        let at = near(tcp.seq, base);
        if let Some((value, _)) = timestamps(l4) {
            self.echo = value;
        }
        let control = i64::from(tcp.flags.syn()) + i64::from(tcp.flags.fin());
        self.ahead.push((at, at + i64::from(tcp.payload_len) + control));
        self.ahead.sort_unstable();
        for (left, right) in &self.ahead {
            if *left <= self.told {
                self.told = self.told.max(*right);
            }
        }
        let told = self.told;
        self.ahead.retain(|(_, right)| *right > told);
        let own = self.isn.wrapping_add(1);
        self.unseen.push(Seen {
            at,
            ack: near(tcp.ack, own),
            flags: tcp.flags.0,
            window: tcp.window,
            urgent: u16::from_be_bytes([l4[18], l4[19]]),
            timestamps: timestamps(l4),
            sack: sack_blocks(l4).iter().map(|(l, r)| (near(*l, own), near(*r, own))).collect(),
            payload: l4[usize::from(l4[12] >> 4) * 4..].to_vec(),
        });
    }
}

/// The urgent pointer, which the builder does not know, and the checksum.
fn finish(frame: &mut [u8], say: &Say) {
    let at = usize::from(testing::packet_of(frame).l4);
    let mut change = |offset: usize, value: u16| {
        // The checksum of a changed word changes by the difference (RFC 1624).
        let old = u16::from_be_bytes([frame[at + offset], frame[at + offset + 1]]);
        frame[at + offset..at + offset + 2].copy_from_slice(&value.to_be_bytes());
        let sum = u16::from_be_bytes([frame[at + 16], frame[at + 17]]);
        let total = u32::from(!sum) + u32::from(!old) + u32::from(value);
        let folded = (total & 0xffff) + (total >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        frame[at + 16..at + 18].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    };
    if say.urgent > 0 {
        change(18, say.urgent);
    }
    if say.bad_checksum {
        frame[at + 16] ^= 0x55;
    }
}
