//! Plays many seeds.
//!
//! `SPLICE_RUNS=1000000` plays more schedules, from the seed `SPLICE_START`; `SPLICE_SEED=17` plays one and shows it,
//! with `SPLICE_TRACE=1` every frame of it. `SPLICE_ALL=1` goes on after a failure.

use super::length::Length;
use super::node::Rules;
use super::run::{Report, Run};
use super::schedule::Schedule;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Plays the schedule of one seed.
pub fn play(seed: u64, rules: Rules, length: Length) -> Result<Report, String> {
    Run::new(&Schedule::random(seed, rules, length), rules).play()
}

/// Plays `runs` seeds, or what the environment says, frame by frame. A failure names its seed.
pub fn play_all(rules: Rules, length: Length, runs: u64) {
    play_all_in_bursts(rules, length, runs, 1);
}

/// The same with bursts of at most so many frames of a pod.
pub fn play_all_in_bursts(rules: Rules, length: Length, runs: u64, burst: usize) {
    let play = |seed| {
        let schedule = Schedule::random(seed, rules, length);
        Run::new(&schedule, rules).in_bursts(burst).play()
    };
    if let Some(seed) = number("SPLICE_SEED") {
        let schedule = Schedule::random(seed, rules, length);
        println!("{schedule:#?}");
        let report = play(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        println!("seed {seed}: {report:?}");
        return;
    }
    let runs = number("SPLICE_RUNS").unwrap_or(runs);
    let start = number("SPLICE_START").unwrap_or(0);
    let stop = std::env::var_os("SPLICE_ALL").is_none();
    let (mut failed, mut stalled) = (0, 0);
    let clock = Instant::now();
    let mut total = Report::default();
    for seed in start..start + runs {
        let played = catch_unwind(AssertUnwindSafe(|| play(seed)));
        match played.unwrap_or_else(|_| Err("panicked".into())) {
            Ok(report) => {
                total.took += report.took;
                total.frames += report.frames;
                stalled += u64::from(report.stalled);
            }
            Err(what) if stop => panic!("seed {seed}: {what}\nplay it alone: SPLICE_SEED={seed}"),
            Err(what) => {
                failed += 1;
                println!("seed {seed}: {what}");
            }
        }
    }
    assert!(failed == 0, "{failed} of {runs} schedules failed");
    assert!(stalled * 1_000 <= runs, "{stalled} of {runs} schedules were not played to their end");
    println!("{stalled} not played to their end, because a stack fell silent");
    let rate = runs as f64 / clock.elapsed().as_secs_f64();
    println!(
        "{runs} schedules ({rules:?}, {length:?}, bursts of {burst}, seeds from {start}), {rate:.0}/s, {} frames, {:?} of simulated time",
        total.frames, total.took
    );
}
