//! A number beside a baseline of the same run, because nanoseconds alone say as much about the machine as about the code.

use std::time::Instant;

/// Rounds of which the median counts.
const ROUNDS: usize = 21;

/// Median nanoseconds of one call of `f`, over rounds of `calls` calls.
pub fn median_ns(calls: u32, mut f: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                f();
            }
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Prints both and how often the second goes into the first.
pub fn print(what: &str, ns: f64, baseline: &str, baseline_ns: f64) {
    println!("ratio   {what}: {ns:.1} ns; {baseline}: {baseline_ns:.1} ns; {:.2} times", ns / baseline_ns);
}
