//! The folder: which files there are, which one is written, and which have to go.

use super::Settings;
use super::segment::{self, Ends, Reader, SegmentError, Writable};
use redb::Database;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

/// Files that the store is cut into: what retention removes at a time.
pub(super) const FILES: u64 = 16;

/// Damaged files that are kept for whoever wants to look.
const KEPT_DAMAGED: usize = 2;

/// Files of one store.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) settings: Settings,
    /// Held while files are opened and removed.
    inner: Mutex<Inner>,
    /// What is wrong; whoever asks does not wait for files.
    error: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Files that are read only, oldest first.
    sealed: Vec<Sealed>,
    /// The file that is written, and its number.
    active: Option<(u64, Writable)>,
    /// Damaged files so far.
    damaged: u64,
}

/// A file that is read only.
#[derive(Clone, Debug)]
struct Sealed {
    number: u64,
    path: PathBuf,
    /// While somebody still reads it from when it was written.
    writable: Weak<Database>,
}

impl Folder {
    /// For reading alone.
    pub(super) fn open(settings: Settings) -> std::io::Result<Self> {
        let sealed = segment::list(&settings.dir)?.into_iter();
        let sealed = sealed.map(|(number, path)| Sealed { number, path, writable: Weak::new() }).collect();
        Ok(Self {
            settings,
            inner: Mutex::new(Inner { sealed, ..Inner::default() }),
            error: Mutex::default(),
        })
    }

    /// The file to write to: the newest if it takes more, else a new one. A damaged one is moved aside first.
    pub(super) fn begin(&self, now: SystemTime) -> Result<(Writable, Ends), SegmentError> {
        let mut inner = self.lock();
        inner.seal();
        let seconds = seconds(now);
        if let Some(Sealed { number, path, .. }) = inner.sealed.last().cloned()
            && segment::size(&path) < self.settings.file_bytes()
        {
            match Writable::open(&path, seconds) {
                Ok((writable, ends)) if !self.is_old(ends.created, seconds) => {
                    inner.sealed.pop();
                    inner.active = Some((number, writable.clone()));
                    return Ok((writable, ends));
                }
                Ok(_) => {}
                Err(SegmentError::Damaged) => inner.move_aside(number, &path),
                Err(error) => return Err(error),
            }
        }
        self.create(&mut inner, seconds)
    }

    /// A new file, whatever there is.
    pub(super) fn next(&self, now: SystemTime) -> Result<(Writable, Ends), SegmentError> {
        let mut inner = self.lock();
        inner.seal();
        self.create(&mut inner, seconds(now))
    }

    fn create(&self, inner: &mut Inner, seconds: u64) -> Result<(Writable, Ends), SegmentError> {
        let number = inner.sealed.last().map_or(0, |last| last.number + 1);
        let path = self.settings.dir.join(segment::name(number));
        let (writable, ends) = Writable::open(&path, seconds)?;
        inner.active = Some((number, writable.clone()));
        Ok((writable, ends))
    }

    /// Lets go of the file that is written.
    pub(super) fn end(&self) {
        self.lock().seal();
    }

    /// Whether a file that was begun then is to be followed by another.
    pub(super) fn is_old(&self, created: u64, now: u64) -> bool {
        now.saturating_sub(created) >= (self.settings.max_age.as_secs() / FILES).max(1)
    }

    /// Removes files beyond the age, and the oldest beyond the size. The one that is written stays.
    pub(super) fn retain(&self, now: SystemTime) {
        let mut inner = self.lock();
        let active = inner.active.as_ref().map_or(0, |(_, writable)| segment::size(&writable.path));
        let mut total: u64 =
            active + inner.sealed.iter().map(|sealed| segment::size(&sealed.path)).sum::<u64>();
        let too_old = |path: &Path| {
            let changed = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
            let age = changed.and_then(|changed| now.duration_since(changed).ok());
            age.unwrap_or(Duration::ZERO) > self.settings.max_age
        };
        let mut removed = 0;
        for Sealed { path, .. } in &inner.sealed {
            if total <= self.settings.max_bytes && !too_old(path) {
                break;
            }
            total -= segment::size(path).min(total);
            let _ = std::fs::remove_file(path);
            removed += 1;
        }
        inner.sealed.drain(..removed);
    }

    /// Numbers of the files, oldest first.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let inner = self.lock();
        let active = inner.active.iter().map(|(number, _)| *number);
        inner.sealed.iter().map(|sealed| sealed.number).chain(active).collect()
    }

    /// Opens a file; `None` for one that is gone meanwhile, or damaged, which is noted.
    pub(super) fn read(&self, number: u64) -> Result<Option<Reader>, SegmentError> {
        let inner = self.lock();
        let active = inner.active.as_ref().filter(|(active, _)| *active == number);
        let opened = match active {
            Some((_, writable)) => writable.reader(),
            None => {
                let Some(found) = inner.sealed.iter().find(|sealed| sealed.number == number).cloned() else {
                    return Ok(None);
                };
                drop(inner);
                let opened = match found.writable.upgrade() {
                    Some(db) => Reader::beside(db),
                    None => Reader::open(&found.path),
                };
                if opened.is_err() && !found.path.exists() {
                    return Ok(None);
                }
                opened
            }
        };
        match opened {
            Err(SegmentError::Damaged) => {
                self.damaged(number);
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    /// Notes that a file is not what was written, and moves it aside unless it is being written: the writer finds out
    /// by itself.
    pub(super) fn damaged(&self, number: u64) {
        let mut inner = self.lock();
        if let Some(at) = inner.sealed.iter().position(|sealed| sealed.number == number) {
            let Sealed { number, path, .. } = inner.sealed.remove(at);
            inner.move_aside(number, &path);
        } else {
            drop(inner);
            self.set_error(Some(format!("{}: damaged", segment::name(number))));
        }
    }

    /// Says or takes back what is wrong; answers whether that is new.
    pub(super) fn set_error(&self, error: Option<String>) -> bool {
        let mut current = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let new = *current != error;
        *current = error;
        new
    }

    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Damaged files so far, files, bytes.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let inner = self.lock();
        let paths = inner.sealed.iter().map(|sealed| sealed.path.as_path());
        let paths: Vec<&Path> = paths.chain(inner.active.iter().map(|(_, w)| w.path.as_path())).collect();
        (inner.damaged, paths.len() as u64, paths.iter().map(|path| segment::size(path)).sum())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The file that is written is written no more.
    fn seal(&mut self) {
        if let Some((number, writable)) = self.active.take() {
            let weak = writable.weak();
            self.sealed.push(Sealed { number, path: writable.path, writable: weak });
        }
    }

    /// Renames a damaged file; a few are kept.
    fn move_aside(&mut self, number: u64, path: &Path) {
        self.damaged += 1;
        self.sealed.retain(|sealed| sealed.number != number);
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S");
        let aside = path.with_extension(format!("damaged-{stamp}"));
        match std::fs::rename(path, &aside) {
            Ok(()) => {
                tracing::error!(file = %aside.display(), "a damaged file of the history was moved aside")
            }
            Err(error) => tracing::error!(%error, file = %path.display(), "a damaged file of the history"),
        }
        let Some(folder) = path.parent() else { return };
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let is_aside = |path: &PathBuf| {
            path.extension().is_some_and(|ext| ext.to_string_lossy().starts_with("damaged-"))
        };
        let mut kept: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_aside).collect();
        kept.sort();
        for old in kept.iter().rev().skip(KEPT_DAMAGED) {
            let _ = std::fs::remove_file(old);
        }
    }
}

/// Since 1970.
pub(super) fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
