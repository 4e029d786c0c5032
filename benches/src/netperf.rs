//! One netperf sample between a contender's two pods.

use crate::bed::Bed;
use crate::entries;
use crate::sample::{Sample, Watch};
use anyhow::{Context, Result, anyhow, ensure};
use sluice::testbed::exec;
use std::time::Duration;

/// What is measured.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Test {
    /// One byte there and back on one connection.
    Rr,
    /// The same with a new connection each time.
    Crr,
    /// The same over UDP.
    UdpRr,
    /// Bulk in one direction.
    Stream,
}

impl Test {
    /// All.
    pub const ALL: [Self; 4] = [Self::Rr, Self::Crr, Self::UdpRr, Self::Stream];

    /// Netperf's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "TCP_RR",
            Self::Crr => "TCP_CRR",
            Self::UdpRr => "UDP_RR",
            Self::Stream => "TCP_STREAM",
        }
    }

    /// What is counted.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        if matches!(self, Self::Stream) { "Mb" } else { "transaction" }
    }

    /// Packets that so many units take at least, none of them larger than `largest`.
    fn least_packets(self, units: f64, largest: u32) -> u64 {
        let least = match self {
            Self::Rr | Self::UdpRr => units * 2.0,
            // Three to open, two to talk, three to close: acknowledgements may ride on others.
            Self::Crr => units * 7.0,
            Self::Stream => units * 1e6 / 8.0 / f64::from(largest),
        };
        // What is on its way when the time is over counts on one side only.
        (least * 0.98) as u64
    }
}

/// Netperf's option for the data connection: any local port, and the one that policies know.
#[must_use]
pub fn data_port() -> String {
    format!(",{}", entries::DATA)
}

/// Runs one sample of `seconds`; the rate is in transactions or 10^6 bits per second.
///
/// # Errors
/// Netperf failed or printed something else than four numbers, or the packets went another way.
pub fn run(bed: &Bed, test: Test, seconds: u32) -> Result<Sample> {
    let (cpu, _) = bed.contender.cpus();
    let before = bed.counts()?;
    let mut netperf = bed.bed.pod("bench/client").command("taskset");
    netperf.args(["-c", cpu, "netperf", "-P", "0", "-H", &bed.server(), "-t", test.name()]);
    netperf.args(["-l", &seconds.to_string(), "--", "-P", &data_port()]);
    netperf.args(["-o", "THROUGHPUT,P50_LATENCY,P99_LATENCY,ELAPSED_TIME"]);
    let watch = Watch::start(bed.pid())?;
    // TCP_CRR sleeps four seconds more after its time, so CPU time is read when the time is over.
    let time = Duration::from_secs(u64::from(seconds));
    let (out, spent) = std::thread::scope(|scope| {
        let spent = scope.spawn(|| {
            std::thread::sleep(time);
            watch.stop()
        });
        let out = exec::run(&mut netperf, time + Duration::from_secs(20));
        (out, spent.join())
    });
    let (out, spent) = (out?, spent.map_err(|_| anyhow!("reading CPU time"))??);
    ensure!(out.ok(), "netperf {}: {}", test.name(), out.text());
    let mut numbers = out.stdout.trim().split(',').map(str::parse::<f64>);
    let mut next = || numbers.next().context("a number is missing")?.context(out.stdout.clone());
    let (rate, p50, p99, took) = (next()?, next()?, next()?, next()?);
    let sample = spent.at_rate(rate);
    bed.prove(before, test.least_packets(rate * took, bed.contender.largest_packet()))?;
    Ok(Sample { p50_us: Some(p50), p99_us: Some(p99), ..sample })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_number_of_packets_is_that_of_full_ones() {
        assert_eq!(Test::Rr.least_packets(1_000.0, 1_500), 1_960);
        assert_eq!(Test::Stream.least_packets(1.2, 1_500), 98);
        assert!(Test::Stream.least_packets(1_000.0, 1_500) > Test::Stream.least_packets(1_000.0, 65_536));
    }
}
