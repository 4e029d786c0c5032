//! A pod's TCP stack: one smoltcp interface with one socket, behind what Linux would drop before it.

use super::length::Length;
use super::node::{self, HTTP};
use super::rng::Rng;
use super::shift::Shift;
use packet::emit::Segment;
use packet::{Instant, L4, PortId, TcpFlags, testing};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::{Duration as StackDuration, Instant as StackTime};
use smoltcp::wire::{EthernetAddress, IpCidr};
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

/// The client's TCP port.
pub const CLIENT_PORT: u16 = 40_000;

/// Sizes and habits of a stack.
#[derive(Clone, Debug)]
pub struct StackSpec {
    /// Largest IP datagram it sends and announces.
    pub mtu: usize,
    /// Receive buffer, and so the window.
    pub receive: usize,
    /// Send buffer.
    pub send: usize,
    /// Collect small writes.
    pub nagle: bool,
    /// Wait with acknowledgements.
    pub delayed_ack: bool,
    /// Offer timestamps.
    pub timestamps: bool,
    /// Initial sequence number.
    pub isn: u32,
    /// Its own randomness.
    pub seed: u64,
}

impl StackSpec {
    pub fn random(rng: &mut Rng, v6: bool, length: Length) -> Self {
        let ip = if v6 { 40 } else { 20 };
        // 12 bytes of timestamps are taken from the segment.
        let mss = rng.pick(&[88, 100, 256, 536, 1_220, 1_460, 1_460, 1_460, 8_960, 61_000]);
        let isn = match rng.below(4) {
            0 => rng.next() as u32,
            1 => 0,
            // Wraps within what is sent here.
            _ => 0_u32.wrapping_sub(rng.between(1, 4_000) as u32),
        };
        Self {
            mtu: ip + 20 + mss,
            receive: length.pick(
                rng,
                &[200, 600, 1_500, 4_096],
                &[200, 600, 1_500, 4_096, 16_384, 65_535, 200_000],
            ),
            send: length.pick(rng, &[200, 1_000, 8_192], &[200, 1_000, 8_192, 65_535, 200_000]),
            nagle: rng.percent(30),
            delayed_ack: rng.percent(50),
            timestamps: rng.percent(50),
            isn,
            seed: rng.next(),
        }
    }
}

thread_local! {
    /// What timestamps say; smoltcp asks a function without context.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

pub struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
    shift: Shift,
    isn: u32,
    paws: Paws,
    stall: Stall,
    port: PortId,
    v6: bool,
}

impl Stack {
    pub fn new(port: PortId, v6: bool, spec: &StackSpec, now: Instant) -> Self {
        let mac = EthernetAddress(node::mac_of(port).0);
        let mut config = Config::new(mac.into());
        config.random_seed = spec.seed;
        let mut wire = Wire { received: VecDeque::new(), sent: Vec::new(), mtu: spec.mtu + 14 };
        let mut interface = Interface::new(config, &mut wire, stack_time(now));
        interface.update_ip_addrs(|list| {
            let cidr = IpCidr::new(node::ip_of(port, v6).into(), if v6 { 64 } else { 24 });
            list.push(cidr).expect("room for one address");
        });
        let mut socket =
            Socket::new(SocketBuffer::new(vec![0; spec.receive]), SocketBuffer::new(vec![0; spec.send]));
        socket.set_nagle_enabled(spec.nagle);
        // Probes with a byte of garbage in the place of the last one.
        socket.set_keep_alive(Some(StackDuration::from_secs(3)));
        if !spec.delayed_ack {
            socket.set_ack_delay(None);
        }
        if spec.timestamps {
            socket.set_tsval_generator(Some(|| CLOCK.get()));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        let (shift, paws, isn) = (Shift::default(), Paws::default(), spec.isn);
        let stall = Stall { latest: None, edge: None, end: None, quiet_since: now, said: now };
        Self { interface, sockets, handle, wire, shift, isn, paws, stall, port, v6 }
    }

    pub fn listen(&mut self) {
        self.socket().listen(HTTP).expect("a closed socket");
    }

    pub fn connect(&mut self, to: PortId) {
        let remote = (node::ip_of(to, self.v6), HTTP);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        socket.connect(self.interface.context(), remote, CLIENT_PORT).expect("a closed socket");
    }

    pub fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }

    /// A frame arrives.
    pub fn arrive(&mut self, mut frame: Vec<u8>) {
        self.shift.inbound(&mut frame);
        if !self.stall.is_cause(&frame) && self.paws.accepts(&frame) {
            self.stall.note_received(&frame);
            self.wire.received.push_back(frame);
        }
    }

