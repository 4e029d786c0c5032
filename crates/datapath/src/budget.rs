//! How much a port may make us say: token buckets driven by `now`, one a port, so that no pod uses up another's share.

use core::time::Duration;
use packet::{Instant, PortId};

use crate::stats::MAX_PORTS;

/// Things per second, with a burst of a twentieth of it (as `icmp_msgs_burst` relates to `icmp_msgs_per_sec` in
/// Linux).
#[derive(Clone, Debug)]
pub struct Budget {
    interval: Duration,
    burst: Duration,
    /// Theoretical arrival time of the generic cell rate algorithm.
    due: Instant,
}

impl Budget {
    /// A budget of `per_second` things; zero forbids all.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or(Duration::MAX);
        Self { interval, burst: interval.saturating_mul((per_second / 20).max(1)), due: Instant::ZERO }
    }

    /// Takes one out of the budget, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.interval == Duration::MAX || self.due.saturating_since(now) > self.burst {
            return false;
        }
        self.due = self.due.max(now) + self.interval;
        true
    }
}

/// A budget for each port.
#[derive(Debug)]
pub struct PortBudgets(Vec<Budget>);

impl PortBudgets {
    /// `per_second` things for each port.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self(vec![Budget::new(per_second); MAX_PORTS])
    }

    /// Takes one out of the port's budget, if there is one. Ports beyond [`MAX_PORTS`] share the last.
    pub fn take(&mut self, port: PortId, now: Instant) -> bool {
        self.0[usize::from(port.0).min(MAX_PORTS - 1)].take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_yields_the_burst_and_the_rate() {
        let mut budget = Budget::new(1000);
        let mut granted = 0;
        for ms in 0..1000 {
            for _ in 0..10 {
                granted += u32::from(budget.take(Instant::from_nanos(1_000_000_000 + ms * 1_000_000)));
            }
        }
        assert!((1000..=1060).contains(&granted), "{granted}");
    }

    #[test]
    fn one_port_does_not_use_up_the_share_of_another() {
        let mut budgets = PortBudgets::new(10);
        let now = Instant::from_secs(1);
        while budgets.take(PortId(1), now) {}
        assert!(budgets.take(PortId(2), now));
    }

    #[test]
    fn zero_forbids_all() {
        assert!(!Budget::new(0).take(Instant::from_secs(5)));
    }
}
