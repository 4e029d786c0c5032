//! All workers of the node, for whoever asks them something.

use super::worker::{Link, NodeWorker, Thread};
use anyhow::{Result, ensure};
use datapath::conntrack::Conn;
use datapath::fleet::Mover;
use packet::Instant;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

/// Connections looked at between two polls: some microseconds of a worker's time.
const CHUNK: usize = 256;

/// How long a walk waits for buckets on their way. They arrive within milliseconds unless a worker hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two looks whether they have arrived.
const PAUSE: Duration = Duration::from_millis(1);

/// Reaches every worker from any thread.
#[derive(Clone)]
pub struct Workers {
    links: Arc<[Link]>,
    /// Who walks over all connections reads it meanwhile, so that no bucket moves from a worker that was not asked yet to
    /// one that was.
    mover: Arc<RwLock<Mover>>,
}

impl Workers {
    /// Those of these threads, whose buckets `mover` moves.
    #[must_use]
    pub fn of(threads: &[Thread], mover: Mover) -> Self {
        Self { links: threads.iter().map(Thread::link).collect(), mover: Arc::new(RwLock::new(mover)) }
    }

    /// How many there are: one at least.
    #[must_use]
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Each of them, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Link> {
        self.links.iter()
    }

    /// The one of that number; the first if there is none.
    #[must_use]
    pub fn one(&self, number: usize) -> &Link {
        self.links.get(number).unwrap_or(&self.links[0])
    }

    /// Has `work` done by each, one after the other, and answers what they said.
    ///
    /// # Errors
    /// When one is gone or does not answer in time; those after it are not asked.
    pub fn ask_each<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut NodeWorker, Instant) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>> {
        self.iter().map(|link| link.ask(work.clone())).collect()
    }

    /// Walks over the connections of all workers, `CHUNK` at a time, so that no frame waits for long: `found` gets what `each`
    /// made of them and says whether to go on. Connections that come during the walk may be missed; no bucket moves
    /// meanwhile, so none is missed that was there.
    ///
    /// # Errors
    /// When a worker is gone or does not answer in time, and those of `found`.
    pub fn connections<T: Send + 'static>(
        &self,
        each: impl Fn(&Conn, Instant) -> Option<T> + Clone + Send + 'static,
        mut found: impl FnMut(Vec<T>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let _still = self.still()?;
        for link in self.iter() {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let each = each.clone();
                let (piece, next) =
                    link.ask(move |worker, now| worker.conntrack().piece(at, CHUNK, |conn| each(conn, now)))?;
                if found(piece)?.is_break() {
                    return Ok(());
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// Who moves buckets; `None` while somebody walks over the connections.
    #[must_use]
    pub fn mover(&self) -> Option<RwLockWriteGuard<'_, Mover>> {
        match self.mover.try_write() {
            Ok(mover) => Some(mover),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Buckets on their way.
    #[must_use]
    pub fn moving(&self) -> usize {
        self.read_mover().moving()
    }

    /// Waits until no bucket is on its way; none begins to move while what is answered is kept.
    fn still(&self) -> Result<RwLockReadGuard<'_, Mover>> {
        let begun = std::time::Instant::now();
        loop {
            let mover = self.read_mover();
            if mover.moving() == 0 {
                return Ok(mover);
            }
            drop(mover);
            ensure!(begun.elapsed() < PATIENCE, "flows are on their way between workers and do not arrive");
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends back what could not be moved and waits until no bucket is on its way. For who moves them. Answers whether
    /// that is so.
    pub fn settle(&self) -> bool {
        let begun = std::time::Instant::now();
        while self.moving() > 0 {
            if begun.elapsed() >= PATIENCE {
                return false;
            }
            if let Some(mut mover) = self.mover() {
                mover.tend();
            }
            std::thread::sleep(PAUSE);
        }
        true
    }

    fn read_mover(&self) -> RwLockReadGuard<'_, Mover> {
        self.mover.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the sleep of all, so that they see a new snapshot at once.
    pub fn wake(&self) {
        self.iter().for_each(Link::wake);
    }

    /// When the one that has been silent for longest polled.
    #[must_use]
    pub fn last_poll(&self) -> Instant {
        self.iter().map(Link::last_poll).min().unwrap_or_default()
    }
}
