//! Samples by round, their medians, and the ratios that were aimed at.

use super::gate::Contender;
use super::sample::Sample;
use crate::report::{paired, spread};
use serde_json::{Value, json};

/// All samples of one test.
#[derive(Default)]
pub struct Table {
    rows: Vec<(Contender, Vec<Sample>)>,
}

impl Table {
    /// Adds a sample of a round.
    pub fn add(&mut self, contender: Contender, sample: Sample) {
        match self.rows.iter_mut().find(|(c, _)| *c == contender) {
            Some((_, samples)) => samples.push(sample),
            None => self.rows.push((contender, vec![sample])),
        }
    }

    fn of(&self, contender: Contender) -> &[Sample] {
        self.rows.iter().find(|(c, _)| *c == contender).map_or(&[], |(_, samples)| samples)
    }

    /// Median, least and most of a figure of one contender by another's of the same round.
    #[must_use]
    pub fn ratio(
        &self,
        first: Contender,
        second: Contender,
        of: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<(f64, f64, f64)> {
        let found = paired(self.of(first), self.of(second), of);
        found.0.is_finite().then_some(found)
    }

    /// The table in Markdown: medians, with least and most of the rate.
    #[must_use]
    pub fn markdown(&self, unit: &str) -> String {
        let mut text = format!(
            "| contender | {unit}/s (min–max) | p50 µs | p99 µs (min–max) | machine CPU µs/{unit} | gate's process CPU µs/{unit} |\n\
             |---|---|---|---|---|---|\n"
        );
        for (contender, samples) in &self.rows {
            let (rate, least, most) = spread(samples.iter().map(|s| s.rate));
            let p50 = spread(samples.iter().filter_map(|s| s.p50)).0;
            let (p99, low, high) = spread(samples.iter().filter_map(|s| s.p99));
            let machine = spread(samples.iter().map(|s| s.machine)).0;
            let gate = spread(samples.iter().map(|s| s.gate)).0;
            let latencies = if p50.is_nan() {
                "| ".to_owned()
            } else {
                format!("{p50:.0} | {p99:.0} ({low:.0}–{high:.0})")
            };
            text.push_str(&format!(
                "| {} | {rate:.0} ({least:.0}–{most:.0}) | {latencies} | {machine:.1} | {gate:.1} |\n",
                contender.name()
            ));
        }
        text
    }

    /// Every sample.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|(contender, samples)| {
            let list: Vec<Value> = samples
                .iter()
                .map(|s| {
                    json!({
                        "rate": s.rate, "p50_us": s.p50, "p99_us": s.p99, "machine_us": s.machine, "gate_us": s.gate,
                        "stolen": s.stolen,
                    })
                })
                .collect();
            (contender.name().to_owned(), list.into())
        });
        Value::Object(rows.collect())
    }
}

/// One line of what was aimed at; `most` turns the aim into an upper limit.
fn line(what: &str, found: Option<(f64, f64, f64)>, aim: f64, most: bool) -> String {
    let Some((median, low, high)) = found else { return format!("{what}: not measured") };
    let met = if most { median <= aim } else { median >= aim };
    let word = if most { "at most" } else { "at least" };
    format!(
        "{what}: {median:.2} ({low:.2}–{high:.2}); aim: {word} {aim}; {}",
        if met { "met" } else { "MISSED" }
    )
}

/// What is aimed at in a comparison of small messages.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Aims {
    /// Least rate, by that under an L4 policy.
    pub rate: f64,
    /// Most of the 99th percentile, by that under an L4 policy, where it is an aim.
    pub p99: Option<f64>,
    /// Least rate per busy core, by Envoy's, where Envoy reads the protocol.
    pub envoy: Option<f64>,
}

/// The ratios of a comparison of small messages.
#[must_use]
pub fn aims_of_messages(table: &Table, aims: Aims) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, http, l4) in [
        ("busy", Contender::Read, Contender::L4),
        ("adaptive", Contender::AdaptiveRead, Contender::AdaptiveL4),
    ] {
        lines.push(line(
            &format!("rate, L7 policy by L4 policy, {name}"),
            table.ratio(http, l4, |s| Some(s.rate)),
            aims.rate,
            false,
        ));
        if let Some(most) = aims.p99 {
            let found = table.ratio(http, l4, |s| s.p99);
            lines.push(line(&format!("p99, L7 policy by L4 policy, {name}"), found, most, true));
        }
    }
    let Some(least) = aims.envoy else { return lines };
    for (name, http) in [("busy", Contender::Read), ("adaptive", Contender::AdaptiveRead)] {
        lines.push(line(
            &format!("rate per busy core against Envoy, process of the gate, {name}"),
            table.ratio(http, Contender::Envoy, |s| Some(1.0 / s.gate)),
            least,
            false,
        ));
        lines.push(line(
            &format!("rate per busy core against Envoy, whole machine, {name}"),
            table.ratio(http, Contender::Envoy, |s| Some(1.0 / s.machine)),
            least,
            false,
        ));
        lines.push(line(
            &format!("rate against Envoy, {name}"),
            table.ratio(http, Contender::Envoy, |s| Some(s.rate)),
            1.0,
            false,
        ));
    }
    lines
}

/// The ratios of the download.
#[must_use]
pub fn aims_of_download(table: &Table) -> Vec<String> {
    [("busy", Contender::Read, Contender::L4), ("adaptive", Contender::AdaptiveRead, Contender::AdaptiveL4)]
        .map(|(name, http, l4)| {
            let found = table.ratio(http, l4, |s| Some(s.rate));
            line(&format!("download, L7 policy by L4 policy, {name}"), found, 0.9, false)
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64, gate: f64) -> Sample {
        Sample { rate, p50: Some(1.0), p99: Some(100.0), machine: 10.0, gate, stolen: 0.0 }
    }

    #[test]
    fn ratios_are_medians_of_rounds_and_compared_with_their_aims() {
        let mut table = Table::default();
        for (http, l4) in [(90.0, 100.0), (60.0, 100.0), (190.0, 200.0)] {
            table.add(Contender::L4, sample(l4, 5.0));
            table.add(Contender::Read, sample(http, 5.0));
            table.add(Contender::Envoy, sample(50.0, 20.0));
        }
        let lines = aims_of_messages(&table, Aims { rate: 0.9, p99: Some(1.1), envoy: Some(3.0) });
        assert_eq!(lines[0], "rate, L7 policy by L4 policy, busy: 0.90 (0.60–0.95); aim: at least 0.9; met");
        assert_eq!(lines[2], "rate, L7 policy by L4 policy, adaptive: not measured");
        assert!(lines[4].ends_with("4.00 (4.00–4.00); aim: at least 3; met"), "{}", lines[4]);
        assert!(lines[5].ends_with("1.00 (1.00–1.00); aim: at least 3; MISSED"), "{}", lines[5]);
    }
}
