//! The service manager's side of things: readiness, reloading, watchdog (`sd_notify(3)`).
//!
//! Without a service manager everything here does nothing.

use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// Speaks to the service manager.
#[derive(Debug)]
pub struct Service {
    /// How often the watchdog wants to hear, halved for safety; `None` without one.
    interval: Option<Duration>,
    last: Instant,
}

impl Default for Service {
    fn default() -> Self {
        Self { interval: sd_notify::watchdog_enabled().map(|limit| limit / 2), last: Instant::now() }
    }
}

impl Service {
    /// The service is up.
    pub fn ready(&self, status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; [`ready`](Self::ready) ends it.
    pub fn reloading(&self) {
        // `Type=notify-reload` wants the time of the request with it.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// The service goes down.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// Feeds the watchdog when it is time. To be called only while the worker is seen to move.
    pub fn alive(&mut self) {
        if self.interval.is_some_and(|interval| self.last.elapsed() >= interval.min(Duration::from_secs(5))) {
            self.last = Instant::now();
            notify(&[NotifyState::Watchdog]);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
