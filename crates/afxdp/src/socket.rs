//! Opening: the UMEM once, then a socket for each port and queue. Slow, and done by the control thread.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use packet::PortId;

use crate::anchor::Anchor;
use crate::bulk::Bulk;
use crate::error::OpenError;
use crate::pool::Pool;
use crate::sizes::{CHUNK_SIZE, Sizes};
use crate::sys::{self, Mapping};
use crate::xsk::{self, Sharing, Xsk};
use crate::xsk_io::XskIo;

/// How long a queue may stay busy after its last socket closed (the kernel frees the pool from a work queue,
/// usually within 20 ms).
const BIND_PATIENCE: Duration = Duration::from_secs(1);
/// First pause between two attempts; doubled each time.
const BIND_PAUSE: Duration = Duration::from_millis(2);
/// Bytes of skbs in flight per socket. The default of 208 KiB is 90 full frames, far less than a ring.
const SEND_BUFFER: i32 = 16 << 20;

/// How a socket moves its bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SocketMode {
    /// The kernel copies between skbs and our chunks.
    Copy,
    /// The device reads and writes our chunks.
    ZeroCopy,
}

/// The first socket of the UMEM, on an interface of our own; kept for as long as anything uses the memory.
pub(crate) struct Hold {
    socket: OwnedFd,
    /// Queues that are open, by interface.
    open: Mutex<BTreeSet<(u32, u32)>>,
    // After the socket on it.
    _anchor: Anchor,
    _memory: Arc<Mapping>,
}

/// A queue of an interface while it is open on this memory.
pub(crate) struct Lease {
    queue: (u32, u32),
    hold: Arc<Hold>,
}

/// Binds sockets that share one UMEM. Cheap to keep, usable from any thread of the same network namespace.
pub struct Opener {
    sizes: Sizes,
    /// The kernel takes transmit metadata.
    metadata: bool,
    hold: Arc<Hold>,
}

/// A bound socket on its way to [`XskIo::add_port`].
pub struct PortSocket {
    pub(crate) port: PortId,
    pub(crate) xsk: Xsk,
    pub(crate) mode: SocketMode,
    /// Whether transmitted bytes are copied before the call returns, so that closing frees the chunks at once.
    pub(crate) copies_tx: bool,
    /// Whether the kernel completes checksums that are asked for in transmit metadata.
    pub(crate) sums: bool,
    /// Transmits segments joined.
    pub(crate) bulk: Option<Bulk>,
    queue: u32,
    // Last: after the socket.
    pub(crate) lease: Lease,
}

/// Registers the packet memory and makes the two halves. Needs CAP_NET_ADMIN, CAP_NET_RAW, and CAP_IPC_LOCK or a
/// large enough RLIMIT_MEMLOCK.
///
/// # Errors
/// When the kernel refuses the memory or the anchor interface cannot be made.
pub fn open(sizes: Sizes) -> Result<(Opener, XskIo), OpenError> {
    let umem_error = |source| OpenError::Umem { chunks: sizes.chunks, source };
    let invalid = |what: String| umem_error(io::Error::new(io::ErrorKind::InvalidInput, what));
    if !sizes.ring.is_power_of_two() {
        return Err(invalid(format!("ring of {}", sizes.ring)));
    }
    if sizes.chunks == 0 {
        return Err(invalid("no chunks".to_owned()));
    }
    let memory = Arc::new(Mapping::anonymous(sizes.bytes()).map_err(umem_error)?);
    let socket = sys::xdp_socket().map_err(umem_error)?;
    let metadata = xsk::register(&socket, &memory, CHUNK_SIZE).map_err(umem_error)?;
    xsk::make_rings(&socket, sizes.ring).map_err(umem_error)?;
    let anchor = Anchor::create().map_err(OpenError::Anchor)?;
    let bound = sys::interface_index(anchor.name())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
        .and_then(|index| bind(socket.as_raw_fd(), index, 0, Sharing::First));
    bound.map_err(|source| {
        let interface = anchor.name().to_string_lossy().into_owned();
        OpenError::Bind { interface, queue: 0, source }
    })?;
    let hold =
        Arc::new(Hold { socket, open: Mutex::default(), _anchor: anchor, _memory: Arc::clone(&memory) });
    let io = XskIo::new(Pool::new(memory), sizes, Arc::clone(&hold))?;
    Ok((Opener { sizes, metadata, hold }, io))
}

