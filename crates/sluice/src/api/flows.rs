//! The flow log behind the API: takes what the workers say, gives it names, keeps it, shows it.

mod taker;

use super::names::NodeFacts;
use crate::export::{Archive, Running};
use crate::run::clock::Clock;
use anyhow::{Context as _, Result};
use datapath::{SharedSnapshot, Snapshot};
use flowlog::api::{ObserveRequest, serve_observe};
use flowlog::metrics::{Metrics, MetricsConfig, PodName};
use flowlog::{EventReader, Store};
use policy::engine::directory::WorkloadKind;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;
use taker::{BATCH, Taker};

/// Longest pause between two looks: short against what people notice, long against the cost of looking.
const PAUSE: Duration = Duration::from_millis(20);

/// The shortest, so that looking stays cheap, and a ring holds millions of events a second.
const SHORT_PAUSE: Duration = Duration::from_micros(500);

/// Events at one look that are wanted. Whoever shares a CPU with this thread waits while they are taken, some 0.4 µs each.
const WANTED: u32 = 64;

/// How often it is looked for pods that are gone.
const SWEEP: Duration = Duration::from_secs(5);

/// The flow log.
#[derive(Clone, Debug)]
pub struct Flows {
    enabled: bool,
    store: Arc<Store>,
    metrics: Arc<Mutex<Metrics>>,
    shed: Arc<AtomicU64>,
    archive: Arc<OnceLock<Arc<Archive>>>,
    /// Events found in the rings at the last look.
    waiting: Arc<AtomicU64>,
}

/// What a worker that finds no frame does for the log; `true` if there was anything to do.
pub type Help = Box<dyn Fn() -> bool + Send + Sync>;

/// Starts the thread that empties the workers' rings; it ends with the workers. Answers also how these can help.
///
/// # Errors
/// When the thread cannot be made.
pub fn start(
    readers: Vec<EventReader>,
    snapshot: SharedSnapshot,
    config: &crate::config::FlowLog,
    node: Arc<NodeFacts>,
    clock: Clock,
) -> Result<(Flows, Help)> {
    let flows = Flows::new(config);
    let log = flows.clone();
    let taker = Arc::new(Mutex::new(Taker::new(readers, flows.clone(), snapshot, node, clock)));
    let helped = Arc::clone(&taker);
    let drain = move || {
        let mut swept = clock.now();
        let mut pause = PAUSE;
        loop {
            let taken = taker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if taken.ended {
                log.store.close();
                return;
            }
            if clock.now().saturating_since(swept) >= SWEEP {
                swept = clock.now();
                log.sweep(&taken.names.snapshot, swept);
            }
            pause = next_pause(pause, taken.events);
            if taken.events < BATCH {
                std::thread::sleep(pause);
            }
        }
    };
    std::thread::Builder::new().name("flows".into()).spawn(drain).context("start the flow log")?;
    let help = move || helped.try_lock().is_ok_and(|mut taker| taker.help());
    Ok((flows, Box::new(help)))
}

/// The pause after one of `pause` in which so many events came: they are to be as many as are wanted if they come as
/// fast as before.
fn next_pause(pause: Duration, taken: usize) -> Duration {
    let taken = u32::try_from(taken).unwrap_or(u32::MAX).max(WANTED / 2);
    (pause * WANTED / taken).clamp(SHORT_PAUSE, PAUSE)
}

impl Flows {
    fn new(config: &crate::config::FlowLog) -> Self {
        Self {
            enabled: config.enabled,
            store: Arc::new(Store::new(config.capacity)),
            metrics: Arc::default(),
            shed: Arc::default(),
            archive: Arc::default(),
            waiting: Arc::default(),
        }
    }

