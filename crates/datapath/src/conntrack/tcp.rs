//! TCP as a middlebox sees it.
//!
//! ```text
//!             SYN            SYN from the reply leg      both SYNs acknowledged
//!   (none) ────────▶ SynSent ────────────────▶ SynReceived ────────▶ Established
//!   (none) ── other segment, when adopting ──▶ Adopted ── both legs heard ──┘  │ FIN
//!                                                                              ▼
//!   any ── RST with the expected number ──▶ Reset        TimeWait ◀── Closing ◀── HalfClosed
//!                                                     both FINs acked   FIN of the other leg
//! ```
//!
//! Only segments inside both windows move the state (van Rooij, "Real Stateful TCP Packet Filtering in IP Filter",
//! 2001; RFC 9293 §3.10.7.4). What is outside is forwarded without effect, because the receiver answers it better than
//! we could; refused are resets that the receiver would ignore anyway (RFC 5961 §3.2) and SYNs of a reply leg, which
//! would open a connection in a direction that policy was not asked about.

use flowlog::DropReason;
use packet::{Leg, Tcp, TcpFlags};

/// Least slack for acknowledgements that arrive late: more than the largest unscaled window.
const ACK_SLACK: u32 = 66_000;
/// Both ends must offer the option; this nibble says that one did not (RFC 7323 §2.2).
const NO_SCALE: u8 = 15;
/// The scale assumed where the handshake was not seen: the largest, so that no window is taken for too small.
const ASSUMED_SCALE: u8 = 14;
/// In `flags`: numbers of this leg are known.
const KNOWN: u8 = 0x80;
/// In `flags`: a SYN was seen on the live connection; the other end's SYN-ACK would show that it forgot the old one.
const SYN_AGAIN: u8 = 0x40;
const HEADER_FLAGS: u8 = 0x3f;

/// Where a connection stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Not TCP: nothing from the reply leg yet.
    Unreplied,
    /// Not TCP: both legs were heard.
    Replied,
    /// SCTP: aborted or shut down.
    Finished,
    /// SYN of the original leg.
    SynSent,
    /// SYNs of both legs, not both acknowledged.
    SynReceived,
    /// Joined in the middle; not both legs heard.
    Adopted,
    /// Data may flow.
    Established,
    /// FIN of one leg.
    HalfClosed,
    /// FINs of both legs, not both acknowledged.
    Closing,
    /// FINs of both legs, acknowledged.
    TimeWait,
    /// Ended by RST.
    Reset,
}

/// What a segment did.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It counts: the time-out starts again.
    Advanced,
    /// It passes without effect.
    Ignored,
    /// It begins a new connection on the ports of a finished one; nothing was changed.
    Reopen,
}

/// Sequence numbers and state; indexed by leg.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct Tracking {
    /// One past the last number sent.
    end: [u32; 2],
    /// One past the last number that the other leg's window allows.
    edge: [u32; 2],
    /// Highest acknowledgement sent. Before that: one past the other leg's SYN.
    acked: [u32; 2],
    /// Largest window advertised, in units of the scale.
    max_win: [u16; 2],
    /// Window scales offered: original in the low nibble, reply in the high one.
    scales: u8,
    /// Flags of segments that counted, and `KNOWN`, `SYN_AGAIN`.
    flags: [u8; 2],
    pub(super) state: State,
}

/// `a` is later than `b` in sequence space (RFC 9293 §3.4).
const fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

const fn between(low: u32, x: u32, high: u32) -> bool {
    !after(low, x) && !after(x, high)
}

fn later(a: u32, b: u32) -> u32 {
    if after(a, b) { a } else { b }
}

/// One past the segment's last number; SYN and FIN take one each.
fn end_of(tcp: &Tcp) -> u32 {
    let control = u32::from(tcp.flags.syn()) + u32::from(tcp.flags.fin());
    tcp.seq.wrapping_add(tcp.payload_len).wrapping_add(control)
}

impl Tracking {
    /// Nothing known yet; what other protocols keep.
    pub(super) const fn idle(state: State) -> Self {
        Self {
            end: [0; 2],
            edge: [0; 2],
            acked: [0; 2],
            max_win: [0; 2],
            scales: NO_SCALE | NO_SCALE << 4,
            flags: [0; 2],
            state,
        }
    }

    /// After the first SYN.
    pub(super) fn open(tcp: &Tcp) -> Self {
        let mut new = Self::idle(State::SynSent);
        new.end[0] = end_of(tcp);
        // The least that the reply leg may acknowledge; a server may refuse the data of a fast open.
        new.acked[1] = tcp.seq.wrapping_add(1);
        new.edge[0] = new.end[0];
        new.max_win[0] = tcp.window.max(1);
        new.flags[0] = tcp.flags.0 & HEADER_FLAGS | KNOWN;
        new.set_scale(Leg::Original, tcp.window_scale);
        new
    }

