//! What a packet costs between two pods by number of connections, identities and pods, in interleaved rounds.
//!
//! Each axis writes `target/scaling/AXIS.json`, which `bench_report` draws. What fails is said, and the others go on; the exit
//! code is then 1. Number of policies: see `compare`. In memory: `cargo bench -p sluice-micro --bench scaling`.

use anyhow::Result;
use clap::Parser;
use sluice::testbed::interrupt;
use sluice_benches::axis::{Setup, connections, identities, pods};
use sluice_micro::scaling::{Run, Series};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// The sluice binary to measure.
    #[arg(long, default_value = "target/release/sluice")]
    sluice: PathBuf,
    /// Rounds of each axis.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each sample.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Only the axes whose name contains this: connections, identities, pods, idle, polls.
    #[arg(long, default_value = "")]
    only: String,
}

/// Measures one axis.
type Axis = fn(&Setup) -> Result<Vec<Series>>;

const AXES: [(&str, Axis); 5] = [
    ("connections", connections::run),
    ("identities", identities::run),
    ("pods", pods::talking),
    ("idle", pods::idle),
    ("polls", pods::polls),
];

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    interrupt::watch()?;
    let setup = Setup { sluice: args.sluice, rounds: args.rounds, time: Duration::from_secs(args.seconds) };
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let mut code = ExitCode::SUCCESS;
    for (name, axis) in AXES.iter().filter(|(name, _)| name.contains(&args.only)) {
        let outcome = axis(&setup).and_then(|series| {
            let run = Run { series, ..Run::new(&command)? };
            Ok(run.save(name)?)
        });
        if let Err(error) = outcome {
            eprintln!("\nNOT MEASURED {name}: {error:#}");
            code = ExitCode::FAILURE;
        }
        if interrupt::requested() {
            break;
        }
    }
    Ok(code)
}
