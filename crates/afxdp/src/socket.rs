//! Opening: the UMEM once, then a socket for each port and queue. Slow, and done by the control thread.

use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use packet::PortId;
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

use crate::anchor::Anchor;
use crate::error::OpenError;
use crate::pool::Pool;
use crate::sizes::{CHUNK_SIZE, Sizes};
use crate::sys;
use crate::xsk_io::XskIo;

/// `XDP_USE_SG` of if_xdp.h: packets of several buffers.
const USE_SG: u16 = 1 << 4;
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
    _tx: TxQueue,
    _rx: RxQueue,
    _rings: Option<(FillQueue, CompQueue)>,
    // Last: the interface goes after the socket on it.
    _anchor: Anchor,
}

/// Binds sockets that share one UMEM. Cheap to keep, usable from any thread of the same network namespace.
pub struct Opener {
    umem: Umem,
    sizes: Sizes,
    hold: Arc<std::sync::Mutex<Hold>>,
}

/// A bound socket on its way to [`XskIo::add_port`].
pub struct PortSocket {
    pub(crate) port: PortId,
    pub(crate) fd: RawFd,
    pub(crate) rx: RxQueue,
    pub(crate) tx: TxQueue,
    pub(crate) fill: FillQueue,
    pub(crate) comp: CompQueue,
    pub(crate) mode: SocketMode,
    /// Whether transmitted bytes are copied before the call returns, so that closing frees the chunks at once.
    pub(crate) copies_tx: bool,
    queue: u32,
}

/// Registers the packet memory and makes the two halves. Needs CAP_NET_ADMIN, CAP_NET_RAW, and CAP_IPC_LOCK or a
/// large enough RLIMIT_MEMLOCK.
///
/// # Errors
/// When the kernel refuses the memory or the anchor interface cannot be made.
pub fn open(sizes: Sizes) -> Result<(Opener, XskIo), OpenError> {
    let umem_error = |source| OpenError::Umem { chunks: sizes.chunks, source };
    let invalid = |what: String| umem_error(io::Error::new(io::ErrorKind::InvalidInput, what));
    let ring = QueueSize::new(sizes.ring).map_err(|_| invalid(format!("ring of {}", sizes.ring)))?;
    let chunks = NonZeroU32::new(sizes.chunks).ok_or_else(|| invalid("no chunks".to_owned()))?;
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(CHUNK_SIZE).map_err(|_| invalid(format!("chunk of {CHUNK_SIZE}")))?)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()
        .map_err(|error| invalid(error.to_string()))?;
    let (umem, descs) = Umem::new(config, chunks, false).map_err(|error| umem_error(cause(&error)))?;
    let anchor = Anchor::create().map_err(OpenError::Anchor)?;
    let name = anchor.name().to_string_lossy().into_owned();
    let interface = Interface::new(anchor.name().to_owned());
    let (tx, rx, rings) = bind(&umem, sizes.ring, &interface, 0).map_err(|source| OpenError::Bind {
        interface: name,
        queue: 0,
        source,
    })?;
    let hold = Arc::new(std::sync::Mutex::new(Hold { _tx: tx, _rx: rx, _rings: rings, _anchor: anchor }));
    let io = XskIo::new(Pool::new(umem.clone(), descs), sizes, Arc::clone(&hold))?;
    Ok((Opener { umem, sizes, hold }, io))
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
        let interface = Interface::new(c_name.clone());
        let (tx, rx, rings) = bind(&self.umem, self.sizes.ring, &interface, queue)
            .map_err(|source| OpenError::Bind { interface: name.to_owned(), queue, source })?;
        // The name may have changed hands while we bound by it.
        same()?;
        let (fill, comp) =
            rings.ok_or_else(|| OpenError::AlreadyOpen { interface: name.to_owned(), queue })?;
        let fd = rx.fd().as_raw_fd();
        sys::raise_send_buffer(fd, SEND_BUFFER);
        sys::raise_tx_budget(fd, self.sizes.ring);
        let mode = if sys::is_zero_copy(fd) { SocketMode::ZeroCopy } else { SocketMode::Copy };
        // A driver of a real (or paravirtual) device may put our pages into the skb instead of copying them.
        let virtual_device = !std::path::Path::new("/sys/class/net").join(name).join("device").exists();
        let copies_tx = mode == SocketMode::Copy && virtual_device;
        Ok(PortSocket { port, fd, rx, tx, fill, comp, mode, copies_tx, queue })
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
}

/// For the socket map of the XDP program.
impl AsRawFd for PortSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
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

type Rings = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Makes and binds a socket, trying again while the queue is busy.
fn bind(umem: &Umem, ring: u32, interface: &Interface, queue: u32) -> io::Result<Rings> {
    let size = QueueSize::new(ring).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let config = SocketConfig::builder()
        .rx_queue_size(size)
        .tx_queue_size(size)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(
            BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::from_bits_retain(USE_SG),
        )
        .build();
    let until = Instant::now() + BIND_PATIENCE;
    let mut pause = BIND_PAUSE;
    loop {
        // SAFETY: no XDP program is loaded by this call (INHIBIT_PROG_LOAD), which is what its contract asks for when
        // a queue is bound more than once.
        match unsafe { Socket::new(config, umem, interface, queue) } {
            Ok(rings) => {
                sys::close_on_exec(rings.1.fd().as_raw_fd());
                return Ok(rings);
            }
            Err(error) => {
                let error = cause(&error);
                if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() + pause > until {
                    return Err(error);
                }
            }
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// The operating system's answer behind an xsk-rs error.
fn cause(error: &dyn std::error::Error) -> io::Error {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => source
            .raw_os_error()
            .map_or_else(|| io::Error::other(format!("{error}: {source}")), io::Error::from_raw_os_error),
        None => io::Error::other(error.to_string()),
    }
}
