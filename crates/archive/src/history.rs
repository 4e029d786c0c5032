//! The history: records on disk, for questions that reach beyond memory.
//!
//! A folder of files, each a small embedded database of a share of the whole. A record is a *row* of a *block*; what it
//! has in common with others is a *shape* that they point to. Who, to whom and what became of it is all in the shape,
//! so a question about pods, labels, identities and verdicts is asked of a few thousand shapes and not of a million
//! records.
//!
//! ```text
//!   flow log ─▶ reader ─▶ rows + shapes ─▶ small blocks, twice a second ─▶ full blocks ─▶ files ─▶ retention
//! ```
//!
//! The reader is like any other: it loses what it is too slow for and counts it. A commit is on the disk as a whole or
//! not at all; a process that dies loses what came after the last one, less than a second's worth.

mod block;
mod observe;
mod query;
mod row;
mod segment;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod writer;

pub use observe::{newest, observe, read};
pub use query::{Order, Position, Question};

use crate::metric::Metric;
use flowlog::{Record, Store};
use query::{Walk, Window};
use segment::SegmentError;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use store::Folder;
use writer::Writer;

/// Longest wait for records: how soon a question that waits for the store is noticed.
const TICK: Duration = Duration::from_millis(50);

/// How often size and age are looked at.
const MAINTENANCE: Duration = Duration::from_secs(1);

/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long a question waits for the store to be written.
const PATIENCE: Duration = Duration::from_secs(2);

/// Least size of a store.
pub const MIN_BYTES: u64 = 32 << 20;

/// Least share of a file: what an empty one takes is little against it.
const MIN_FILE: u64 = 1 << 20;

/// Where, how much, how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The folder; it is made if it is not there.
    pub dir: PathBuf,
    /// Bytes on the disk, at least [`MIN_BYTES`].
    pub max_bytes: u64,
    /// Older records go, in steps of a sixteenth of this.
    pub max_age: Duration,
    /// How often what came in is committed.
    pub flush_interval: Duration,
}

impl Settings {
    /// Bytes at which a file is full.
    fn file_bytes(&self) -> u64 {
        (self.max_bytes / store::FILES).max(MIN_FILE)
    }
}

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder cannot be used.
    #[error("{}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("history: {0}")]
    File(String),
}

impl From<SegmentError> for HistoryError {
    fn from(error: SegmentError) -> Self {
        Self::File(error.to_string())
    }
}

/// A store that is written, or only read.
#[derive(Debug)]
pub struct History {
    folder: Arc<Folder>,
    shared: Arc<Shared>,
    /// `None` where it is only read, or was stopped.
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Between the writing thread and those who ask.
#[derive(Debug, Default)]
struct Shared {
    run: u64,
    stop: AtomicBool,
    /// Nothing is written any more.
    ended: AtomicBool,
    written: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
    progress: Mutex<Progress>,
    moved: Condvar,
}

/// Numbers in the flow log.
#[derive(Debug, Default)]
struct Progress {
    /// Somebody waits until the store is complete below this.
    wanted: u64,
    /// It is complete below this.
    complete: u64,
}

impl History {
    /// Writes what comes to `log` from now on, and what it holds.
    ///
    /// # Errors
    ///
    /// When the folder or the thread cannot be made. A store that cannot be written is no error here: it is tried again,
    /// and [`errors`](Self::errors) says so.
    pub fn start(settings: Settings, log: Arc<Store>) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::Folder { path: settings.dir.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.dir).map_err(failed)?;
        let folder = Arc::new(Folder::open(settings.clone()).map_err(failed)?);
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Distinct from every run before: nothing else is asked of it.
        let run = u64::try_from(started.as_nanos()).unwrap_or(0);
        let shared = Arc::new(Shared { run, ..Shared::default() });
        let writer = Writer::new(Arc::clone(&folder), run);
        let (of_thread, folder_of_thread) = (Arc::clone(&shared), Arc::clone(&folder));
        let work = move || write(writer, &log, &of_thread, &folder_of_thread);
        let thread = std::thread::Builder::new().name("history".into()).spawn(work).map_err(failed)?;
        Ok(Self { folder, shared, thread: Mutex::new(Some(thread)) })
    }

    /// For reading alone.
    ///
    /// # Errors
    ///
    /// When there is no such folder.
    pub fn open(dir: &Path) -> Result<Self, HistoryError> {
        let settings = Settings {
            dir: dir.to_owned(),
            max_bytes: u64::MAX,
            max_age: Duration::MAX,
            flush_interval: Duration::MAX,
        };
        let folder =
            Folder::open(settings).map_err(|source| HistoryError::Folder { path: dir.to_owned(), source })?;
        let shared = Shared { ended: AtomicBool::new(true), ..Shared::default() };
        Ok(Self { folder: Arc::new(folder), shared: Arc::new(shared), thread: Mutex::default() })
    }

    /// Hands matching records to `visit` until it has enough.
    ///
    /// # Errors
    ///
    /// When a file cannot be read. Damaged ones are left out and noted.
    pub fn query(
        &self,
        question: &Question,
        order: Order,
        visit: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        let window = Window { run: self.shared.run, from: 0, below: u64::MAX };
        let walk = Walk { question, window, order, from: None, stop: query::PATIENT };
        self.scan(&walk, &mut |_, record| visit(record))
    }

