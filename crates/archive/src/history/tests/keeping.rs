//! Size, age, damage, a full disk.

use super::*;
use std::fs;

fn begin(settings: Settings) -> (Arc<Store>, History) {
    let log = Arc::new(Store::new(4000));
    let history = History::start(settings, Arc::clone(&log)).expect("started");
    (log, history)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    segment::list(folder).expect("a folder").into_iter().map(|(_, path)| path).collect()
}

/// Records of a store are the newest so many, without a hole.
fn newest(history: &History, end: u64) -> u64 {
    let found = all(history);
    let begin = end - found.len() as u64;
    assert!(found.into_iter().eq((begin..end).map(record)), "a hole");
    begin
}

/// A record that hardly compresses.
fn fat(n: u64) -> Record {
    let mut seed = n | 1 << 40;
    let mut word = || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        format!("{seed:016x}")
    };
    Record { summary: (0..200).map(|_| word()).collect(), ..record(n) }
}

#[test]
fn the_oldest_goes_when_the_store_is_too_large() {
    let folder = tempfile::tempdir().expect("a folder");
    let max_bytes = 8 << 20;
    let (log, history) = begin(Settings { max_bytes, ..settings(folder.path()) });
    let mut end = 0;
    wait("the store is full and rolls over", || {
        (end..end + 500).for_each(|n| log.push(fat(n)));
        end += 500;
        let stored = history.sync(log.newest().number());
        std::thread::sleep(Duration::from_millis(100));
        stored >= end
            && files(folder.path())
                .first()
                .is_some_and(|path| !path.ends_with(segment::name(1)) && !path.ends_with(segment::name(0)))
    });
    let found = all(&history);
    let begin = end - found.len() as u64;
    assert!(begin > 0 && found.into_iter().eq((begin..end).map(fat)), "the newest, without a hole");
    history.stop();
    let size: u64 = files(folder.path()).iter().map(|path| segment::size(path)).sum();
    // It is looked at once a second and when a file is full; what came since may be beyond.
    assert!(size <= max_bytes + max_bytes / 2, "{size}");
    // Text that does not compress takes its own length.
    let records = (end - begin) * fat(0).summary.len() as u64;
    assert!(records >= max_bytes / 2, "{records} of {max_bytes} bytes are records, files take {size}");
    assert_eq!(history.report().lost, 0);
}

#[test]
fn what_is_too_old_goes_a_file_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { max_age: Duration::from_secs(32), ..settings(folder.path()) };
    let (log, history) = begin(settings.clone());
    fill(&log, &history, 0..100);
    // A file takes a sixteenth of the age: two seconds.
    wait("a second file", || {
        std::thread::sleep(Duration::from_millis(100));
        files(folder.path()).len() == 2
    });
    fill(&log, &history, 100..200);
    drop(history);
    let first = files(folder.path()).remove(0);
    let old = SystemTime::now() - Duration::from_secs(33);
    fs::File::open(&first).and_then(|file| file.set_modified(old)).expect("its time");
    let (_log, history) = begin(settings);
    wait("the old file is gone", || !first.exists());
    assert_eq!(newest(&history, 200), 100);
}

