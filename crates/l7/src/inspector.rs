//! The contract between a protocol and the splicer.
//!
//! A connection has two streams: what the [`Side::Client`] sends to the server, and what the [`Side::Server`] sends to
//! the client. Each has a *boundary*: everything before it is decided. [`Inspector::feed`] is shown the bytes at hand
//! behind the boundary and answers one [`Step`], which moves the boundary:
//!
//! * after every step but [`Step::NeedMore`], [`Step::Wait`] and [`Step::End`] it is called again at once, with what is
//!   at hand behind the new boundary, **even if that is nothing**;
//! * when it has answered `NeedMore` it is called again with the same bytes and more behind them, or with the same
//!   bytes when the other side made a step (a response may decide what a request was);
//! * a step may reach beyond what is at hand (`free`, `len`): those bytes are treated so as they come. Until the
//!   boundary is reached `feed` is shown an empty slice.
//!
//! What an inspector says itself is appended to [`Context::to_client`] or [`Context::to_server`]. It is put into that
//! stream **at its boundary as it stands when `feed` is called**, before the bytes that the answered step decides: to
//! put something behind a message, pass the message first and write at the call that follows. The boundary of the
//! stream that is spoken into must be one between messages; the protocol knows when that is so.
//!
//! Bytes passed leave as the frames they came in, so an inspector cannot change them: it swallows them and writes
//! others in their place.

use crate::anomaly::Anomaly;
use crate::judge::Judge;

/// Who speaks, relative to the protocol: the client opened the connection.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// Sends requests.
    Client,
    /// Sends responses.
    Server,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What is to happen to the bytes behind a side's boundary.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Cannot be said yet.
    NeedMore,
    /// Said already, but not before what was told to [`Judge::dns_answer`] is in force: ask again later.
    Wait,
    /// The next bytes pass.
    Pass {
        /// Bytes at hand whose content was judged. Whoever sends them again must send the same.
        counted: usize,
        /// Bytes behind them, at hand or still to come, whose content decides nothing (a body). [`u64::MAX`]: all
        /// that ever comes.
        free: u64,
    },
    /// The next `len` bytes, at hand or still to come, are taken from the sender and go nowhere.
    Swallow {
        /// How many; [`u64::MAX`]: all that ever come.
        len: u64,
    },
    /// The connection ends. If something was written to the client it gets that and an orderly end; else both sides
    /// are reset.
    End(End),
}

/// Why a connection ends.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Policy refused something that cannot be refused by itself.
    Refused,
    /// The bytes are not what they must be.
    Anomaly(Anomaly),
}

/// Settings that protocols share. Every cap of the crate stands here or beside its use, with its origin.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Bytes of an HTTP/1 head, and of a decoded HTTP/2 header list (Envoy: `max_request_headers_kb`, 60).
    pub max_head: usize,
    /// Header fields of a message (Envoy: `max_headers_count`, 100).
    pub max_headers: usize,
    /// Requests without an answer on one connection.
    pub max_outstanding: usize,
    /// Answer a refused DNS question with NXDOMAIN instead of REFUSED (Cilium:
    /// `tofqdns-dns-reject-response-code=nameError`).
    pub dns_nxdomain: bool,
}

/// The most bytes behind a boundary that the splicer keeps at hand while an inspector asks for more. An inspector
/// that needs a message whole must refuse larger ones.
pub const MAX_UNDECIDED: usize = 128 * 1024;

impl Default for Settings {
    fn default() -> Self {
        Self { max_head: 60 * 1024, max_headers: 100, max_outstanding: 256, dns_nxdomain: false }
    }
}

/// What an inspector may use while it is being fed.
pub struct Context<'a> {
    /// Asks policy, and tells the flow log.
    pub judge: &'a mut dyn Judge,
    /// Nanoseconds on the worker's clock, for latencies.
    pub now: u64,
    /// Caps.
    pub settings: &'a Settings,
    /// Bytes to put into the stream from server to client, at its boundary.
    pub to_client: &'a mut Vec<u8>,
    /// Bytes to put into the stream from client to server, at its boundary.
    pub to_server: &'a mut Vec<u8>,
}

/// A protocol on one connection. Never panics, whatever the bytes; holds bounded memory.
pub trait Inspector {
    /// Looks at the bytes behind `side`'s boundary and decides about the first of them.
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step;

    /// `side` has ended its stream right behind `undecided` bytes (which it was fed and asked more for). `None`: so be
    /// it, the end is passed on and the undecided bytes are not; what `End` says otherwise.
    fn finish(&mut self, side: Side, undecided: usize, cx: &mut Context<'_>) -> Option<End>;

    /// Whether [`feed`](Self::feed) with nothing at hand, on either side, would be answered by [`Step::NeedMore`], say
    /// nothing and change nothing: then it need not be called. `false` is always right.
    fn is_at_rest(&self) -> bool {
        false
    }
}