    /// Joins a connection whose numbers are not known: restored after a restart, or adopted.
    pub(super) const fn unknown(state: State) -> Self {
        let mut new = Self::idle(state);
        new.scales = ASSUMED_SCALE | ASSUMED_SCALE << 4;
        new
    }

    /// Flags of all segments that counted.
    pub(super) const fn flags_seen(&self) -> TcpFlags {
        TcpFlags((self.flags[0] | self.flags[1]) & HEADER_FLAGS)
    }

    /// The number that the receiver of this leg expects next, as far as we saw.
    pub(super) const fn next_seq(&self, leg: Leg) -> u32 {
        let peer = leg.opposite().index();
        if self.flags[peer] & KNOWN != 0 && self.flags[leg.index()] & KNOWN != 0 {
            self.acked[peer]
        } else {
            self.end[leg.index()]
        }
    }

    /// SCTP: whether this leg used that verification tag before, or none yet; then it is noted. An ABORT by somebody
    /// who does not know the tag ends nothing (RFC 9260 §8.5).
    pub(super) fn tag_fits(&mut self, leg: Leg, tag: u32) -> bool {
        if !self.known(leg.index()) {
            self.end[leg.index()] = tag;
            self.flags[leg.index()] |= KNOWN;
        }
        self.end[leg.index()] == tag
    }

    fn set_scale(&mut self, leg: Leg, scale: Option<u8>) {
        let nibble = scale.map_or(NO_SCALE, |s| s.min(ASSUMED_SCALE));
        self.scales = match leg {
            Leg::Original => self.scales & 0xf0 | nibble,
            Leg::Reply => self.scales & 0x0f | nibble << 4,
        };
    }

    /// By which each leg's windows are shifted.
    #[inline]
    fn shifts(&self) -> [u32; 2] {
        let (original, reply) = (self.scales & 0x0f, self.scales >> 4);
        if original == NO_SCALE || reply == NO_SCALE {
            return [0; 2];
        }
        [u32::from(original), u32::from(reply)]
    }

    fn known(&self, leg: usize) -> bool {
        self.flags[leg] & KNOWN != 0
    }

    fn max_window(&self, leg: usize) -> u32 {
        (u32::from(self.max_win[leg]) << self.shifts()[leg]).max(1)
    }

    /// Somebody else allows this leg to send up to there.
    pub(super) fn widen(&mut self, leg: Leg, edge: u32) {
        if self.known(leg.index()) {
            self.edge[leg.index()] = later(edge, self.edge[leg.index()]);
        }
    }

    /// Follows a segment of a connection over which data flows, which is what nearly every segment is. `false`, and nothing
    /// changed: it is none, or has no effect, and [`step`](Self::step) says what it does.
    #[inline]
    pub(super) fn flows(&mut self, leg: Leg, tcp: &Tcp) -> bool {
        const CONTROL: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;
        let (s, p) = (leg.index(), leg.opposite().index());
        let [ours, theirs] = [self.flags[s], self.flags[p]];
        let plain = tcp.flags.0 & (CONTROL | TcpFlags::ACK) == TcpFlags::ACK;
        let open = (ours & theirs & KNOWN) | ((ours | theirs) & TcpFlags::FIN) == KNOWN;
        if self.state != State::Established || !plain || !open {
            return false;
        }
        let shifts = self.shifts();
        let end = tcp.seq.wrapping_add(tcp.payload_len);
        let max_window = |leg: usize| (u32::from(self.max_win[leg]) << shifts[leg]).max(1);
        if !self.fits(s, p, tcp, end, [max_window(s), max_window(p)]) {
            return false;
        }
        let window = (u32::from(tcp.window) << shifts[s]).max(1);
        self.end[s] = later(end, self.end[s]);
        self.edge[p] = later(tcp.ack.wrapping_add(window), self.edge[p]);
        self.acked[s] = later(tcp.ack, self.acked[s]);
        self.max_win[s] = self.max_win[s].max(tcp.window);
        self.flags[s] = ours | tcp.flags.0 & HEADER_FLAGS;
        true
    }

    /// Follows one segment.
    #[inline]
    pub(super) fn step(&mut self, leg: Leg, tcp: &Tcp) -> Result<Step, DropReason> {
        if tcp.flags.rst() {
            return self.reset(leg, tcp);
        }
        if tcp.flags.syn() {
            return self.synchronize(leg, tcp);
        }
        Ok(match self.state {
            State::SynSent | State::Reset => Step::Ignored,
            _ if !tcp.flags.ack() => Step::Ignored,
            _ => self.segment(leg, tcp),
        })
    }

