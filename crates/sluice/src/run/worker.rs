//! A worker's thread: of all threads only workers touch packets.
//!
//! ```text
//!   loop { queued commands · poll_once · no frame? help the flow log, or sleep until a socket is readable }
//! ```
//!
//! Everything else in the process reaches the worker through commands: closures that run between two polls. They
//! must be short, since frames wait meanwhile; whoever wants much asks for it in pieces.

use super::clock::Clock;
use super::cpus;
use super::spin::Spin;
use crate::api::flows::Help;
use crate::config::Polling;
use afxdp::{Waker, XskIo};
use anyhow::{Context as _, Result, anyhow};
use crossbeam::channel::{Receiver, Sender, bounded};
use datapath::fleet::{FleetIo, Member, Seat};
use datapath::learn::LearnWriter;
use datapath::stats::SharedLoad;
use datapath::{DatapathConfig, SharedSnapshot, Worker};
use flowlog::ring::EventWriter;
use packet::Instant;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// A worker as the node runs it.
pub type NodeWorker = Worker<FleetIo<XskIo>>;

/// Something to be done between two polls.
type Command = Box<dyn FnOnce(&mut NodeWorker, Instant) + Send>;

/// Commands that may wait. Who comes later waits for a place.
const QUEUE: usize = 64;

/// Polls between two looks at the clock and the commands: an idle poll takes some ten nanoseconds, so `now` is at
/// most about a microsecond old when a frame arrives, and the look does not delay it.
const LOOK_EVERY: u32 = 16;

/// Commands run at one look, so that they cannot starve packets.
const COMMANDS_PER_LOOK: usize = 4;

/// Pause between two looks for commands while frames are held back.
const HOLD_PAUSE: Duration = Duration::from_micros(200);

/// Longest sleep: timers of the connection table are due within seconds.
const NAP: Duration = Duration::from_millis(100);

/// How long a command's answer is waited for. The worker answers within a poll unless it hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a worker needs.
pub struct Setup {
    /// Its number.
    pub number: usize,
    /// Its place among several, if there are.
    pub seat: Option<Seat>,
    /// Keys the hash of flows, which outsiders must not guess; the same for all workers.
    pub seed: u64,
    /// Its backend.
    pub io: XskIo,
    /// Its settings.
    pub config: DatapathConfig,
    /// Where it finds policy and ports.
    pub snapshot: SharedSnapshot,
    /// Where it says what happens.
    pub events: EventWriter,
    /// How it waits.
    pub polling: Polling,
    /// Where it runs.
    pub cpu: Option<usize>,
    /// Its clock.
    pub clock: Clock,
    /// Where it tells DNS answers.
    pub learn: LearnWriter,
    /// What it does for the flow log when no frame comes, as soon as there is one.
    pub help: Arc<OnceLock<Help>>,
    /// Whether to leave frames in the rings until [`Thread::go`].
    pub hold: bool,
}

/// Reaches the worker from any thread.
#[derive(Clone)]
pub struct Link {
    commands: Sender<Command>,
    waker: Waker,
    load: Arc<SharedLoad>,
}

/// Owns the worker's thread.
pub struct Thread {
    thread: JoinHandle<Result<()>>,
    stop: Arc<AtomicBool>,
    hold: Arc<AtomicBool>,
    link: Link,
}

/// Starts the worker. `ended` is called when it ends for whatever reason, also by panic.
///
/// # Errors
/// When the thread cannot be made.
pub fn start(setup: Setup, ended: impl FnOnce() + Send + 'static) -> Result<Thread> {
    let (commands, queue) = bounded(QUEUE);
    let load = Arc::new(SharedLoad::default());
    let stop = Arc::new(AtomicBool::new(false));
    let link = Link { commands, waker: setup.io.waker(), load: Arc::clone(&load) };
    let hold = Arc::new(AtomicBool::new(setup.hold));
    let (stopping, holding) = (Arc::clone(&stop), Arc::clone(&hold));
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", setup.number))
        .spawn(move || {
            let _told = OnDrop(Some(ended));
            if let Some(cpu) = setup.cpu {
                cpus::pin(cpu);
            }
            work(setup, &queue, &load, &stopping, &holding)
        })
        .context("start the worker")?;
    Ok(Thread { thread, stop, hold, link })
}

impl Thread {
    /// A way to reach it.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.clone()
    }

    /// Has a worker that was held take up frames.
    pub fn go(&self) {
        self.hold.store(false, Ordering::Release);
        self.link.waker.wake();
    }

    /// Has the worker end after its poll.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.link.waker.wake();
    }

    /// Ends the worker and waits for it; its sockets close with it.
    ///
    /// # Errors
    /// What ended it before, if something did.
    pub fn stop(self) -> Result<()> {
        self.ask_to_stop();
        self.thread.join().map_err(|_| anyhow!("the worker panicked"))?
    }
}

