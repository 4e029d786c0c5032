//! An inspected TCP connection: two streams whose bytes pass, are swallowed or put in as a protocol decides, while both
//! ends keep speaking to each other. Nobody terminates the connection.
//!
//! **What the receiver can be made to read.** Every byte of a stream has one place in the sender's numbers, found
//! relative to what the receiver itself has acknowledged. A byte is passed on only when its place is decided. A decided
//! byte whose content counts is kept until the receiver has acknowledged it, and whoever sends it again must send the
//! same; other bytes are bodies, in which any content is allowed. So it does not matter which copies the receiver
//! takes and which it ignores, for reasons of order, checksum, age (PAWS), window or hop limit: all it can put
//! together is the stream that was judged.
//!
//! **Numbers.** [`cuts`](self) translates between what the sender counts and what the receiver counts; sequence and
//! acknowledgement numbers, SACK blocks and windows are rewritten in place, checksums incrementally. As long as nothing
//! was swallowed or put in, headers are not touched.
//!
//! **Promises.** Bytes that were passed on in their sender's frames are their sender's to repeat. What we put in, and
//! undecided bytes that we acknowledge in the receiver's name, we repeat ourselves (`owed.rs`).
//!
//! **Bounds**, per stream: undecided bytes [`l7::inspector::MAX_UNDECIDED`], judged and unacknowledged ones
//! `MAX_KEPT`, owed ones `MAX_OWED`, frames held `MAX_HELD` and `MAX_AHEAD`, cuts `MAX_CUTS`. A segment beyond them is
//! dropped and comes again; where that could go on for ever the connection ends.

mod arrive;
mod cuts;
mod end;
mod header;
mod kept;
mod owed;
mod relay;
mod say;
mod straight;
mod stream;

pub(crate) use arrive::{Arrival, Segment, payload_of};
use flowlog::DropReason;
use l7::{Anomaly, Context, End, Inspector, Judge, Settings, Side, Step};
use packet::{FlowKey, Instant, Tcp};
pub(crate) use relay::{Ends, Fresh};
use std::time::Duration;
pub(crate) use straight::Straight;
pub(crate) use stream::Held;
use stream::{Stream, Voice};

/// How long a frame with undecided bytes is held before its bytes are taken over: less than the 40 milliseconds by
/// which Linux may delay an acknowledgement, since a sender may wait for one before it sends the rest of a head.
const HOLD: Duration = Duration::from_millis(10);

/// How long frames wait behind a gap: longer than it takes to repeat what is missing a few times.
const GAP: Duration = Duration::from_secs(2);

/// Steps without bytes that a protocol may make one after the other.
const MAX_IDLE_STEPS: u32 = 8;

/// One inspected connection.
pub(crate) struct Splice {
    /// `None` once everything passes or nothing does any more.
    engine: Option<Box<dyn Inspector + Send>>,
    /// By the side that sends.
    streams: [Stream; 2],
    voices: [Voice; 2],
    /// From the client to the server.
    key: FlowKey,
    /// A protocol waits for the snapshot.
    waiting: bool,
    /// A protocol waits for acknowledgements, because what it decides next may find no room.
    stalled: bool,
    /// Nothing is judged any more, and what passed was not judged by rules that refuse.
    blind: bool,
    /// The connection is over and the client is being told.
    closing: bool,
    /// It cannot be told.
    given_up: bool,
    /// The earliest timer that was asked for.
    armed: Option<Instant>,
}

/// What a protocol may use, for one call.
pub(crate) struct Drive<'a> {
    pub(crate) judge: &'a mut dyn Judge,
    pub(crate) settings: &'a Settings,
    pub(crate) now: Instant,
    /// Reused.
    pub(crate) said: &'a mut [Vec<u8>; 2],
    /// Whether anomalies and refusals only are told and everything passes.
    pub(crate) lenient: bool,
    /// Whether frames of the client, and of the server, may wait.
    pub(crate) may_hold: [bool; 2],
}

