//! One measurement, and medians of them.

use crate::cpu::CpuTime;
use serde::{Deserialize, Serialize};
pub use sluice_micro::spread::{Spread, spread};
use std::time::Instant;

/// What one contender did in one round.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Per second: transactions, megabits, frames, requests.
    pub rate: f64,
    /// Median latency in microseconds, where there is one.
    pub p50_us: Option<f64>,
    /// 99th percentile of it.
    pub p99_us: Option<f64>,
    /// Busy part of each CPU, 0 to 1.
    pub busy: Vec<f64>,
    /// CPU microseconds of the machine for each unit.
    pub machine_us: f64,
    /// CPU microseconds of the process in the middle for each unit, where there is one.
    pub gate_us: Option<f64>,
    /// Frames that the gate forwarded for each unit, where it counts them.
    #[serde(default)]
    pub frames: Option<f64>,
    /// Part of the time that the hypervisor took, of one CPU.
    pub stolen: f64,
    /// Samples that were thrown away before this one.
    #[serde(default)]
    pub again: u32,
}

/// A sample of which the hypervisor took a larger part of one CPU is taken again.
pub const DISTURBED: f64 = 0.05;

/// So often at most.
const AGAIN: u32 = 4;

/// Takes a sample, and takes it again while the hypervisor disturbs it, which no contender can help and which falls on whoever
/// happens to run. The least disturbed one counts.
///
/// # Errors
/// Those of `take`.
pub fn undisturbed(mut take: impl FnMut() -> anyhow::Result<Sample>) -> anyhow::Result<Sample> {
    let mut best = take()?;
    for again in 1..=AGAIN {
        if best.stolen <= DISTURBED || sluice::testbed::interrupt::requested() {
            break;
        }
        let next = take()?;
        let kept = if next.stolen < best.stolen { next } else { best };
        best = Sample { again, ..kept };
    }
    Ok(best)
}

/// The CPU time of a measurement that has begun.
pub struct Watch {
    gate: Option<u32>,
    cpu: CpuTime,
    start: Instant,
}

impl Watch {
    /// Begins; `gate` is the process in the middle.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn start(gate: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self { gate, cpu: CpuTime::now(gate)?, start: Instant::now() })
    }

    /// Ends: what was spent so far.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn stop(self) -> anyhow::Result<Spent> {
        let took = self.start.elapsed().as_secs_f64();
        Ok(Spent { cpu: CpuTime::now(self.gate)? - self.cpu, took })
    }
}

/// CPU time spent in a time.
#[derive(Clone, PartialEq, Debug)]
pub struct Spent {
    cpu: CpuTime,
    took: f64,
}

impl Spent {
    /// The sample of so many units a second, that many of them in the time.
    #[must_use]
    pub fn sample(&self, rate: f64, units: f64) -> Sample {
        let Self { cpu, took } = self;
        Sample {
            rate,
            p50_us: None,
            p99_us: None,
            busy: cpu.cores.iter().map(|seconds| seconds / took).collect(),
            machine_us: cpu.machine() * 1e6 / units,
            gate_us: cpu.gate.map(|seconds| seconds * 1e6 / units),
            frames: None,
            stolen: cpu.stolen / took,
            again: 0,
        }
    }

    /// The same where work went on at that rate all the time.
    #[must_use]
    pub fn at_rate(&self, rate: f64) -> Sample {
        self.sample(rate, rate * self.took)
    }
}

/// The ratios of the same round, first by second.
#[must_use]
pub fn paired(first: &[Sample], second: &[Sample], of: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
    spread(first.iter().zip(second).filter_map(|(a, b)| Some(of(a)? / of(b)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_shared_by_the_units_of_its_time() {
        let cpu = CpuTime { cores: vec![1.0, 2.0], gate: Some(2.0), stolen: 0.0 };
        let sample = Spent { cpu, took: 2.0 }.at_rate(1_000_000.0);
        assert_eq!((sample.busy, sample.machine_us, sample.gate_us), (vec![0.5, 1.0], 1.5, Some(1.0)));
    }

    #[test]
    fn a_disturbed_sample_is_taken_again_and_the_least_disturbed_counts() {
        let took = |stolen: &[f64]| {
            let mut left = stolen.iter();
            let taken = undisturbed(|| {
                let stolen = *left.next().expect("not asked again in vain");
                Ok(Sample { stolen, rate: 1.0 - stolen, ..Sample::default() })
            });
            let taken = taken.expect("none fails");
            assert_eq!((left.len(), taken.rate), (0, 1.0 - taken.stolen));
            (taken.stolen, taken.again)
        };
        assert_eq!(took(&[0.05]), (0.05, 0));
        assert_eq!(took(&[0.5, 0.6, 0.0]), (0.0, 2));
        assert_eq!(took(&[0.5, 0.4, 0.2, 0.3, 0.6]), (0.2, 4), "the hypervisor never rests");
        let mut takes =
            [Ok(Sample { stolen: 1.0, ..Sample::default() }), Err(anyhow::anyhow!("gone"))].into_iter();
        assert!(undisturbed(|| takes.next().expect("two")).is_err());
    }

    #[test]
    fn ratios_pair_samples_of_one_round() {
        let sample = |rate| Sample { rate, ..Sample::default() };
        let (first, second) = ([sample(10.0), sample(30.0)], [sample(20.0), sample(30.0)]);
        let found = paired(&first, &second, |s| Some(s.rate));
        assert_eq!(found, Some(Spread { median: 0.75, least: 0.5, most: 1.0 }));
        assert_eq!(paired(&first, &second, |s| s.p50_us), None);
    }
}
