//! Conversations between two pods, through the appliance and through what it replaces, in interleaved rounds.
//!
//! Prints medians of paired ratios, because absolute rates on a shared machine are not worth remembering. Pinning: a
//! forwarder that spins has CPU 1 to itself and both pods share CPU 0; where the kernel forwards, client and server
//! have a CPU each. Total hardware is the same. See `docs/measurements.md`.

use anyhow::Result;
use clap::Parser;
use sluice_benches::bed::{Beds, Contender};
use sluice_benches::report::Report;
use sluice_benches::{frames, idle, netperf};
use std::path::PathBuf;

const JUMBO: &str = "TCP_STREAM, MTU 9000 against 1500";
const SMALL: &str = "60-byte frames";

#[derive(Parser)]
struct Args {
    /// The sluice binary to measure.
    #[arg(long, default_value = "target/release/sluice")]
    sluice: PathBuf,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each sample.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Only the tests whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Also write the numbers as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut beds = Beds::new(&args.sluice)?;
    let mut report = Report::default();
    let contenders = [Contender::Sluice, Contender::Bare, Contender::Kernel, Contender::KernelNoOffload];
    let wanted = |name: &str| name.contains(&args.only);
    for test in [netperf::Test::Rr, netperf::Test::Crr, netperf::Test::UdpRr, netperf::Test::Stream] {
        if !wanted(test.name()) {
            continue;
        }
        for _ in 0..args.rounds {
            for contender in contenders {
                let sample = beds.with(contender, |bed| netperf::run(bed, test, args.seconds))?;
                report.add(test.name(), contender, sample);
            }
        }
        report.print(test.name());
    }
    if wanted(JUMBO) {
        for _ in 0..args.rounds {
            for contender in [Contender::SluiceJumbo, Contender::KernelNoOffload] {
                let sample =
                    beds.with(contender, |bed| netperf::run(bed, netperf::Test::Stream, args.seconds))?;
                report.add(JUMBO, contender, sample);
            }
        }
        report.print(JUMBO);
    }
    if wanted(SMALL) {
        for _ in 0..args.rounds {
            for contender in [Contender::Sluice, Contender::Bare] {
                let sample = beds.with(contender, |bed| frames::run(bed, args.seconds))?;
                report.add(SMALL, contender, sample);
            }
        }
        report.print(SMALL);
    }
    if wanted("idle") {
        drop(beds);
        report.note("idle CPU of the adaptive mode", idle::run(&args.sluice)?);
    }
    if let Some(path) = args.json {
        std::fs::write(path, report.to_json())?;
    }
    Ok(())
}