    /// RFC 5961 §3.2: only the exact number ends a connection; one inside the window makes the receiver ask back.
    #[inline(never)]
    fn reset(&mut self, leg: Leg, tcp: &Tcp) -> Result<Step, DropReason> {
        let (s, p) = (leg.index(), leg.opposite().index());
        let exact = match (self.state, leg) {
            (State::Reset | State::TimeWait, _) => return Ok(Step::Ignored),
            (State::SynSent, Leg::Reply) => {
                if !tcp.flags.ack() || !between(self.acked[1], tcp.ack, self.end[0]) {
                    return Err(DropReason::InvalidTcpState);
                }
                true
            }
            // The client's answer to a stale acknowledgement has that number; the server must see it.
            (State::SynSent, Leg::Original) => tcp.seq == self.end[0],
            _ if !self.known(s) || !self.known(p) => return Ok(Step::Ignored),
            _ => tcp.seq == self.end[s] || tcp.seq == self.acked[p],
        };
        if exact {
            self.flags[s] |= tcp.flags.0 & HEADER_FLAGS;
            self.state = State::Reset;
            return Ok(Step::Advanced);
        }
        let window = self.max_window(p).max(ACK_SLACK);
        let low = self.acked[p].wrapping_sub(window);
        if self.state == State::SynSent || between(low, tcp.seq, later(self.edge[s], self.end[s])) {
            return Ok(Step::Ignored);
        }
        Err(DropReason::InvalidTcpState)
    }

    #[inline(never)]
    fn synchronize(&mut self, leg: Leg, tcp: &Tcp) -> Result<Step, DropReason> {
        let ack = tcp.flags.ack();
        Ok(match (self.state, leg) {
            (State::Closing | State::TimeWait | State::Reset, _) if !ack => Step::Reopen,
            (State::SynSent, Leg::Original) if !ack => {
                if tcp.seq.wrapping_add(1) != self.acked[1] {
                    *self = Self::open(tcp);
                }
                Step::Advanced
            }
            (State::SynSent, Leg::Reply) => self.answer(tcp),
            (State::SynReceived, _) => self.repeat(leg, tcp),
            (State::Established | State::HalfClosed, Leg::Original) if !ack => {
                if !self.familiar(tcp.seq) {
                    self.flags[0] |= SYN_AGAIN;
                }
                Step::Ignored
            }
            (State::Established | State::HalfClosed, Leg::Reply) if ack => self.forgotten(tcp),
            (State::Established | State::HalfClosed | State::Adopted, Leg::Reply) => {
                return Err(DropReason::InvalidTcpState);
            }
            _ => Step::Ignored,
        })
    }

    /// The first SYN of the reply leg, with an acknowledgement or crossing ours (RFC 9293 §3.5, simultaneous open).
    fn answer(&mut self, tcp: &Tcp) -> Step {
        if tcp.flags.ack() && !between(self.acked[1], tcp.ack, self.end[0]) {
            return Step::Ignored;
        }
        self.end[1] = end_of(tcp);
        self.acked[0] = tcp.seq.wrapping_add(1);
        self.edge[1] = self.end[1].wrapping_add(u32::from(self.max_win[0]));
        self.edge[0] = self.end[0].wrapping_add(u32::from(tcp.window.max(1)));
        if tcp.flags.ack() {
            self.acked[1] = tcp.ack;
        }
        self.flags[1] = tcp.flags.0 & HEADER_FLAGS | KNOWN;
        self.flags[0] &= !TcpFlags::ACK;
        self.set_scale(Leg::Reply, tcp.window_scale);
        self.max_win[1] = tcp.window.max(1);
        // Windows of SYNs are not scaled; later ones are compared in units of the scale.
        for leg in 0..2 {
            self.max_win[leg] = u32::from(self.max_win[leg]).div_ceil(1 << self.shifts()[leg]).max(1) as u16;
        }
        self.state = State::SynReceived;
        Step::Advanced
    }

    /// A SYN sent again, or the SYN-ACK of a simultaneous open.
    fn repeat(&mut self, leg: Leg, tcp: &Tcp) -> Step {
        let (s, p) = (leg.index(), leg.opposite().index());
        if tcp.seq.wrapping_add(1) != self.acked[p] && end_of(tcp) != self.end[s] {
            return Step::Ignored;
        }
        self.acknowledge_handshake(s, p, tcp);
        Step::Advanced
    }

    fn acknowledge_handshake(&mut self, s: usize, p: usize, tcp: &Tcp) {
        if tcp.flags.ack() && between(self.acked[s], tcp.ack, self.end[p]) {
            self.flags[s] |= TcpFlags::ACK;
            self.acked[s] = tcp.ack;
        }
        if self.flags[0] & self.flags[1] & TcpFlags::ACK != 0 {
            self.state = State::Established;
        }
    }

