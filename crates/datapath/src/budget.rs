//! How many answers of our own may be made: a token bucket driven by `now`.

use core::time::Duration;
use packet::Instant;

/// ICMP errors and resets per second, with a burst of a twentieth of it (as `icmp_msgs_burst` relates to
/// `icmp_msgs_per_sec` in Linux).
#[derive(Debug)]
pub struct AnswerBudget {
    interval: Duration,
    burst: Duration,
    /// Theoretical arrival time of the generic cell rate algorithm.
    due: Instant,
}

impl AnswerBudget {
    /// A budget of `per_second` answers; zero forbids all.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or(Duration::MAX);
        Self { interval, burst: interval.saturating_mul((per_second / 20).max(1)), due: Instant::ZERO }
    }

    /// Takes one answer out of the budget, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.interval == Duration::MAX || self.due.saturating_since(now) > self.burst {
            return false;
        }
        self.due = self.due.max(now) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_yields_the_burst_and_the_rate() {
        let mut budget = AnswerBudget::new(1000);
        let mut granted = 0;
        for ms in 0..1000 {
            for _ in 0..10 {
                granted += u32::from(budget.take(Instant::from_nanos(1_000_000_000 + ms * 1_000_000)));
            }
        }
        assert!((1000..=1060).contains(&granted), "{granted}");
    }

    #[test]
    fn zero_forbids_all() {
        assert!(!AnswerBudget::new(0).take(Instant::from_secs(5)));
    }
}
