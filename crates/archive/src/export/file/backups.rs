//! Rotated files: their names, how many stay, and the thread that compresses them.

use super::{FileOptions, MODE};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// Compressed files end so.
const GZ: &str = ".gz";

/// While it is being compressed.
const PART: &str = ".gz.part";

/// Length of the time in a name: `20261121T102030.123456789Z`.
const STAMP: usize = 26;

/// Keeps the backups of one file.
#[derive(Debug)]
pub(super) struct Backups {
    folder: PathBuf,
    /// Name without extension, and the extension with its dot.
    stem: String,
    extension: String,
    max: usize,
    compress: bool,
    /// Files for the compressing thread, once there is one; it ends with this.
    queue: Option<mpsc::Sender<PathBuf>>,
}

impl Backups {
    pub(super) fn new(options: &FileOptions) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
        let extension = text(options.path.extension()).map_or(String::new(), |ext| format!(".{ext}"));
        Self {
            folder: options.path.parent().unwrap_or(Path::new("/")).to_owned(),
            stem: text(options.path.file_stem()).unwrap_or_default(),
            extension,
            max: options.max_backups.max(1),
            compress: options.compress,
            queue: None,
        }
    }

    /// Makes a backup of `path`.
    pub(super) fn take(&mut self, path: &Path) -> io::Result<()> {
        let mut at = jiff::Timestamp::now();
        let name = loop {
            let name = format!("{}-{}{}", self.stem, stamp(at), self.extension);
            let taken = |name: &str| self.folder.join(name).symlink_metadata().is_ok();
            if !taken(&name) && !taken(&format!("{name}{GZ}")) {
                break name;
            }
            at = at.checked_add(jiff::SignedDuration::from_nanos(1)).map_err(io::Error::other)?;
        };
        let backup = self.folder.join(name);
        std::fs::rename(path, &backup)?;
        if self.compress {
            self.enqueue(backup);
        }
        self.prune();
        Ok(())
    }

    /// Puts right what an earlier process left: half-made archives go, and what was not compressed is.
    pub(super) fn settle(&mut self) {
        for name in self.names() {
            let path = self.folder.join(&name);
            if name.ends_with(PART) {
                let _ = std::fs::remove_file(path);
            } else if self.compress && !name.ends_with(GZ) {
                self.enqueue(path);
            }
        }
        self.prune();
    }

    /// Removes the oldest beyond those that are kept. One that cannot be removed is tried again next time.
    fn prune(&self) {
        let mut names: Vec<String> = self.names().into_iter().filter(|name| !name.ends_with(PART)).collect();
        names.sort_unstable();
        // While one is being compressed, there are two of it for a moment.
        names.dedup_by(|later, earlier| later.strip_suffix(GZ) == Some(earlier.as_str()));
        let surplus = names.len().saturating_sub(self.max);
        for name in names.into_iter().take(surplus) {
            let _ = std::fs::remove_file(self.folder.join(&name));
            let _ = std::fs::remove_file(self.folder.join(format!("{name}{GZ}")));
        }
    }

    /// Names in the folder that are backups of this file; nothing else is ever touched.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| self.is_backup(name)).collect()
    }

    fn is_backup(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&self.stem).and_then(|rest| rest.strip_prefix('-')) else {
            return false;
        };
        let Some((stamp, end)) = rest.split_at_checked(STAMP) else { return false };
        let digits = |at: usize, b: u8| match at {
            8 => b == b'T',
            15 => b == b'.',
            25 => b == b'Z',
            _ => b.is_ascii_digit(),
        };
        let end = end.strip_prefix(&self.extension);
        stamp.bytes().enumerate().all(|(at, b)| digits(at, b))
            && end.is_some_and(|end| end.is_empty() || end == GZ || end == PART)
    }

    /// Hands a file to the compressing thread; where there can be none, it stays as it is.
    fn enqueue(&mut self, path: PathBuf) {
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => {
                let (queue, work) = mpsc::channel::<PathBuf>();
                let thread = std::thread::Builder::new().name("export-gzip".into());
                let run = move || work.into_iter().for_each(|path| compress(&path));
                if let Err(error) = thread.spawn(run) {
                    tracing::warn!(%error, "rotated files are not compressed");
                    return;
                }
                queue
            }
        };
        if queue.send(path).is_ok() {
            self.queue = Some(queue);
        }
    }
}

fn stamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S.%9fZ").to_string()
}

/// Compresses a file beside itself. What fails leaves the file as it is; a new start tries again.
fn compress(path: &Path) {
    let with = |end: &str| {
        let mut name = OsString::from(path);
        name.push(end);
        PathBuf::from(name)
    };
    let (part, done) = (with(PART), with(GZ));
    let outcome = pack(path, &part).and_then(|()| std::fs::rename(&part, &done));
    match outcome {
        // Pruned meanwhile, the archive with it or not: neither is to stay.
        Ok(()) if path.symlink_metadata().is_err() => drop(std::fs::remove_file(&done)),
        Ok(()) => drop(std::fs::remove_file(path)),
        Err(error) => {
            let _ = std::fs::remove_file(&part);
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, file = %path.display(), "a rotated file is not compressed");
            }
        }
    }
}

fn pack(from: &Path, to: &Path) -> io::Result<()> {
    let mut input = File::open(from)?;
    let output = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(to)?;
    let mut encoder = flate2::write::GzEncoder::new(io::BufWriter::new(output), flate2::Compression::fast());
    io::copy(&mut input, &mut encoder)?;
    let buffered = encoder.finish()?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
