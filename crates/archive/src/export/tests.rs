use super::*;
use flowlog::Record;
use flowlog::record::{Endpoint, Time, Verdict};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::Instant;

fn record(n: u32) -> Record {
    Record {
        uuid: format!("{n:08}"),
        time: Some(Time::from_nanos(i128::from(n))),
        verdict: if n.is_multiple_of(2) { Verdict::Forwarded } else { Verdict::Dropped },
        source: Some(Endpoint {
            pod_name: format!("pod-{}", n % 7),
            namespace: "a".into(),
            ..Endpoint::default()
        }),
        node_name: "node-1".into(),
        ..Record::default()
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Of the lines that have come to their end: the file may be read while a batch is being written.
fn uuids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let text = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    let uuid = |line: &str| {
        let line: flowlog::api::ResponseLine = serde_json::from_str(line).expect("a whole line");
        line.flow.expect("a flow").uuid.clone()
    };
    text.lines().map(uuid).collect()
}

fn written(exporters: &Exporters, name: &str) -> u64 {
    exporters.report().exporters.iter().find(|e| e.name == name).map_or(0, |e| e.written)
}

#[test]
fn everything_is_in_the_files_once_though_they_rotate_under_load() {
    const COUNT: u32 = 40_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flows.log");
    let store = Arc::new(Store::new(COUNT as usize));
    let exporters = Exporters::new(Arc::clone(&store), "node-1");
    let text = format!(
        "flowLogs: [{{name: a, filePath: {}, fileMaxSizeMb: 1, fileMaxBackups: 100, fileCompress: true}}]",
        path.display()
    );
    exporters.apply(Some(&text)).expect("valid");
    let writer = Arc::clone(&store);
    let thread = std::thread::spawn(move || (0..COUNT).for_each(|n| writer.push(record(n))));
    thread.join().expect("the writer");
    wait("all written", || written(&exporters, "a") == u64::from(COUNT));
    exporters.stop();
    wait("all compressed", || {
        let names = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        let names: Vec<_> = names.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
        names.len() > 3 && names.iter().all(|name| name.ends_with(".gz") || name == "flows.log")
    });
    let seen = file::tests::all_lines(folder.path());
    assert!(seen.values().all(|times| *times == 1));
    let read = |line: &String| {
        let line: flowlog::api::ResponseLine = serde_json::from_str(line).expect("JSON");
        line.flow.expect("a flow").as_ref().clone()
    };
    let mut records: Vec<Record> = seen.keys().map(read).collect();
    records.sort_by(|a, b| a.uuid.cmp(&b.uuid));
    assert!(records.into_iter().eq((0..COUNT).map(record)), "every record, whole");
}

#[test]
fn a_new_file_changes_only_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let store = Arc::new(Store::new(1000));
    let exporters = Exporters::new(Arc::clone(&store), "node-1");
    let entry =
        |name: &str, more: &str| format!("- {{name: {name}, filePath: {}{more}}}\n", path(name).display());
    let file = |entries: &[String]| format!("flowLogs:\n{}", entries.concat());
    (0..10).for_each(|n| store.push(record(n)));
    exporters.apply(Some(&file(&[entry("a", ""), entry("b", "")]))).expect("valid");
    wait("both", || written(&exporters, "a") == 10 && written(&exporters, "b") == 10);

    // A wrong file leaves everything as it was, and says where it is wrong.
    let error = exporters.apply(Some("flowLogs:\n- name: x\n  filePaht: /x\n")).expect_err("wrong");
    assert_eq!((error.line, error.column), (3, 3), "{error}");
    assert!(error.message.ends_with("did you mean `filePath`?"), "{error}");
    assert_eq!(exporters.errors(), [format!("exporters.yaml:{error}")]);
    store.push(record(10));
    wait("still both", || written(&exporters, "a") == 11 && written(&exporters, "b") == 11);

    // b changes, c comes: b goes on where it was, c begins with what comes, a is not touched.
    let filter = ", includeFilters: [{verdict: [DROPPED]}], excludeFilters: [{source_pod: [a/pod-6]}]";
    exporters.apply(Some(&file(&[entry("a", ""), entry("b", filter), entry("c", "")]))).expect("valid");
    assert_eq!(exporters.errors(), [""; 0]);
    (11..21).for_each(|n| store.push(record(n)));
    wait("all", || written(&exporters, "a") == 21 && written(&exporters, "c") == 10);
    wait("b", || uuids(&path("b")).len() == 15);
    let names = |range: std::ops::Range<u32>| range.map(|n| format!("{n:08}")).collect::<Vec<_>>();
    assert_eq!((uuids(&path("a")), uuids(&path("c"))), (names(0..21), names(11..21)));
    let kept = (11..21).filter(|n| n % 2 == 1 && n % 7 != 6).map(|n| format!("{n:08}"));
    assert_eq!(uuids(&path("b")), names(0..11).into_iter().chain(kept).collect::<Vec<_>>());

    // No file, no exporters.
    exporters.apply(None).expect("nothing is valid");
    store.push(record(21));
    let report = exporters.report();
    assert_eq!((report.exporters.len(), report.reconfigurations), (0, [3, 1, 3]));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(uuids(&path("a")).len(), 21);
}

