//! HTTP/2 on one connection, with prior knowledge or by upgrade, gRPC included.
//!
//! Frames pass as they came. A request's header block is waited for whole, decoded, judged and passed. The first
//! block that is refused changes how the rest is done, because what is swallowed cannot enter the server's HPACK
//! table: from then on the client's blocks are swallowed and said again with an encoder of our own. The server's blocks
//! always pass, so a refusal written to the client leaves the client's table alone (`refusal.rs`).
//!
//! The server never hears of a refused stream. Its DATA is swallowed, and the credit that it took from the connection
//! is given back at once; what the client says about its window, priority or end is swallowed too. Ids that the server
//! has not seen are closed for it by the next higher one (RFC 9113 §5.1.1).
//!
//! A client may have as many streams open as are followed here, so that is the most that the server's first SETTINGS
//! announce to it, in words of ours where the server's promise more (`peer.rs`). What it opens before it knows is refused
//! with REFUSED_STREAM.
//!
//! Flow control stays exact: `Peer::window` is what that side may send on the connection *in its own view*. The body of
//! a refusal takes octets from the client's window that the server knows nothing of; that *debt* is taken out of the
//! next credit that the client gives, and until then DATA that would not fit the client's view is kept back.
//!
//! ```text
//!            preface            SETTINGS            first refusal
//!  client  ──────────▶ started ──────────▶ passing ───────────────▶ re-encoding
//!  server  ──────────────────── SETTINGS ─▶ passing      (what is said to the client before waits for this)
//! ```
//!
//! What violates RFC 9113 ends the connection with the GOAWAY that fits, also where the RFC would be content with ending
//! the stream; only a malformed request is answered with RST_STREAM and costs nobody else anything.

mod block;
mod client;
mod flood;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
pub mod hpack;
mod peer;
mod refusal;
mod request;
mod response;
mod server;
mod shared;
mod streams;
mod upgrade;

use crate::anomaly::Anomaly;
use crate::http::{Header, PREFACE};
use crate::inspector::{Context, End, Inspector, MAX_UNDECIDED, Settings, Side, Step};

use frame::{FrameHeader, Violation, kind, write_goaway, write_header};
use hpack::{Encoder, Limits};
use peer::Peer;
use streams::Streams;
pub(crate) use upgrade::offered;

/// Octets for the client that wait for the server's first SETTINGS.
const MAX_WAITING: usize = 64 * 1024;

/// Octets that are kept allocated for blocks put together.
const KEPT_BLOCK: usize = 8 * 1024;

/// HTTP/2 over cleartext, from the client's preface on.
#[derive(Debug)]
pub struct Http2 {
    /// Octets of a header block.
    max_block: usize,
    /// Whether the client's preface has passed.
    preface: bool,
    /// Whether it came to be by upgrade, so that the client speaks HTTP/2 before it has said anything.
    upgraded: bool,
    client: Peer,
    server: Peer,
    streams: Streams,
    /// Speaks to the server in the client's place, from the first refusal on.
    encoder: Option<Encoder>,
    /// Octets of refusals' bodies that the server's view of the client's window does not know of.
    debt: u32,
    /// What is to be said to the client behind the server's first SETTINGS.
    waiting: Vec<u8>,
    ended: Option<End>,
    /// A block's fragments put together; a block re-encoded.
    block: Vec<u8>,
    /// The normal form of an odd path.
    normal_path: Vec<u8>,
    /// Room for a request's fields.
    headers: Vec<Header<'static>>,
}

