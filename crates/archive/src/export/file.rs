//! A file of lines that is rotated by size.
//!
//! The file always ends with a whole line: where the disk takes only a part of one, that part is cut off again before
//! anything else is written, and a process that died in the middle is cleaned up after when the file is opened. A
//! rotated file gets the time into its name (`flows.log` → `flows-20261121T102030.123456789Z.log`) and is compressed
//! by a thread of its own. The rotating crates that there are compress on the write path and leave half lines on a
//! full disk, so this is ours.

mod backups;
#[cfg(test)]
pub(super) mod tests;

use super::line::Lines;
use super::target::{Stream, Target};
use backups::Backups;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Readable by the owner only: flows say who talks to whom about what.
const MODE: u32 = 0o600;

/// How often to look whether somebody moved the file away.
const LOOK: Duration = Duration::from_secs(1);

/// Longest end of a line that is looked for when a file is opened.
const MAX_LINE: u64 = 1 << 20;

/// How a file is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileOptions {
    /// The file.
    pub path: PathBuf,
    /// Bytes at which it is rotated.
    pub max_bytes: u64,
    /// Rotated files that are kept.
    pub max_backups: usize,
    /// Whether those are compressed.
    pub compress: bool,
}

/// The file.
#[derive(Debug)]
pub struct RotatingFile {
    options: FileOptions,
    open: Option<Open>,
    backups: Backups,
    looked: Instant,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Bytes of whole lines.
    size: u64,
    /// Whether there is more than that: half a line that could not be cut off yet.
    torn: bool,
    /// Device and inode.
    id: (u64, u64),
    /// A device or a pipe: only files are cut and rotated.
    stream: Option<Stream>,
}

impl RotatingFile {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(options: FileOptions) -> Self {
        let backups = Backups::new(&options);
        Self { options, open: None, backups, looked: Instant::now() }
    }

    fn open(&mut self) -> io::Result<&mut Open> {
        match self.open {
            Some(ref mut open) => Ok(open),
            None => {
                let open = Open::new(&self.options.path)?;
                if open.stream.is_none() {
                    self.backups.settle();
                }
                Ok(self.open.insert(open))
            }
        }
    }

    /// Moves the file out of the way and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.backups.take(&self.options.path)?;
        self.open = None;
        self.open()?;
        Ok(())
    }
}

impl Target for RotatingFile {
    fn write(&mut self, lines: &mut Lines) -> io::Result<u64> {
        while lines.left() > 0 {
            let max = self.options.max_bytes;
            let open = self.open()?;
            if let Some(stream) = &mut open.stream {
                stream.write(&mut open.file, lines)?;
                break;
            }
            let room = usize::try_from(max.saturating_sub(open.size)).unwrap_or(usize::MAX);
            match lines.whole(room) {
                0 if open.size > 0 => self.rotate()?,
                // A line longer than a file may be gets a file of its own.
                0 => {
                    let first = lines.first().map_or(0, |line| line.len() + 1);
                    open.append(lines, first)?;
                }
                bytes => open.append(lines, bytes)?,
            }
        }
        Ok(0)
    }

    fn tick(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let Some(open) = &mut self.open else { return };
        let now = std::fs::metadata(&self.options.path).ok();
        if now.as_ref().map(|meta| (meta.dev(), meta.ino())) != Some(open.id) {
            self.open = None;
        } else if let Some(meta) =
            now.filter(|meta| open.stream.is_none() && !open.torn && meta.len() < open.size)
        {
            // Somebody emptied it.
            open.size = meta.len();
        }
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        }
        // Not waiting for somebody to read a named pipe.
        let special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file());
        let flags = nonblocking(special);
        let file = OpenOptions::new()
            .read(!special)
            .append(true)
            .create(!special)
            .mode(MODE)
            .custom_flags(flags)
            .open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() || meta.file_type().is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file that lines can be added to"));
        }
        let mut open = Self {
            file,
            size: meta.len(),
            torn: false,
            id: (meta.dev(), meta.ino()),
            stream: (!meta.is_file()).then(Stream::default),
        };
        if open.stream.is_none() {
            open.cut_half_line()?;
        }
        Ok(open)
    }

    /// Removes what a writer that died left behind the last newline.
    fn cut_half_line(&mut self) -> io::Result<()> {
        let from = self.size.saturating_sub(MAX_LINE);
        self.file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        (&mut self.file).take(MAX_LINE).read_to_end(&mut end)?;
        let whole = match end.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => from + at as u64 + 1,
            None if from == 0 => 0,
            None => return Ok(()),
        };
        if whole < self.size {
            self.file.set_len(whole)?;
            self.size = whole;
        }
        Ok(())
    }

    /// Writes the first `bytes` of what is left, which are whole lines.
    fn append(&mut self, lines: &mut Lines, bytes: usize) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.size)?;
            self.torn = false;
        }
        let text = lines.rest().get(..bytes).unwrap_or_default();
        let mut done = 0;
        let outcome = loop {
            let Some(rest) = text.get(done..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            match self.file.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let before = lines.start();
        lines.advance(done);
        let whole = lines.start() - before;
        self.size += whole as u64;
        if whole < done {
            // Fails only where the disk does; then it is tried again before the next line.
            self.torn = self.file.set_len(self.size).is_err();
        }
        outcome
    }
}

/// `O_NONBLOCK` where opening or writing might wait for another process.
const fn nonblocking(special: bool) -> i32 {
    /// `asm-generic/fcntl.h`, the same on x86-64 and arm64.
    const O_NONBLOCK: i32 = 0o4000;
    if special { O_NONBLOCK } else { 0 }
}
