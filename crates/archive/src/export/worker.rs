//! One exporter: a thread, a reader of the flow log, a target.
//!
//! It takes a bounded batch, makes lines of it, and stays with them until the target has them all or it is told to
//! stop. Meanwhile the flow log goes on; what it overwrites before the exporter comes back is counted as lost.

use super::line::{Lines, Render};
use super::stats::Stats;
use super::target::Target;
use flowlog::Store;
use flowlog::store::Cursor;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for records: how soon `end` and a moved file are noticed.
const TICK: Duration = Duration::from_millis(250);

/// Pause when little came: several small writes become one.
const PAUSE: Duration = Duration::from_millis(10);

/// Fewer records than this are little.
const LITTLE: usize = 64;

/// Pauses between attempts at a target that refuses, first and last.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long the last records may take to come in, and to go out, once it is told to stop.
const LAST: Duration = Duration::from_millis(300);

/// A running exporter.
#[derive(Debug)]
pub(super) struct Worker {
    stop: Arc<Stop>,
    thread: Option<std::thread::JoinHandle<Cursor>>,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    bell: (Mutex<()>, Condvar),
}

impl Stop {
    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Sleeps, but not beyond being asked.
    fn pause(&self, time: Duration) {
        let guard = self.bell.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.bell.1.wait_timeout_while(guard, time, |()| !self.is_asked());
    }
}

/// What a worker needs.
pub(super) struct Setup {
    pub(super) name: String,
    pub(super) store: Arc<Store>,
    pub(super) from: Cursor,
    pub(super) render: Render,
    pub(super) target: Box<dyn Target>,
    pub(super) end: Option<Timestamp>,
}

impl Worker {
    pub(super) fn start(setup: Setup) -> std::io::Result<Self> {
        let (stop, stats) = (Arc::<Stop>::default(), Arc::<Stats>::default());
        stats.active.store(true, Ordering::Relaxed);
        let run = Run { setup, stop: Arc::clone(&stop), stats: Arc::clone(&stats) };
        let thread = std::thread::Builder::new().name("export".into()).spawn(move || run.run())?;
        Ok(Self { stop, thread: Some(thread), stats })
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Asks it to end.
    pub(super) fn ask(&self) {
        self.stop.asked.store(true, Ordering::Release);
        drop(self.stop.bell.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.stop.bell.1.notify_all();
    }

    /// Where it came to, once it has ended; `None` for one that hangs in its target, which is left behind.
    pub(super) fn finish(mut self, patience: Duration) -> Option<Cursor> {
        self.ask();
        let thread = self.thread.take()?;
        let begun = Instant::now();
        while !thread.is_finished() {
            if begun.elapsed() > patience {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        thread.join().ok()
    }
}

struct Run {
    setup: Setup,
    stop: Arc<Stop>,
    stats: Arc<Stats>,
}

impl Run {
    fn run(mut self) -> Cursor {
        let mut cursor = self.setup.from;
        let mut lines = Lines::default();
        let mut asked: Option<Instant> = None;
        loop {
            if asked.is_none() && self.stop.is_asked() {
                asked = Some(Instant::now());
            }
            if self.setup.end.is_some_and(|end| Timestamp::now() >= end) {
                break;
            }
            let wait = if asked.is_some() { Duration::ZERO } else { TICK };
            let batch = self.setup.store.wait(&mut cursor, wait);
            self.stats.lost.fetch_add(batch.lost, Ordering::Relaxed);
            lines.clear();
            for record in &batch.records {
                self.setup.render.add(record, &mut lines);
            }
            self.deliver(&mut lines);
            self.setup.target.tick();
            if batch.records.is_empty() && (batch.closed || asked.is_some()) {
                break;
            }
            if asked.is_some_and(|asked| asked.elapsed() > LAST) {
                break;
            }
            if batch.records.len() < LITTLE && asked.is_none() {
                self.stop.pause(PAUSE);
            }
        }
        self.stats.active.store(false, Ordering::Relaxed);
        self.stats.set_error(None);
        cursor
    }

    /// Until the target has taken all lines. When it is told to stop, one more attempt is made.
    fn deliver(&mut self, lines: &mut Lines) {
        let mut pause = RETRY.0;
        while lines.left() > 0 {
            let last = self.stop.is_asked();
            let before = lines.left();
            let outcome = self.setup.target.write(lines);
            let refused = *outcome.as_ref().unwrap_or(&0);
            let gone = (before - lines.left()) as u64;
            self.stats.written.fetch_add(gone.saturating_sub(refused), Ordering::Relaxed);
            self.stats.refused.fetch_add(refused, Ordering::Relaxed);
            match outcome {
                Ok(_) => {
                    if self.stats.set_error(None) {
                        tracing::info!(exporter = self.setup.name, "lines go on");
                    }
                }
                Err(error) => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    if self.stats.set_error(Some(error.to_string())) {
                        tracing::warn!(exporter = self.setup.name, %error, "lines do not go on");
                    }
                    if last || self.setup.end.is_some_and(|end| Timestamp::now() >= end) {
                        self.stats.lost.fetch_add(lines.left() as u64, Ordering::Relaxed);
                        return;
                    }
                    self.stop.pause(pause);
                    pause = (pause * 2).min(RETRY.1);
                    self.setup.target.tick();
                }
            }
        }
    }
}
