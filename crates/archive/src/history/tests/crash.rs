//! A process that is killed at any moment loses less than a second's worth, and nothing that was stored.

use super::*;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

/// The folder, for the process that is killed.
const CHILD: &str = "SLUICE_ARCHIVE_CRASH_FOLDER";

/// Rounds of writing and killing.
const ROUNDS: u64 = 12;

/// Numbers between the first records of two rounds.
const ROUND: u64 = 1_000_000;

/// Records between two of the child's words.
const STEP: u64 = 20;

/// The child's pause behind each word. In every other round blocks fill before their time comes.
fn pause(begin: u64) -> Duration {
    Duration::from_millis(if (begin / ROUND).is_multiple_of(2) { 4 } else { 20 })
}

/// Words of the child in a second of its own, at most, which is twice the time after which it stores. The parent's clock
/// does not serve: it goes on while the machine, and the child with it, stands still.
fn a_second(begin: u64) -> usize {
    (1000 / pause(begin).as_millis()) as usize
}

/// Writes until it is killed, and says which record it has given to the flow log. Does nothing unless it is asked to.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let begin: u64 = std::env::var("SLUICE_ARCHIVE_CRASH_BEGIN").expect("set").parse().expect("a number");
    let log = Arc::new(Store::new(4000));
    let settings = Settings { flush_interval: Duration::from_millis(500), ..settings(Path::new(&folder)) };
    let _history = History::start(settings, Arc::clone(&log)).expect("started");
    let mut out = std::io::stderr();
    for n in begin.. {
        log.push(record(n));
        if n % STEP == STEP - 1 {
            writeln!(out, "pushed {n}").expect("the parent reads");
            std::thread::sleep(pause(begin));
        }
    }
}

#[test]
fn killed_at_random_moments_nothing_stored_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kept: Vec<(u64, u64)> = Vec::new();
    let mut random = 0x9e37_79b9_u64;
    for round in 0..ROUNDS {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(round | 1);
        let life = Duration::from_millis(100 + (random >> 33) % 1600);
        let begin = round * ROUND;
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "history::tests::crash::child", "--nocapture", "--test-threads=1"])
            .env(CHILD, folder.path())
            .env("SLUICE_ARCHIVE_CRASH_BEGIN", begin.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the child");
        let pipe = child.stderr.take().expect("a pipe");
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(pipe).lines().map_while(Result::ok);
            lines.filter_map(|line| line.strip_prefix("pushed ")?.parse().ok()).collect::<Vec<u64>>()
        });
        std::thread::sleep(life);
        child.kill().expect("killed");
        child.wait().expect("gone");
        let said = reader.join().expect("the reader");
        let pushed = said.last().map_or(begin, |n| n + 1);
        let safe = said.iter().nth_back(a_second(begin)).map_or(begin, |n| n + 1);

        // Every round goes on from the files that the killed one left, some by writing, some by reading.
        let found = all(&History::open(folder.path()).expect("there"));
        let of_round = found.iter().filter(|r| number(r) >= begin).count() as u64;
        kept.push((begin, begin + of_round));
        assert!(
            begin + of_round >= safe,
            "round {round}: {of_round} of {}, {} for sure",
            pushed - begin,
            safe - begin
        );
        let whole = kept.iter().flat_map(|(from, to)| *from..*to).map(record);
        assert!(found.into_iter().eq(whole), "round {round}: not what was written: {kept:?}");
    }
    assert!(
        kept.iter().any(|(from, to)| to - from > 1000),
        "too little was written to say anything: {kept:?}"
    );
    let damaged = std::fs::read_dir(folder.path()).expect("a folder").flatten();
    let damaged = damaged.filter(|entry| entry.file_name().to_string_lossy().contains("damaged")).count();
    assert_eq!(damaged, 0);
}

fn number(record: &Record) -> u64 {
    u64::from_str_radix(&record.uuid[24..], 16).expect("a number")
}
