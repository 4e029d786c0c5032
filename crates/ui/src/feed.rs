//! From the flow log to the map and the recent records: one reader for all browsers.
//!
//! The thread takes what there is, then sleeps for a moment, so its share of a CPU is bounded however fast records
//! come; what the flow log overwrote meanwhile is counted and shown.

use crate::map::Map;
use crate::recent::Recent;
use flowlog::{Record, Store};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sleep between looks at the flow log.
const PAUSE: Duration = Duration::from_millis(100);

/// Records taken in at one look; ten looks a second make 40,960 records a second.
const MOST: usize = 4096;

/// How often old parts of the map are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The map and the recent records.
#[derive(Debug, Default)]
pub struct Feed {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) map: Map,
    pub(crate) recent: Recent,
    pub(crate) status: FeedStatus,
    /// Records of the last seconds, for the rate.
    rate: Rate,
}

/// What went through.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Records taken in.
    pub records: u64,
    /// Records that the flow log overwrote before they were taken in.
    pub overwritten: u64,
    /// Events that a worker shed.
    pub shed: u64,
    /// Records a second, over some seconds.
    pub per_second: u64,
}

#[derive(Copy, Clone, Debug, Default)]
struct Rate {
    since: Duration,
    records: u64,
}

impl Feed {
    /// Takes records in.
    pub fn take(&self, records: &[Arc<Record>], now: Duration) {
        let mut state = self.lock();
        for record in records {
            state.map.fold(record, now);
            state.recent.push(Arc::clone(record));
        }
        state.status.records += records.len() as u64;
    }

    /// Lets time pass.
    pub fn tick(&self, now: Duration) {
        let mut state = self.lock();
        state.map.tick(now);
        let elapsed = now.saturating_sub(state.rate.since);
        if elapsed >= Duration::from_secs(5) {
            let new = state.status.records - state.rate.records;
            state.status.per_second = (new as f64 / elapsed.as_secs_f64()).round() as u64;
            state.rate = Rate { since: now, records: state.status.records };
        }
    }

    /// What went through.
    #[must_use]
    pub fn status(&self) -> FeedStatus {
        self.lock().status
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads `store` until it is closed or `stop` is set.
    pub(crate) fn run(&self, store: &Store, stop: &AtomicBool) {
        let start = Instant::now();
        let mut cursor = store.oldest();
        let mut swept = Duration::ZERO;
        while !stop.load(Ordering::Acquire) {
            let now = start.elapsed();
            let mut taken = 0;
            let mut closed = false;
            while taken < MOST {
                let batch = store.read(&mut cursor);
                closed = batch.closed;
                self.lock().status.overwritten += batch.lost;
                if batch.records.is_empty() {
                    break;
                }
                taken += batch.records.len();
                self.take(&batch.records, now);
            }
            if taken == 0 && closed {
                return;
            }
            if now.saturating_sub(swept) >= SWEEP {
                swept = now;
                let shed = store.lost();
                self.lock().status.shed = shed;
                self.tick(now);
            }
            std::thread::sleep(PAUSE);
        }
    }
}
