//! Tables of samples, what was aimed at, and a whole run with the machine it was on: as Markdown and as JSON.

use crate::sample::{DISTURBED, Sample, Spread, paired, spread};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
pub use sluice_micro::machine::Machine;
use std::path::Path;

/// All samples of one contender, in the order of the rounds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub contender: String,
    /// Its family and the number of its rules, where a chart shows what they cost.
    pub series: Option<(String, u32)>,
    /// One for each round.
    pub samples: Vec<Sample>,
}

/// One comparison.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// What was compared.
    pub name: String,
    /// What is counted, in the singular.
    pub unit: String,
    /// Whose ratio to the others is shown.
    pub reference: String,
    /// The contenders, in the order of a round.
    pub rows: Vec<Row>,
    /// What was aimed at.
    pub aims: Vec<Aim>,
}

/// A ratio or figure that was aimed at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Aim {
    /// Which.
    pub what: String,
    /// What was measured; `None` where a contender was missing.
    pub found: Option<Spread>,
    /// The limit.
    pub aim: f64,
    /// Whether the limit is an upper one.
    pub at_most: bool,
    /// The same of the bare forwarder, where it can stand in our place: what moving frames through AF_XDP sockets allows
    /// whoever does nothing else.
    #[serde(default)]
    pub bare: Option<Spread>,
}

impl Aim {
    /// The figure to reach.
    #[must_use]
    pub fn at_least(what: impl Into<String>, found: Option<Spread>, aim: f64) -> Self {
        Self { what: what.into(), found, aim, at_most: false, bare: None }
    }

    /// The figure to stay below.
    #[must_use]
    pub fn at_most(what: impl Into<String>, found: Option<Spread>, aim: f64) -> Self {
        Self { what: what.into(), found, aim, at_most: true, bare: None }
    }

    /// With what the bare forwarder has in our place.
    #[must_use]
    pub fn beside(self, bare: Option<Spread>) -> Self {
        Self { bare, ..self }
    }

    /// Whether the median is on the right side.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        self.found.map(|found| if self.at_most { found.median <= self.aim } else { found.median >= self.aim })
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Some(found) = self.found else { return format!("{}: not measured", self.what) };
        let word = if self.at_most { "at most" } else { "at least" };
        let met = if self.is_met() == Some(true) { "met" } else { "MISSED" };
        let bare =
            self.bare.map_or_else(String::new, |bare| format!("; the bare forwarder: {}", ratio(bare)));
        format!("{}: {}; aim: {word} {}; {met}{bare}", self.what, ratio(found), figure(self.aim))
    }
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(name: &str, unit: &str, reference: &str) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            reference: reference.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a sample of a round.
    pub fn add(&mut self, contender: &str, series: Option<(String, u32)>, sample: Sample) {
        match self.rows.iter_mut().find(|row| row.contender == contender) {
            Some(row) => row.samples.push(sample),
            None => {
                self.rows.push(Row { contender: contender.to_owned(), series, samples: vec![sample] });
            }
        }
    }

    /// Takes a contender out.
    pub fn remove(&mut self, contender: &str) {
        self.rows.retain(|row| row.contender != contender);
    }

    /// The samples of a contender; none where it did not take part.
    #[must_use]
    pub fn of(&self, contender: &str) -> &[Sample] {
        self.rows.iter().find(|row| row.contender == contender).map_or(&[], |row| &row.samples)
    }

    /// A figure of one contender by another's of the same round.
    #[must_use]
    pub fn ratio(&self, first: &str, second: &str, of: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        paired(self.of(first), self.of(second), of)
    }

    /// The table in Markdown: medians, with least and most; ratios are medians over rounds.
    #[must_use]
    pub fn markdown(&self) -> String {
        let unit = &self.unit;
        let mut text = format!(
            "| contender | {unit}/s (min–max) | p50 µs | p99 µs (min–max) | {}: rate by this (min–max), p99 by this | CPUs busy % \
             | machine µs/{unit} | gate µs/{unit} | frames/{unit} |\n|---|---|---|---|---|---|---|---|---|\n",
            self.reference
        );
        let first = self.of(&self.reference);
        for Row { contender, samples, .. } in &self.rows {
            let of = |figure: fn(&Sample) -> Option<f64>| spread(samples.iter().filter_map(figure));
            let rate = of(|s| Some(s.rate)).map_or_else(String::new, |s| {
                format!("{} ({}–{})", figure(s.median), figure(s.least), figure(s.most))
            });
            let p50 = of(|s| s.p50_us).map_or_else(String::new, |s| figure(s.median));
            let p99 = of(|s| s.p99_us).map_or_else(String::new, |s| {
                format!("{} ({}–{})", figure(s.median), figure(s.least), figure(s.most))
            });
            let by = paired(first, samples, |s| Some(s.rate)).map_or_else(String::new, ratio);
            let tail = paired(first, samples, |s| s.p99_us)
                .map_or_else(String::new, |s| format!(", {:.2}", s.median));
            let cores = samples.iter().map(|s| s.busy.len()).max().unwrap_or(0);
            let busy: Vec<String> = (0..cores)
                .filter_map(|core| spread(samples.iter().filter_map(|s| s.busy.get(core).copied())))
                .map(|s| format!("{:.0}", s.median * 100.0))
                .collect();
            let machine = of(|s| Some(s.machine_us)).map_or_else(String::new, |s| format!("{:.2}", s.median));
            let gate = of(|s| s.gate_us).map_or_else(String::new, |s| format!("{:.2}", s.median));
            let frames = of(|s| s.frames).map_or_else(String::new, |s| format!("{:.2}", s.median));
            text.push_str(&format!(
                "| {contender} | {rate} | {p50} | {p99} | {by}{tail} | {} | {machine} | {gate} | {frames} |\n",
                busy.join(" + ")
            ));
        }
        text + &self.disturbance()
    }

    /// How much the hypervisor took during the samples; the more, the less they say.
    fn disturbance(&self) -> String {
        let samples = || self.rows.iter().flat_map(|row| &row.samples);
        let Some(stolen) = spread(samples().map(|sample| sample.stolen)) else { return String::new() };
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let (median, most) = (percent(stolen.median), percent(stolen.most));
        let again = match samples().map(|sample| sample.again).sum::<u32>() {
            0 => String::new(),
            again => {
                format!("; samples thrown away because it took more than {}: {again}", percent(DISTURBED))
            }
        };
        format!("\nOf one CPU the hypervisor took {median} during a sample, {most} at most{again}.\n")
    }

    /// Prints it.
    pub fn print(&self) {
        println!("\n### {}\n\n{}", self.name, self.markdown());
        for aim in &self.aims {
            println!("- {}", aim.line());
        }
    }
}

