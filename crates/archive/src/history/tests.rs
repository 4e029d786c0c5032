//! What the store as a whole promises.

mod crash;
mod keeping;
mod merge;
mod questions;

use super::*;
use crate::history::testing::{BEGIN, STEP, record};
use flowlog::api::ObserveRequest;
use flowlog::record::Time;

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        max_bytes: 1 << 30,
        max_age: Duration::from_secs(7 * 86_400),
        flush_interval: Duration::from_millis(20),
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Pushes records and waits until all are stored, never more at a time than the flow log holds.
fn fill(log: &Store, history: &History, range: std::ops::Range<u64>) {
    let capacity = log.len_and_capacity().1 as u64;
    for n in range {
        log.push(record(n));
        if (n + 1).is_multiple_of(capacity) {
            assert!(history.sync(log.newest().number()) >= log.newest().number(), "{:?}", history.errors());
        }
    }
    assert!(history.sync(log.newest().number()) >= log.newest().number(), "{:?}", history.errors());
}

fn answers(history: &History, question: &Question, order: Order) -> Vec<Record> {
    let mut found = Vec::new();
    let outcome = history.query(question, order, &mut |record| {
        found.push(record);
        ControlFlow::Continue(())
    });
    outcome.expect("readable");
    found
}

fn all(history: &History) -> Vec<Record> {
    answers(history, &Question::new(&ObserveRequest::default()).expect("valid"), Order::OldestFirst)
}

fn at(n: u64) -> Option<Time> {
    Some(Time::from_nanos(BEGIN + i128::from(n) * STEP))
}
