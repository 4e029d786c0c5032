//! How long the worker looks for frames before it sleeps.

use std::time::Duration;

/// Some round trips between two pods, so that a conversation under way never pays for a wake-up.
const LEAST: Duration = Duration::from_micros(50);

/// Beyond this, looking costs more than sleeping saves: a wake-up takes some ten microseconds, several times that in a virtual
/// machine, where sleeping and waking leave it.
const MOST: Duration = Duration::from_micros(200);

/// A patience that learns: twice as long after a sleep that looking on would have spared, half as long after another one
/// (KVM's halt polling does the same, `halt_poll_ns` in Documentation/virt/kvm/halt-polling.rst).
#[derive(Copy, Clone, Debug)]
pub struct Spin(Duration);

impl Default for Spin {
    fn default() -> Self {
        Self(LEAST)
    }
}

impl Spin {
    /// How long to look.
    #[must_use]
    pub fn patience(self) -> Duration {
        self.0
    }

    /// Learns from a sleep, and whether something ended it.
    pub fn slept(&mut self, time: Duration, woken: bool) {
        self.0 = match woken && time < MOST {
            true => (self.0 * 2).min(MOST),
            false => (self.0 / 2).max(LEAST),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sleeps_make_it_patient_and_long_ones_do_not() {
        let (short, long) = (Duration::from_micros(60), Duration::from_millis(3));
        let mut spin = Spin::default();
        let mut after = |time, woken| {
            spin.slept(time, woken);
            spin.patience().as_micros()
        };
        assert_eq!([after(short, true), after(short, true), after(short, true)], [100, 200, 200]);
        assert_eq!([after(long, true), after(long, true), after(long, true)], [100, 50, 50]);
        assert_eq!(
            [after(short, true), after(short, false)],
            [100, 50],
            "a nap that nothing ended teaches nothing"
        );
    }
}
