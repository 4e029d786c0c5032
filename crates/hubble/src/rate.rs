//! How many records a second, over the last minute.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the count is noted.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// What Hubble's rate is about.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts noted during the last minute.
#[derive(Debug, Default)]
pub struct Rate(Mutex<VecDeque<(Instant, u64)>>);

impl Rate {
    /// Notes the number of records ever made.
    pub fn note(&self, now: Instant, total: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest of those that are older than the window is the one to count from.
        while counts.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            counts.pop_front();
        }
        counts.push_back((now, total));
    }

    /// Records a second since the oldest count.
    #[must_use]
    pub fn per_second(&self, now: Instant, total: u64) -> f64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, before)) = counts.front() else { return 0.0 };
        let seconds = now.saturating_duration_since(*at).as_secs_f64();
        if seconds > 0.0 { total.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_last_minute_and_forgets_what_was_before() {
        let (rate, start) = (Rate::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(rate.per_second(start, 5), 0.0);
        rate.note(start, 0);
        assert_eq!(rate.per_second(start, 5), 0.0);
        assert_eq!(rate.per_second(at(2), 10), 5.0);
        // 10 a second for five minutes, then nothing.
        (1..=60).for_each(|step| rate.note(at(step * 5), step * 50));
        assert_eq!(rate.per_second(at(300), 3000), 10.0);
        (61..=72).for_each(|step| rate.note(at(step * 5), 3000));
        assert_eq!(rate.per_second(at(360), 3000), 0.0);
        assert!(rate.0.lock().expect("counts").len() <= 14);
    }
}