impl Opener {
    /// Binds a socket to `queue` of interface `name` for `port`, waiting up to a second for a queue that an earlier
    /// socket still holds. `ifindex` guards against an interface that was replaced by another of the same name.
    ///
    /// # Errors
    /// As [`OpenError`] tells; [`OpenError::is_missing_queue`] is not a failure when all queues are tried in turn.
    pub fn open(&self, port: PortId, name: &str, ifindex: u32, queue: u32) -> Result<PortSocket, OpenError> {
        let c_name = CString::new(name)
            .ok()
            .filter(|name| (1..libc::IFNAMSIZ).contains(&name.as_bytes().len()))
            .ok_or_else(|| OpenError::Name(name.to_owned()))?;
        let same = || match sys::interface_index(&c_name) {
            Some(index) if index == ifindex => Ok(()),
            found => Err(OpenError::Changed { interface: name.to_owned(), wanted: ifindex, found }),
        };
        same()?;
        let failed = |source| OpenError::Bind { interface: name.to_owned(), queue, source };
        let lease = Lease::take(&self.hold, ifindex, queue)
            .ok_or_else(|| OpenError::AlreadyOpen { interface: name.to_owned(), queue })?;
        let xsk = sys::xdp_socket().and_then(|fd| Xsk::new(fd, self.sizes.ring)).map_err(failed)?;
        let fd = xsk.as_raw_fd();
        bind(fd, ifindex, queue, Sharing::Of(self.hold.socket.as_raw_fd())).map_err(failed)?;
        // The interface may have been replaced by another with its number while we bound by it.
        same()?;
        sys::raise_send_buffer(fd, SEND_BUFFER);
        sys::raise_tx_budget(fd, self.sizes.ring);
        let mode = if sys::is_zero_copy(fd) { SocketMode::ZeroCopy } else { SocketMode::Copy };
        // A driver of a real (or paravirtual) device may put our pages into the skb instead of copying them.
        let virtual_device = !std::path::Path::new("/sys/class/net").join(name).join("device").exists();
        let copies_tx = mode == SocketMode::Copy && virtual_device;
        // In copy mode the kernel's own transmit path sums where the device cannot; a driver in zero-copy mode may not know
        // metadata at all.
        let sums = mode == SocketMode::Copy && self.metadata;
        // Zero copy is cheaper than joining, and without metadata no checksum is open. Without this socket all goes one by one.
        let bulk = if sums { Bulk::open(ifindex, SEND_BUFFER).ok() } else { None };
        Ok(PortSocket { port, xsk, mode, copies_tx, sums, bulk, queue, lease })
    }

    /// The sizes the memory was made with.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users = Arc::strong_count(&self.hold);
        f.debug_struct("Opener").field("sizes", &self.sizes).field("users", &users).finish_non_exhaustive()
    }
}

impl PortSocket {
    /// The port this socket belongs to.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.port
    }

    /// The receive queue it is bound to.
    #[must_use]
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// Copy or zero-copy.
    #[must_use]
    pub fn mode(&self) -> SocketMode {
        self.mode
    }

    /// Sums requested checksums here, as on a kernel that does not know transmit metadata: for measurements and tests.
    #[must_use]
    pub fn summing_in_software(self) -> Self {
        Self { sums: false, bulk: None, ..self }
    }

    /// Never joins segments: for measurements and tests.
    #[must_use]
    pub fn one_by_one(self) -> Self {
        Self { bulk: None, ..self }
    }
}

/// For the socket map of the XDP program.
impl AsRawFd for PortSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.xsk.as_raw_fd()
    }
}

/// For a duplicate that says which socket is meant after this one went to its worker.
impl AsFd for PortSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.xsk.as_fd()
    }
}

impl std::fmt::Debug for PortSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortSocket")
            .field("port", &self.port)
            .field("queue", &self.queue)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// `None` if the queue is open already.
    fn take(hold: &Arc<Hold>, ifindex: u32, queue: u32) -> Option<Self> {
        let queue = (ifindex, queue);
        let mut open = hold.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(queue).then(|| Self { queue, hold: Arc::clone(hold) })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.hold.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.queue);
    }
}

/// Binds, trying again while the queue is busy.
fn bind(fd: RawFd, ifindex: u32, queue: u32, sharing: Sharing) -> io::Result<()> {
    let until = Instant::now() + BIND_PATIENCE;
    let mut pause = BIND_PAUSE;
    loop {
        match xsk::bind(fd, ifindex, queue, sharing) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() + pause <= until => {}
            other => return other,
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}