    /// The records, for what serves them elsewhere.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether events are recorded at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Answers one request, following as long as the client wants.
    ///
    /// # Errors
    /// When the client goes away.
    pub fn observe(&self, request: &ObserveRequest, writer: &mut dyn Write) -> Result<()> {
        match self.archive().and_then(Archive::history) {
            Some(history) => archive::history::observe(&self.store, history, request, writer),
            None => serve_observe(&self.store, request, writer),
        }
        .context("observe")
    }

    /// Starts what takes records away from memory.
    ///
    /// # Errors
    /// When the folder of the history cannot be used, or that of the exporters' file not be watched.
    pub fn start_archive(&self, config: &crate::config::Config, dir: &Path, node: &str) -> Result<Running> {
        let archive = Arc::new(Archive::start(config, dir, node, &self.store)?);
        let archive = Arc::clone(self.archive.get_or_init(|| archive));
        Running::watch(archive)
    }

    /// What takes records away from memory, once it runs.
    #[must_use]
    pub fn archive(&self) -> Option<&Archive> {
        self.archive.get().map(Arc::as_ref)
    }

    /// How full it is.
    #[must_use]
    pub fn status(&self) -> Value {
        let (current, max) = self.store.len_and_capacity();
        json!({
            "enabled": self.enabled, "current": current, "max": max, "seen": self.store.total(), "shed": self.shed.load(Ordering::Relaxed),
        })
    }

    /// Changes which metrics are made of events, and how many series each of them may have.
    pub fn set_metrics(&self, config: &MetricsConfig, max_series: usize) {
        self.metrics().reconfigure(config, max_series);
    }

    /// Events shed by the workers, and those that waited in their rings at the last look.
    #[must_use]
    pub fn shed_and_waiting(&self) -> (u64, u64) {
        (self.shed.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed))
    }

    /// Records held, the most there can be, and all there ever were.
    #[must_use]
    pub fn records(&self) -> (usize, usize, u64) {
        let (current, most) = self.store.len_and_capacity();
        (current, most, self.store.total())
    }

    /// Removes the series of pods that are gone.
    fn sweep(&self, snapshot: &Snapshot, now: packet::Instant) {
        if !self.metrics().names_pods() {
            return;
        }
        let addresses = snapshot.policy.directory().addresses();
        let pods: HashSet<PodName> = addresses
            .into_iter()
            .filter(|(_, workload)| workload.kind == WorkloadKind::Pod)
            .map(|(_, workload)| (Arc::clone(&workload.namespace), Arc::clone(&workload.name)))
            .collect();
        self.metrics().sweep(now, &|pod| pods.contains(pod));
    }

    /// Notes how many events wait in the rings, and how many found no room there.
    fn note_ring(&self, waiting: usize, shed: u64) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
        let before = self.shed.swap(shed, Ordering::Relaxed);
        if shed > before {
            self.store.add_lost(shed - before);
        }
    }

    /// As [`metrics`](Self::metrics), if nobody else is at them.
    fn try_metrics(&self) -> Option<MutexGuard<'_, Metrics>> {
        match self.metrics.try_lock() {
            Ok(metrics) => Some(metrics),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Counters made from the events.
    pub fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where pauses settle if so many events come in a second.
    fn settled(rate: u32) -> Duration {
        let events = |pause: Duration| (pause.as_secs_f64() * f64::from(rate)) as usize;
        (0..32).fold(PAUSE, |pause, _| next_pause(pause, events(pause)))
    }

    #[test]
    fn a_look_finds_about_as_many_events_as_are_wanted() {
        for rate in [4_000, 20_000, 100_000] {
            let found = settled(rate).as_secs_f64() * f64::from(rate);
            assert!((48.0..=80.0).contains(&found), "{found} at {rate} a second");
        }
        assert_eq!(settled(0), PAUSE);
        assert_eq!(settled(1_000), PAUSE);
        assert_eq!(settled(10_000_000), SHORT_PAUSE);
        assert!(next_pause(SHORT_PAUSE, 0) > SHORT_PAUSE, "it becomes longer again");
    }
}
