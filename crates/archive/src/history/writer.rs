//! The thread that takes records from the flow log to the disk.
//!
//! What came in is committed twice a second, as small blocks; once there are enough rows for a full block, it takes
//! their place in one commit. So little is lost in a crash and the store still consists of large blocks.

use super::block::{self, Summary};
use super::row::{self, Row, Texts};
use super::segment::{self, Commit, Ends, SegmentError, Writable};
use super::store::{Folder, seconds};
use flowlog::Record;
use flowlog::store::Batch;
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Shapes in a file at most: bounds what a reader of it holds.
const MAX_SHAPES: u32 = 16_384;

/// Rows that wait for a disk that refuses them; more are lost.
const MAX_WAITING: usize = 4 * block::ROWS;

/// Takes records and writes blocks.
pub(super) struct Writer {
    folder: Arc<Folder>,
    run: u64,
    file: Option<File>,
    rows: Vec<Row>,
    /// Rows that are on the disk, in small blocks.
    flushed: usize,
    /// Small blocks of these rows.
    small: std::ops::Range<u64>,
    texts: Texts,
    /// When the first row came that is not on the disk.
    waiting_since: Option<Instant>,
    pub(super) lost: u64,
    pub(super) written: u64,
    json: Vec<u8>,
}

/// The file that is written.
struct File {
    path: PathBuf,
    /// Absent after a failed write: the library takes no more until the file is opened again.
    writable: Option<Writable>,
    created: u64,
    next_block: u64,
    /// Shapes by two hashes: 128 bits with seeds that nobody knows.
    known: HashMap<(u64, u64), u32, foldhash::fast::RandomState>,
    seeds: (foldhash::quality::RandomState, foldhash::quality::RandomState),
    next_shape: u32,
    /// Shapes that are not on the disk.
    fresh: Vec<String>,
}

impl Writer {
    pub(super) fn new(folder: Arc<Folder>, run: u64) -> Self {
        Self {
            folder,
            run,
            file: None,
            rows: Vec::with_capacity(block::ROWS),
            flushed: 0,
            small: 0..0,
            texts: Texts::default(),
            waiting_since: None,
            lost: 0,
            written: 0,
            json: Vec::new(),
        }
    }

    /// Opens the store, or the file again that refused a write.
    pub(super) fn open(&mut self) -> Result<(), SegmentError> {
        let Some(file) = &mut self.file else {
            let begun = self.folder.begin(SystemTime::now())?;
            self.adopt(begun);
            return Ok(());
        };
        if file.writable.is_some() {
            return Ok(());
        }
        let (writable, ends) = self.folder.begin(SystemTime::now())?;
        let fresh = u32::try_from(file.fresh.len()).unwrap_or(0);
        if writable.path == file.path
            && ends.next_shape + fresh == file.next_shape
            && ends.next_block == file.next_block
        {
            file.writable = Some(writable);
            return Ok(());
        }
        // Another file, or the commit went through though it said otherwise: what waits goes by other numbers.
        self.lost += (self.rows.len() - self.flushed) as u64;
        self.adopt((writable, ends));
        Ok(())
    }

    fn adopt(&mut self, (writable, ends): (Writable, Ends)) {
        self.file = Some(File {
            path: writable.path.clone(),
            writable: Some(writable),
            created: ends.created,
            next_block: ends.next_block,
            known: HashMap::default(),
            seeds: Default::default(),
            next_shape: ends.next_shape,
            fresh: Vec::new(),
        });
        self.clear();
    }

    /// Takes records in; `first` is the number of the first.
    pub(super) fn take(&mut self, batch: &Batch, first: u64) {
        self.lost += batch.lost;
        for (seq, record) in (first..).zip(&batch.records) {
            self.add(seq, record);
        }
    }

