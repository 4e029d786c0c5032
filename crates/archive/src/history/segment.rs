//! One file of the store: a few hours or megabytes of blocks with the shapes they need, and nothing else, so that
//! retention is removing files and damage ends where a file does.
//!
//! Everything in a commit is in the file or none of it is: the library is copy-on-write with a synced commit.

use super::block::{self, Damaged, Summary};
use redb::{
    Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Version of what is in the tables.
const VERSION: u64 = 2;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// By the number of the first and part: chunks of shapes as JSON.
const SHAPES: Blobs = TableDefinition::new("shapes");
/// By block and part.
const SUMMARIES: Blobs = TableDefinition::new("summaries");
/// By block and part.
const ROWS: Blobs = TableDefinition::new("rows");

/// Bytes by a number, in parts: see [`key`].
type Blobs = TableDefinition<'static, u64, &'static [u8]>;

/// Bytes of a part. A value takes a page of its own, of a power of two; this fits one with its key. As a whole, what is
/// larger would leave up to half of its page empty.
const PART: usize = (16 << 10) - 256;

/// Bits of a key that number the part: enough for what a block can be at most.
const PART_BITS: u32 = 16;

/// Pages that a file keeps in memory.
const CACHE: usize = 4 << 20;

/// Ends of names.
const EXTENSION: &str = "redb";

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    /// Another process writes it.
    #[error("in use by another process")]
    InUse,
    /// It is not what was written.
    #[error("damaged")]
    Damaged,
    /// The system refuses.
    #[error("{0}")]
    Io(std::io::Error),
}

impl From<Damaged> for SegmentError {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl<E: Into<redb::Error>> From<E> for SegmentError
where
    E: std::error::Error,
{
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error)
                if error.kind() != std::io::ErrorKind::InvalidData
                    && error.kind() != std::io::ErrorKind::UnexpectedEof =>
            {
                Self::Io(error)
            }
            redb::Error::PreviousIo => Self::Io(std::io::Error::other("an earlier write failed")),
            _ => Self::Damaged,
        }
    }
}

/// What one commit changes.
pub(super) struct Commit<'a> {
    /// Small blocks that the new one takes the place of.
    pub(super) replaces: Range<u64>,
    pub(super) block: u64,
    pub(super) summary: &'a Summary,
    pub(super) rows: &'a [u8],
    /// New shapes and the number of the first.
    pub(super) shapes: Option<(u32, &'a [String])>,
}

/// A file that is written.
#[derive(Clone, Debug)]
pub(super) struct Writable {
    db: Arc<Database>,
    pub(super) path: PathBuf,
}

/// What a file holds when writing begins.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ends {
    pub(super) next_block: u64,
    pub(super) next_shape: u32,
    /// Seconds since 1970.
    pub(super) created: u64,
}

impl Writable {
    /// Opens or makes a file. One that a dead process left is brought to its last commit.
    pub(super) fn open(path: &Path, now: u64) -> Result<(Self, Ends), SegmentError> {
        guard(|| {
            let db = redb::Builder::new().set_cache_size(CACHE).create(path)?;
            private(path)?;
            let ends = match ends(&db.begin_read()?)? {
                Some(ends) => ends,
                None => begin(&db, now)?,
            };
            Ok((Self { db: Arc::new(db), path: path.to_owned() }, ends))
        })
    }

    /// To be read as long as it is written.
    pub(super) fn weak(&self) -> Weak<Database> {
        Arc::downgrade(&self.db)
    }

    /// Writes, and is back when it is on the disk.
    pub(super) fn commit(&self, commit: &Commit<'_>) -> Result<(), SegmentError> {
        guard(|| {
            let mut txn = self.db.begin_write()?;
            // Opening after a crash then takes no walk through the file.
            txn.set_quick_repair(true);
            {
                let mut summaries = txn.open_table(SUMMARIES)?;
                let mut rows = txn.open_table(ROWS)?;
                let old = key(commit.replaces.start)..key(commit.replaces.end);
                summaries.retain_in(old.clone(), |_, _| false)?;
                rows.retain_in(old, |_, _| false)?;
                put(&mut summaries, commit.block, &block::pack(commit.summary))?;
                put(&mut rows, commit.block, commit.rows)?;
                if let Some((first, shapes)) = commit.shapes {
                    put(&mut txn.open_table(SHAPES)?, first.into(), &block::pack(&shapes))?;
                }
            }
            txn.commit()?;
            Ok(())
        })
    }

    pub(super) fn reader(&self) -> Result<Reader, SegmentError> {
        Reader::beside(Arc::clone(&self.db))
    }
}

/// What a file holds; `None` for one that was never written.
fn ends(txn: &ReadTransaction) -> Result<Option<Ends>, SegmentError> {
    let meta = match txn.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let read = |key| Ok::<_, SegmentError>(meta.get(key)?.map(|value| value.value()));
    if read("version")? != Some(VERSION) {
        return Err(SegmentError::Damaged);
    }
    let mut ends = Ends { created: read("created")?.unwrap_or(0), ..Ends::default() };
    let shapes = txn.open_table(SHAPES)?;
    if let Some(last) = last(&shapes)? {
        let chunk: Vec<String> = block::unpack(&get(&shapes, last)?)?;
        let next = last.saturating_add(chunk.len() as u64);
        ends.next_shape = u32::try_from(next).map_err(|_| SegmentError::Damaged)?;
    }
    ends.next_block = last(&txn.open_table(SUMMARIES)?)?.map_or(0, |block| block + 1);
    Ok(Some(ends))
}

