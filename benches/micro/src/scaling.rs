//! What something costs by how many there are of something else: series that benches measure, and the report draws.
//!
//! A bench makes a [`Run`], adds a [`Series`] for each line of a chart, and saves it; `bench_report` reads every
//! `target/scaling/*.json`. As JSON:
//!
//! ```json
//! {"command": "cargo bench …", "series": [{"axis": "workers", "name": "frames of established flows", "unit": "frame/s",
//!  "points": [{"x": 1, "rounds": [7.9e6, 8.0e6]}, {"x": 2, "rounds": [15.1e6, 15.3e6]}],
//!  "aims": [{"x": 2, "ratio": 1.8, "at_most": false}], "reason": ""}]}
//! ```
//!
//! A round measures every point once, so that the ratios of a point to the first are those of single rounds, and what the
//! machine does meanwhile meets all points.

use crate::machine::Machine;
use crate::spread::{Spread, spread};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Everything that one program measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// Where and when.
    #[serde(default)]
    pub machine: Machine,
    /// What to type to measure it again.
    pub command: String,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line of a chart.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// Number of what: `connections`, `pods`. Series of one axis and unit share a chart.
    pub axis: String,
    /// What was measured.
    pub name: String,
    /// Of what the values are: `ns/frame`, `frame/s`.
    pub unit: String,
    /// By number, in the order they were measured in.
    pub points: Vec<Point>,
    /// Limits.
    #[serde(default)]
    pub aims: Vec<Limit>,
    /// Why it grows, where it does.
    #[serde(default)]
    pub reason: String,
}

/// All values at one number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// How many.
    pub x: u32,
    /// One value for each round.
    pub rounds: Vec<f64>,
}

/// What is to be reached at one number.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Limit {
    /// At which number.
    pub x: u32,
    /// The limit of the ratio to the first point.
    #[serde(default)]
    pub ratio: Option<f64>,
    /// The limit of the value itself.
    #[serde(default)]
    pub value: Option<f64>,
    /// Whether it is an upper one.
    #[serde(default)]
    pub at_most: bool,
}

impl Run {
    /// An empty one, on this machine.
    ///
    /// # Errors
    /// As [`Machine::here`].
    pub fn new(command: &str) -> io::Result<Self> {
        Ok(Self { machine: Machine::here()?, command: command.to_owned(), series: Vec::new() })
    }

    /// Prints its series and writes it to `NAME.json` where the report looks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, name: &str) -> io::Result<()> {
        for series in &self.series {
            println!("\n{} by number of {}\n\n{}", series.name, series.axis, series.markdown());
        }
        let folder = folder();
        fs::create_dir_all(&folder)?;
        let path = folder.join(name).with_extension("json");
        fs::write(&path, serde_json::to_string_pretty(self)?)?;
        println!("wrote {}", path.display());
        Ok(())
    }

    /// Reads what [`Run::save`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub fn load(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }
}

/// The folder of the results: `SCALING_DIR`, or `target/scaling` of this tree.
#[must_use]
pub fn folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/scaling");
    std::env::var_os("SCALING_DIR").map_or_else(default, PathBuf::from)
}

impl Series {
    /// An empty one.
    #[must_use]
    pub fn new(axis: &str, name: &str, unit: &str) -> Self {
        Self { axis: axis.to_owned(), name: name.to_owned(), unit: unit.to_owned(), ..Self::default() }
    }

    /// Adds the value of a round. Each round adds one for each number, in the same order.
    pub fn add(&mut self, x: u32, value: f64) {
        match self.points.iter_mut().find(|point| point.x == x) {
            Some(point) => point.rounds.push(value),
            None => self.points.push(Point { x, rounds: vec![value] }),
        }
    }

    /// At `x`, the ratio to the first point is to be that at least.
    pub fn at_least(&mut self, x: u32, ratio: f64) {
        self.aims.push(Limit { x, ratio: Some(ratio), ..Limit::default() });
    }

    /// At `x`, the ratio to the first point is to be that at most.
    pub fn at_most(&mut self, x: u32, ratio: f64) {
        self.aims.push(Limit { x, ratio: Some(ratio), at_most: true, ..Limit::default() });
    }

    /// At `x`, the value is to be that at most.
    pub fn value_at_most(&mut self, x: u32, value: f64) {
        self.aims.push(Limit { x, value: Some(value), at_most: true, ..Limit::default() });
    }

    /// The values at `x`.
    #[must_use]
    pub fn value(&self, x: u32) -> Option<Spread> {
        spread(self.points.iter().find(|point| point.x == x)?.rounds.iter().copied())
    }

    /// The ratios of `x` to the first point, of the same rounds.
    #[must_use]
    pub fn ratio(&self, x: u32) -> Option<Spread> {
        let (first, point) = (self.points.first()?, self.points.iter().find(|point| point.x == x)?);
        spread(point.rounds.iter().zip(&first.rounds).map(|(value, first)| value / first))
    }

