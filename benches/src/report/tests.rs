//! Tables, aims and runs on made-up samples.

use super::*;

fn sample(rate: f64, p99: Option<f64>) -> Sample {
    let p50_us = p99.map(|p99| p99 / 2.0);
    Sample {
        rate,
        p50_us,
        p99_us: p99,
        busy: vec![0.5, 1.0],
        machine_us: 1.5,
        stolen: rate / 1e6,
        again: u32::from(rate < 80_000.0),
        ..Sample::default()
    }
}

fn table() -> Table {
    let mut table = Table::new("conversations", "transaction", "ours");
    for (ours, theirs) in [(90_000.0, 100_000.0), (60_000.0, 100_000.0), (190_000.0, 200_000.0)] {
        table.add("ours", Some(("ours".to_owned(), 1)), sample(ours, Some(40.0)));
        table.add("theirs", None, sample(theirs, Some(20.0)));
    }
    table
}

#[test]
fn a_table_has_medians_and_the_ratio_of_the_reference_by_each_row() {
    let text = table().markdown();
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 6, "{text}");
    assert_eq!(
        rows[5],
        "Of one CPU the hypervisor took 10 % during a sample, 20 % at most; samples thrown away because it took more than 5 %: 1."
    );
    assert_eq!(
        rows[3],
        "| theirs | 100,000 (100,000–200,000) | 10 | 20 (20–20) | 0.90 (0.60–0.95), 2.00 | 50 + 100 | 1.50 |  |  |"
    );
}

#[test]
fn an_aim_is_met_by_the_median_and_missed_when_nothing_was_measured() {
    let table = table();
    let found = table.ratio("ours", "theirs", |s| Some(s.rate));
    let aim = Aim::at_least("ours by theirs", found, 0.9);
    let many = Some(Spread { median: 1_243_780.7, least: 1_217_836.0, most: 1_269_725.0 });
    assert_eq!(
        Aim::at_least("frames", many, 1_500_000.0).line(),
        "frames: 1,243,781 (1,217,836–1,269,725); aim: at least 1,500,000; MISSED"
    );
    assert_eq!(aim.line(), "ours by theirs: 0.90 (0.60–0.95); aim: at least 0.9; met");
    assert_eq!(
        aim.beside(Some(Spread { median: 0.5, least: 0.25, most: 1.0 })).line(),
        "ours by theirs: 0.90 (0.60–0.95); aim: at least 0.9; met; the bare forwarder: 0.50 (0.25–1.00)"
    );
    assert_eq!(Aim::at_most("the same", found, 0.8).is_met(), Some(false));
    let nobody = Aim::at_least("x", table.ratio("ours", "nobody", |s| Some(s.rate)), 1.0);
    assert_eq!((nobody.is_met(), nobody.line()), (None, "x: not measured".to_owned()));
}

#[test]
fn figures_are_readable() {
    assert_eq!([0.95, 12.5, 3.0, 1_289_087.4].map(figure), ["0.95", "12.5", "3", "1,289,087"]);
}

#[test]
fn a_run_survives_its_file() {
    let folder = std::env::temp_dir().join(format!("sluice-run-{}.json", std::process::id()));
    let mut run = Run::new(3, 1).expect("a machine");
    assert!(run.machine.cores > 0 && !run.machine.kernel.is_empty(), "{:?}", run.machine);
    run.tables.push(table());
    run.notes.push(("idle".to_owned(), "nothing".to_owned()));
    run.save(&folder).expect("written");
    assert_eq!(Run::load(&folder).expect("read"), run);
    std::fs::remove_file(folder).expect("it was there");
}
