//! DNS answers on their way into policy, and out of it again.
//!
//! ```text
//!   worker ──ring──▶ control thread: engine ──▶ snapshot (with the answer's number) ──▶ worker lets the answer go
//!   time ──▶ grace is over ──▶ "fqdn" thread asks the worker for connections ──▶ control thread: forget, or not
//! ```
//!
//! The worker rings the bell when it hands an answer over, which is a system call only if the control thread sleeps.

use super::bell::{Bell, Reason};
use super::clock::Clock;
use super::workers::Workers;
use anyhow::{Context as _, Result};
use crossbeam::channel::{Receiver, Sender, bounded};
use datapath::conntrack::Conn;
use datapath::learn::{LearnReader, Learnt, Marks};
use packet::Addr;
use policy::Engine;
use policy::fqdn::Answer;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers that may wait for the control thread; what does not fit is asked again by the pod.
pub const RING: usize = 4096;

/// Answers put in force by one snapshot.
const BATCH: usize = 256;

/// How often expiry is looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// What is asked of connections: which of these addresses do they use?
type Question = Arc<HashSet<Addr>>;

/// Which of the addresses asked about are used.
type Found = (Question, HashSet<Addr>);

/// The control thread's part of DNS.
pub struct Learning {
    reader: LearnReader,
    /// The answers that are in force.
    learnt: Marks,
    swept: Instant,
    questions: Sender<Question>,
    found: Receiver<Found>,
    asking: bool,
}

impl Learning {
    /// Takes answers from `reader`, and has `workers` asked about connections.
    ///
    /// # Errors
    /// When the thread that asks cannot be made.
    pub fn start(reader: LearnReader, workers: Workers, bell: Bell) -> Result<Self> {
        let (questions, asked) = bounded::<Question>(1);
        let (answers, found) = bounded(1);
        let work = move || {
            for question in asked {
                let used = used(&workers, &question).unwrap_or_else(|error| {
                    // Nobody knows, so nothing is forgotten; it is asked again later.
                    tracing::warn!("which learnt addresses are in use is not known: {error:#}");
                    HashSet::clone(&question)
                });
                if answers.send((question, used)).is_err() {
                    return;
                }
                bell.ring(Reason::Checked);
            }
        };
        std::thread::Builder::new()
            .name("fqdn".into())
            .spawn(work)
            .context("start asking for connections")?;
        Ok(Self { reader, learnt: Marks::default(), swept: Instant::now(), questions, found, asking: false })
    }

    /// The answers that are in force.
    #[must_use]
    pub fn learnt(&self) -> Marks {
        self.learnt
    }

    /// Whether answers wait.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.reader.is_empty()
    }

    /// Puts waiting answers in force, some at a time; says whether there were any.
    pub fn learn(&mut self, engine: &mut Engine, now: u64) -> bool {
        let batch: Vec<Learnt> = std::iter::from_fn(|| self.reader.take()).take(BATCH).collect();
        if batch.is_empty() {
            return false;
        }
        batch.iter().for_each(|learnt| self.learnt.reach(learnt));
        engine.learn_fqdns(batch.iter().map(answer), now);
        true
    }

    /// Begins the grace of what has expired, asks about what is at the end of it, and forgets what is not used.
    pub fn sweep(&mut self, engine: &mut Engine, now: u64) {
        if let Ok((question, used)) = self.found.try_recv() {
            self.asking = false;
            let addresses: Vec<Addr> = question.iter().copied().collect();
            engine.settle_fqdns(&addresses, |addr| used.contains(&addr), now);
        }
        if self.swept.elapsed() < SWEEP {
            return;
        }
        self.swept = Instant::now();
        let question = engine.expire_fqdns(now);
        if !question.is_empty() && !self.asking {
            self.asking = self.questions.try_send(Arc::new(question.into_iter().collect())).is_ok();
        }
    }
}

pub(crate) fn answer(learnt: &Learnt) -> Answer<'_> {
    Answer {
        name: &learnt.name,
        addresses: &learnt.addresses,
        cnames: &learnt.cnames,
        ttl: learnt.ttl,
        endpoint: learnt.endpoint,
    }
}

/// The time of day in seconds since 1970, as names count it: that of the start and what has passed since, so that
/// nothing expires because somebody sets the system's clock.
#[must_use]
pub fn seconds(clock: &Clock) -> u64 {
    u64::try_from(clock.started_at.as_second()).unwrap_or(0).saturating_add(clock.uptime().as_secs())
}

