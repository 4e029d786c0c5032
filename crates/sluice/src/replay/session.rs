//! One replay: frames at their time, timers between them, DNS answers in force before anything else happens.

use super::node::Node;
use super::place::Skipped;
use crate::api::names::Names;
use anyhow::Result;
use datapath::Worker;
use datapath::learn::{self, LearnReader};
use flowlog::{Drained, EventReader, EventRing, Record, detail};
use packet::io::pcap::{CaptureReader, Output, PcapIo};
use packet::{Addr, Instant, IoStats, PacketIo as _};
use std::collections::HashSet;
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// Events of one poll: a burst makes a few for each frame, a sweep some hundreds.
const EVENT_RING: usize = 16 << 10;

/// DNS answers of one poll.
const LEARN_RING: usize = 1024;

/// Keys the hash of the connection table. It is fixed so that a replay is the same every time; an attacker gains
/// nothing but a slow replay of his own capture.
const SEED: u64 = 1;

/// Time on the packet path's clock when the first frame comes: zero means "never" in places.
const FIRST: Duration = Duration::from_secs(1);

/// Steps in which a gap between two frames passes at most, so that a capture of decades takes no longer than others.
const STEPS: u32 = 64;

/// Timers of inspected connections that go off in one gap at most: more would be one that never comes to an end.
const TIMERS: u32 = 4096;

/// Time after the last frame: what is held for a moment is let go.
const AFTER: Duration = Duration::from_millis(100);

/// The packet path over a capture.
pub(super) struct Session {
    node: Node,
    worker: Worker<PcapIo<Box<dyn Read>, Box<dyn Write>>>,
    events: EventReader,
    learnt: LearnReader,
    names: Option<Names>,
    /// Capture time at the packet path's zero.
    base: Option<Instant>,
    now: Instant,
    begun: Instant,
    swept: Instant,
    numbered: u64,
    /// What the worker said since the last poll.
    said: Drained,
}

/// What a replay did.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    replayed: u64,
    skipped: Skipped,
    io: IoStats,
    took: Duration,
    forwarded: u64,
    dropped: u64,
    answered: u64,
    generated: u64,
    connections: u64,
    shed: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replayed, forwarded, dropped, answered, generated, connections, .. } = self;
        write!(
            f,
            "{replayed} frames replayed ({:.3} s): {forwarded} forwarded, {dropped} dropped, {answered} answered or \
             taken over, {generated} made here; {connections} connections",
            self.took.as_secs_f64()
        )?;
        let Skipped { cut, unplaced, generated, other_link } = self.skipped;
        let left = [
            (cut, "cut by the capture"),
            (unplaced, "of no port known here"),
            (generated, "made by the node that captured"),
            (other_link, "not Ethernet"),
            (self.io.rx_lost, "lost for want of memory"),
        ];
        let left: Vec<String> =
            left.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !left.is_empty() {
            write!(f, "; left out: {}", left.join(", "))?;
        }
        if self.shed > 0 {
            write!(f, "; {} events LOST", self.shed)?;
        }
        Ok(())
    }
}

impl Session {
    /// Everything ready, nothing read but the capture's head.
    pub(super) fn new(
        node: Node,
        reader: CaptureReader<Box<dyn Read>>,
        output: Output<Box<dyn Write>>,
    ) -> Result<Self> {
        let placer = node.placer.clone();
        let place = move |record: &mut _, interface: Option<&_>| placer.place(record, interface);
        let io = PcapIo::placing(reader, node.port_count(), place, output)?;
        let (writer, events) = EventRing::new(EVENT_RING);
        let (learn, learnt) = learn::channel(LEARN_RING);
        let mut worker = Worker::new(io, node.datapath.clone(), Arc::clone(&node.shared), writer, SEED);
        worker.set_learning(learn);
        Ok(Self {
            node,
            worker,
            events,
            learnt,
            names: None,
            base: None,
            now: Instant::ZERO,
            begun: Instant::ZERO,
            swept: Instant::ZERO,
            numbered: 0,
            said: Drained::default(),
        })
    }

