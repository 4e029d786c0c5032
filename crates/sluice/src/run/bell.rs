//! What the control thread waits for. Ringing never blocks, and ringing twice is as good as once.

use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Reasons to wake the control thread.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A file in the configuration folder changed.
    Files,
    /// SIGHUP: read everything again, changed or not.
    Reload,
    /// An interface changed.
    Links,
    /// SIGTERM or SIGINT.
    Stop,
    /// The worker's thread ended.
    WorkerEnded,
    /// The worker handed a DNS answer over.
    Learnt,
    /// It was found out which addresses connections use.
    Checked,
}

const REASONS: [Reason; 7] = [
    Reason::Files,
    Reason::Reload,
    Reason::Links,
    Reason::Stop,
    Reason::WorkerEnded,
    Reason::Learnt,
    Reason::Checked,
];

/// The ringing end.
#[derive(Clone, Debug)]
pub struct Bell {
    pending: Arc<[AtomicBool; REASONS.len()]>,
    wake: Sender<()>,
}

/// The waiting end.
#[derive(Debug)]
pub struct Waiter {
    pending: Arc<[AtomicBool; REASONS.len()]>,
    woken: Receiver<()>,
}

/// A bell and who waits for it.
#[must_use]
pub fn bell() -> (Bell, Waiter) {
    let (wake, woken) = bounded(1);
    let pending: Arc<[AtomicBool; REASONS.len()]> = Arc::default();
    (Bell { pending: Arc::clone(&pending), wake }, Waiter { pending, woken })
}

impl Bell {
    /// Rings for that reason. `false` when nobody waits any more.
    pub fn ring(&self, reason: Reason) -> bool {
        self.pending[reason as usize].store(true, Ordering::Release);
        !matches!(self.wake.try_send(()), Err(error) if error.is_disconnected())
    }
}

impl Waiter {
    /// Waits until there is a reason, at most so long.
    pub fn wait(&self, timeout: Duration) {
        if !REASONS.iter().any(|reason| self.is_pending(*reason)) {
            self.pause(timeout);
        }
    }

    /// Waits for a ring, at most so long; earlier ones that nobody has taken do not count.
    pub fn pause(&self, timeout: Duration) {
        let _ = self.woken.recv_timeout(timeout);
    }

    /// Whether it rang for that reason since the last time this was asked.
    #[must_use]
    pub fn take(&self, reason: Reason) -> bool {
        self.pending[reason as usize].swap(false, Ordering::AcqRel)
    }

    /// The same without forgetting it.
    #[must_use]
    pub fn is_pending(&self, reason: Reason) -> bool {
        self.pending[reason as usize].load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_kept_apart_and_ringing_twice_is_once() {
        let (bell, waiter) = bell();
        assert!(bell.ring(Reason::Links) && bell.ring(Reason::Links) && bell.ring(Reason::Files));
        waiter.wait(Duration::ZERO);
        assert!(waiter.take(Reason::Links) && !waiter.take(Reason::Links));
        assert!(waiter.is_pending(Reason::Files) && waiter.take(Reason::Files));
        assert!(!waiter.take(Reason::Stop));
        drop(waiter);
        assert!(!bell.ring(Reason::Stop));
    }
}