/// Which of these addresses connections go to.
fn used(workers: &Workers, addresses: &Question) -> Result<HashSet<Addr>> {
    let (mut found, wanted) = (HashSet::new(), Arc::clone(addresses));
    let each = move |conn: &Conn, _| {
        let dst = conn.key.dst;
        (!conn.revoked() && wanted.contains(&dst)).then_some(dst)
    };
    workers.connections(each, |piece| {
        found.extend(piece);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::learn;
    use policy::Options;

    /// Without the thread that asks: the test plays its part.
    fn parts() -> (learn::LearnWriter, Learning, Receiver<Question>, Sender<Found>) {
        let (writer, reader) = learn::channel(8);
        let (questions, asked) = bounded(1);
        let (answers, found) = bounded(1);
        let swept = Instant::now() - SWEEP;
        (
            writer,
            Learning { reader, learnt: Marks::default(), swept, questions, found, asking: false },
            asked,
            answers,
        )
    }

    fn tell(writer: &mut learn::LearnWriter, last: u8, ttl: u32) {
        let told = writer.tell(|worker, seq| Learnt {
            worker,
            seq,
            endpoint: None,
            name: "a.example".into(),
            addresses: [[192, 0, 2, last].into()].into(),
            cnames: Box::default(),
            ttl,
            at: packet::Instant::ZERO,
        });
        assert!(told.is_some());
    }

    #[test]
    fn answers_come_into_force_in_order_and_leave_when_nobody_uses_them() {
        let (mut writer, mut learning, asked, answers) = parts();
        let mut engine = Engine::new(Options::default());
        assert!(!learning.learn(&mut engine, 100) && learning.learnt().of(0) == 0);
        tell(&mut writer, 1, 10);
        tell(&mut writer, 2, 10);
        assert!(learning.learn(&mut engine, 100) && learning.learnt().of(0) == 2);
        let known =
            |engine: &Engine| engine.snapshot().fqdn.names().iter().map(|n| n.addresses.len()).sum::<usize>();
        assert_eq!(known(&engine), 2);

        let mut sweep = |learning: &mut Learning, now| {
            learning.swept = Instant::now() - SWEEP;
            learning.sweep(&mut engine, now);
            known(&engine)
        };
        assert_eq!(sweep(&mut learning, 110), 2);
        assert!(asked.try_recv().is_err(), "grace has begun");
        assert_eq!(sweep(&mut learning, 230), 2);
        let question = asked.try_recv().expect("both are in question");
        assert_eq!(question.len(), 2);
        assert_eq!(sweep(&mut learning, 231), 2);
        assert!(asked.try_recv().is_err(), "one question at a time");
        let used = HashSet::from([Addr::v4([192, 0, 2, 2])]);
        answers.send((question, used)).expect("the sweep listens");
        assert_eq!(sweep(&mut learning, 232), 1);
    }

    /// The way that an answer waits for, without the worker: ring, bell, engine, snapshot.
    #[test]
    fn an_answer_does_not_wait_for_the_clock() {
        let (writer, mut learning, ..) = parts();
        let (bell, waiter) = crate::run::bell::bell();
        let mut writer = writer.waking(move || {
            bell.ring(Reason::Learnt);
        });
        let snapshot = datapath::SharedSnapshot::default();
        let swapped = Arc::clone(&snapshot);
        let control = std::thread::spawn(move || {
            let mut engine = Engine::new(Options::default());
            while learning.learnt().of(0) < 100 {
                waiter.wait(Duration::from_secs(60));
                if waiter.take(Reason::Learnt) {
                    while learning.learn(&mut engine, 100) {
                        let (policy, learnt) = (engine.snapshot(), learning.learnt());
                        let next = datapath::Snapshot { policy, learnt, ..Default::default() };
                        swapped.store(Arc::new(next));
                    }
                }
            }
        });
        let mut waits = Vec::new();
        for seq in 1..=100 {
            // Long enough for the other thread to sleep.
            std::thread::sleep(Duration::from_millis(1));
            let begun = Instant::now();
            tell(&mut writer, u8::try_from(seq).unwrap_or(1), 10);
            while snapshot.load().learnt.of(0) < seq {
                assert!(begun.elapsed() < Duration::from_secs(30), "nobody took the answer");
                std::thread::yield_now();
            }
            waits.push(begun.elapsed());
        }
        control.join().expect("the other thread ends");
        waits.sort_unstable();
        println!("from the worker into force: median {:?}, worst {:?}", waits[50], waits[99]);
    }
}