    /// The table and the aims in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let first = self.points.first().map_or(0, |point| point.x);
        let mut text = format!(
            "| {} | {} (min–max) | by that of {} (min–max) |\n|---|---|---|\n",
            self.axis,
            self.unit,
            number(f64::from(first))
        );
        for point in &self.points {
            let value = self.value(point.x).map_or_else(String::new, shown);
            let ratio = self.ratio(point.x).map_or_else(String::new, shown);
            // Formatting into a string cannot fail.
            let _ok = writeln!(text, "| {} | {value} | {ratio} |", number(f64::from(point.x)));
        }
        if !self.aims.is_empty() {
            text.push('\n');
        }
        for aim in &self.aims {
            let _ok = writeln!(text, "- {}", self.judged(aim));
        }
        if !self.reason.is_empty() {
            let _ok = write!(text, "\n{}\n", self.reason);
        }
        text
    }

    /// An aim in one line, with what was found.
    fn judged(&self, aim: &Limit) -> String {
        let what = format!("{} {}", number(f64::from(aim.x)), self.axis);
        let (found, limit, unit) = match (aim.ratio, aim.value) {
            (Some(ratio), _) => (self.ratio(aim.x), ratio, " times the first"),
            (None, Some(value)) => (self.value(aim.x), value, self.unit.as_str()),
            (None, None) => return format!("{what}: no limit"),
        };
        let Some(found) = found else { return format!("{what}: not measured") };
        let met = if aim.at_most { found.median <= limit } else { found.median >= limit };
        format!(
            "{what}: {} {}; aim: at {} {}; {}",
            shown(found),
            unit.trim_start(),
            if aim.at_most { "most" } else { "least" },
            number(limit),
            if met { "met" } else { "MISSED" }
        )
    }
}

/// Median (least–most).
fn shown(found: Spread) -> String {
    format!("{} ({}–{})", number(found.median), number(found.least), number(found.most))
}

/// A number with commas above a thousand and with three figures below.
#[must_use]
pub fn number(value: f64) -> String {
    if value >= 1_000.0 {
        let digits = format!("{value:.0}");
        let head = digits.len() % 3;
        let groups: Vec<&str> = [&digits[..head]]
            .into_iter()
            .chain((head..digits.len()).step_by(3).map(|at| &digits[at..at + 3]))
            .filter(|group| !group.is_empty())
            .collect();
        return groups.join(",");
    }
    let places = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let mut series = Series::new("workers", "frames", "frame/s");
        for (one, two) in
            [(8_000_000.0, 12_000_000.0), (4_000_000.0, 8_000_000.0), (8_000_000.0, 14_400_000.0)]
        {
            series.add(1, one);
            series.add(2, two);
        }
        series
    }

    #[test]
    fn ratios_pair_values_of_one_round() {
        let found = series().ratio(2);
        assert_eq!(found, Some(Spread { median: 1.8, least: 1.5, most: 2.0 }));
        assert_eq!(series().ratio(3), None);
    }

    #[test]
    fn aims_are_judged_by_the_median_and_on_the_right_side() {
        let mut series = series();
        series.at_least(2, 1.9);
        series.at_most(2, 1.9);
        series.value_at_most(1, 8_000_000.0);
        series.at_least(3, 1.0);
        series.reason = "Both share a cache.".to_owned();
        assert_eq!(
            series.markdown(),
            "| workers | frame/s (min–max) | by that of 1 (min–max) |\n|---|---|---|\n\
             | 1 | 8,000,000 (4,000,000–8,000,000) | 1 (1–1) |\n\
             | 2 | 12,000,000 (8,000,000–14,400,000) | 1.8 (1.5–2) |\n\n\
             - 2 workers: 1.8 (1.5–2) times the first; aim: at least 1.9; MISSED\n\
             - 2 workers: 1.8 (1.5–2) times the first; aim: at most 1.9; met\n\
             - 1 workers: 8,000,000 (4,000,000–8,000,000) frame/s; aim: at most 8,000,000; met\n\
             - 3 workers: not measured\n\nBoth share a cache.\n"
        );
    }

    #[test]
    fn numbers_have_the_places_they_need() {
        let shown = [0.0, 0.994, 1.0, 12.34, 123.4, 999.6, 1_000.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "0.99", "1", "12.3", "123", "1000", "1,000", "1,234,567"]);
    }

    #[test]
    fn what_others_write_by_hand_is_read() {
        let text = r#"{"command": "x", "series": [{"axis": "workers", "name": "n", "unit": "u", "points": [{"x": 1,
            "rounds": [2]}], "aims": [{"x": 1, "ratio": 1.8, "at_most": false}]}]}"#;
        let run: Run = serde_json::from_str(text).expect("read");
        assert_eq!(run.series[0].value(1), Some(Spread { median: 2.0, least: 2.0, most: 2.0 }));
    }
}
