//! The system calls, as `io::Result`.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

/// `XDP_OPTIONS` and its flag, `XDP_MAX_TX_SKB_BUDGET` (6.17) of if_xdp.h.
const XDP_OPTIONS: c_int = 8;
const XDP_OPTIONS_ZEROCOPY: u32 = 1;
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
/// What one entry of a page table of the second level covers on x86-64 and on arm64 with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Values that the kernel may read and write as bytes.
///
/// # Safety
/// No padding, and every bit pattern is a value.
pub(crate) unsafe trait Plain: Copy + Default {}

// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for c_int {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}

/// Memory of this process, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: memory belongs to no thread; whoever uses the pointer answers for it.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives away only the address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of what the descriptor maps at `offset`.
    pub(crate) fn shared(fd: RawFd, len: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::new(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd, offset)
    }

    /// Zeroed memory of our own: not for children, and in huge pages where the system has them.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        let mut mapping = Self::new(len + HUGE_PAGE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        let start = mapping.start.as_ptr();
        let before = start.align_offset(HUGE_PAGE);
        // SAFETY: the mapping is HUGE_PAGE longer than `len`, so both ends that are cut off lie in it and what remains is
        // `len` bytes. Nobody uses it yet. The kernel copes with any advice.
        unsafe {
            if before > 0 {
                libc::munmap(start.cast(), before);
            }
            libc::munmap(start.add(before + len).cast(), HUGE_PAGE - before);
            mapping.start = mapping.start.add(before);
            mapping.len = len;
            let place = mapping.start.as_ptr().cast();
            libc::madvise(place, len, libc::MADV_DONTFORK);
            libc::madvise(place, len, libc::MADV_HUGEPAGE);
        }
        Ok(mapping)
    }

    fn new(len: usize, flags: c_int, fd: RawFd, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choosing touches no existing memory.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping; pointers into it live no longer than the value that owns it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// What one transmit system call came to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kick {
    /// Everything that was allowed in one call was taken.
    Done,
    /// Try again later: budget, completion ring, socket buffer or the device's queue is full.
    Again,
    /// The frame at the front was dropped (and will be completed); the others are still queued.
    Dropped,
    /// The interface is down; frames stay queued.
    Down,
    /// The socket is no longer bound: the interface is gone.
    Gone,
}

/// Tells the kernel to transmit what is in the TX ring.
pub(crate) fn kick(fd: RawFd) -> Kick {
    // SAFETY: no buffer is passed; the kernel reads only the ring of this socket.
    let sent = unsafe { libc::sendto(fd, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if sent >= 0 {
        return Kick::Done;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EBUSY) => Kick::Dropped,
        Some(libc::ENETDOWN) => Kick::Down,
        Some(libc::ENXIO | libc::EBADF | libc::ENODEV) => Kick::Gone,
        // EAGAIN, ENOBUFS, EINTR and anything unknown: the descriptors are still in the ring.
        _ => Kick::Again,
    }
}

/// Tells a driver that asked for it (need-wakeup on the fill ring) that there are buffers to receive into.
pub(crate) fn wake_rx(fd: RawFd) {
    // SAFETY: no buffer is passed.
    unsafe {
        libc::recvfrom(
            fd,
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
}

/// The socket's pending error, which reading clears.
pub(crate) fn take_error(fd: RawFd) -> Option<c_int> {
    let code: c_int = get(fd, libc::SOL_SOCKET, libc::SO_ERROR).unwrap_or(0);
    (code != 0).then_some(code)
}

/// Whether the socket was bound in zero-copy mode.
pub(crate) fn is_zero_copy(fd: RawFd) -> bool {
    get::<u32>(fd, libc::SOL_XDP, XDP_OPTIONS).is_ok_and(|flags| flags & XDP_OPTIONS_ZEROCOPY != 0)
}

/// Lets one transmit call take the whole ring, where the kernel has that option.
pub(crate) fn raise_tx_budget(fd: RawFd, frames: u32) {
    let _ = set(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &frames);
}

/// Allows `bytes` of skbs in flight; beyond the system's limit where we have the right to.
pub(crate) fn raise_send_buffer(fd: RawFd, bytes: c_int) {
    if set(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes).is_err() {
        let _ = set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes);
    }
}

/// A fresh AF_XDP socket, not for programs that this process runs: one that a child holds stays bound after we closed it.
pub(crate) fn xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    own(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })
}

