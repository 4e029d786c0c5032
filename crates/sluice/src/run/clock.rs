//! The one clock of the process: what the packet path gets as `now`, and how it maps to the time of day.

use jiff::Timestamp;
use packet::Instant;

/// Nanoseconds since the process started, and when that was.
#[derive(Copy, Clone, Debug)]
pub struct Clock {
    start: std::time::Instant,
    /// Time of day at the start.
    pub started_at: Timestamp,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now(), started_at: Timestamp::now() }
    }

    /// Now, as the packet path counts it. Never zero, which means "never" in places.
    #[must_use]
    pub fn now(&self) -> Instant {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(nanos.max(1))
    }

    /// Time since the start.
    #[must_use]
    pub fn uptime(&self) -> std::time::Duration {
        self.start.elapsed()
    }
}
