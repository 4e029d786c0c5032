//! How long the worker looks for frames before it sleeps.

use std::time::Duration;

/// Some round trips between two pods, so that a conversation under way never pays for a wake-up.
const LEAST: Duration = Duration::from_micros(50);

/// Beyond this, looking costs more than sleeping saves: a wake-up takes some ten microseconds, several times that in a virtual
/// machine, where sleeping and waking leave it.
const MOST: Duration = Duration::from_micros(200);

/// Sleeps that something ended late, after which looking on is tried once.
const TRIAL: u32 = 8;

/// A patience that learns: twice as long after a sleep that looking on would have spared, half as long after another one
/// (KVM's halt polling does the same, `halt_poll_ns` in Documentation/virt/kvm/halt-polling.rst).
///
/// What a sleep lasts does not always tell: where a CPU that slept is given back late, as by a busy hypervisor, every sleep is
/// long, whenever the frame came. So after some such sleeps it looks on for once, and sees whether a frame comes meanwhile.
#[derive(Copy, Clone, Debug)]
pub struct Spin {
    patience: Duration,
    /// Sleeps that taught impatience since the last trial.
    late: u32,
    /// It looks on, whatever it has learnt, at the next gap that is longer than its patience.
    trial: bool,
}

impl Default for Spin {
    fn default() -> Self {
        Self { patience: LEAST, late: 0, trial: false }
    }
}

impl Spin {
    /// How long to look.
    #[must_use]
    pub fn patience(self) -> Duration {
        if self.trial { MOST } else { self.patience }
    }

    /// Frames came after so long a look.
    pub fn found(&mut self, looked: Duration) {
        if self.trial && looked > self.patience {
            *self = Self { patience: MOST, ..Self::default() };
        }
    }

    /// Learns from a sleep, and whether something ended it.
    pub fn slept(&mut self, time: Duration, woken: bool) {
        if woken && time < MOST {
            *self = Self { patience: (self.patience * 2).min(MOST), ..Self::default() };
            return;
        }
        self.patience = (self.patience / 2).max(LEAST);
        if woken {
            // A trial ends here, too: nothing came while it looked.
            self.late = if self.trial { 0 } else { self.late + 1 };
            self.trial = self.late >= TRIAL;
        }
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

    #[test]
    fn where_every_sleep_is_late_it_looks_on_now_and_then() {
        let (late, gap) = (Duration::from_millis(2), Duration::from_micros(80));
        let mut spin = Spin::default();
        let sleep_until_trial = |spin: &mut Spin| {
            (0..2 * TRIAL)
                .take_while(|_| {
                    spin.slept(late, true);
                    spin.patience() == LEAST
                })
                .count()
        };
        // Frames come soon, as it sees when it looks on; then it stays patient.
        assert_eq!(sleep_until_trial(&mut spin), TRIAL as usize - 1);
        assert_eq!(spin.patience(), MOST);
        spin.found(Duration::from_micros(20));
        assert_eq!(spin.patience(), MOST, "a gap that it would have waited for anyway decides nothing");
        spin.found(gap);
        assert_eq!((spin.patience(), spin.trial), (MOST, false));
        // They do not: the next trial is as many sleeps away as the first.
        spin.slept(late, true);
        spin.slept(late, true);
        assert_eq!(spin.patience(), LEAST);
        assert_eq!(sleep_until_trial(&mut spin), TRIAL as usize - 3);
        spin.slept(late, true);
        assert_eq!(spin.patience(), LEAST, "it looked and saw nothing");
        assert_eq!(sleep_until_trial(&mut spin), TRIAL as usize - 1);
        // A nap that nothing ends is no trial, and is not one more sleep towards it.
        let mut idle = Spin::default();
        (0..100).for_each(|_| idle.slept(late, false));
        assert_eq!(idle.patience(), LEAST);
    }
}
