//! Store and memory as one: no record twice, none missing, in order.

use super::*;
use flowlog::api::ResponseLine;
use flowlog::record::Verdict;
use flowlog::{Filters, FlowFilter};
use proptest::prelude::*;
use std::io::Write;

fn flows(out: &[u8]) -> Vec<Record> {
    let line = |line: &str| serde_json::from_str::<ResponseLine>(line).expect("a line");
    let text = std::str::from_utf8(out).expect("UTF-8");
    let lines = text.lines().map(line);
    lines.map(|line| line.flow.expect("only flows").as_ref().clone()).collect()
}

fn answer(log: &Store, history: &History, request: &ObserveRequest) -> Vec<Record> {
    let mut out = Vec::new();
    observe(log, history, request, &mut out).expect("memory");
    flows(&out)
}

/// What the answer must be, from all records there ever were.
fn expected(count: u64, request: &ObserveRequest) -> Vec<Record> {
    let question = Question::new(request).expect("valid");
    let mut records: Vec<Record> =
        (0..count).map(record).filter(|r| question.selection().matches(r)).collect();
    if let Some(last) = request.last {
        records.drain(..records.len().saturating_sub(last as usize));
    } else if let Some(first) = request.first {
        records.truncate(first as usize);
    }
    records
}

prop_compose! {
    fn request(count: u64)(
        verdict in prop::option::of(prop::sample::select(vec![Verdict::Dropped, Verdict::Traced])),
        since in prop::option::of(0..count + 10),
        until in prop::option::of(0..count + 10),
        counts in prop_oneof![
            Just((None, None)),
            (0..count + 5).prop_map(|n| (Some(n), None)),
            (0..30_u64).prop_map(|n| (Some(n), None)),
            (0..count + 5).prop_map(|n| (None, Some(n))),
        ],
    ) -> ObserveRequest {
        let filter = verdict.map(|verdict| FlowFilter { verdict: vec![verdict], ..FlowFilter::default() });
        ObserveRequest {
            filters: Filters { allowlist: filter.into_iter().collect(), denylist: Vec::new() },
            last: counts.0,
            first: counts.1,
            since: since.and_then(at),
            until: until.and_then(at),
            follow: false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_that_of_all_records(
        capacity in 1_usize..200,
        runs in prop::collection::vec(1_u64..400, 1..4),
        unwritten in 0_u64..200,
        requests in prop::collection::vec(request(600), 4),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut count = 0;
        for (at, records) in runs.iter().enumerate() {
            let log = Arc::new(Store::new(capacity));
            let history = History::start(settings(folder.path()), Arc::clone(&log)).expect("started");
            fill(&log, &history, count..count + records);
            count += records;
            if at + 1 < runs.len() {
                continue;
            }
            // Some that nobody waited for, as many as memory holds at most.
            let more = unwritten.min(capacity as u64);
            (count..count + more).for_each(|n| log.push(record(n)));
            count += more;
            for request in &requests {
                let (found, wanted) = (answer(&log, &history, request), expected(count, request));
                prop_assert_eq!(found.len(), wanted.len(), "{:?}", request);
                prop_assert!(found == wanted, "{:?}", request);
                let mut back = Vec::new();
                let mut take = |record: Arc<Record>| {
                    back.push(record.as_ref().clone());
                    ControlFlow::Continue(())
                };
                newest(&log, &history, request, &|| false, &mut take).expect("valid");
                let mut wanted = expected(count, &ObserveRequest { last: None, first: None, ..request.clone() });
                wanted.reverse();
                prop_assert_eq!(back.len(), wanted.len(), "newest first, {:?}", request);
                prop_assert!(back == wanted, "newest first, {:?}", request);
            }
        }
    }
}

/// A client so slow that memory is overwritten between two lines of its answer.
struct Slow<'a> {
    out: Vec<u8>,
    log: &'a Store,
    history: &'a History,
    next: u64,
    until: u64,
}

impl Write for Slow<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") && self.next < self.until {
            let to = (self.next + 40).min(self.until);
            fill(self.log, self.history, self.next..to);
            self.next = to;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

use std::io;

#[test]
fn a_slow_client_misses_nothing_though_memory_is_overwritten_meanwhile() {
    for last in [None, Some(2000)] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Arc::new(Store::new(50));
        let history = History::start(settings(folder.path()), Arc::clone(&log)).expect("started");
        fill(&log, &history, 0..1000);
        let mut slow = Slow { out: Vec::new(), log: &log, history: &history, next: 1000, until: 4000 };
        observe(&log, &history, &ObserveRequest { last, ..ObserveRequest::default() }, &mut slow)
            .expect("memory");
        let found = flows(&slow.out);
        assert!(
            found.iter().eq((0..1000).map(record).collect::<Vec<_>>().iter()),
            "{last:?}: {}",
            found.len()
        );
    }
}

#[test]
fn a_reader_that_is_gone_ends_the_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Arc::new(Store::new(50));
    let history = History::start(settings(folder.path()), Arc::clone(&log)).expect("started");
    fill(&log, &history, 0..20_000);
    let request = ObserveRequest::default();
    for newest_first in [false, true] {
        let (mut seen, gone) = (0, AtomicBool::new(false));
        let stop = || gone.load(Ordering::Relaxed);
        let mut visit = |_| {
            seen += 1;
            gone.store(true, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        if newest_first {
            newest(&log, &history, &request, &stop, &mut visit).expect("valid");
        } else {
            assert_eq!(read(&log, &history, &request, &stop, &mut visit).expect("valid"), log.newest());
        }
        // It is asked between blocks.
        assert!((1..=block::ROWS + 50).contains(&seen), "{seen}");
    }
}

#[test]
fn followers_go_on_where_the_answer_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Arc::new(Store::new(100));
    let history = History::start(settings(folder.path()), Arc::clone(&log)).expect("started");
    fill(&log, &history, 0..500);
    let request = ObserveRequest { follow: true, ..ObserveRequest::default() };
    let writer = Arc::clone(&log);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        (500..550).for_each(|n| writer.push(record(n)));
        writer.close();
    });
    let mut out = Vec::new();
    observe(&log, &history, &request, &mut out).expect("memory");
    thread.join().expect("the writer");
    let text: String = String::from_utf8(out)
        .expect("UTF-8")
        .lines()
        .filter(|l| !l.is_empty())
        .map(|l| format!("{l}\n"))
        .collect();
    assert!(flows(text.as_bytes()).into_iter().eq((0..550).map(record)));
}

#[test]
fn a_bad_filter_is_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Arc::new(Store::new(100));
    let history = History::start(settings(folder.path()), Arc::clone(&log)).expect("started");
    let filter = FlowFilter { source_port: vec!["x".into()], ..FlowFilter::default() };
    let filters = Filters { allowlist: vec![filter], denylist: Vec::new() };
    let mut out = Vec::new();
    observe(&log, &history, &ObserveRequest { filters, ..ObserveRequest::default() }, &mut out)
        .expect("memory");
    assert!(out.starts_with(b"{\"error\":"), "{}", String::from_utf8_lossy(&out));
}
