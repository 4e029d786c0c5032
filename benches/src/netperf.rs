//! One netperf sample between a contender's two pods.

use crate::bed::Bed;
use crate::report::Sample;
use anyhow::{Context, Result, ensure};
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
}

/// Runs one sample of `seconds`; the rate is in transactions or 10^6 bits per second, latencies in microseconds.
///
/// # Errors
/// Netperf failed or printed something else than three numbers.
pub fn run(bed: &Bed, test: Test, seconds: u32) -> Result<Sample> {
    let server = bed.bed.pod("bench/server").ipv4().to_string();
    let (cpu, _) = bed.contender.cpus();
    let seconds_text = seconds.to_string();
    let argv = [
        "taskset",
        "-c",
        cpu,
        "netperf",
        "-P",
        "0",
        "-H",
        &server,
        "-t",
        test.name(),
        "-l",
        &seconds_text,
        "--",
        "-o",
        "THROUGHPUT,P50_LATENCY,P99_LATENCY",
    ];
    let limit = Duration::from_secs(u64::from(seconds) + 20);
    let out = bed.bed.pod("bench/client").run(&argv, limit)?;
    ensure!(out.ok(), "netperf {}: {}", test.name(), out.text());
    let mut numbers = out.stdout.trim().split(',').map(str::parse::<f64>);
    let mut next = || numbers.next().context("a number is missing")?.context(out.stdout.clone());
    Ok(Sample { rate: next()?, p50: Some(next()?), p99: Some(next()?) })
}
