//! What leaving memory costs: records a second into a file, time and bytes of a record in the history, and how long a
//! million of them take to be asked.
//!
//! `cargo bench -p archive`; with `--test`, as `cargo test` runs it, a hundredth of the work.

use archive::export::config::ExportConfig;
use archive::export::{FileOptions, Lines, Render, RotatingFile, Target as _};
use archive::history::{History, Order, Question, Settings};
use flowlog::api::ObserveRequest;
use flowlog::record::Verdict;
use flowlog::{Filters, FlowFilter, Record, Store};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[path = "../src/history/testing.rs"]
mod testing;

fn main() {
    let records: u64 = if std::env::args().any(|arg| arg == "--test") { 10_000 } else { 1_000_000 };
    let folder = tempfile::tempdir().expect("a folder");
    export(folder.path(), records);
    history(folder.path(), records);
}

/// Processor seconds of this process.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn export(folder: &Path, records: u64) {
    let sample: Vec<Record> = (0..4000).map(testing::record).collect();
    let cases = [
        ("plain", ""),
        ("filter", ", excludeFilters: [{verdict: [TRACED]}]"),
        ("mask", ", fieldMask: [time, verdict, source.namespace, source.pod_name, destination.pod_name, l4]"),
        ("redact", ", redact: {enabled: true, http: {urlQuery: true}}"),
    ];
    for (name, more) in cases {
        let text = format!("flowLogs: [{{name: a, filePath: /unused{more}}}]");
        let config = ExportConfig::parse(&text).expect("valid");
        let render = Render::new(&config, &config.flow_logs[0]).expect("valid");
        let path = folder.join(format!("{name}.log"));
        let options = FileOptions { path, max_bytes: 50_000_000, max_backups: 2, compress: false };
        let (mut file, mut lines) = (RotatingFile::new(options), Lines::default());
        let (begun, used) = (Instant::now(), cpu());
        let mut left = records;
        for batch in sample.chunks(500).cycle() {
            lines.clear();
            batch.iter().for_each(|record| render.add(record, &mut lines));
            file.write(&mut lines).expect("room");
            left = left.saturating_sub(batch.len() as u64);
            if left == 0 {
                break;
            }
        }
        let (wall, used) = (begun.elapsed().as_secs_f64(), cpu() - used);
        let rate = records as f64 / wall;
        println!(
            "export {name}: {rate:.0} records/s, {:.2} us of processor each",
            used * 1e6 / records as f64
        );
    }
}

fn history(folder: &Path, records: u64) {
    let dir = folder.join("history");
    let settings = Settings {
        dir: dir.clone(),
        max_bytes: 1 << 30,
        max_age: Duration::from_secs(7 * 86_400),
        flush_interval: Duration::from_millis(500),
    };
    let log = Arc::new(Store::new(8192));
    let history = History::start(settings, Arc::clone(&log)).expect("started");
    let (mut making, mut making_cpu) = (Duration::ZERO, 0.0);
    let (begun, used) = (Instant::now(), cpu());
    for from in (0..records).step_by(4096) {
        let (at, used) = (Instant::now(), cpu());
        let batch: Vec<Record> = (from..(from + 4096).min(records)).map(testing::record).collect();
        making += at.elapsed();
        making_cpu += cpu() - used;
        batch.into_iter().for_each(|record| log.push(record));
        while history.report().written + 4096 < log.total() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    history.stop();
    let (wall, used) = (begun.elapsed() - making, cpu() - used - making_cpu);
    let report = history.report();
    assert_eq!((report.written, report.lost), (records, 0));
    println!(
        "history: {:.0} records/s, {:.2} us of processor each, {:.1} bytes each, {} files",
        records as f64 / wall.as_secs_f64(),
        used * 1e6 / records as f64,
        report.bytes as f64 / records as f64,
        report.files
    );
    let history = History::open(&dir).expect("there");
    let filter = |pod: &str, verdict| FlowFilter {
        source_pod: vec![pod.to_owned()],
        verdict: vec![verdict],
        ..FlowFilter::default()
    };
    let pod = testing::record(0).source.expect("a source");
    let name = format!("{}/{}", pod.namespace, pod.pod_name);
    let port = FlowFilter { destination_port: vec!["8085".into()], ..filter(&name, Verdict::Forwarded) };
    let address_and_port = FlowFilter {
        destination_ip: vec!["10.0.0.3".into()],
        source_port: vec!["40000".into()],
        ..FlowFilter::default()
    };
    for (what, filters) in [
        ("pod and verdict dropped", vec![filter(&name, Verdict::Dropped)]),
        ("pod and verdict forwarded", vec![filter(&name, Verdict::Forwarded)]),
        ("pod, verdict and port", vec![port]),
        ("port", vec![FlowFilter { destination_port: vec!["53".into()], ..FlowFilter::default() }]),
        ("address", vec![FlowFilter { source_ip: vec!["10.0.0.7".into()], ..FlowFilter::default() }]),
        ("address and port of few", vec![address_and_port]),
        ("no such pod", vec![filter("ns-1/none", Verdict::Dropped)]),
        ("everything", Vec::new()),
    ] {
        let filters = Filters { allowlist: filters, denylist: Vec::new() };
        let question =
            Question::new(&ObserveRequest { filters, ..ObserveRequest::default() }).expect("valid");
        let (begun, used) = (Instant::now(), cpu());
        let mut found = 0_u64;
        let mut count = |_| {
            found += 1;
            ControlFlow::Continue(())
        };
        history.query(&question, Order::OldestFirst, &mut count).expect("readable");
        let (wall, used) = (begun.elapsed().as_secs_f64(), cpu() - used);
        println!("query {records} records, {what}: {found} found in {wall:.2} s, {used:.2} s of processor");
    }
}
