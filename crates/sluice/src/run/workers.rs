//! All workers of the node, for whoever asks them something.

use super::worker::{Link, NodeWorker, Thread};
use anyhow::Result;
use datapath::conntrack::Conn;
use packet::Instant;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Connections looked at between two polls: some microseconds of a worker's time.
const CHUNK: usize = 256;

/// Reaches every worker from any thread.
#[derive(Clone)]
pub struct Workers(Arc<[Link]>);

impl Workers {
    /// Those of these threads.
    #[must_use]
    pub fn of(threads: &[Thread]) -> Self {
        Self(threads.iter().map(Thread::link).collect())
    }

    /// How many there are: one at least.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Each of them, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Link> {
        self.0.iter()
    }

    /// The one of that number; the first if there is none.
    #[must_use]
    pub fn one(&self, number: usize) -> &Link {
        self.0.get(number).unwrap_or(&self.0[0])
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
    /// made of them and says whether to go on. Connections that come during the walk may be missed.
    ///
    /// # Errors
    /// When a worker is gone or does not answer in time, and those of `found`.
    pub fn connections<T: Send + 'static>(
        &self,
        each: impl Fn(&Conn, Instant) -> Option<T> + Clone + Send + 'static,
        mut found: impl FnMut(Vec<T>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
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
