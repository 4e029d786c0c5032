//! One worker: one backend, one pipeline, polled by somebody who owns the clock.

use crate::config::DatapathConfig;
use crate::conntrack::Conntrack;
use crate::events;
use crate::fleet::{Member, Place, steer};
pub use crate::inspect::InspectionLoad;
use crate::learn::LearnWriter;
use crate::pipeline::{Parse, Pipeline};
use crate::snapshot::{SharedSnapshot, Snapshot};
use crate::stats::Stats;
use crate::sweep::Sweep;
use crate::tap::TapWriter;
use arc_swap::Cache;
use flowlog::DropReason;
use flowlog::ring::EventWriter;
use packet::{BURST_LEN, Burst, Frame, Instant, IoError, PacketIo, PortId};
use std::sync::Arc;
use std::time::Duration;

/// Owns its sockets, its memory, its connections and its event ring outright; shares the snapshot pointer.
pub struct Worker<I: PacketIo> {
    io: I,
    pipeline: Pipeline,
    snapshot: Cache<SharedSnapshot, Arc<Snapshot>>,
    sweep: Sweep,
    burst: Burst,
    /// What is known about the frames of the burst, in their order.
    parses: Box<[Parse; BURST_LEN]>,
    /// Its place among several, if there are.
    member: Option<Box<Member>>,
    started: bool,
    /// When timers are looked at next, should no frame come before.
    chores_due: Instant,
}

/// How often an idle worker looks at its timers: a fraction of the wheel's tick.
const CHORES: Duration = Duration::from_millis(1);

impl<I: PacketIo> Worker<I> {
    /// A worker over `io`. `seed` keys the connection table's hash.
    #[must_use]
    pub fn new(
        io: I,
        config: DatapathConfig,
        snapshot: SharedSnapshot,
        events: EventWriter,
        seed: u64,
    ) -> Self {
        Self {
            io,
            pipeline: Pipeline::new(config, events, seed),
            snapshot: Cache::new(snapshot),
            sweep: Sweep::default(),
            burst: Burst::new(),
            parses: Box::new([Parse::NOTHING; BURST_LEN]),
            member: None,
            started: false,
            chores_due: Instant::ZERO,
        }
    }

    /// Receives one burst, takes every frame of it through the pipeline, sends what came of it, and runs timers.
    /// Answers the number of frames handled.
    ///
    /// The burst goes through in two passes, parse and hash first and lookups second, so that the cache misses of
    /// independent lookups overlap.
    ///
    /// # Errors
    /// Only when the backend as a whole is unusable.
    pub fn poll_once(&mut self, now: Instant) -> Result<usize, IoError> {
        let Self { io, pipeline, snapshot, sweep, burst, parses, member, started, chores_due } = self;
        if !*started {
            *started = true;
            // Sets the timer wheel to the present while it is empty.
            pipeline.expire(now);
            let adopt = pipeline.config.adopt_midstream_for;
            pipeline.adopt_until = (!adopt.is_zero()).then(|| now + adopt);
        }
        let snapshot: &Snapshot = snapshot.load();
        if let Some(member) = member
            && member.begin(pipeline, io, burst, now)
        {
            sweep.restart();
        }
        io.recv(burst)?;
        if let Some(member) = member {
            member.turn(burst.room() > 0);
        }
        if pipeline.taps.is_on() {
            pipeline.taps.clock(now);
        }
        let frames = burst.len();
        if frames > 0 {
            pipeline.stats.bursts.frames.observe(frames as u64, 1);
            for (parse, frame) in parses.iter_mut().zip(burst.iter()) {
                pipeline.parse(io, frame, parse);
            }
            let known = parses.iter().take(frames);
            pipeline.conntrack.warm(known.filter_map(|parse| parse.flow.map(|(_, hash)| hash)));
            match member {
                Some(member) if !member.all_ours(parses.iter().take(frames)) => {
                    pipeline.process_own(io, snapshot, member, burst, &parses[..frames], now);
                }
                _ => {
                    if let Some(member) = member {
                        member.count(parses.iter().take(frames));
                    }
                    let mut known = parses[..frames].iter();
                    for frame in burst.drain() {
                        let Some(parse) = known.next() else { break };
                        pipeline.process(io, snapshot, frame, parse, known.as_slice(), now);
                    }
                }
            }
            pipeline.end_turn(io, snapshot, now);
        }
        sweep.run(pipeline, io, snapshot, now);
        pipeline.tend_inspections(io, snapshot, now);
        // What was decided leaves before anything else is done.
        io.flush()?;
        if let Some(member) = member {
            member.flush();
        }
        if frames > 0 || now >= *chores_due {
            *chores_due = now + CHORES;
            pipeline.expire(now);
        }
        Ok(frames)
    }

    /// The backend.
    pub fn io_mut(&mut self) -> &mut I {
        &mut self.io
    }

