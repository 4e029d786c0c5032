//! Samples, paired ratios and their medians.

use crate::bed::Contender;
use std::collections::BTreeMap;

/// One measurement.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Sample {
    /// Per second: transactions, megabits, frames.
    pub rate: f64,
    /// Median latency in microseconds, where there is one.
    pub p50: Option<f64>,
    /// 99th percentile of it.
    pub p99: Option<f64>,
}

/// Everything measured so far.
#[derive(Default)]
pub struct Report {
    samples: BTreeMap<&'static str, Vec<(Contender, Vec<Sample>)>>,
    notes: BTreeMap<&'static str, String>,
}

impl Report {
    /// Adds a sample of a round.
    pub fn add(&mut self, test: &'static str, contender: Contender, sample: Sample) {
        let rows = self.samples.entry(test).or_default();
        match rows.iter_mut().find(|(c, _)| *c == contender) {
            Some((_, samples)) => samples.push(sample),
            None => rows.push((contender, vec![sample])),
        }
    }

    /// Adds a sentence, and prints it.
    pub fn note(&mut self, what: &'static str, text: String) {
        println!("\n{what}: {text}");
        self.notes.insert(what, text);
    }

    /// Prints one test as a Markdown table; the ratios are medians over rounds of first contender by this one.
    pub fn print(&self, test: &str) {
        let Some(rows) = self.samples.get(test) else { return };
        println!("\n### {test}\n");
        println!(
            "| contender | rate/s (min–max) | p50 µs | p99 µs | ratio first/this (min–max) | p99 ratio |"
        );
        println!("|---|---|---|---|---|---|");
        for (contender, samples) in rows {
            let (rate, least, most) = spread(samples.iter().map(|s| s.rate));
            let p50 = spread(samples.iter().filter_map(|s| s.p50)).0;
            let p99 = spread(samples.iter().filter_map(|s| s.p99)).0;
            let (ratio, low, high) = paired(&rows[0].1, samples, |s| Some(s.rate));
            let tail = paired(&rows[0].1, samples, |s| s.p99).0;
            println!(
                "| {} | {rate:.0} ({least:.0}–{most:.0}) | {p50:.0} | {p99:.0} | {ratio:.2} ({low:.2}–{high:.2}) | {tail:.2} |",
                contender.name()
            );
        }
    }

    /// All samples and notes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let tests: serde_json::Map<_, _> = self
            .samples
            .iter()
            .map(|(test, rows)| {
                let rows: serde_json::Map<_, _> = rows
                    .iter()
                    .map(|(c, samples)| {
                        let list: Vec<_> = samples
                            .iter()
                            .map(|s| serde_json::json!({"rate": s.rate, "p50_us": s.p50, "p99_us": s.p99}))
                            .collect();
                        (c.name().to_owned(), list.into())
                    })
                    .collect();
                ((*test).to_owned(), rows.into())
            })
            .collect();
        serde_json::json!({"samples": tests, "notes": self.notes}).to_string()
    }
}

/// Median, least and most.
pub(crate) fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        all => (median(all), all[0], all[all.len() - 1]),
    }
}

fn median(sorted: &[f64]) -> f64 {
    let mid = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[mid] } else { (sorted[mid - 1] + sorted[mid]) / 2.0 }
}

/// The ratios of the same round, first by second: median, least and most.
pub(crate) fn paired<S>(first: &[S], second: &[S], of: impl Fn(&S) -> Option<f64>) -> (f64, f64, f64) {
    spread(first.iter().zip(second).filter_map(|(a, b)| Some(of(a)? / of(b)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(spread([4.0, 1.0, 3.0, 2.0].into_iter()), (2.5, 1.0, 4.0));
    }

    #[test]
    fn ratios_pair_samples_of_one_round() {
        let sample = |rate| Sample { rate, p50: None, p99: None };
        let (first, second) = ([sample(10.0), sample(30.0)], [sample(20.0), sample(30.0)]);
        assert_eq!(paired(&first, &second, |s| Some(s.rate)), (0.75, 0.5, 1.0));
    }
}
