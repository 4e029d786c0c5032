//! What no frame on a port may do, whoever sent it.
//!
//! One watch per pod. It sees every frame that the pod's stack sends and every frame that leaves the worker towards
//! it, and keeps the stream that the pod is being told, byte by byte: a byte told twice must be the same both times,
//! and where the stream is known beforehand it must be that byte, in whatever order segments come.

use super::shift::{sack_blocks, truncated};
use super::stack::{tcp_of, timestamps};
use packet::checksum::{self, Sum};
use packet::{L4, MacAddr, Parsed, Tcp};
use std::hash::{DefaultHasher, Hash as _};

/// One past the end is what a window probe may send.
const PROBE: i64 = 1;

pub struct Watch {
    name: &'static str,
    mac: MacAddr,
    gateway: MacAddr,
    /// What the stream towards this pod must be, as far as it is known.
    expected: Option<Vec<u8>>,
    /// Byte strings that must never be in a frame.
    forbidden: Vec<Vec<u8>>,
    /// The pod's own SYN.
    own: Option<Tcp>,
    own_timestamps: bool,
    latest_value: u32,
    /// One past the last number it sent, and the furthest it ever allowed the other side.
    end: u32,
    edge: Option<u32>,
    acknowledged: u32,
    /// How far the other side allowed it to send.
    allowance: Option<u32>,
    /// The SYN it was told.
    other: Option<Tcp>,
    other_timestamps: bool,
    told: Vec<Option<u8>>,
    fin: Option<usize>,
    pub resets: usize,
    pub frames: u64,
    /// Of every frame that left towards the pod, in order.
    pub digest: DefaultHasher,
    /// Print every frame.
    pub trace: bool,
}

impl Watch {
    pub fn new(name: &'static str, mac: MacAddr, gateway: MacAddr) -> Self {
        Self {
            name,
            mac,
            gateway,
            expected: None,
            forbidden: Vec::new(),
            own: None,
            own_timestamps: false,
            latest_value: 0,
            end: 0,
            edge: None,
            acknowledged: 0,
            allowance: None,
            other: None,
            other_timestamps: false,
            told: Vec::new(),
            fin: None,
            resets: 0,
            frames: 0,
            digest: DefaultHasher::new(),
            trace: std::env::var_os("SPLICE_TRACE").is_some(),
        }
    }

    /// The stream towards this pod must be exactly that.
    pub fn expecting(mut self, stream: Vec<u8>) -> Self {
        self.expected = Some(stream);
        self
    }

    /// These must never come.
    pub fn forbidding(mut self, markers: Vec<Vec<u8>>) -> Self {
        self.forbidden = markers;
        self
    }

    /// The stream as it was told so far, up to the first gap.
    pub fn stream(&self) -> Vec<u8> {
        self.told.iter().map_while(|byte| *byte).collect()
    }

    /// A frame that the pod's stack sends; cut where the window ends, since smoltcp 0.14 retransmits without a look at
    /// it.
    #[must_use]
    pub fn sends(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let room = |tcp: &Tcp| self.allowance.map(|edge| distance(edge, tcp.seq).max(PROBE));
        let room = tcp_of(&frame).and_then(|(tcp, _)| room(&tcp));
        let frame = match room {
            Some(room) => truncated(frame, room as usize),
            None => frame,
        };
        if self.trace {
            println!("{} sends {}", self.name, described(&frame));
        }
        self.note_sent(&frame);
        frame
    }

