//! One worker against two, each on a CPU of its own, in alternating samples: frames a second, and what a frame costs.
//!
//! ```text
//! workers [ROUNDS] [MILLISECONDS] [FLOWS]     prints, writes target/workers.json and, for the report, scaling/workers.json
//! ```

use serde::Serialize;
use sluice_micro::fleet::{Arrival, Member, members};
use sluice_micro::machine::Machine;
use sluice_micro::scaling;
use sluice_micro::spread::{Spread, spread};
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is written.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    flows: u32,
    rounds: usize,
    milliseconds: u64,
    series: Vec<Series>,
}

/// One way in which frames arrive.
#[derive(Serialize)]
struct Series {
    arrival: String,
    /// Million frames a second of one worker, and of two together.
    one: Spread,
    two: Spread,
    /// Nanoseconds of one CPU for a frame.
    one_ns: Spread,
    two_ns: Spread,
    /// Two by one, round by round.
    ratio: Spread,
    /// Frames lost by two workers.
    lost: u64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |default: u64| arguments.next().unwrap_or(Ok(default));
    let (Ok(rounds), Ok(milliseconds), Ok(flows)) = (next(11), next(300), next(256)) else {
        eprintln!("workers [ROUNDS] [MILLISECONDS] [FLOWS]");
        return ExitCode::from(2);
    };
    match run(rounds as usize, milliseconds, flows as u32) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workers: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(rounds: usize, milliseconds: u64, flows: u32) -> std::io::Result<()> {
    let machine = Machine::here()?;
    println!("{}", machine.line());
    if machine.cores < 2 {
        return Err(std::io::Error::other("two workers need two CPUs"));
    }
    let time = Duration::from_millis(milliseconds);
    // The baseline of frames that go astray is a worker to which they are copied, too.
    let ways = [
        (Arrival::Steered, Arrival::Steered),
        (Arrival::Copied, Arrival::Copied),
        (Arrival::Copied, Arrival::Astray),
    ];
    let mut fleets: Vec<_> =
        ways.iter().map(|(one, two)| (members(1, flows, *one), members(2, flows, *two))).collect();
    let mut samples = vec![Vec::new(); ways.len()];
    for round in 0..=rounds {
        for ((one, two), samples) in fleets.iter_mut().zip(&mut samples) {
            // The CPUs need not be alike: one worker is measured on both.
            let alone: f64 = [0, 1].iter().map(|cpu| rate(one, &[*cpu], time)).sum::<f64>() / 2.0;
            let both = rate(two, &[0, 1], time);
            // The first round warms up.
            if round > 0 {
                samples.push((alone, both));
            }
        }
    }
    let series: Vec<Series> = ways
        .iter()
        .zip(&samples)
        .zip(&fleets)
        .filter_map(|(((_, arrival), samples), (_, two))| {
            let of = |value: fn(&(f64, f64)) -> f64| spread(samples.iter().map(value));
            Some(Series {
                arrival: format!("{arrival:?}").to_lowercase(),
                one: of(|(one, _)| one / 1e6)?,
                two: of(|(_, two)| two / 1e6)?,
                one_ns: of(|(one, _)| 1e9 / one)?,
                two_ns: of(|(_, two)| 2e9 / two)?,
                ratio: of(|(one, two)| two / one)?,
                lost: two.iter().map(Member::dropped).sum(),
            })
        })
        .collect();
    for Series { arrival, one, two, one_ns, two_ns, ratio, lost } in &series {
        println!(
            "{arrival:8} one {:6.2} M/s {:6.1} ns   two {:6.2} M/s {:6.1} ns   ratio {:.2} ({:.2}-{:.2})   lost {lost}",
            one.median, one_ns.median, two.median, two_ns.median, ratio.median, ratio.least, ratio.most,
        );
    }
    let mut chart = scaling::Run::new("target/release/workers")?;
    for (arrival, samples) in series.iter().map(|series| &series.arrival).zip(&samples) {
        let name = format!("in memory, established connections, frames arrive {arrival}");
        let mut line = scaling::Series::new("workers", &name, "frame/s");
        for (one, two) in samples {
            line.add(1, *one);
            line.add(2, *two);
        }
        if arrival == "steered" {
            line.at_least(2, 1.8);
        }
        chart.series.push(line);
    }
    chart.save("workers")?;
    let report = Report { machine, flows, rounds, milliseconds, series };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/workers.json");
    std::fs::write(path, serde_json::to_string_pretty(&report)?)
}

/// Frames a second that these workers forward together, one on each CPU.
fn rate(members: &mut [Member], cpus: &[usize], time: Duration) -> f64 {
    let (stop, ready) = (AtomicBool::new(false), Barrier::new(members.len() + 1));
    std::thread::scope(|scope| {
        let threads: Vec<_> = members
            .iter_mut()
            .zip(cpus)
            .map(|(member, cpu)| {
                let (stop, ready) = (&stop, &ready);
                scope.spawn(move || {
                    pin(*cpu);
                    ready.wait();
                    let start = Instant::now();
                    let mut frames = 0;
                    while !stop.load(Ordering::Relaxed) {
                        frames += member.poll(start.elapsed());
                    }
                    frames as f64 / start.elapsed().as_secs_f64()
                })
            })
            .collect();
        ready.wait();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
    })
}

fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(cpu).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        eprintln!("workers: not pinned to CPU {cpu}: {error}");
    }
}