const fn index(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

impl Splice {
    /// A connection with that five-tuple (in the direction of its first packet), before its first segment.
    pub(crate) fn new(engine: Box<dyn Inspector + Send>, key: FlowKey) -> Self {
        Self {
            engine: Some(engine),
            streams: Default::default(),
            voices: Default::default(),
            key,
            waiting: false,
            stalled: false,
            blind: false,
            closing: false,
            given_up: false,
            armed: None,
        }
    }

    /// Whether a protocol waits for what it told to come into force.
    pub(crate) fn waits(&self) -> bool {
        self.waiting
    }

    /// Whether the connection is over for both ends, and only what is left of it is being said.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether rules that come now come too late: what passes is not judged, and was not.
    pub(crate) fn is_blind(&self) -> bool {
        self.blind
    }

    /// Whether a SYN is the one that this side opened the connection with.
    pub(crate) fn is_own_syn(&self, side: Side, tcp: &Tcp) -> bool {
        self.voices[index(side)].base == Some(tcp.seq.wrapping_add(1))
    }

    /// The numbers of a segment as conntrack is to see them: what it acknowledges, counted as the acknowledged side
    /// counts. `None`: as they are.
    pub(crate) fn canonical(&self, side: Side, tcp: &Tcp) -> Option<Tcp> {
        let stream = &self.streams[index(side.opposite())];
        if !tcp.flags.ack() || stream.plain() {
            return None;
        }
        let base = self.voices[index(side.opposite())].base?;
        let y = self.acknowledged_by(side, tcp)?;
        Some(Tcp { ack: base.wrapping_add(stream.cuts.input(y) as u32), ..*tcp })
    }

    /// One past the last number that `side` was told it may send; more than the other side allows where we take bytes
    /// over.
    pub(crate) fn offered(&self, side: Side) -> Option<u32> {
        let stream = &self.streams[index(side)];
        let window = u64::from(stream.told_window) << self.voices[index(side.opposite())].shift;
        Some(self.voices[index(side)].base?.wrapping_add((stream.told + window) as u32))
    }

    /// The output offset of the other side's stream that this segment acknowledges.
    fn acknowledged_by(&self, side: Side, tcp: &Tcp) -> Option<u64> {
        let base = self.voices[index(side.opposite())].base?;
        near(tcp.ack, base, self.streams[index(side.opposite())].acked)
    }

    /// The input offset of the segment's first byte, relative to what the receiver has.
    fn place_of(&self, side: Side, tcp: &Tcp) -> Option<u64> {
        let stream = &self.streams[index(side)];
        near(tcp.seq, self.voices[index(side)].base?, stream.cuts.input(stream.acked))
    }

    /// Takes note of a SYN. Numbers may change until the other side has answered (a client that starts anew).
    fn synchronize(&mut self, side: Side, tcp: &Tcp, clock: Option<u32>) -> Result<(), DropReason> {
        let base = tcp.seq.wrapping_add(1);
        let moved = self.streams.iter().any(|s| s.sent > 0 || s.boundary > 0 || !s.pending.is_empty());
        let voice = &mut self.voices[index(side)];
        if moved && voice.base != Some(base) {
            return Err(DropReason::InvalidTcpState);
        }
        if tcp.payload_len > 0 {
            // Fast open: the receiver may take or ignore the bytes. The sender repeats them behind the handshake.
            return Err(DropReason::L7(Anomaly::SegmentSynData));
        }
        *voice = Voice {
            base: Some(base),
            mss: tcp.mss.unwrap_or(Voice::default().mss).max(64),
            shift: 0,
            scales: tcp.window_scale,
            sack: tcp.sack_permitted,
            clock,
        };
        if !moved {
            // Windows of SYNs are not scaled.
            self.streams[index(side.opposite())].edge = u64::from(tcp.window);
        }
        if let [Some(a), Some(b)] = [self.voices[0].scales, self.voices[1].scales] {
            (self.voices[0].shift, self.voices[1].shift) = (a, b);
        }
        Ok(())
    }

    /// Lets the protocol look at `fresh`, the new bytes of `side`, and at whatever waits on the other side, until it
    /// has no more to say.
    fn drive(&mut self, side: Side, fresh: &[u8], drive: &mut Drive<'_>) -> Result<(), End> {
        let Some(mut engine) = self.engine.take() else {
            self.streams[index(side)].pending.extend_from_slice(fresh);
            return Ok(());
        };
        let outcome = self.drive_engine(&mut *engine, side, fresh, drive);
        match outcome {
            // What is only watched is not cut.
            Err(_) if drive.lenient => self.let_all_pass(),
            Ok(()) if self.streams.iter().all(Stream::open_ended) => self.blind = drive.lenient,
            _ => self.engine = Some(engine),
        }
        if drive.lenient { Ok(()) } else { outcome }
    }

    fn drive_engine(
        &mut self,
        engine: &mut dyn Inspector,
        side: Side,
        fresh: &[u8],
        drive: &mut Drive<'_>,
    ) -> Result<(), End> {
        let mine = index(side);
        if !self.streams[mine].pending.is_empty() {
            self.streams[mine].pending.extend_from_slice(fresh);
        }
        let pending = [0, 1].map(|i| std::mem::take(&mut self.streams[i].pending));
        let hands: [&[u8]; 2] =
            [0, 1].map(|i| if i == mine && pending[i].is_empty() { fresh } else { &pending[i][..] });
        let mut used = [0_usize; 2];
        (self.waiting, self.stalled) = (false, false);
        let mut outcome = Ok(());
        // A side that has no more to say is asked again only when the other one has made a step since.
        let (mut turn, mut quiet) = (side, 0);
        // Steps that decide nothing: a protocol moves on to another state of its own, but not for ever.
        let mut idle = 0;
        'all: while quiet < 2 {
            let i = index(turn);
            let mut stepped = false;
            while !self.streams[i].open_ended() && idle < MAX_IDLE_STEPS {
                if !self.streams.iter().all(Stream::has_room) {
                    self.stalled = true;
                    break 'all;
                }
                let hand = &hands[i][used[i]..];
                let before = self.streams[i].boundary;
                let step = self.ask(
                    engine,
                    drive,
                    |engine, cx| engine.feed(turn, hand, cx),
                    |step| matches!(step, Step::End(_)),
                );
                let decided = match step {
                    Ok(Step::NeedMore) => break,
                    Ok(Step::Wait) => {
                        self.waiting = true;
                        break;
                    }
                    Ok(Step::End(end)) => Err(end),
                    Ok(step) => self.streams[i].apply(step, hand),
                    Err(end) => Err(end),
                };
                match decided {
                    Ok(decided) => {
                        used[i] += decided;
                        idle = if self.streams[i].boundary == before { idle + 1 } else { 0 };
                    }
                    Err(end) => {
                        outcome = Err(end);
                        break 'all;
                    }
                }
                stepped = true;
                // Nearly always that was all, and both sides would be asked for nothing.
                if used[0] == hands[0].len() && used[1] == hands[1].len() && engine.is_at_rest() {
                    break 'all;
                }
            }
            quiet = if stepped { 1 } else { quiet + 1 };
            turn = turn.opposite();
        }
        if pending[mine].is_empty() {
            self.streams[mine].pending.extend_from_slice(&fresh[used[mine]..]);
        }
        for (i, mut rest) in pending.into_iter().enumerate().filter(|(_, rest)| !rest.is_empty()) {
            rest.drain(..used[i]);
            self.streams[i].pending = rest;
        }
        outcome?;
        for side in [Side::Client, Side::Server] {
            self.put_end(engine, side, drive)?;
        }
        Ok(())
    }

    /// Tells the protocol that a stream has ended, once all before the end is decided or can be no more.
    fn put_end(&mut self, engine: &mut dyn Inspector, side: Side, drive: &mut Drive<'_>) -> Result<(), End> {
        let stream = &self.streams[index(side)];
        if !stream.at_end() {
            return Ok(());
        }
        let undecided = stream.pending.len();
        let finish = |engine: &mut dyn Inspector, cx: &mut Context<'_>| engine.finish(side, undecided, cx);
        if let Some(end) = self.ask(engine, drive, finish, Option::is_some)? {
            return Err(end);
        }
        self.streams[index(side)].agree_end();
        Ok(())
    }

    /// Calls the protocol and puts what it says where it belongs. Of a connection that is only watched nobody is told
    /// that it would end.
    fn ask<T>(
        &mut self,
        engine: &mut dyn Inspector,
        drive: &mut Drive<'_>,
        call: impl FnOnce(&mut dyn Inspector, &mut Context<'_>) -> T,
        ends: impl FnOnce(&T) -> bool,
    ) -> Result<T, End> {
        // Whoever used it before, for this connection or another, may have left something in it.
        drive.said.iter_mut().for_each(Vec::clear);
        let [to_client, to_server] = &mut *drive.said;
        let mut cx = Context {
            judge: drive.judge,
            now: drive.now.as_nanos(),
            settings: drive.settings,
            to_client,
            to_server,
        };
        let answer = call(engine, &mut cx);
        let mut put = Ok(());
        let silent = drive.said.iter().all(Vec::is_empty);
        if !(silent || drive.lenient && ends(&answer)) {
            put = self.streams[index(Side::Server)]
                .insert(&drive.said[0])
                .and_then(|()| self.streams[index(Side::Client)].insert(&drive.said[1]));
        }
        put.map(|()| answer)
    }

    /// Lets the protocol go on that waited for acknowledgements.
    fn unstall(&mut self, side: Side, drive: &mut Drive<'_>) -> Result<(), End> {
        if self.stalled && self.streams.iter().all(Stream::has_room) {
            return self.drive(side, &[], drive);
        }
        Ok(())
    }

    /// Lets the protocol go on that waited for the snapshot.
    pub(crate) fn resume(&mut self, drive: &mut Drive<'_>) -> Result<(), End> {
        self.drive(Side::Server, &[], drive)
    }

    /// Nothing is judged any more.
    fn let_all_pass(&mut self) {
        self.engine = None;
        self.blind = true;
        for stream in &mut self.streams {
            let hand = std::mem::take(&mut stream.pending);
            // A stream that cannot pass on what it took over stays where it is.
            if !stream.open_ended() && stream.apply(Step::Pass { counted: 0, free: u64::MAX }, &hand).is_err()
            {
                stream.pending = hand;
            }
            if stream.fin.is_some() {
                stream.fin_agreed = true;
            }
        }
    }

    /// When a timer of this connection is due.
    fn next_timer(&self) -> Option<Instant> {
        let mut next = None;
        for stream in &self.streams {
            for due in [stream.hold_until, stream.ahead_until, stream.owed.due()].into_iter().flatten() {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        next
    }

    /// A timer to be set anew, if an earlier one is due than the one that is set.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        let due = self.next_timer()?;
        if self.armed.is_some_and(|armed| armed <= due) {
            return None;
        }
        self.armed = Some(due);
        Some(due)
    }

    /// The timer that was set has gone off.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }
}

/// The offset near `reference` that a 32-bit number names; `None` before the first byte.
fn near(number: u32, base: u32, reference: u64) -> Option<u64> {
    let ahead = number.wrapping_sub(base.wrapping_add(reference as u32)) as i32;
    reference.checked_add_signed(i64::from(ahead))
}