#[test]
fn a_full_target_is_told_and_retried_and_harms_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good");
    let store = Arc::new(Store::new(100));
    let exporters = Exporters::new(Arc::clone(&store), "node-1");
    let text = format!(
        "flowLogs: [{{name: full, filePath: /dev/full}}, {{name: good, filePath: {}}}]",
        good.display()
    );
    exporters.apply(Some(&text)).expect("valid");
    for n in 0..1000 {
        store.push(record(n));
        if n % 50 == 49 {
            wait("the good one keeps up", || written(&exporters, "good") == u64::from(n) + 1);
        }
    }
    wait("an error", || exporters.errors().iter().any(|e| e.starts_with("exporter full: No space left")));
    let report = exporters.report();
    let full = report.exporters.iter().find(|e| e.name == "full").expect("there");
    assert!(full.failed > 0 && full.written == 0, "{full:?}");
    assert_eq!(written(&exporters, "good"), 1000);
    let text = crate::to_text(&report.metrics());
    assert!(text.contains("hubble_dynamic_exporter_up{name=\"full\"} 0\n"), "{text}");
    assert!(text.contains("hubble_dynamic_exporter_up{name=\"good\"} 1\n"), "{text}");
    assert!(text.contains("hubble_dynamic_exporter_exporters_total{status=\"active\"} 2\n"), "{text}");
    assert!(text.contains("sluice_exporter_records_total{name=\"good\"} 1000\n"), "{text}");
    let begun = Instant::now();
    exporters.stop();
    assert!(begun.elapsed() < PATIENCE, "a full disk does not hold the end up");
}

#[test]
fn what_is_overwritten_while_a_target_hangs_is_counted() {
    // A pipe that nobody reads takes 64 KiB and no more.
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("opens");
    let store = Arc::new(Store::new(100));
    let exporters = Exporters::new(Arc::clone(&store), "node-1");
    let text = format!("flowLogs: [{{name: a, filePath: {}}}]", pipe.display());
    exporters.apply(Some(&text)).expect("valid");
    let mut sent = 0;
    wait("the pipe is full", || {
        (0..50).for_each(|_| store.push(record(sent)));
        sent += 1;
        !exporters.errors().is_empty()
    });
    (0..500).for_each(|n| store.push(record(n)));
    // It is read again: the exporter goes on, and says what it lost.
    let lines = std::thread::spawn(move || {
        let mut count = 0_u64;
        for line in BufReader::new(reader).lines() {
            let line = line.expect("UTF-8");
            let _whole: flowlog::api::ResponseLine = serde_json::from_str(&line).expect("a whole line");
            count += 1;
            if line.contains("99999999") {
                break;
            }
        }
        count
    });
    wait("it goes on", || exporters.errors().is_empty());
    std::thread::sleep(Duration::from_millis(100));
    store.push(record(99_999_999));
    let count = lines.join().expect("the reader");
    // A line can be read before the exporter has counted it.
    let report = || exporters.report().exporters.remove(0);
    wait("all is counted", || {
        let report = report();
        report.lost + report.written >= store.total()
    });
    let report = report();
    assert!(report.lost >= 400, "{report:?}");
    assert_eq!(count, report.written);
    assert_eq!(report.lost + report.written, store.total());
}

#[test]
fn an_exporter_ends_at_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Store::new(100));
    let exporters = Exporters::new(Arc::clone(&store), "node-1");
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "flowLogs: [{{name: soon, filePath: {}, end: '{end}'}}, {{name: past, filePath: {}, end: '2020-01-01T00:00:00Z'}}]",
        path("soon"),
        path("past")
    );
    exporters.apply(Some(&text)).expect("valid");
    store.push(record(0));
    wait("written", || written(&exporters, "soon") == 1);
    wait("ended", || exporters.report().exporters.iter().all(|e| !e.active));
    store.push(record(1));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!((uuids(Path::new(&path("soon"))).len(), written(&exporters, "past")), (1, 0));
    let text = crate::to_text(&exporters.report().metrics());
    assert!(text.contains("exporters_total{status=\"inactive\"} 2\n"), "{text}");
    assert_eq!(exporters.errors(), [""; 0], "an end that was asked for is no error");
}

