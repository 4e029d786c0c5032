//! Writes what `compare`, `compare_l7`, and the benches of cost by number (`target/scaling/*.json`) found as one page of
//! Markdown with charts.
//!
//! `bench_report target/compare.json target/compare_l7.json` writes `target/bench-report.md` and an SVG beside it for each
//! table; `--report docs/measurements` puts both there. Files that do not exist are left out, with a word.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sluice_benches::report::Run;
use sluice_benches::{page, scaling};
use std::path::PathBuf;

#[derive(Parser)]
struct Args {
    /// The folder for the page and its charts.
    #[arg(long, default_value = "target")]
    report: PathBuf,
    /// What the comparisons have written with `--json`.
    runs: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut runs = Vec::new();
    for path in &args.runs {
        if path.is_file() {
            runs.push(Run::load(path)?);
        } else {
            println!("{} is not there: left out", path.display());
        }
    }
    let scaling = scaling::load()?;
    ensure!(!runs.is_empty() || !scaling.is_empty(), "there is nothing to report");
    std::fs::create_dir_all(&args.report).with_context(|| args.report.display().to_string())?;
    for (name, text) in page::write(&runs, &scaling)? {
        let path = args.report.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
