//! Conversations between two pods, through the appliance and through what it replaces, in interleaved rounds.
//!
//! Prints medians of paired ratios, because absolute rates on a shared machine are not worth remembering. Pinning: a
//! forwarder that spins has CPU 1 to itself and both pods share CPU 0; where the kernel forwards, client and server
//! have a CPU each. Total hardware is the same. After each sample the counters of the contender must say that the packets
//! went its way, and those of the kernel's routing that none went past it. See `docs/measurements.md`.

use anyhow::Result;
use clap::Parser;
use sluice::testbed::interrupt;
use sluice_benches::bed::{Bed, Beds};
use sluice_benches::contender::Contender;
use sluice_benches::frames::How;
use sluice_benches::netperf::{self, Test};
use sluice_benches::report::{Run, Table};
use sluice_benches::sample::{Sample, undisturbed};
use sluice_benches::{aims, frames};
use std::path::PathBuf;
use std::process::ExitCode;

const JUMBO: &str = "TCP_STREAM, MTU 9000 against 1500";
const SMALL: &str = "60-byte frames";
const SMALLER: &str = "60-byte frames, made by the kernel";

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
    /// Only the tests whose name contains this: TCP_RR, TCP_CRR, UDP_RR, TCP_STREAM, MTU, frames.
    #[arg(long, default_value = "")]
    only: String,
    /// Only the contenders whose name contains one of these; the first one of all always takes part.
    #[arg(long, value_delimiter = '|')]
    contenders: Vec<String>,
    /// Only the contenders of a short run.
    #[arg(long)]
    few: bool,
    /// Also write the numbers as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Args {
    fn takes(&self, test: &str) -> bool {
        test.contains(&self.only)
    }

    /// Those of `all` that take part.
    fn among(&self, all: &[Contender]) -> Vec<Contender> {
        let reference = all.first().copied();
        all.iter()
            .copied()
            .filter(|contender| {
                let name = contender.name();
                let wanted =
                    self.contenders.is_empty() || self.contenders.iter().any(|part| name.contains(part));
                wanted || Some(*contender) == reference
            })
            .collect()
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    interrupt::watch()?;
    let mut beds = Beds::new(&args.sluice);
    let mut run = Run::new(args.rounds, args.seconds)?;
    let everybody = args.among(if args.few { &Contender::FEW } else { &Contender::ALL });
    for test in Test::ALL {
        if !args.takes(test.name()) {
            continue;
        }
        let mut table = rounds(&mut beds, &mut run, test.name(), test.unit(), &everybody, |bed| {
            netperf::run(bed, test, args.seconds)
        });
        table.aims = aims::of_conversations(test, &table);
        run.finish(table);
    }
    if args.takes(JUMBO) {
        let contenders = [Contender::SluiceJumbo, Contender::KernelNoOffload, Contender::Kernel];
        let mut table = rounds(&mut beds, &mut run, JUMBO, "Mb", &contenders, |bed| {
            netperf::run(bed, Test::Stream, args.seconds)
        });
        table.aims = aims::of_jumbo(&table);
        run.finish(table);
    }
    let all: Vec<Contender> =
        everybody.iter().copied().filter(|contender| *contender != Contender::KernelOneCpu).collect();
    let xdp: Vec<Contender> = all.iter().copied().filter(|contender| contender.has_xdp()).collect();
    for (name, how, contenders) in [(SMALL, How::Socket, all), (SMALLER, How::Kernel, xdp)] {
        if args.takes(name) {
            let mut table = rounds(&mut beds, &mut run, name, "frame", &contenders, |bed| {
                frames::run(bed, how, args.seconds)
            });
            table.aims = aims::of_frames(&table, how);
            run.finish(table);
        }
    }
    if let Some(path) = &args.json {
        run.save(path)?;
    }
    Ok(if run.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rounds of one comparison: each contender once in each. Who fails twice in a round is left out from then on.
fn rounds(
    beds: &mut Beds,
    run: &mut Run,
    name: &str,
    unit: &str,
    contenders: &[Contender],
    measure: impl Fn(&Bed) -> Result<Sample>,
) -> Table {
    let reference = contenders.first().map(|contender| contender.name()).unwrap_or_default();
    let mut table = Table::new(name, unit, &reference);
    let mut able = contenders.to_vec();
    for _ in 0..run.rounds {
        able.retain(|contender| {
            let mut sample = undisturbed(|| beds.with(*contender, &measure));
            if let Err(error) = &sample
                && !interrupt::requested()
            {
                eprintln!("{name}: once more: {error:#}");
                sample = beds.with(*contender, &measure);
            }
            match sample {
                Ok(sample) => table.add(&contender.name(), contender.series(), sample),
                Err(error) => {
                    run.fail(name, &error);
                    table.remove(&contender.name());
                    return false;
                }
            }
            true
        });
    }
    table
}