/// Binds an AF_XDP socket.
pub(crate) fn bind_xdp(fd: RawFd, address: &libc::sockaddr_xdp) -> io::Result<()> {
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `address`.
    check(unsafe { libc::bind(fd, std::ptr::from_ref(address).cast(), len) }).map(drop)
}

/// A packet socket that transmits on the interface with that number what begins with a `struct virtio_net_hdr`, past its queue
/// discipline as AF_XDP does, and receives nothing (it has no protocol; packet(7)).
pub(crate) fn packet_socket(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let socket = own(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    let one: c_int = 1;
    set(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, &one)?;
    set(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &one)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: c_int::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `address`.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// Sends one packet that lies in pieces; never blocks.
pub(crate) fn send_pieces(fd: RawFd, pieces: &[io::IoSlice<'_>]) -> io::Result<()> {
    // SAFETY: all zeroes is a message without address, pieces and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // An IoSlice is a struct iovec (its documentation promises it), which sending only reads.
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: the message describes `pieces`, each of which describes bytes that are borrowed for as long.
    let sent = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A file in memory.
#[cfg(test)]
pub(crate) fn memfd(len: libc::off_t) -> io::Result<OwnedFd> {
    // SAFETY: the name is a terminated string.
    let fd = own(unsafe { libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), len) })?;
    Ok(fd)
}

/// The index of the interface called `name`, in this thread's network namespace.
pub(crate) fn interface_index(name: &std::ffi::CStr) -> Option<u32> {
    // SAFETY: the pointer is to a terminated string.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|index| *index != 0)
}

/// Sets a socket option.
pub(crate) fn set<T: Plain>(fd: RawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), len) }).map(drop)
}

/// Asks for a socket option; an answer of another length is none.
pub(crate) fn get<T: Plain>(fd: RawFd, level: c_int, name: c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which any bytes may fill.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) })?;
    if len as usize != size_of::<T>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer has another length"));
    }
    Ok(value)
}

fn check(code: c_int) -> io::Result<c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

fn own(code: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor was just made by a successful call and belongs to nobody else.
    check(code).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An event counter for waking a sleeper.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Raises the counter; a full counter wakes as well.
pub(crate) fn raise(event: &OwnedFd) {
    let one = 1u64;
    // SAFETY: the pointer and length describe `one`.
    unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Lowers the counter to zero.
pub(crate) fn lower(event: &OwnedFd) {
    let mut count = 0u64;
    // SAFETY: the pointer and length describe `count`.
    unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8) };
}

/// An interest set of descriptors.
pub(crate) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Adds `fd` (readable, level-triggered) under `mark`.
pub(crate) fn epoll_add(epoll: &OwnedFd, fd: RawFd, mark: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: mark };
    // SAFETY: the pointer is to a live epoll_event.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
}

/// Removes `fd`; one that is not there is no matter.
pub(crate) fn epoll_remove(epoll: &OwnedFd, fd: RawFd) {
    // SAFETY: the kernel ignores the event pointer for a removal.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
}

/// Waits for events; an interruption is an empty answer. `None` waits for ever.
pub(crate) fn epoll_wait<'a>(
    epoll: &OwnedFd,
    events: &'a mut [libc::epoll_event],
    timeout: Option<Duration>,
) -> io::Result<&'a [libc::epoll_event]> {
    // Rounded up, so that a short timeout does not become a busy loop.
    let ms = timeout
        .map_or(-1, |timeout| c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX));
    let room = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // SAFETY: the pointer and length describe `events`.
    match check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, ms) }) {
        Ok(count) => Ok(&events[..count as usize]),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
        Err(error) => Err(error),
    }
}

/// Makes a TAP interface with a name of the kernel's choosing; it lives exactly as long as the descriptor, even if
/// the process is killed.
pub(crate) fn tap(pattern: &std::ffi::CStr) -> io::Result<(OwnedFd, std::ffi::CString)> {
    /// `struct ifreq` as `TUNSETIFF` reads and writes it: a name, flags, and the rest of the union.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    // SAFETY: the path is a terminated string.
    let fd = own(unsafe {
        libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK)
    })?;
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short,
        rest: [0; 22],
    };
    for (place, byte) in request.name[..libc::IFNAMSIZ - 1].iter_mut().zip(pattern.to_bytes()) {
        *place = *byte;
    }
    // SAFETY: the kernel reads and writes one struct ifreq, whose size and layout `Request` has.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let name = std::ffi::CStr::from_bytes_until_nul(&request.name)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "interface name without an end"))?;
    Ok((fd, name.to_owned()))
}