    fn note_sent(&mut self, frame: &[u8]) {
        let Some((tcp, l4)) = tcp_of(frame) else { return };
        if tcp.flags.syn() && self.own.is_none() {
            self.own = Some(tcp);
            self.end = tcp.seq.wrapping_add(1);
            self.own_timestamps = timestamps(l4).is_some();
        }
        if let Some((value, _)) = timestamps(l4) {
            self.latest_value = value;
        }
        let control = u32::from(tcp.flags.syn()) + u32::from(tcp.flags.fin());
        let end = tcp.seq.wrapping_add(tcp.payload_len).wrapping_add(control);
        if distance(end, self.end) > 0 {
            self.end = end;
        }
        if tcp.flags.ack() && !tcp.flags.rst() {
            if self.edge.is_none() || distance(tcp.ack, self.acknowledged) > 0 {
                self.acknowledged = tcp.ack;
            }
            self.edge = widened(self.edge, &tcp, self.shifts().0);
        }
    }

    /// Window scales of the pod and of the other side: both must have offered one.
    fn shifts(&self) -> (u8, u8) {
        match (self.own.and_then(|t| t.window_scale), self.other.and_then(|t| t.window_scale)) {
            (Some(own), Some(other)) => (own, other),
            _ => (0, 0),
        }
    }

    /// A frame that leaves the worker towards the pod.
    pub fn told(&mut self, frame: &[u8]) -> Result<(), String> {
        self.frames += 1;
        frame.hash(&mut self.digest);
        if self.trace {
            println!("{} is told {}", self.name, described(frame));
        }
        self.check(frame).map_err(|what| {
            let shown = tcp_of(frame).map(|(tcp, _)| tcp);
            format!("towards the {}: {what}\n  {shown:?}", self.name)
        })
    }

    fn check(&mut self, frame: &[u8]) -> Result<(), String> {
        let packet = match packet::parse(frame, frame.len()) {
            Ok(Parsed::Ip(packet)) => packet,
            Ok(Parsed::Arp(_)) => return Ok(()),
            Err(error) => return Err(format!("not a packet: {error:?}")),
        };
        if (packet.eth_src, packet.eth_dst) != (self.gateway, self.mac) {
            return Err(format!("wrong Ethernet addresses: {packet:?}"));
        }
        let L4::Tcp(tcp) = packet.l4_header else { return Ok(()) };
        let l4 = &frame[usize::from(packet.l4)..packet.end as usize];
        let mut sum = Sum::starting_with(checksum::pseudo_header_sum(&packet, l4.len() as u32));
        sum.add(l4);
        if sum.folded() != 0xffff {
            return Err(format!("wrong checksum: {:04x}", sum.folded()));
        }
        let payload = &frame[usize::from(packet.payload)..packet.end as usize];
        if let Some(marker) = self.forbidden.iter().find(|m| contains(payload, m)) {
            return Err(format!("carries {:?}", String::from_utf8_lossy(marker)));
        }
        self.check_segment(&tcp, l4, payload)
    }

    fn check_segment(&mut self, tcp: &Tcp, l4: &[u8], payload: &[u8]) -> Result<(), String> {
        if tcp.flags.syn() && self.other.is_none() {
            self.other = Some(*tcp);
            self.other_timestamps = timestamps(l4).is_some();
        }
        if tcp.flags.rst() {
            self.resets += 1;
            return Ok(());
        }
        let other = self.other.ok_or("a segment before the SYN")?;
        self.allowance = widened(self.allowance, tcp, self.shifts().1);
        self.check_acknowledgement(tcp, l4)?;
        self.check_timestamps(tcp, l4)?;
        if payload.is_empty() && !tcp.flags.fin() {
            return Ok(());
        }
        let most = self.own.and_then(|own| own.mss).map_or(536, usize::from);
        if payload.len() > most {
            return Err(format!("{} bytes of payload where the most is {most}", payload.len()));
        }
        // Keep-alive probes repeat a byte that was acknowledged, some stacks with garbage in it.
        let old = self.edge.is_some() && distance(tcp.seq.wrapping_add(1), self.acknowledged) <= 0;
        if payload.len() == 1 && !tcp.flags.fin() && old {
            return Ok(());
        }
        let start = distance(tcp.seq, other.seq.wrapping_add(1));
        let start = usize::try_from(start).map_err(|_| "before the stream")?;
        if !payload.is_empty()
            && let Some(edge) = self.edge
            && distance(tcp.seq, edge) + payload.len() as i64 > PROBE
        {
            return Err(format!("{} beyond the window", distance(tcp.seq, edge) + payload.len() as i64));
        }
        self.tell(start, payload, tcp.flags.fin())
    }