    /// Plays everything; each record of the flow log goes to `each`.
    pub(super) fn run(&mut self, each: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        while let Some(time) = self.worker.io_mut().peek()? {
            if self.base.is_none() {
                let base = time.as_nanos().saturating_sub(FIRST.as_nanos() as u64);
                self.base = Some(Instant::from_nanos(base));
                (self.now, self.begun, self.swept) = (time, time, time);
            }
            self.node.take_facts();
            self.pass(time, each)?;
            self.poll(each)?;
        }
        if self.base.is_some() {
            self.pass(self.now + AFTER, each)?;
        }
        Ok(())
    }

    /// Ends it.
    pub(super) fn finish(mut self) -> Result<Summary> {
        let stats = self.worker.stats();
        let summary = Summary {
            replayed: stats.received,
            skipped: self.node.placer.skipped(),
            io: self.worker.io().stats(),
            took: self.now.saturating_since(self.begun),
            forwarded: stats.forwarded,
            dropped: stats.dropped_total(),
            answered: stats.answered,
            generated: stats.generated,
            connections: stats.connections_opened,
            shed: self.events.shed(),
        };
        self.worker.io_mut().flush()?;
        Ok(summary)
    }

    /// Lets time pass until `time`, with all timers on the way.
    fn pass(&mut self, time: Instant, each: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        let gap = time.saturating_since(self.now);
        let step = (gap / STEPS).max(Duration::from_secs(1));
        let mut timers = 0;
        while self.now < time {
            let next = (self.now + step).min(time);
            let due = self.worker.next_timer().and_then(|due| self.base.map(|base| due + since_zero(base)));
            let timer = due.filter(|due| *due > self.now && *due < next && timers < TIMERS);
            timers += u32::from(timer.is_some());
            self.now = timer.unwrap_or(next);
            if self.now < time {
                self.worker.io_mut().wait_until(self.now);
                self.poll(each)?;
            }
        }
        self.worker.io_mut().wait_until(time);
        if self.worker.io_mut().peek()?.is_none() {
            self.poll(each)?;
        }
        Ok(())
    }

    /// Does all there is to do at this moment.
    fn poll(&mut self, each: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        let base = since_zero(self.base.unwrap_or_default());
        let now = Instant::from_nanos(since_zero(self.now).saturating_sub(base).as_nanos() as u64);
        let seconds = self.now.as_nanos() / 1_000_000_000;
        loop {
            loop {
                let frames = self.worker.poll_once(now)?;
                self.tell(each)?;
                if frames == 0 && !self.worker.has_background_work() {
                    break;
                }
            }
            let answers: Vec<_> = std::iter::from_fn(|| self.learnt.take()).collect();
            if answers.is_empty() {
                break;
            }
            self.node.learn(&answers, seconds);
        }
        if self.now.saturating_since(self.swept) >= Duration::from_secs(1) {
            self.swept = self.now;
            let used = self.destinations();
            self.node.forget(seconds, |addr| used.contains(&addr));
        }
        Ok(())
    }

    /// Where connections go to.
    fn destinations(&self) -> HashSet<Addr> {
        let table = self.worker.conntrack();
        let mut cursor = 0;
        let next = || {
            let (id, next) = table.next_from(cursor)?;
            cursor = next;
            Some(table.get(id))
        };
        std::iter::from_fn(next).filter(|conn| !conn.revoked()).map(|conn| conn.key.dst).collect()
    }

    /// Hands over what the worker said.
    fn tell(&mut self, each: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        self.said.clear();
        let Self { events, said, .. } = self;
        if events.drain_messages(usize::MAX, |event, message| said.push(event, message)) == 0 {
            return Ok(());
        }
        let current = self.node.shared.load_full();
        if self.names.as_ref().is_none_or(|names| !Arc::ptr_eq(&names.snapshot, &current)) {
            let origin = i128::from(self.base.unwrap_or_default().as_nanos());
            self.names = Some(Names::new(&current, origin, &self.node.facts));
        }
        let Some(names) = &self.names else { return Ok(()) };
        for (event, said) in self.said.iter() {
            let record = Record::from_message(event, detail::decode(said).as_ref(), names, self.numbered);
            self.numbered += 1;
            each(&record)?;
        }
        Ok(())
    }
}

fn since_zero(time: Instant) -> Duration {
    time.saturating_since(Instant::ZERO)
}