#[test]
fn a_damaged_file_is_moved_aside_and_the_rest_answers() {
    for newest_is_damaged in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { max_age: Duration::from_secs(16), ..settings(folder.path()) };
        let (log, history) = begin(settings.clone());
        fill(&log, &history, 0..5000);
        wait("a second file", || files(folder.path()).len() == 2);
        fill(&log, &history, 5000..9000);
        drop(history);
        let paths = files(folder.path());
        let victim = &paths[if newest_is_damaged { paths.len() - 1 } else { 0 }];
        let mut bytes = fs::read(victim).expect("readable");
        // Not only what the library checks: everything behind the header.
        bytes.iter_mut().skip(4096).step_by(3).for_each(|byte| *byte ^= 0x5a);
        fs::write(victim, &bytes).expect("write");
        let (log, history) = begin(Settings { max_age: Duration::from_secs(3600), ..settings });
        wait("the store is open", || history.sync(0) == 0 && history.report().files > 0);
        fill(&log, &history, 9000..9100);
        let found = all(&history);
        let damaged = history.report().damaged;
        assert_eq!(damaged, 1, "newest: {newest_is_damaged}");
        assert!(found.iter().any(|r| *r == record(9050)), "it is written again");
        let kept = if newest_is_damaged { 100..4000 } else { 5100..8900 };
        let kept: Vec<Record> = kept.map(record).collect();
        assert!(found.windows(kept.len()).any(|part| part == kept), "what is whole is kept: {}", found.len());
        let aside = fs::read_dir(folder.path()).expect("a folder").flatten();
        let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("damaged-")).count();
        assert_eq!(aside, 1);
    }
}

#[test]
fn files_that_are_no_store_are_damaged_not_fatal() {
    for junk in [&b""[..], b"junk", &[0; 100_000], &[0xff; 5000]] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(segment::name(0)), junk).expect("write");
        fs::write(folder.path().join("notes.txt"), "mine").expect("write");
        let (log, history) = begin(settings(folder.path()));
        fill(&log, &history, 0..100);
        assert_eq!(newest(&history, 100), 0, "{} bytes", junk.len());
        assert!(folder.path().join("notes.txt").exists());
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let log = Arc::new(Store::new(10));
    let error = History::start(settings(Path::new("/proc/none")), log).expect_err("no folder");
    assert!(error.to_string().starts_with("/proc/none: "), "{error}");
    assert!(History::open(Path::new("/proc/none")).is_err());
}

#[test]
fn another_process_has_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, history) = begin(settings(folder.path()));
    fill(&log, &history, 0..100);
    let other = History::open(folder.path()).expect("there");
    let question = Question::new(&ObserveRequest::default()).expect("valid");
    let outcome = other.query(&question, Order::OldestFirst, &mut |_| ControlFlow::Continue(()));
    assert_eq!(outcome.expect_err("locked").to_string(), "history: in use by another process");
    drop(history);
    assert_eq!(newest(&other, 100), 0);
}

#[test]
fn a_full_disk_is_told_and_room_brings_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::empty();
    if nix::mount::mount(none, folder.path(), Some("tmpfs"), flags, Some("size=6m")).is_err() {
        // Mounting takes a privilege that not every builder has.
        assert!(std::env::var_os("SLUICE_REQUIRE_PRIVILEGED").is_none(), "mounting must work here");
        return;
    }
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).expect("room");
    let (log, history) = begin(settings(folder.path()));
    let mut end = 0;
    wait("the disk is full", || {
        (end..end + 2000).for_each(|n| log.push(record(n)));
        end += 2000;
        std::thread::sleep(Duration::from_millis(30));
        !history.errors().is_empty()
    });
    assert!(history.errors()[0].contains("No space left"), "{:?}", history.errors());
    let before = all(&history).len();
    assert!(before > 0, "what was written can be read");
    fs::remove_file(&ballast).expect("remove");
    wait("it is written again", || history.errors().is_empty());
    (end..end + 50).for_each(|n| log.push(record(n)));
    wait("what comes is stored", || history.sync(log.newest().number()) >= log.newest().number());
    let found = all(&history);
    assert!(found.len() > before && found.last() == Some(&record(end + 49)), "{before} {}", found.len());
    let report = history.report();
    assert!(report.failed > 0 && report.damaged == 0, "{report:?}");
    assert_eq!(report.written, found.len() as u64, "{report:?}");
    assert_eq!(report.written + report.lost, log.total(), "each is stored or counted: {report:?}");
    drop(history);
    nix::mount::umount2(folder.path(), nix::mount::MntFlags::MNT_DETACH).expect("unmount");
}