    fn check_acknowledgement(&self, tcp: &Tcp, l4: &[u8]) -> Result<(), String> {
        let beyond = distance(tcp.ack, self.end);
        if tcp.flags.ack() && beyond > 0 {
            return Err(format!("acknowledges {beyond} that was not sent"));
        }
        for (left, right) in sack_blocks(l4) {
            // A duplicate SACK may lie below the acknowledgement (RFC 2883), never beyond the end.
            if distance(right, left) <= 0 || distance(right, self.end) > 0 {
                return Err(format!("SACK {left}..{right} where {} is the end", self.end));
            }
        }
        Ok(())
    }

    /// RFC 7323 §3.2: on every segment once both agreed, on none otherwise; nothing from the future is echoed.
    fn check_timestamps(&self, tcp: &Tcp, l4: &[u8]) -> Result<(), String> {
        if tcp.flags.syn() {
            return Ok(());
        }
        let agreed = self.own_timestamps && self.other_timestamps;
        match timestamps(l4) {
            Some((_, echo)) if agreed && distance(echo, self.latest_value) > 0 => {
                Err(format!("echoes timestamp {echo}, sent was {}", self.latest_value))
            }
            Some(_) if !agreed => Err("timestamps that were not agreed upon".into()),
            None if agreed => Err("no timestamps".into()),
            _ => Ok(()),
        }
    }

    fn tell(&mut self, start: usize, payload: &[u8], fin: bool) -> Result<(), String> {
        let end = start + payload.len();
        if fin && *self.fin.get_or_insert(end) != end {
            return Err(format!("two ends: {:?} and {end}", self.fin));
        }
        if self.fin.is_some_and(|fin| end > fin) {
            return Err("bytes beyond the end".into());
        }
        if self.told.len() < end {
            self.told.resize(end, None);
        }
        for (at, byte) in (start..).zip(payload) {
            if let Some(expected) = &self.expected
                && expected.get(at) != Some(byte)
            {
                return Err(format!("byte {at} is {:?}: {}", *byte as char, text(payload)));
            }
            if *self.told[at].get_or_insert(*byte) != *byte {
                return Err(format!("byte {at} changed: {}", text(payload)));
            }
        }
        Ok(())
    }
}

/// The furthest right edge after a segment's acknowledgement; windows of SYNs are not scaled.
fn widened(edge: Option<u32>, tcp: &Tcp, shift: u8) -> Option<u32> {
    if !tcp.flags.ack() {
        return edge;
    }
    let shift = if tcp.flags.syn() { 0 } else { shift };
    let new = tcp.ack.wrapping_add(u32::from(tcp.window) << shift);
    Some(edge.filter(|old| distance(new, *old) <= 0).unwrap_or(new))
}

fn described(frame: &[u8]) -> String {
    let Some((tcp, l4)) = tcp_of(frame) else { return format!("{:?}", packet::parse(frame, frame.len())) };
    let flags = [(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U')];
    let flags: String = flags.iter().filter(|(bit, _)| tcp.flags.0 & bit != 0).map(|(_, c)| *c).collect();
    let payload = &l4[usize::from(l4[12] >> 4) * 4..];
    format!(
        "{flags} {}+{} ack {} win {} {:?} {:?} {}",
        tcp.seq,
        tcp.payload_len,
        tcp.ack,
        tcp.window,
        timestamps(l4),
        sack_blocks(l4),
        text(&payload[..payload.len().min(40)])
    )
}

fn text(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
}

/// How far `a` lies beyond `b`.
fn distance(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b) as i32)
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