    fn add(&mut self, seq: u64, record: &Record) {
        if self.rows.len() - self.flushed >= MAX_WAITING {
            self.lost += 1;
            return;
        }
        let Some(file) = &mut self.file else {
            self.lost += 1;
            return;
        };
        let mut shape = record.clone();
        let mut row = row::split(&mut shape, seq, &mut self.texts);
        self.json.clear();
        // Memory does not fail, and every key of a record is a string.
        let _ = serde_json::to_writer(&mut self.json, &shape);
        row.shape = file.shape(&self.json);
        self.rows.push(row);
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// Whether it is time to write.
    pub(super) fn is_due(&self) -> bool {
        let waited = |since: Instant| since.elapsed() >= self.folder.settings.flush_interval;
        self.rows.len() >= block::ROWS || self.waiting_since.is_some_and(waited)
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> Result<(), SegmentError> {
        self.open()?;
        let Some(file) = &mut self.file else { return Ok(()) };
        let Some(writable) = file.writable.as_ref().filter(|_| self.rows.len() > self.flushed) else {
            return Ok(());
        };
        let full = self.rows.len() >= block::ROWS;
        let from = if full { 0 } else { self.flushed };
        let rows = self.rows.get(from..).unwrap_or_default();
        let (block, replaces) =
            if full { (self.small.start, self.small.clone()) } else { (file.next_block, 0..0) };
        let packed = block::encode(rows, &self.texts);
        let first_fresh = file.next_shape - u32::try_from(file.fresh.len()).unwrap_or(0);
        writable.commit(&Commit {
            replaces,
            block,
            summary: &Summary::of(self.run, rows),
            rows: &packed,
            shapes: (!file.fresh.is_empty()).then_some((first_fresh, &file.fresh)),
        })?;
        self.written += (self.rows.len() - self.flushed) as u64;
        self.waiting_since = None;
        file.fresh.clear();
        file.next_block = file.next_block.max(block + 1);
        self.flushed = self.rows.len();
        self.small.end = file.next_block;
        if full {
            self.clear();
        }
        Ok(())
    }

    /// Forgets rows that are on the disk, or never will be.
    fn clear(&mut self) {
        self.rows.clear();
        self.texts.clear();
        self.flushed = 0;
        self.waiting_since = None;
        let next = self.file.as_ref().map_or(0, |file| file.next_block);
        self.small = next..next;
    }

    /// After a failure: what waits stays, unless the file that it belongs to is gone.
    pub(super) fn failed(&mut self, error: &SegmentError) {
        self.folder.end();
        if let SegmentError::Damaged = error {
            // Rows point to shapes of that file.
            self.file = None;
            self.lost += (self.rows.len() - self.flushed) as u64;
            self.clear();
        } else if let Some(file) = &mut self.file {
            file.writable = None;
        }
        // It waited its time again.
        self.waiting_since = (self.rows.len() > self.flushed).then(Instant::now);
    }

    /// Begins another file where this one is full or old, and removes what is too much or too old.
    pub(super) fn maintain(&mut self, now: SystemTime) -> Result<(), SegmentError> {
        let is_old = |file: &File| self.folder.is_old(file.created, seconds(now)) && file.next_block > 0;
        if self.is_full() || self.file.as_ref().is_some_and(is_old) {
            self.flush()?;
            self.file = None;
            let begun = self.folder.next(now)?;
            self.adopt(begun);
        }
        self.folder.retain(now);
        Ok(())
    }

    /// Whether the file has its share of the store, or as many shapes as a file may have.
    pub(super) fn is_full(&self) -> bool {
        self.file.as_ref().filter(|file| file.writable.is_some()).is_some_and(|file| {
            file.next_shape >= MAX_SHAPES || segment::size(&file.path) >= self.folder.settings.file_bytes()
        })
    }

    /// The end: what waits is written.
    pub(super) fn close(mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "the last records are not in the history");
        }
        self.file = None;
        self.folder.end();
    }
}

impl File {
    /// The number of a shape, a new one if need be.
    fn shape(&mut self, json: &[u8]) -> u32 {
        let key = (self.seeds.0.hash_one(json), self.seeds.1.hash_one(json));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let number = self.next_shape;
        self.next_shape += 1;
        self.known.insert(key, number);
        // serde_json writes UTF-8.
        self.fresh.push(String::from_utf8_lossy(json).into_owned());
        number
    }
}