impl Http2 {
    /// A connection of which nothing was seen yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        // A block of the largest size must fit into what is kept at hand.
        let list = settings.max_head.min(MAX_UNDECIDED - block::max_undecided(0));
        let limits = Limits { list, fields: settings.max_headers };
        Self {
            max_block: limits.list,
            preface: false,
            upgraded: false,
            client: Peer::new(limits),
            server: Peer::new(limits),
            streams: Streams::default(),
            encoder: None,
            debt: 0,
            waiting: Vec::new(),
            ended: None,
            block: Vec::new(),
            normal_path: Vec::new(),
            headers: Vec::new(),
        }
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Looks at the next frame of `side`.
    fn step(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Result<Step, Violation> {
        if side == Side::Client && !self.preface {
            return self.read_preface(bytes);
        }
        let Some(head) = FrameHeader::parse(bytes) else { return Ok(Step::NeedMore) };
        if head.len > self.peer(side.opposite()).largest_frame() {
            return Err(Violation::FRAME_SIZE);
        }
        if !self.peer(side).started && (head.kind != kind::SETTINGS || head.has(frame::flag::ACK)) {
            return Err(Violation::PREFACE);
        }
        match (head.kind, side) {
            (kind::DATA, Side::Client) => self.client_data(head, bytes, cx),
            (kind::DATA, Side::Server) => self.server_data(head, bytes, cx),
            (kind::HEADERS, Side::Client) => self.client_headers(head, bytes, cx),
            (kind::HEADERS, Side::Server) => self.server_headers(head, bytes, cx),
            (kind::PRIORITY, _) => self.priority(side, head, bytes, cx),
            (kind::RST_STREAM, Side::Client) => self.client_reset(head, bytes, cx),
            (kind::RST_STREAM, Side::Server) => self.server_reset(head, bytes, cx),
            (kind::SETTINGS, _) => self.settings(side, head, bytes, cx),
            (kind::PING, _) => self.ping(side, head, bytes, cx),
            (kind::GOAWAY, _) => Self::goaway(head, bytes),
            (kind::WINDOW_UPDATE, _) => self.window_update(side, head, bytes, cx),
            // A block's CONTINUATIONs were looked at with its HEADERS. Pushes are carried by nobody any more, and
            // would be responses to requests that nobody judged.
            (kind::CONTINUATION | kind::PUSH_PROMISE, _) => Err(Violation::PROTOCOL),
            _ => self.unknown(side, head, bytes, cx),
        }
    }

    fn read_preface(&mut self, bytes: &[u8]) -> Result<Step, Violation> {
        let at_hand = bytes.len().min(PREFACE.len());
        if bytes[..at_hand] != PREFACE[..at_hand] {
            return Err(Violation::PREFACE);
        }
        if at_hand < PREFACE.len() {
            return Ok(Step::NeedMore);
        }
        self.preface = true;
        Ok(Step::Pass { counted: PREFACE.len(), free: 0 })
    }

    /// Says something to the client, behind the server's first SETTINGS.
    fn say(&mut self, cx: &mut Context<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Violation> {
        if self.server.started {
            write(cx.to_client);
            return Ok(());
        }
        write(&mut self.waiting);
        if self.waiting.len() > MAX_WAITING { Err(Violation::FLOOD) } else { Ok(()) }
    }

    /// Ends the connection, with a GOAWAY for whoever speaks HTTP/2.
    fn violated(&mut self, violation: Violation, cx: &mut Context<'_>) -> Step {
        if self.preface || self.upgraded {
            if !self.server.started {
                // The server's preface, which the client must see first (RFC 9113 §3.4).
                write_header(0, kind::SETTINGS, 0, 0, cx.to_client);
                cx.to_client.append(&mut self.waiting);
            }
            write_goaway(self.streams.last_passed, violation.code, cx.to_client);
        }
        let end = End::Anomaly(violation.anomaly);
        self.ended = Some(end);
        Step::End(end)
    }
}

impl Inspector for Http2 {
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        if let Some(end) = self.ended {
            return Step::End(end);
        }
        if self.server.started && !self.waiting.is_empty() {
            cx.to_client.append(&mut self.waiting);
        }
        let step = self.step(side, bytes, cx).unwrap_or_else(|violation| self.violated(violation, cx));
        if self.block.capacity() > KEPT_BLOCK {
            self.block = Vec::new();
        }
        step
    }

    fn finish(&mut self, _side: Side, undecided: usize, _cx: &mut Context<'_>) -> Option<End> {
        // A frame of which the rest never comes.
        (undecided > 0).then_some(End::Anomaly(Anomaly::HttpTruncated))
    }

    fn is_at_rest(&self) -> bool {
        self.ended.is_none() && self.waiting.is_empty()
    }
}

/// A frame that passes whole.
fn pass(head: FrameHeader) -> Step {
    Step::Pass { counted: head.total(), free: 0 }
}

/// A frame that is swallowed whole.
fn swallow(head: FrameHeader) -> Step {
    Step::Swallow { len: head.total() as u64 }
}

/// Lends an empty list's memory to a list of another lifetime.
fn lend<'a>(mut headers: Vec<Header<'_>>) -> Vec<Header<'a>> {
    headers.clear();
    headers.into_iter().map(|_| Header::default()).collect()
}
