//! Frames, wire formats, flow keys and the seam to the rings.
//!
//! Three words are kept apart everywhere in this tree:
//!
//! * a *frame* ([`Frame`]) is a buffer somebody owns: a handle, never a pointer, never copied;
//! * a *packet* ([`Packet`]) is what [`parse()`] found in a frame: offsets and values, `Copy`, no references;
//! * a *segment* is the TCP payload of a packet together with its sequence numbers.
//!
//! Bytes are only reached through the backend that lent the frame out ([`PacketIo::bytes`]), whose `&mut self`
//! is the proof that nobody else is looking. Nothing here knows policy, connections, clocks or sockets.
#![forbid(unsafe_code)]

pub mod addr;
pub mod arp;
pub mod checksum;
pub mod emit;
pub mod ether;
pub mod flow_key;
pub mod frame;
pub mod icmp;
pub mod io;
pub mod ipv4;
pub mod ipv6;
pub mod join;
pub mod ndp;
pub mod packet;
pub mod parse;
pub mod sctp;
pub mod seq;
pub mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod udp;

pub use addr::{Addr, MacAddr};
pub use flow_key::{FlowKey, Leg};
pub use frame::{BURST_LEN, Burst, ChecksumRequest, Frame, PortId};
pub use io::{IoError, IoStats, PacketIo};
pub use packet::{Arp, Fragment, Icmp, L4, Packet, Parsed, Sctp, Tcp, TcpFlags};
pub use parse::{ParseError, parse, parse_into};
pub use seq::Seq;
pub use time::Instant;
