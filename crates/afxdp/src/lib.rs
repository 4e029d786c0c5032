//! [`PacketIo`](packet::PacketIo) over AF_XDP sockets: the only userspace crate with unsafe code.
//!
//! ```text
//!                 refill                RX ring               send              completion ring
//!   Free ───────────────────▶ Fill(s) ─────────▶ User ─────────────────▶ Tx(s) ────────────────▶ Free
//!    │  alloc                                     ▲ │ release                                      ▲
//!    └────────────────────────────────────────────┘ └──────────────────────────────────────────────┘
//! ```
//!
//! One UMEM of 4 KiB chunks serves all ports of a worker, so a frame moves from one port's RX ring to another's TX
//! ring as a descriptor. Every chunk has one owner word, checked in every build: bytes of a chunk that the kernel
//! owns cannot be reached, a chunk cannot be in two rings, and what a vanished port held is found again.
//!
//! Two halves, so that slow system calls stay off the packet path: [`Opener`] (control thread) binds sockets, which
//! takes milliseconds and may have to wait for the kernel to let go of an earlier one; [`XskIo`] (worker) moves
//! frames. A [`PortSocket`] travels from the first to the second, a [`RetiredPort`] back, and its [`ReclaimToken`]
//! returns the memory.
//!
//! This crate does not attach XDP programs and knows no protocol but by [`packet::join`], which finds TCP segments that may
//! leave as one; the only bytes it ever changes are a checksum field it was asked to complete.

mod anchor;
mod bulk;
mod error;
mod owner;
mod pool;
mod port;
mod retire;
mod ring;
mod sizes;
mod socket;
mod sys;
mod wait;
mod xsk;
mod xsk_io;

pub use error::OpenError;
pub use retire::{ReclaimToken, RetiredPort};
pub use sizes::{CHUNK_SIZE, Sizes};
pub use socket::{Opener, PortSocket, SocketMode, open};
pub use wait::Waker;
pub use xsk_io::{PortStats, RingFill, XskIo};