/// `<134>1 2026-11-21T10:00:00.000000Z node-1 sluice 77 0 - {…}`: the record's uuid.
fn from_syslog(message: &str) -> String {
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    assert_eq!((parts[0], parts[2], parts[3]), ("<134>1", "node-1", "sluice"), "{message}");
    assert_eq!((parts[4], parts[6]), (std::process::id().to_string().as_str(), "-"), "{message}");
    let _time: jiff::Timestamp = parts[1].parse().expect("a time");
    let line: flowlog::api::ResponseLine = serde_json::from_str(parts[7]).expect("a line");
    line.flow.expect("a flow").uuid.clone()
}

fn exporter_to(store: &Arc<Store>, address: &str) -> Exporters {
    let exporters = Exporters::new(Arc::clone(store), "node-1");
    exporters
        .apply(Some(&format!("flowLogs: [{{name: a, syslog: {{address: '{address}'}}}}]")))
        .expect("valid");
    exporters
}

#[test]
fn syslog_over_tcp_has_lengths_and_survives_a_receiver_that_goes_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("bound"));
    let store = Arc::new(Store::new(10_000));
    (0..500).for_each(|n| store.push(record(n)));
    let exporters = exporter_to(&store, &address);
    let receive = |count: usize| {
        let (stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream);
        let mut seen = Vec::new();
        while seen.len() < count {
            let mut length = Vec::new();
            reader.read_until(b' ', &mut length).expect("a length");
            let length: usize = String::from_utf8_lossy(&length).trim().parse().expect("a length");
            let mut message = vec![0; length];
            reader.read_exact(&mut message).expect("a message");
            seen.push(from_syslog(std::str::from_utf8(&message).expect("UTF-8")));
        }
        seen
    };
    let names = |range: std::ops::Range<u32>| range.map(|n| format!("{n:08}")).collect::<Vec<_>>();
    assert_eq!(receive(500), names(0..500));
    // The connection is gone now. What goes into it before anybody knows is lost to the network; then a new one comes.
    wait("a new connection", || {
        store.push(record(500));
        listener.set_nonblocking(true).expect("set");
        let waiting = listener.accept();
        listener.set_nonblocking(false).expect("set");
        waiting.is_ok_and(|(stream, _)| {
            stream.set_nonblocking(false).expect("set");
            let mut byte = [0];
            BufReader::new(stream).read_exact(&mut byte).is_ok()
        })
    });
    exporters.stop();
}

#[test]
fn syslog_over_datagrams() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let unix = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let store = Arc::new(Store::new(100));
    let to_unix = exporter_to(&store, &format!("unix://{}", path.display()));
    let to_udp = exporter_to(&store, &format!("udp://{}", udp.local_addr().expect("bound")));
    (0..50).for_each(|n| store.push(record(n)));
    let mut buffer = vec![0; 1 << 16];
    for n in 0..50 {
        let length = unix.recv(&mut buffer).expect("a datagram");
        assert_eq!(from_syslog(std::str::from_utf8(&buffer[..length]).expect("UTF-8")), format!("{n:08}"));
        let length = udp.recv(&mut buffer).expect("a datagram");
        assert_eq!(from_syslog(std::str::from_utf8(&buffer[..length]).expect("UTF-8")), format!("{n:08}"));
    }
    // Longer than a datagram can be: counted, and the next one goes.
    let long = Record { summary: "x".repeat(1 << 17), ..record(50) };
    store.push(long);
    store.push(record(51));
    let length = udp.recv(&mut buffer).expect("a datagram");
    assert_eq!(from_syslog(std::str::from_utf8(&buffer[..length]).expect("UTF-8")), "00000051");
    wait("counted", || to_udp.report().exporters[0].refused == 1);
    to_unix.stop();
}

#[test]
fn a_receiver_that_is_not_there_is_an_error_until_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let store = Arc::new(Store::new(100));
    let exporters = exporter_to(&store, &format!("unix://{}", path.display()));
    store.push(record(0));
    wait("an error", || exporters.errors() == ["exporter a: No such file or directory (os error 2)"]);
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut buffer = vec![0; 1 << 16];
    let length = socket.recv(&mut buffer).expect("a datagram");
    assert_eq!(from_syslog(std::str::from_utf8(&buffer[..length]).expect("UTF-8")), "00000000");
    wait("no error", || exporters.errors().is_empty());
}