    /// Lets the stack work; answers what it sent.
    pub fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        CLOCK.set((now.as_nanos() / 1_000_000) as u32);
        let unacknowledged = self.socket().send_queue() > 0;
        let probes = !unacknowledged && self.state() == State::Established;
        for segment in self.stall.cure(now, unacknowledged, self.paws.last_ack) {
            let peer = if self.port == node::CLIENT { node::SERVER } else { node::CLIENT };
            let [from, to] = [peer, self.port].map(|port| node::addr_of(port, self.v6));
            let frame = testing::tcp_with(&testing::envelope(from, to), &segment, &[], &[]);
            let frame = testing::with_macs(frame, node::GATEWAY_MAC, node::mac_of(self.port));
            self.wire.received.push_back(frame);
        }
        self.interface.poll(stack_time(now), &mut self.wire, &mut self.sockets);
        let mut sent = std::mem::take(&mut self.wire.sent);
        // With data or an end under way the probe's garbage would stand in a place that counts.
        sent.retain(|frame| (probes || !is_probe(frame)) && self.paws.would_be_heard(frame));
        self.stall.note_sent(&sent, now);
        for frame in &mut sent {
            self.paws.note_sent(frame);
            self.shift.outbound(frame, self.isn);
        }
        sent
    }

    /// Whether the stack leaves bytes that its peer takes, or its end, unrepeated for longer than any time-out (RFC 6298 §2.4: 60
    /// seconds at most). smoltcp 0.14 does, now and then, in LAST-ACK and behind windows of zero.
    pub fn is_stalled(&mut self, now: Instant) -> bool {
        let bytes = self.socket().send_queue() > 0;
        let end = matches!(self.state(), State::FinWait1 | State::LastAck | State::Closing);
        (bytes || end) && self.stall.is_due(now)
    }

    /// When it wants to work again.
    pub fn wakes(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(stack_time(now), &self.sockets)?;
        Some(Instant::from_nanos(at.total_micros().max(0) as u64 * 1_000).max(now))
    }

    /// Reads at most `most` bytes: what arrived, or how the stream ended.
    pub fn read(&mut self, most: usize) -> Result<Vec<u8>, RecvError> {
        let socket = self.socket();
        let mut bytes = vec![0; most.min(socket.recv_queue())];
        let count = socket.recv_slice(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Whether the connection is over for this end.
    pub fn is_over(&self) -> bool {
        matches!(self.state(), State::Closed | State::TimeWait)
    }
}

fn stack_time(now: Instant) -> StackTime {
    StackTime::from_micros((now.as_nanos() / 1_000) as i64)
}

fn is_probe(frame: &[u8]) -> bool {
    tcp_of(frame).is_some_and(|(tcp, l4)| tcp.payload_len == 1 && l4.last() == Some(&0))
}

/// Revives smoltcp 0.14: a window of zero that comes with the acknowledgement of a part of what is under way stops
/// its retransmission timer for good. Repeated acknowledgements make it send again.
#[derive(Debug)]
struct Stall {
    /// What came last: its acknowledgement and window say how far we may go.
    latest: Option<packet::Tcp>,
    /// How far any window allowed to go.
    edge: Option<u32>,
    /// One past what the stack sent.
    end: Option<u32>,
    quiet_since: Instant,
    /// When bytes were sent last.
    said: Instant,
}

impl Stall {
    const PATIENCE: Duration = Duration::from_millis(700);
    const STALLED: Duration = Duration::from_secs(120);

    fn is_due(&self, now: Instant) -> bool {
        let open = self.latest.zip(self.edge).is_some_and(|(tcp, edge)| edge != tcp.ack);
        open && now.saturating_since(self.said) >= Self::STALLED
    }

    fn note_received(&mut self, frame: &[u8]) {
        if let Some((tcp, _)) = tcp_of(frame)
            && tcp.flags.ack()
            && self.latest.is_none_or(|old| (tcp.ack.wrapping_sub(old.ack) as i32) >= 0)
        {
            self.latest = Some(tcp);
            let edge = tcp.ack.wrapping_add(u32::from(tcp.window));
            if self.edge.is_none_or(|old| (edge.wrapping_sub(old) as i32) > 0) {
                self.edge = Some(edge);
            }
        }
    }

    fn note_sent(&mut self, sent: &[Vec<u8>], now: Instant) {
        for (tcp, _) in sent.iter().filter_map(|frame| tcp_of(frame)) {
            if tcp.payload_len > 0 {
                self.quiet_since = now;
            }
            if tcp.payload_len > 0 || tcp.flags.fin() {
                self.said = now;
            }
            let control = u32::from(tcp.flags.syn()) + u32::from(tcp.flags.fin());
            let end = tcp.seq.wrapping_add(tcp.payload_len).wrapping_add(control);
            if self.end.is_none_or(|old| (end.wrapping_sub(old) as i32) > 0) {
                self.end = Some(end);
            }
        }
    }

    /// Whether it is such an acknowledgement: it may as well have been lost.
    fn is_cause(&self, frame: &[u8]) -> bool {
        tcp_of(frame).is_some_and(|(tcp, _)| {
            let bare = tcp.payload_len == 0 && tcp.flags.0 == TcpFlags::ACK;
            bare && tcp.window == 0 && self.end.is_some_and(|end| end != tcp.ack)
        })
    }

    /// Segments that repeat the acknowledgement, if it is time. Another window first, so that the count begins anew.
    fn cure(&mut self, now: Instant, unacknowledged: bool, next: Option<u32>) -> Vec<Segment> {
        if !unacknowledged {
            self.quiet_since = now;
        }
        let due = now.saturating_since(self.quiet_since) >= Self::PATIENCE;
        let (true, Some(tcp), Some(seq)) = (due, self.latest, next) else { return Vec::new() };
        self.quiet_since = now;
        if tcp.window == 0 {
            // Another timer runs then, and would begin anew.
            return Vec::new();
        }
        let repeated = Segment {
            src_port: tcp.src_port,
            dst_port: tcp.dst_port,
            seq,
            ack: tcp.ack,
            flags: TcpFlags(TcpFlags::ACK),
            window: tcp.window,
        };
        let other = Segment { window: tcp.window ^ 1, ..repeated };
        [other].into_iter().chain([repeated; 5]).collect()
    }
}

/// RFC 7323 §5.3 as Linux does it, which smoltcp does not: an old timestamp makes a segment invisible.
#[derive(Debug, Default)]
struct Paws {
    recent: Option<u32>,
    /// The stack's own SYN had timestamps.
    offered: bool,
    last_ack: Option<u32>,
}

impl Paws {
    fn accepts(&mut self, frame: &[u8]) -> bool {
        let Some((tcp, l4)) = tcp_of(frame) else { return true };
        let Some((value, _)) = timestamps(l4) else { return true };
        if tcp.flags.syn() {
            self.recent = Some(value);
            return true;
        }
        let Some(recent) = self.recent else { return true };
        if (value.wrapping_sub(recent) as i32) < 0 {
            return tcp.flags.rst();
        }
        if self.last_ack.is_some_and(|ack| (ack.wrapping_sub(tcp.seq) as i32) >= 0) {
            self.recent = Some(value);
        }
        true
    }

    /// RFC 7323 §3.2: without timestamps, once agreed upon, a segment is dropped. smoltcp forgets them on some
    /// acknowledgements.
    fn would_be_heard(&self, frame: &[u8]) -> bool {
        let Some((tcp, l4)) = tcp_of(frame) else { return true };
        let agreed = self.offered && self.recent.is_some();
        !agreed || tcp.flags.rst() || tcp.flags.syn() || timestamps(l4).is_some()
    }

    fn note_sent(&mut self, frame: &[u8]) {
        let Some((tcp, l4)) = tcp_of(frame) else { return };
        self.offered |= tcp.flags.syn() && timestamps(l4).is_some();
        if tcp.flags.ack() {
            self.last_ack = Some(tcp.ack);
        }
    }
}

/// The TCP header of a frame, and its bytes with all that follows.
pub fn tcp_of(frame: &[u8]) -> Option<(packet::Tcp, &[u8])> {
    match packet::parse(frame, frame.len()) {
        Ok(packet::Parsed::Ip(packet)) => match packet.l4_header {
            L4::Tcp(tcp) => Some((tcp, &frame[usize::from(packet.l4)..packet.end as usize])),
            _ => None,
        },
        _ => None,
    }
}

/// The timestamps option.
pub fn timestamps(l4: &[u8]) -> Option<(u32, u32)> {
    let header = usize::from(l4[12] >> 4) * 4;
    let mut at = 20;
    while at + 1 < header {
        match l4[at] {
            0 => return None,
            1 => at += 1,
            8 if at + 10 <= header => {
                let number = |at: usize| u32::from_be_bytes([l4[at], l4[at + 1], l4[at + 2], l4[at + 3]]);
                return Some((number(at + 2), number(at + 6)));
            }
            _ => at += usize::from(l4[at + 1]).max(2),
        }
    }
    None
}

/// The device: frames in, frames out.
struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    mtu: usize,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: StackTime) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.received.pop_front()?), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: StackTime) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu;
        // One frame a turn keeps the stack from filling the wire with a whole window at once.
        capabilities.max_burst_size = None;
        capabilities
    }
}

/// The longest an idle simulation sleeps: timers of the connection table cannot be asked for.
pub const TICK: Duration = Duration::from_millis(250);