    fn scan(
        &self,
        walk: &Walk<'_>,
        visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        Ok(query::scan(&self.folder, walk, visit)?)
    }

    /// Waits until the store holds what the flow log had below `number`, or for as long as anybody should wait; answers
    /// below which number it is complete.
    fn sync(&self, number: u64) -> u64 {
        let mut progress = self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.ended.load(Ordering::Acquire) {
            return progress.complete;
        }
        progress.wanted = progress.wanted.max(number);
        let waiting = |progress: &mut Progress| progress.complete < number;
        let waited = self.shared.moved.wait_timeout_while(progress, PATIENCE, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.complete
    }

    fn run(&self) -> u64 {
        self.shared.run
    }

    /// What is not as it should be, for people.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let error = self.folder.error();
        error
            .map(|error| format!("history in {}: {error}", self.folder.settings.dir.display()))
            .into_iter()
            .collect()
    }

    /// Counters.
    #[must_use]
    pub fn report(&self) -> Report {
        let (damaged, files, bytes) = self.folder.counts();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Report {
            written: read(&self.shared.written),
            lost: read(&self.shared.lost),
            failed: read(&self.shared.failed),
            damaged,
            files,
            bytes,
        }
    }

    /// Ends the writing; what waits is written.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there is a bug, but no reason to have another one here.
            let _ = thread.join();
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the history says about itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Records on the disk, since the start.
    pub written: u64,
    /// Records that it was too slow for, or could not write.
    pub lost: u64,
    /// Writes that failed.
    pub failed: u64,
    /// Damaged files that were moved aside.
    pub damaged: u64,
    /// Files.
    pub files: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl Report {
    /// As metrics.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::counter("sluice_history_records_total", "Records written to the history.", self.written),
            Metric::counter(
                "sluice_history_lost_records_total",
                "Records the history was too slow for.",
                self.lost,
            ),
            Metric::counter(
                "sluice_history_failures_total",
                "Writes to the history that failed.",
                self.failed,
            ),
            Metric::counter("sluice_history_damaged_files_total", "Damaged files moved aside.", self.damaged),
            Metric::gauge("sluice_history_files", "Files of the history.", self.files),
            Metric::gauge("sluice_history_bytes", "Bytes of the history on the disk.", self.bytes),
        ]
    }
}

/// The writing thread.
fn write(mut writer: Writer, log: &Store, shared: &Shared, folder: &Folder) {
    let mut cursor = log.oldest();
    let (mut maintained, mut failed): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let stop = shared.stop.load(Ordering::Acquire);
        let resting = failed.is_some_and(|at| at.elapsed() < RETRY);
        if !resting {
            let mut step = || {
                writer.open()?;
                if maintained.is_none_or(|at| at.elapsed() >= MAINTENANCE) {
                    maintained = Some(Instant::now());
                    writer.maintain(SystemTime::now())?;
                }
                Ok(())
            };
            note(step(), &mut writer, shared, folder, &mut failed);
        }
        let batch = log.wait(&mut cursor, if stop { Duration::ZERO } else { TICK });
        let first = cursor.number() - batch.records.len() as u64;
        writer.take(&batch, first);
        let wanted = || shared.progress.lock().unwrap_or_else(PoisonError::into_inner).wanted;
        let asked = |shared: &Shared| {
            let progress = shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.wanted > progress.complete
        };
        let ended = batch.records.is_empty() && (batch.closed || stop);
        let resting = failed.is_some_and(|at| at.elapsed() < RETRY);
        if !resting && (writer.is_due() || ended || asked(shared) && cursor.number() >= wanted()) {
            let mut flushed = writer.flush();
            if flushed.is_ok() && writer.is_full() {
                flushed = writer.maintain(SystemTime::now());
            }
            if note(flushed, &mut writer, shared, folder, &mut failed) {
                let mut progress = shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.complete = cursor.number();
                drop(progress);
                shared.moved.notify_all();
            }
        }
        shared.lost.store(writer.lost, Ordering::Relaxed);
        shared.written.store(writer.written, Ordering::Relaxed);
        if ended {
            break;
        }
    }
    writer.close();
    shared.ended.store(true, Ordering::Release);
}

/// Keeps account of failures; answers whether there was none.
fn note(
    outcome: Result<(), SegmentError>,
    writer: &mut Writer,
    shared: &Shared,
    folder: &Folder,
    failed: &mut Option<Instant>,
) -> bool {
    match outcome {
        Ok(()) => {
            if failed.take().is_some() {
                folder.set_error(None);
                tracing::info!("the history is written again");
            }
            true
        }
        Err(error) => {
            shared.failed.fetch_add(1, Ordering::Relaxed);
            if folder.set_error(Some(error.to_string())) {
                tracing::error!(%error, "the history is not written");
            }
            writer.failed(&error);
            *failed = Some(Instant::now());
            false
        }
    }
}
