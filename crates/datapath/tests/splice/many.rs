//! Plays many seeds.
//!
//! `SPLICE_RUNS=1000000` plays more schedules, from the seed `SPLICE_START`; `SPLICE_SEED=17` plays one and shows it,
//! with `SPLICE_TRACE=1` every frame of it.

use super::node::Rules;
use super::run::{Report, Run};
use super::schedule::Schedule;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Plays the schedule of one seed.
pub fn play(seed: u64, rules: Rules) -> Result<Report, String> {
    Run::new(&Schedule::random(seed, rules), rules).play()
}

/// Plays `runs` seeds, or what the environment says. A failure names its seed.
pub fn play_all(rules: Rules, runs: u64) {
    if let Some(seed) = number("SPLICE_SEED") {
        let schedule = Schedule::random(seed, rules);
        println!("{schedule:#?}");
        let report = Run::new(&schedule, rules).play().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        println!("seed {seed}: {report:?}");
        return;
    }
    let runs = number("SPLICE_RUNS").unwrap_or(runs);
    let start = number("SPLICE_START").unwrap_or(0);
    let clock = Instant::now();
    let mut total = Report::default();
    for seed in start..start + runs {
        match catch_unwind(AssertUnwindSafe(|| play(seed, rules))) {
            Ok(Ok(report)) => {
                total.took += report.took;
                total.frames += report.frames;
            }
            Ok(Err(what)) => panic!("seed {seed}: {what}\nplay it alone: SPLICE_SEED={seed}"),
            Err(_) => panic!("seed {seed} panicked\nplay it alone: SPLICE_SEED={seed}"),
        }
    }
    let rate = runs as f64 / clock.elapsed().as_secs_f64();
    println!("{runs} schedules, {rate:.0}/s, {} frames, {:?} of simulated time", total.frames, total.took);
}
