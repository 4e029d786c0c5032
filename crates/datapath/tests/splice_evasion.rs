//! What attackers try, segment by segment: every case of `testdata/evasion` through the whole worker.

mod splice;

use splice::case::{self, Case};
use splice::referee::{Cut, Referee};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn play(case: &Case, cut: Cut) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| Referee::new(case, cut).play()));
    played.unwrap_or_else(|_| Err("panicked".into()))
}

/// Plays all cases of a file, or `EVASION_CASE` alone; says everything that is wrong.
fn play_all(file: &str, least: usize) {
    let only = std::env::var("EVASION_CASE").ok();
    let cases = case::load(file);
    assert!(cases.len() >= least, "{} cases in {file}", cases.len());
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| only.as_ref().is_none_or(|name| *name == case.name)) {
        let longest = case.steps.iter().filter_map(|s| s.client.as_ref()).map(String::len).max().unwrap_or(0);
        let cuts = (1..longest.min(400)).map(Cut::At).chain([Cut::Every(1), Cut::Every(7)]);
        let all = [Cut::Whole].into_iter().chain(cuts.filter(|_| case.split));
        let first = all.map(|cut| (cut, play(case, cut))).find(|(_, result)| result.is_err());
        if let Some((cut, Err(what))) = first {
            wrong.push(format!("{} ({cut:?}): {what}\n  {}", case.name, case.why));
        }
    }
    assert!(wrong.is_empty(), "{file}: {} cases\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn segments() {
    play_all("segments.toml", 20);
}

#[test]
fn refusals() {
    play_all("refusals.toml", 5);
}

#[test]
fn messages() {
    play_all("messages.toml", 20);
}
