//! Bulk data to a pod: consecutive TCP segments leave as one, through a packet socket.
//!
//! What AF_XDP transmits, the kernel takes through the receiver's whole TCP, frame by frame, within our system call; one
//! packet of up to 64 KiB that says how it may be cut (`struct virtio_net_hdr`, packet(7) `PACKET_VNET_HDR`) goes that way
//! once. A veth does not cut it. Where the device would have to, the kernel refuses it on this way (`__dev_direct_xmit` of
//! net/core/dev.c), and after some refusals nothing is joined on that port any more.
//!
//! Frames wait here no longer than until the next flush. Order on the port is kept: what came before is transmitted before,
//! and where that cannot be, or nothing was joined, frames go into the TX ring like all others.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, OwnedFd};

use packet::Frame;
use packet::join::{MAX_HEADERS, Run};

use crate::pool::Pool;
use crate::sys;

/// Frames that leave as one at most; fewer than this many are not worth it.
const MOST: usize = 64;
const LEAST: usize = 3;
/// Buffers of all of them at most.
const BUFFERS: usize = 128;
/// Refusals in a row after which a port stops joining.
const PATIENCE: u8 = 16;

/// `struct virtio_net_hdr` of virtio_net.h.
const VNET_HEADER: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// A port's packet socket, and the frames that may leave by it together.
pub(crate) struct Bulk {
    socket: OwnedFd,
    run: Option<Run>,
    /// The first chunks of the frames of the run.
    frames: Vec<u32>,
    buffers: usize,
    refusals: u8,
}

impl Bulk {
    /// On the interface with that number. It receives nothing.
    pub(crate) fn open(ifindex: u32, send_buffer: i32) -> io::Result<Self> {
        let socket = sys::packet_socket(ifindex)?;
        sys::raise_send_buffer(socket.as_raw_fd(), send_buffer);
        Ok(Self { socket, run: None, frames: Vec::with_capacity(MOST), buffers: 0, refusals: 0 })
    }

    /// Whether frames wait.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.run.is_some()
    }

    /// Keeps a frame of the caller's if it continues those that wait. Answers whether it did.
    pub(crate) fn extend(&mut self, pool: &mut Pool, frame: &Frame, chunks: usize) -> bool {
        let (Some(run), Some(request)) = (&mut self.run, frame.checksum_request()) else { return false };
        let room = self.frames.len() < MOST && self.buffers + chunks <= BUFFERS;
        if !room || !run.extend(pool.bytes(frame.index()), frame.len(), request) {
            return false;
        }
        self.keep(pool, frame, chunks);
        true
    }

    /// Keeps a frame of the caller's if others may follow it; nothing may be waiting. Answers whether it did.
    pub(crate) fn begin(&mut self, pool: &mut Pool, frame: &Frame, chunks: usize) -> bool {
        debug_assert!(self.frames.is_empty());
        let request = frame.checksum_request();
        self.run = request.and_then(|open| Run::begin(pool.bytes(frame.index()), frame.len(), open));
        if self.run.is_some() {
            self.keep(pool, frame, chunks);
        }
        self.run.is_some()
    }

    fn keep(&mut self, pool: &mut Pool, frame: &Frame, chunks: usize) {
        pool.hold(frame.index());
        self.frames.push(frame.index());
        self.buffers += chunks;
    }

    /// Whether so many wait that a call of their own pays.
    pub(crate) fn is_worth_it(&self) -> bool {
        self.frames.len() >= LEAST
    }

    /// Transmits those that wait as one packet; they still wait afterwards. Answers whether the kernel took it; if not, nothing
    /// was transmitted.
    pub(crate) fn transmit(&mut self, pool: &Pool) -> bool {
        match self.offer(pool) {
            Ok(()) => self.refusals = 0,
            Err(error) if is_final(&error) => self.refusals = PATIENCE,
            Err(_) => self.refusals += 1,
        }
        self.refusals == 0
    }

    /// Whether the kernel does not take joined segments on this port.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.refusals >= PATIENCE
    }

    fn offer(&self, pool: &Pool) -> io::Result<()> {
        let Some(run) = &self.run else { return Ok(()) };
        let mut vnet = [0; VNET_HEADER];
        vnet[..2].copy_from_slice(&[NEEDS_CSUM, if run.is_v6() { GSO_TCPV6 } else { GSO_TCPV4 }]);
        vnet[2..4].copy_from_slice(&(run.headers_len() as u16).to_ne_bytes());
        vnet[4..6].copy_from_slice(&run.mss().to_ne_bytes());
        vnet[6..8].copy_from_slice(&run.l4_start().to_ne_bytes());
        vnet[8..10].copy_from_slice(&packet::tcp::CHECKSUM_OFFSET.to_ne_bytes());
        let headers: [u8; MAX_HEADERS] = run.headers();
        let mut pieces = [IoSlice::new(&[]); 2 + BUFFERS];
        pieces[0] = IoSlice::new(&vnet);
        pieces[1] = IoSlice::new(&headers[..run.headers_len()]);
        let mut count = 2;
        for head in &self.frames {
            // All of them begin with headers as long as the first one's, in their first buffer.
            let mut skip = run.headers_len();
            for buffer in pool.held_buffers(*head) {
                pieces[count] = IoSlice::new(&buffer[skip..]);
                (skip, count) = (0, count + 1);
            }
        }
        sys::send_pieces(self.socket.as_raw_fd(), &pieces[..count])
    }

    /// Hands out the frames that wait, in order; none wait afterwards. Answers also their number of chunks.
    pub(crate) fn take(&mut self) -> (impl Iterator<Item = u32> + '_, u32) {
        self.run = None;
        let chunks = std::mem::take(&mut self.buffers) as u32;
        (self.frames.drain(..), chunks)
    }
}

/// Whether the kernel refuses every such packet, and not only this one now.
fn is_final(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP | libc::EPERM))
}
