//! A syslog receiver: one RFC 5424 message a line.
//!
//! Over UDP and Unix datagrams a message is a datagram; over TCP each has its length before it (RFC 6587 §3.4.1), so
//! that no byte of a line can be taken for the end of it. Nothing waits longer than [`PATIENCE`] for the receiver.

use super::config::{Address, Facility, Syslog};
use super::line::Lines;
use super::target::Target;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use syslog::{Formatter5424, LogFormat as _, Severity};

/// How long a connection, and each write to it, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of messages handed to a TCP connection at once.
const CHUNK: usize = 256 << 10;

/// `EMSGSIZE` (`asm-generic/errno.h`): longer than a datagram may be.
const EMSGSIZE: i32 = 90;

/// The way to one receiver.
#[derive(Debug)]
pub(super) struct SyslogTarget {
    address: Address,
    formatter: Formatter5424,
    link: Option<Link>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Link {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl SyslogTarget {
    pub(super) fn new(settings: &Syslog, node: &str) -> Self {
        let formatter = Formatter5424 {
            facility: facility(settings.facility),
            hostname: Some(host(node)),
            process: "sluice".to_owned(),
            pid: std::process::id(),
        };
        Self { address: settings.address.clone(), formatter, link: None, buffer: Vec::new() }
    }

    fn send(&mut self, lines: &mut Lines) -> io::Result<u64> {
        if self.link.is_none() {
            self.link = Some(Link::open(&self.address)?);
        }
        let mut refused = 0;
        while lines.left() > 0 {
            let Some(link) = &mut self.link else { break };
            match link {
                Link::Tcp(stream) => {
                    self.buffer.clear();
                    let mut taken = 0;
                    let mut message = Vec::new();
                    for line in lines.rest().split_inclusive(|byte| *byte == b'\n') {
                        message.clear();
                        format(&self.formatter, line, &mut message)?;
                        write!(self.buffer, "{} ", message.len())?;
                        self.buffer.append(&mut message);
                        taken += line.len();
                        if self.buffer.len() >= CHUNK {
                            break;
                        }
                    }
                    // After a part of it the receiver cannot find the next message: the connection is given up, and
                    // what was in it goes again over the next one.
                    stream.write_all(&self.buffer)?;
                    lines.advance(taken);
                }
                Link::Udp(_) | Link::Unix(_) => {
                    let Some(line) = lines.first() else { break };
                    self.buffer.clear();
                    format(&self.formatter, line, &mut self.buffer)?;
                    let sent = match link {
                        Link::Udp(socket) => socket.send(&self.buffer),
                        Link::Unix(socket) => socket.send(&self.buffer),
                        Link::Tcp(_) => Ok(0),
                    };
                    match sent {
                        Ok(_) => {}
                        Err(error) if error.raw_os_error() == Some(EMSGSIZE) => refused += 1,
                        Err(error) => return Err(error),
                    }
                    lines.skip();
                }
            }
        }
        Ok(refused)
    }
}

impl Target for SyslogTarget {
    fn write(&mut self, lines: &mut Lines) -> io::Result<u64> {
        let outcome = self.send(lines);
        if outcome.is_err() {
            self.link = None;
        }
        outcome
    }
}

impl Link {
    fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Unix(socket))
            }
            Address::Udp(host) => {
                let to = resolve(host)?;
                let any: SocketAddr =
                    if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
                let socket = UdpSocket::bind(any)?;
                socket.connect(to)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Udp(socket))
            }
            Address::Tcp(host) => {
                let stream = TcpStream::connect_timeout(&resolve(host)?, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
        }
    }
}

fn resolve(host: &str) -> io::Result<SocketAddr> {
    let found = host.to_socket_addrs()?.next();
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

fn format(formatter: &Formatter5424, line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    // JSON from serde is UTF-8.
    let text = std::str::from_utf8(line).map_err(io::Error::other)?;
    let message = (0, std::collections::BTreeMap::new(), text);
    formatter.format(out, Severity::LOG_INFO, message).map_err(io::Error::other)
}

/// A name as RFC 5424 §6.2.4 allows it: printable ASCII, at most 255 bytes; `-` for none.
fn host(node: &str) -> String {
    let name: String = node.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

const fn facility(facility: Facility) -> syslog::Facility {
    match facility {
        Facility::Daemon => syslog::Facility::LOG_DAEMON,
        Facility::Local0 => syslog::Facility::LOG_LOCAL0,
        Facility::Local1 => syslog::Facility::LOG_LOCAL1,
        Facility::Local2 => syslog::Facility::LOG_LOCAL2,
        Facility::Local3 => syslog::Facility::LOG_LOCAL3,
        Facility::Local4 => syslog::Facility::LOG_LOCAL4,
        Facility::Local5 => syslog::Facility::LOG_LOCAL5,
        Facility::Local6 => syslog::Facility::LOG_LOCAL6,
        Facility::Local7 => syslog::Facility::LOG_LOCAL7,
    }
}