/// Where the parts of `id` begin.
const fn key(id: u64) -> u64 {
    id << PART_BITS
}

/// Stores bytes under a number.
fn put(table: &mut Table<'_, u64, &'static [u8]>, id: u64, bytes: &[u8]) -> Result<(), SegmentError> {
    for (part, bytes) in (0..1 << PART_BITS).zip(bytes.chunks(PART)) {
        table.insert(key(id) + part, bytes)?;
    }
    Ok(())
}

/// The bytes under a number.
fn get(table: &impl ReadableTable<u64, &'static [u8]>, id: u64) -> Result<Vec<u8>, SegmentError> {
    let mut bytes = Vec::new();
    for part in table.range(key(id)..key(id + 1))? {
        bytes.extend_from_slice(part?.1.value());
    }
    if bytes.is_empty() { Err(SegmentError::Damaged) } else { Ok(bytes) }
}

/// The highest number.
fn last(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<Option<u64>, SegmentError> {
    Ok(table.last()?.map(|(key, _)| key.value() >> PART_BITS))
}

/// All numbers with their bytes, in order.
fn each(
    table: &impl ReadableTable<u64, &'static [u8]>,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), SegmentError>,
) -> Result<(), SegmentError> {
    let (mut current, mut bytes) = (None, Vec::new());
    for part in table.iter()? {
        let (key, part) = part?;
        let id = key.value() >> PART_BITS;
        if let Some(before) = current.filter(|current| *current != id) {
            visit(before, &bytes)?;
            bytes.clear();
        }
        current = Some(id);
        bytes.extend_from_slice(part.value());
    }
    current.map_or(Ok(()), |last| visit(last, &bytes))
}

/// Makes the tables.
fn begin(db: &Database, now: u64) -> Result<Ends, SegmentError> {
    let txn = db.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert("version", VERSION)?;
        meta.insert("created", now)?;
        txn.open_table(SHAPES)?;
        txn.open_table(SUMMARIES)?;
        txn.open_table(ROWS)?;
    }
    txn.commit()?;
    Ok(Ends { created: now, ..Ends::default() })
}

/// A file as it was at one moment.
pub(super) struct Reader {
    txn: ReadTransaction,
    /// What must not be closed before the transaction ends.
    _file: Handle,
}

enum Handle {
    Ours { _db: Arc<Database> },
    Sealed { _db: ReadOnlyDatabase },
}

impl Reader {
    /// Of a file that nobody writes.
    pub(super) fn open(path: &Path) -> Result<Self, SegmentError> {
        guard(|| {
            let open = || redb::Builder::new().set_cache_size(CACHE).open_read_only(path);
            let file = match open() {
                Err(redb::DatabaseError::RepairAborted) => {
                    // A process died while it wrote.
                    drop(redb::Builder::new().set_cache_size(CACHE).open(path)?);
                    open()?
                }
                other => other?,
            };
            Ok(Self { txn: file.begin_read()?, _file: Handle::Sealed { _db: file } })
        })
    }

    /// Of a file that this process writes.
    pub(super) fn beside(db: Arc<Database>) -> Result<Self, SegmentError> {
        guard(|| Ok(Self { txn: db.begin_read()?, _file: Handle::Ours { _db: db } }))
    }

    /// Blocks in order.
    pub(super) fn summaries(&self) -> Result<Vec<(u64, Summary)>, SegmentError> {
        guard(|| {
            let mut list = Vec::new();
            each(&self.txn.open_table(SUMMARIES)?, |block, summary| {
                list.push((block, block::unpack(summary)?));
                Ok(())
            })?;
            Ok(list)
        })
    }

    /// Shapes as JSON, by number.
    pub(super) fn shapes(&self) -> Result<Vec<String>, SegmentError> {
        guard(|| {
            let mut list = Vec::new();
            each(&self.txn.open_table(SHAPES)?, |first, chunk| {
                if first != list.len() as u64 {
                    return Err(SegmentError::Damaged);
                }
                list.extend(block::unpack::<Vec<String>>(chunk)?);
                Ok(())
            })?;
            Ok(list)
        })
    }

    /// The rows of a block, packed.
    pub(super) fn rows(&self, block: u64) -> Result<Vec<u8>, SegmentError> {
        guard(|| get(&self.txn.open_table(ROWS)?, block))
    }
}

/// The library may panic where a file is not what it wrote; that is damage like any other.
fn guard<T>(work: impl FnOnce() -> Result<T, SegmentError>) -> Result<T, SegmentError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(SegmentError::Damaged))
}

/// Readable by the owner only: flows say who talks to whom about what.
fn private(path: &Path) -> Result<(), SegmentError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(SegmentError::Io)
}

/// Name of the file with this number.
pub(super) fn name(number: u64) -> String {
    format!("{number:010}.{EXTENSION}")
}

/// Files in a folder, oldest first.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(number), Some(EXTENSION)) = (number, path.extension().and_then(|ext| ext.to_str())) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes that a file takes on the disk.
pub(super) fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)
}