    /// A SYN-ACK on a live connection. If it answers numbers that are not ours, after a SYN that was not ours, its
    /// sender has forgotten the connection and accepted a new one: same direction, same ports, same verdict.
    fn forgotten(&mut self, tcp: &Tcp) -> Step {
        let again = self.flags[0] & SYN_AGAIN != 0;
        if !again || self.familiar(tcp.ack) {
            return Step::Ignored;
        }
        let mut new = Self::idle(State::SynSent);
        new.end[0] = tcp.ack;
        new.acked[1] = tcp.ack;
        new.max_win[0] = u16::MAX;
        new.flags[0] = TcpFlags::SYN | KNOWN;
        new.set_scale(Leg::Original, tcp.window_scale.map(|_| ASSUMED_SCALE));
        *self = new;
        self.answer(tcp)
    }

    /// Whether a number lies where this connection's original leg is or was lately.
    fn familiar(&self, number: u32) -> bool {
        between(self.acked[1].wrapping_sub(ACK_SLACK), number, later(self.edge[0], self.end[0]))
    }

    #[inline]
    fn segment(&mut self, leg: Leg, tcp: &Tcp) -> Step {
        let (s, p) = (leg.index(), leg.opposite().index());
        let end = end_of(tcp);
        if !self.in_windows(s, p, tcp, end) {
            return Step::Ignored;
        }
        self.learn(s, p, tcp, end);
        match self.state {
            State::SynReceived => self.acknowledge_handshake(s, p, tcp),
            State::Adopted if self.known(p) => self.state = State::Established,
            _ => {}
        }
        if !matches!(self.state, State::SynReceived | State::Adopted | State::TimeWait) {
            self.state = self.by_fins();
        }
        Step::Advanced
    }

    /// The four conditions of van Rooij §4; those whose numbers are not known yet hold.
    #[inline]
    fn in_windows(&self, s: usize, p: usize, tcp: &Tcp, end: u32) -> bool {
        if !self.known(p) {
            return true;
        }
        // Where this leg's own end is not known, the segment is as recent as can be.
        let end = if self.known(s) { end } else { self.end[s] };
        self.fits(s, p, tcp, end, [self.max_window(s), self.max_window(p)])
    }

    /// The same where all numbers are known. `end` is the segment's, `windows` are the largest of this leg and of its peer.
    #[inline(always)]
    fn fits(&self, s: usize, p: usize, tcp: &Tcp, end: u32, windows: [u32; 2]) -> bool {
        // One byte past the edge is a window probe, one before the end a keep-alive.
        let room = !after(tcp.seq, self.edge[s].wrapping_add(1));
        let recent = !after(self.end[s].wrapping_sub(windows[1]), end);
        let slack = windows[0].max(ACK_SLACK);
        let ack = between(self.end[p].wrapping_sub(slack), tcp.ack, self.end[p]);
        room && recent && ack
    }

    #[inline]
    fn learn(&mut self, s: usize, p: usize, tcp: &Tcp, end: u32) {
        let window = (u32::from(tcp.window) << self.shifts()[s]).max(1);
        let edge = tcp.ack.wrapping_add(window);
        if self.known(s) {
            // A sender never goes beyond its own FIN: one that does shows that the FIN was somebody else's.
            if after(end, self.end[s]) {
                self.flags[s] &= !TcpFlags::FIN;
            }
            self.end[s] = later(end, self.end[s]);
            self.edge[p] = later(edge, self.edge[p]);
            if self.state != State::SynReceived {
                self.acked[s] = later(tcp.ack, self.acked[s]);
            }
        } else {
            self.end[s] = end;
            self.edge[p] = edge;
            self.acked[s] = tcp.ack;
        }
        self.max_win[s] = self.max_win[s].max(tcp.window);
        let mut flags = tcp.flags.0 & HEADER_FLAGS;
        if self.state == State::SynReceived {
            // There ACK means that the other leg's SYN was acknowledged.
            flags &= !TcpFlags::ACK;
        }
        self.flags[s] |= flags | KNOWN;
    }

    #[inline]
    fn by_fins(&self) -> State {
        let fin = |leg: usize| self.flags[leg] & TcpFlags::FIN != 0;
        let acknowledged = |leg: usize| self.acked[1 - leg] == self.end[leg];
        match (fin(0), fin(1)) {
            (false, false) => State::Established,
            (true, true) if acknowledged(0) && acknowledged(1) => State::TimeWait,
            (true, true) => State::Closing,
            _ => State::HalfClosed,
        }
    }
}

#[cfg(test)]
mod tests;