    /// The backend, to look at.
    #[must_use]
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.pipeline.stats
    }

    /// Whoever owns the clock says how long the burst took that was just polled.
    #[inline]
    pub fn timed(&mut self, frames: usize, took: Duration) {
        self.pipeline.stats.bursts.timed(frames, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &DatapathConfig {
        &self.pipeline.config
    }

    /// The connection table.
    #[must_use]
    pub fn conntrack(&self) -> &Conntrack {
        &self.pipeline.conntrack
    }

    /// The connection table, to restore saved connections into.
    pub fn conntrack_mut(&mut self) -> &mut Conntrack {
        &mut self.pipeline.conntrack
    }

    /// Takes its place among several workers, before its first poll. All of them have the seed of
    /// [`fleet::Setup`](crate::fleet::Setup).
    pub fn join(&mut self, member: Member) {
        self.member = Some(Box::new(member));
    }

    /// Its place among several workers.
    #[must_use]
    pub fn member(&self) -> Option<&Member> {
        self.member.as_deref()
    }

    /// Whether the connection of these ends belongs to this worker.
    #[must_use]
    pub fn owns(&self, key: &packet::FlowKey) -> bool {
        let hash = self.pipeline.conntrack.hash(key);
        self.member.as_ref().is_none_or(|member| member.owns(hash))
    }

    /// Buckets that cannot be moved to another worker now, because one of their connections is inspected: of the inspected
    /// connections in `count` places from `from` on, one for each; and where to go on, if there are more.
    #[must_use]
    pub fn inspected_buckets(&self, from: usize, count: usize) -> (Vec<usize>, Option<usize>) {
        let Pipeline { conntrack, inspections, .. } = &self.pipeline;
        let (conns, next) = inspections.conns(from, count);
        let ids = conns.filter_map(|handle| conntrack.resolve(handle));
        let inspected = ids.map(|id| conntrack.get(id)).filter(|conn| conn.is_inspected());
        let buckets = inspected.map(|conn| usize::from(steer::bucket_of(conntrack.hash(&conn.key))));
        (buckets.collect(), next)
    }

    /// Tells DNS answers there. Without it names have no addresses.
    pub fn set_learning(&mut self, learn: LearnWriter) {
        self.pipeline.inspections.set_learning(learn);
    }

    /// Opens a tap, from the next frame on.
    ///
    /// # Errors
    /// Hands it back when [`MAX_TAPS`](crate::tap::MAX_TAPS) are open.
    pub fn add_tap(&mut self, tap: Box<TapWriter>) -> Result<(), Box<TapWriter>> {
        let Pipeline { taps, events, .. } = &mut self.pipeline;
        taps.add(tap, events)
    }

    /// Closes the tap of that name and hands it back, to be freed elsewhere.
    pub fn remove_tap(&mut self, id: u64) -> Option<Box<TapWriter>> {
        let Pipeline { taps, events, .. } = &mut self.pipeline;
        taps.remove(id, events)
    }

    /// What inspection holds.
    #[must_use]
    pub fn inspection(&self) -> InspectionLoad {
        self.pipeline.inspections.load()
    }

    /// When the worker must be polled again though nothing arrives: an inspected connection waits for it. Timers of
    /// the connection table are not that exact.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        self.pipeline.inspections.next_timer()
    }

    /// Whether a sweep or an expiry is pending, so that the worker should be polled again soon even if nothing
    /// arrives.
    #[must_use]
    pub fn has_background_work(&self) -> bool {
        !self.sweep.is_done() || self.member.as_ref().is_some_and(|member| member.is_moving())
    }

    /// Whether events that it wrote wait to be taken.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.pipeline.events.has_waiting()
    }

    /// Sends every inspected segment the long way from now on.
    #[cfg(any(test, feature = "testing"))]
    pub fn close_short_way(&mut self) {
        self.pipeline.short_way.closed = true;
    }

    /// Inspected segments that went straight on.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn gone_straight(&self) -> u64 {
        self.pipeline.short_way.gone
    }

    /// Ends the connections of a port that went away.
    pub fn remove_port(&mut self, port: PortId, now: Instant) {
        let Pipeline { conntrack, events, stats, .. } = &mut self.pipeline;
        conntrack.remove_port(port, &mut |conn, reason| {
            stats.connections_closed += 1;
            events.record(events::closed(conn, reason, now));
        });
    }
}

impl Pipeline {
    /// As one of several workers: takes those frames of a burst through the stages that belong to this one, and hands over
    /// the others. Apart from the loop of a single worker, which it would slow down.
    #[inline(never)]
    fn process_own<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        member: &mut Member,
        burst: &mut Burst,
        parses: &[Parse],
        now: Instant,
    ) {
        let mut known = parses.iter();
        for frame in burst.drain() {
            let Some(parse) = known.next() else { break };
            match member.keep(io, frame, parse) {
                Place::Here(frame) => self.process(io, snapshot, frame, parse, known.as_slice(), now),
                Place::Elsewhere => {}
                Place::Nowhere(frame) => self.lose(io, snapshot, frame, parse, now),
            }
        }
    }

    /// Drops a frame of another worker's that cannot be handed over.
    #[cold]
    fn lose<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        parse: &Parse,
        now: Instant,
    ) {
        self.stats.received += 1;
        self.stats.port(frame.port()).arrived(&frame);
        let dropped = DropReason::HandoverFull.into();
        self.drop_frame(io, snapshot, frame, parse.parsed.as_ref().ok(), dropped, now);
    }

    fn expire(&mut self, now: Instant) {
        let Self { conntrack, events, stats, config, fragments, .. } = self;
        conntrack.expire(now, config.expire_per_poll, &mut |conn, reason| {
            stats.connections_closed += 1;
            events.record(events::closed(conn, reason, now));
        });
        fragments.expire(now);
    }
}
