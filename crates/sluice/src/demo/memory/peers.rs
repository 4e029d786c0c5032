//! Both ends of a conversation in memory: as much of TCP, HTTP and DNS as they need to understand each other.

use packet::emit::{self, Envelope, Segment};
use packet::{Addr, L4, Packet, TcpFlags};

use super::super::conversation::{Happened, Probe};

/// Room for the longest frame written here.
const MAX_FRAME: usize = 512;
/// Initial sequence numbers and window of both ends.
const CLIENT_ISN: u32 = 1_000;
/// See [`CLIENT_ISN`].
const SERVER_ISN: u32 = 5_000;
/// See [`CLIENT_ISN`].
const WINDOW: u16 = 65_000;
/// Offset of the answer's flags in a message, and of what comes after its head.
const DNS_FLAGS: usize = 2;
/// See [`DNS_FLAGS`].
const DNS_QUESTION: usize = 12;

/// A conversation and how far it is.
pub(super) struct Talk {
    probe: Probe,
    client: u16,
    /// The name a lookup asks for, and the address that the server has for it.
    name: (&'static str, Addr),
    /// What the client and the server say next.
    seq: [u32; 2],
    asked: usize,
    statuses: Vec<u16>,
}

impl Talk {
    /// A conversation from this port.
    pub(super) fn new(probe: Probe, client: u16, name: (&'static str, Addr)) -> Self {
        Self { probe, client, name, seq: [CLIENT_ISN, SERVER_ISN], asked: 0, statuses: Vec::new() }
    }

    /// The first frame of the client.
    pub(super) fn first(&mut self, out: &Envelope) -> Option<Vec<u8>> {
        match self.probe {
            Probe::Ping => {
                let v4 = out.src.is_v4();
                let kind = if v4 { packet::icmp::v4::ECHO_REQUEST } else { packet::icmp::v6::ECHO_REQUEST };
                build(|frame| emit::icmp_echo(frame, out, kind, self.client, 1, b"sluice"))
            }
            Probe::Dns { tcp: false } => {
                let question = question(self.client, self.name.0);
                build(|frame| emit::udp(frame, out, self.client, 53, &question))
            }
            Probe::Dns { tcp: true } | Probe::Http { .. } | Probe::Named { .. } | Probe::Sql => {
                let port = self.probe.port().map_or(0, |(port, _)| port);
                self.tcp(0, out, (self.client, port), 0, TcpFlags::SYN, b"")
            }
        }
    }

    /// How the conversation ended for the client, if this packet is the last that it waited for.
    pub(super) fn hear(&mut self, packet: &Packet, payload: &[u8]) -> Option<Happened> {
        match packet.l4_header {
            L4::Tcp(_) if payload.is_empty() => None,
            L4::Tcp(_) if self.probe.requests().is_empty() => {
                Some(Happened::Answered("data over TCP".to_owned()))
            }
            L4::Tcp(_) => {
                let code = payload.get(9..12).and_then(|code| str::from_utf8(code).ok()?.parse().ok());
                self.statuses.push(code.unwrap_or(0));
                let all = self.statuses.len() == self.probe.requests().len();
                all.then(|| Happened::Statuses(self.statuses.clone()))
            }
            L4::Udp { .. } => Some(Happened::Answered(answered(payload))),
            _ => None,
        }
    }

    /// What the client says to a packet that was not the last.
    pub(super) fn go_on(&mut self, packet: &Packet, payload: &[u8], back: &Envelope) -> Option<Vec<u8>> {
        let L4::Tcp(tcp) = packet.l4_header else { return None };
        if !tcp.flags.syn() && payload.is_empty() {
            return None;
        }
        let text = match self.probe.requests().get(self.asked) {
            Some((method, path)) => format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", host(back.dst)),
            None => "request".to_owned(),
        };
        self.asked += 1;
        let ack = next(tcp.seq, tcp.flags.syn(), payload);
        self.tcp(0, back, (tcp.dst_port, tcp.src_port), ack, TcpFlags::ACK | TcpFlags::PSH, text.as_bytes())
    }

    /// What the server says to a packet.
    pub(super) fn serve(&mut self, packet: &Packet, payload: &[u8], back: &Envelope) -> Option<Vec<u8>> {
        match packet.l4_header {
            L4::Tcp(tcp) if tcp.flags.syn() || !payload.is_empty() => {
                let (flags, text): (_, &[u8]) = match (tcp.flags.syn(), self.probe.requests().is_empty()) {
                    (true, _) => (TcpFlags::SYN | TcpFlags::ACK, b""),
                    (false, true) => (TcpFlags::ACK | TcpFlags::PSH, b"answer"),
                    (false, false) => {
                        (TcpFlags::ACK | TcpFlags::PSH, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    }
                };
                let ack = next(tcp.seq, tcp.flags.syn(), payload);
                self.tcp(1, back, (tcp.dst_port, tcp.src_port), ack, flags, text)
            }
            L4::Udp { src_port, dst_port } => {
                let answer = answer(payload, self.name.1)?;
                build(|frame| emit::udp(frame, back, dst_port, src_port, &answer))
            }
            _ => None,
        }
    }

    /// A segment of the client (0) or the server (1).
    fn tcp(
        &mut self,
        end: usize,
        out: &Envelope,
        (src_port, dst_port): (u16, u16),
        ack: u32,
        flags: u8,
        text: &[u8],
    ) -> Option<Vec<u8>> {
        let seq = self.seq[end];
        self.seq[end] = next(seq, flags & TcpFlags::SYN != 0, text);
        let segment = Segment { src_port, dst_port, seq, ack, flags: TcpFlags(flags), window: WINDOW };
        build(|frame| emit::tcp(frame, out, &segment, &[], text))
    }
}

/// The number behind a segment.
fn next(seq: u32, syn: bool, payload: &[u8]) -> u32 {
    // A frame of this backend is far shorter than 4 GiB.
    seq.wrapping_add(payload.len() as u32).wrapping_add(u32::from(syn))
}

/// An address as it stands in a request.
fn host(addr: Addr) -> String {
    if addr.is_v4() { addr.to_string() } else { format!("[{addr}]") }
}

/// A question for the address of a name (RFC 1035 §4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        message.extend(u8::try_from(label.len()));
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The answer to a question: one address for a minute.
fn answer(question: &[u8], addr: Addr) -> Option<Vec<u8>> {
    let std::net::IpAddr::V4(addr) = addr.to_ip() else { return None };
    let mut message = question.to_vec();
    message.get_mut(DNS_FLAGS..DNS_QUESTION)?.copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    message.extend(addr.octets());
    Some(message)
}

/// What a lookup came to: the address at the end of the answer, or the code of a refusal.
fn answered(message: &[u8]) -> String {
    let code = message.get(DNS_FLAGS + 1).map_or(0, |flags| flags & 15);
    match message.last_chunk::<4>() {
        Some(octets) if code == 0 => std::net::Ipv4Addr::from(*octets).to_string(),
        _ => format!("refused with code {code}"),
    }
}

fn build(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
    let mut frame = vec![0; MAX_FRAME];
    let len = write(&mut frame)?;
    frame.truncate(len);
    Some(frame)
}
