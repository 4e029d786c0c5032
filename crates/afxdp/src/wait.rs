//! Sleeping until a socket has frames, for the adaptive mode.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crate::sys;

/// The waker's mark among the sockets' slots.
const WAKER: u64 = u64::MAX;

/// Ends a worker's [`wait`](crate::XskIo::wait) from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Wakes the worker, or keeps it from falling asleep next time.
    pub fn wake(&self) {
        sys::raise(&self.0);
    }
}

/// Why a sleep ended.
#[derive(Default)]
pub(crate) struct Woken {
    /// Something happened, rather than time passing.
    pub(crate) happened: bool,
    /// The slot of a socket that reports an error, which would end every further sleep at once.
    pub(crate) broken: Option<u16>,
}

/// The sockets of one worker and its waker.
pub(crate) struct Sleeper {
    epoll: OwnedFd,
    waker: Waker,
}

impl Sleeper {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = sys::epoll()?;
        let event = sys::eventfd()?;
        sys::epoll_add(&epoll, std::os::fd::AsRawFd::as_raw_fd(&event), WAKER)?;
        Ok(Self { epoll, waker: Waker(Arc::new(event)) })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn add(&self, fd: RawFd, slot: u16) -> io::Result<()> {
        sys::epoll_add(&self.epoll, fd, u64::from(slot))
    }

    pub(crate) fn remove(&self, fd: RawFd) {
        sys::epoll_remove(&self.epoll, fd);
    }

    /// Sleeps until something happens or the timeout passes. `None` waits for ever.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Woken> {
        // A few are enough: which socket has frames does not matter, only whether it is the waker or one in error.
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        let mut woken = Woken::default();
        for event in sys::epoll_wait(&self.epoll, &mut events, timeout)? {
            woken.happened = true;
            let (mark, flags) = (event.u64, event.events);
            if mark == WAKER {
                sys::lower(&self.waker.0);
            } else if flags & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0 {
                woken.broken = u16::try_from(mark).ok();
            }
        }
        Ok(woken)
    }
}