/// Everything that one program measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// Where and when.
    pub machine: Machine,
    /// What was typed.
    #[serde(default)]
    pub command: String,
    /// Rounds of each comparison.
    pub rounds: usize,
    /// Seconds of each sample.
    pub seconds: u32,
    /// The comparisons.
    pub tables: Vec<Table>,
    /// Sentences beside them, each with what it is about.
    pub notes: Vec<(String, String)>,
    /// Contenders and comparisons that could not be measured, and why.
    #[serde(default)]
    pub failures: Vec<String>,
}

impl Run {
    /// An empty one, on this machine.
    ///
    /// # Errors
    /// As [`Machine::here`].
    pub fn new(rounds: usize, seconds: u32) -> Result<Self> {
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        Ok(Self { machine: Machine::here()?, command, rounds, seconds, ..Self::default() })
    }

    /// Notes that something could not be measured, and says so.
    pub fn fail(&mut self, what: &str, error: &anyhow::Error) {
        let text = format!("{what}: {error:#}");
        eprintln!("\nNOT MEASURED {text}");
        self.failures.push(text);
    }

    /// Adds a sentence, and prints it.
    pub fn note(&mut self, what: &str, text: String) {
        println!("\n{what}: {text}");
        self.notes.push((what.to_owned(), text));
    }

    /// Adds a table with something in it, and prints it.
    pub fn finish(&mut self, table: Table) {
        if !table.rows.is_empty() {
            table.print();
            self.tables.push(table);
        }
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)?).with_context(|| path.display().to_string())
    }

    /// Reads what [`Run::save`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// Median (least–most).
fn ratio(found: Spread) -> String {
    if found.median >= 1_000.0 {
        return format!("{} ({}–{})", figure(found.median), figure(found.least), figure(found.most));
    }
    format!("{:.2} ({:.2}–{:.2})", found.median, found.least, found.most)
}

/// A number with commas, and with as many places as it needs.
pub(crate) fn figure(value: f64) -> String {
    if value.fract() != 0.0 && value < 100.0 {
        return format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    crate::contender::thousands(value.round() as u32)
}

#[cfg(test)]
mod tests;
