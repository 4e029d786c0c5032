//! One AF_XDP socket: rings made, mapped and bound, as in if_xdp.h and Documentation/networking/af_xdp.rst.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::ring::{Consumer, Desc, Offsets, Producer};
use crate::sys::{self, Mapping, Plain};

/// Bytes of `struct xsk_tx_metadata`, which lie directly before a packet that carries it.
pub(crate) const METADATA: usize = 24;
/// `XDP_UMEM_TX_METADATA_LEN`: the registration says how long metadata are.
const UMEM_TX_METADATA_LEN: u32 = 1 << 2;
/// `XDP_TXMD_FLAGS_CHECKSUM`: the metadata ask for a checksum.
pub(crate) const TXMD_CHECKSUM: u64 = 1 << 1;
/// Descriptor option `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
pub(crate) const CONTINUED: u32 = 1;
/// Descriptor option `XDP_TX_METADATA`.
pub(crate) const WITH_METADATA: u32 = 1 << 1;

/// How a socket is bound.
#[derive(Copy, Clone)]
pub(crate) enum Sharing {
    /// The first one, which registered the memory: copy mode, packets of several buffers, wake-ups on demand.
    First,
    /// On the memory of that socket, with all that it said.
    Of(RawFd),
}

/// `struct xdp_mmap_offsets`.
#[derive(Copy, Clone, Default)]
#[repr(C)]
struct Layout {
    rx: Offsets,
    tx: Offsets,
    fill: Offsets,
    completion: Offsets,
}

// SAFETY: sixteen integers of eight bytes.
unsafe impl Plain for Layout {}

/// `struct xdp_statistics`.
#[derive(Copy, Clone, Default, Debug)]
#[repr(C)]
pub(crate) struct Statistics {
    pub(crate) rx_dropped: u64,
    pub(crate) rx_invalid: u64,
    pub(crate) tx_invalid: u64,
    pub(crate) rx_ring_full: u64,
    pub(crate) fill_ring_empty: u64,
    pub(crate) tx_ring_empty: u64,
}

// SAFETY: six integers of eight bytes.
unsafe impl Plain for Statistics {}

/// `struct xdp_umem_reg`.
#[derive(Copy, Clone, Default)]
#[repr(C)]
struct Registration {
    addr: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

// SAFETY: six integers, 32 bytes without padding.
unsafe impl Plain for Registration {}

/// A socket with its rings.
pub(crate) struct Xsk {
    pub(crate) rx: Consumer<Desc>,
    pub(crate) tx: Producer<Desc>,
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
    fd: OwnedFd,
}

/// Registers `memory` with the socket, with room for transmit metadata if the kernel knows them; answers whether it does.
pub(crate) fn register(fd: &OwnedFd, memory: &Mapping, chunk_size: u32) -> io::Result<bool> {
    let addr = memory.start().as_ptr() as u64;
    let plain = Registration { addr, len: memory.len() as u64, chunk_size, ..Registration::default() };
    let with_metadata =
        Registration { flags: UMEM_TX_METADATA_LEN, tx_metadata_len: METADATA as u32, ..plain };
    let try_with = |registration| sys::set(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, registration);
    match try_with(&with_metadata) {
        Ok(()) => Ok(true),
        // A kernel before 6.11 refuses a flag that it does not know.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => try_with(&plain).map(|()| false),
        Err(error) => Err(error),
    }
}

/// Makes the four rings of a fresh socket, without mapping them.
pub(crate) fn make_rings(fd: &OwnedFd, entries: u32) -> io::Result<()> {
    let rings =
        [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING];
    rings.into_iter().try_for_each(|ring| sys::set(fd.as_raw_fd(), libc::SOL_XDP, ring, &entries))
}

/// Binds to `queue` of an interface. After a refusal it may be tried again.
pub(crate) fn bind(fd: RawFd, ifindex: u32, queue: u32, sharing: Sharing) -> io::Result<()> {
    let (flags, shared) = match sharing {
        Sharing::First => (libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP | libc::XDP_USE_SG, 0),
        Sharing::Of(fd) => (libc::XDP_SHARED_UMEM, fd as u32),
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared,
    };
    sys::bind_xdp(fd, &address)
}

impl Xsk {
    /// Gives a fresh socket its four rings of `entries` each.
    pub(crate) fn new(fd: OwnedFd, entries: u32) -> io::Result<Self> {
        make_rings(&fd, entries)?;
        let raw = fd.as_raw_fd();
        let layout: Layout = sys::get(raw, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)?;
        let map = |offsets: &Offsets, value: usize, page: u64| {
            let table = usize::try_from(offsets.desc).unwrap_or(usize::MAX);
            Mapping::shared(raw, table.saturating_add(entries as usize * value), page as libc::off_t)
        };
        let (desc, addr) = (size_of::<Desc>(), size_of::<u64>());
        let rx = map(&layout.rx, desc, libc::XDP_PGOFF_RX_RING as u64)?;
        let tx = map(&layout.tx, desc, libc::XDP_PGOFF_TX_RING as u64)?;
        let fill = map(&layout.fill, addr, libc::XDP_UMEM_PGOFF_FILL_RING)?;
        let completion = map(&layout.completion, addr, libc::XDP_UMEM_PGOFF_COMPLETION_RING)?;
        Ok(Self {
            rx: Consumer::new(rx, &layout.rx, entries)?,
            tx: Producer::new(tx, &layout.tx, entries)?,
            fill: Producer::new(fill, &layout.fill, entries)?,
            completion: Consumer::new(completion, &layout.completion, entries)?,
            fd,
        })
    }

    /// What the kernel has lost on the way in and refused on the way out.
    pub(crate) fn statistics(&self) -> io::Result<Statistics> {
        sys::get(self.fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_STATISTICS)
    }
}

impl AsRawFd for Xsk {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
