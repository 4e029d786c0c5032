use super::*;
use std::collections::BTreeMap;
use std::io::BufRead as _;

fn options(folder: &Path, max_bytes: u64, max_backups: usize, compress: bool) -> FileOptions {
    FileOptions { path: folder.join("flows.log"), max_bytes, max_backups, compress }
}

/// Lines `from..to` of a fixed width.
fn lines(range: std::ops::Range<u32>) -> Lines {
    let texts: Vec<String> = range.map(|n| format!("line {n:08}")).collect();
    Lines::of(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Bytes of such a line: two quotes, a newline.
const WIDTH: u64 = 16;

fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("readable");
    if path.extension().is_some_and(|ext| ext == "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("gzip");
        return text;
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Every line of every file with how often it is there; no file may end within a line.
pub(in crate::export) fn all_lines(folder: &Path) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let text = text(&entry.path());
        assert!(text.is_empty() || text.ends_with('\n'), "{:?} ends within a line", entry.path());
        for line in text.as_bytes().lines() {
            *seen.entry(line.expect("UTF-8")).or_default() += 1;
        }
    }
    seen
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[test]
fn rotates_by_size_and_keeps_so_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = RotatingFile::new(options(folder.path(), 10 * WIDTH, 3, false));
    let mut batch = lines(0..35);
    file.write(&mut batch).expect("room");
    assert_eq!(batch.left(), 0);
    let seen = all_lines(folder.path());
    assert_eq!((files(folder.path()).len(), seen.len()), (4, 35), "{:?}", files(folder.path()));
    assert!(seen.values().all(|n| *n == 1));
    file.write(&mut lines(35..65)).expect("room");
    let seen = all_lines(folder.path());
    assert_eq!(files(folder.path()).len(), 4, "three backups and the file");
    assert_eq!(seen.keys().next().map(String::as_str), Some("\"line 00000030\""), "the oldest went");
    assert_eq!(seen.len(), 35);
    let mode = std::fs::metadata(folder.path().join("flows.log")).expect("there").mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_line_longer_than_a_file_gets_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = RotatingFile::new(options(folder.path(), 20, 9, false));
    let long = "x".repeat(100);
    file.write(&mut Lines::of(&["a", &long, "b"])).expect("room");
    assert_eq!(files(folder.path()).len(), 3);
    assert_eq!(all_lines(folder.path()).len(), 3);
}

#[test]
fn backups_are_compressed_beside_the_writing() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("flows-other.log"), "mine\n").expect("write");
    std::fs::write(folder.path().join("flows-20200101T000000.000000000Z.log.gz.part"), "junk")
        .expect("write");
    std::fs::write(folder.path().join("flows-20200101T000000.000000000Z.log"), "\"left behind\"\n")
        .expect("write");
    let mut file = RotatingFile::new(options(folder.path(), 100 * WIDTH, 50, true));
    for n in 0..20 {
        file.write(&mut lines(n * 100..(n + 1) * 100)).expect("room");
    }
    let begun = Instant::now();
    let pending = || {
        let names = files(folder.path());
        names
            .iter()
            .any(|name| !name.ends_with(".gz") && !["flows.log", "flows-other.log"].contains(&name.as_str()))
    };
    while pending() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", files(folder.path()));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(files(folder.path()).iter().filter(|name| name.ends_with(".gz")).count(), 20);
    let seen = all_lines(folder.path());
    assert_eq!(seen.len(), 2000 + 2, "{:?}", files(folder.path()));
    assert!(seen.values().all(|n| *n == 1));
}

#[test]
fn half_a_line_of_a_dead_writer_is_cut_off() {
    for (before, after) in [("a\nb\nhalf", "a\nb\n"), ("half", ""), ("a\n", "a\n"), ("", "")] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("flows.log");
        std::fs::write(&path, before).expect("write");
        let mut file = RotatingFile::new(options(folder.path(), 1000, 1, false));
        file.write(&mut Lines::of(&["x"])).expect("room");
        assert_eq!(text(&path), format!("{after}\"x\"\n"), "{before:?}");
    }
}

#[test]
fn a_file_that_was_moved_away_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flows.log");
    let mut file = RotatingFile::new(options(folder.path(), 1000, 1, false));
    file.write(&mut Lines::of(&["a"])).expect("room");
    std::fs::rename(&path, folder.path().join("moved")).expect("rename");
    file.looked -= LOOK;
    file.tick();
    file.write(&mut Lines::of(&["b"])).expect("room");
    assert_eq!((text(&path), text(&folder.path().join("moved"))), ("\"b\"\n".into(), "\"a\"\n".into()));
}

#[test]
fn a_device_that_is_full_takes_nothing_and_says_so() {
    let mut file = RotatingFile::new(FileOptions {
        path: "/dev/full".into(),
        max_bytes: 100,
        max_backups: 1,
        compress: false,
    });
    let mut batch = lines(0..10);
    let error = file.write(&mut batch).expect_err("full");
    assert_eq!((error.kind(), batch.left()), (io::ErrorKind::StorageFull, 10));
}

/// A file system of a few pages. `None` where this process may not mount.
struct Small(tempfile::TempDir);

impl Small {
    fn new(bytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let data = format!("size={bytes}");
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), folder.path(), Some("tmpfs"), flags, Some(data.as_str())).ok()?;
        let _ = none;
        Some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_leaves_no_half_line_and_room_brings_it_back() {
    let Some(disk) = Small::new(16 << 10) else {
        // Mounting takes a privilege that not every builder has; /dev/full above needs none.
        assert!(std::env::var_os("SLUICE_REQUIRE_PRIVILEGED").is_none(), "mounting must work here");
        return;
    };
    let folder = disk.0.path();
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 8 << 10]).expect("room");
    let mut file = RotatingFile::new(options(folder, 1 << 20, 3, false));
    let mut batch = lines(0..800);
    let error = file.write(&mut batch).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let left = batch.left();
    // Pages are larger than lines and no multiple of them: a part of a line fitted.
    let written = text(&folder.join("flows.log"));
    assert_eq!(written.len() as u64, (800 - left as u64) * WIDTH, "cut to whole lines");
    assert!((1..800).contains(&left), "{left}");
    file.write(&mut batch).expect_err("still full");
    std::fs::remove_file(&ballast).expect("remove");
    file.write(&mut batch).expect("room again");
    let seen = text(&folder.join("flows.log"));
    let expected: String = (0..800).map(|n| format!("\"line {n:08}\"\n")).collect();
    assert_eq!(seen, expected);
}