impl Link {
    /// Has `work` done between two polls and waits for its answer.
    ///
    /// # Errors
    /// When the worker is gone or does not answer in time.
    pub fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut NodeWorker, Instant) -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = bounded(1);
        let command: Command = Box::new(move |worker, now| {
            // Nobody may be listening any more; that is their loss.
            let _ = answer.send(work(worker, now));
        });
        self.commands.send_timeout(command, PATIENCE).map_err(|_| anyhow!("the worker takes no commands"))?;
        self.waker.wake();
        answered.recv_timeout(PATIENCE).map_err(|_| anyhow!("the worker does not answer"))
    }

    /// Ends its sleep, so that it sees a new snapshot at once.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// What the worker says about its load while it runs.
    #[must_use]
    pub fn load(&self) -> &SharedLoad {
        &self.load
    }

    /// When it last polled.
    #[must_use]
    pub fn last_poll(&self) -> Instant {
        Instant::from_nanos(self.load.last_poll.load(Ordering::Relaxed))
    }
}

fn work(
    setup: Setup,
    queue: &Receiver<Command>,
    load: &SharedLoad,
    stop: &AtomicBool,
    hold: &AtomicBool,
) -> Result<()> {
    let Setup { seat, seed, io, config, snapshot, events, polling, clock, learn, help, .. } = setup;
    let waker = io.waker();
    let (io, member) = match seat {
        Some(Seat { member, wires }) => (FleetIo::new(io, wires), Some(member)),
        None => (FleetIo::alone(io), None),
    };
    let mut worker = Worker::new(io, config, snapshot, events, seed);
    worker.set_learning(learn);
    if let Some(member) = member {
        member.set_waker(move || waker.wake());
        worker.join(member);
    }
    let look = |worker: &mut NodeWorker| {
        let now = clock.now();
        load.last_poll.store(now.as_nanos(), Ordering::Relaxed);
        let mut ran = false;
        for _ in 0..COMMANDS_PER_LOOK {
            let Ok(command) = queue.try_recv() else { break };
            command(worker, now);
            ran = true;
        }
        (now, !ran)
    };
    while hold.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
        look(&mut worker);
        std::thread::sleep(HOLD_PAUSE);
    }
    let mut now = clock.now();
    let mut busy_at = now;
    let mut turn = 0_u32;
    let mut spin = Spin::default();
    let mut taken = 0;
    // Whether the clock was read just before this poll. Only then is it known how long its burst takes: every one of
    // a busy worker, every sixteenth of those that come alone, and none costs another look at the clock.
    let mut fresh = true;
    while !stop.load(Ordering::Relaxed) {
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(LOOK_EVERY) {
            (now, fresh) = look(&mut worker);
        }
        let frames = worker.poll_once(now).context("the packet path")?;
        // To send for others is work, too.
        let sent = std::mem::replace(&mut taken, worker.io().taken()) != taken;
        if frames > 0 || sent {
            spin.found(now.saturating_since(busy_at));
            SharedLoad::bump(&load.busy_polls);
            let done = clock.now();
            if fresh && frames > 0 {
                worker.timed(frames, done.saturating_since(now));
            }
            (now, fresh) = (done, true);
            busy_at = now;
            continue;
        }
        fresh = false;
        SharedLoad::bump(&load.idle_polls);
        if worker.has_events() && help.get().is_some_and(|help| help()) {
            // That took microseconds.
            turn = LOOK_EVERY - 1;
            continue;
        }
        let rest = polling == Polling::Adaptive
            && now.saturating_since(busy_at) > spin.patience()
            && queue.is_empty()
            && !worker.has_background_work()
            && worker.member().is_none_or(Member::rest);
        // Whatever others hand over from here on wakes it.
        if rest && !worker.io().is_asked() {
            SharedLoad::bump(&load.sleeps);
            let nap = worker.next_timer().map_or(NAP, |due| due.saturating_since(now).min(NAP));
            let woken = worker.io_mut().inner_mut().wait(Some(nap)).context("sleep")?;
            worker.member().inspect(|member| member.woke());
            let slept = clock.now().saturating_since(now);
            spin.slept(slept, woken);
            SharedLoad::add(&load.slept_nanos, u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX));
            now = now + slept;
            // The next turn looks at the commands, which may be what ended the sleep.
            turn = LOOK_EVERY - 1;
            if woken {
                SharedLoad::bump(&load.wakeups);
                busy_at = now;
            }
        } else {
            core::hint::spin_loop();
        }
    }
    Ok(())
}

/// A seed for [`Setup`].
#[must_use]
pub fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The standard library seeds this from the system's random source.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Calls its function when it goes, also while unwinding.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}
