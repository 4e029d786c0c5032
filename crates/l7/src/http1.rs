//! HTTP/1.0 and HTTP/1.1 on one connection (RFC 9112).
//!
//! Each side is read by its own state; between them stands the queue of what the client waits for.
//!
//! ```text
//!  client   Head ──▶ Body ──▶ Head                          server   Head ──▶ Head            (no body, or its length)
//!             ├────▶ Size ⇄ Data … Trailers ──▶ Head                   ├────▶ Size ⇄ Data … Trailers ──▶ Head
//!             ├────▶ Upgrading ──▶ Head, Rest, HTTP/2                  ├────▶ Rest            (to the end, or upgraded)
//!             │                                                        └────▶ Http2
//!             └────▶ Refused
//! ```
//!
//! **Requests.** A head is judged whole and passes in one piece; bodies pass as they come, framed by what was judged.
//! A denied request is swallowed, its body too, and the client gets `403` when everything that it asked before is
//! answered; the connection goes on. If the request said that it is the last one (`close`, or HTTP/1.0), so does the
//! refusal. A head that is malformed or ambiguous is answered with `400` in its turn, and the connection ends; it is held
//! until then, with what stands behind it, so that a connection that is only watched can go on with all its bytes.
//!
//! **Responses** are read for their framing alone; one that cannot be read ends the connection at once.
//!
//! **Heads that come again**, octet by octet, are not read again (`known.rs`); policy is asked about each request.
//!
//! **Strictness.** What two recipients could frame differently is refused and never repaired: any line end but CR LF;
//! control characters; white space before a colon; folds; a second `Content-Length` (equal or not), a signed, empty or
//! padded one; `Transfer-Encoding` that is not `chunked` alone, or in HTTP/1.0, or beside a length; those names with `_`
//! for `-`; `Connection` naming them; a missing, second or odd `Host` (HTTP/1.0 may have none), or another one than an
//! absolute target's; chunks as `chunk.rs` says. One empty line before a request is swallowed (RFC 9112 §2.2).
//!
//! **Targets.** Policy is asked for the path as sent and for the normal path, and both must be allowed:
//!
//! | sent | read as | decision |
//! |---|---|---|
//! | dot segments, `//`, escaped unreserved characters | sent, or resolved | both forms are judged |
//! | `%2f` in an otherwise normal path | an escape, or a slash | both forms are judged, the normal one with the slash |
//! | `%2f` beside dot or empty segments, before or after decoding | three ways | refused |
//! | `\`, `%5c` | a slash to some | refused |
//! | `%00`, `%c0`, `%c1`, broken escapes | an end, an overlong form, anything | refused |
//! | `%25` before `00`, `25`, `2e`, `2f`, `5c` | by some decoded twice | refused |
//! | `..;x`, `.;x`, also with `%3b` | a dot segment to some | refused |
//! | other `;` parameters | part of the segment | as it stands, as Envoy does |
//! | `//host` at the beginning | an authority to some | refused |
//! | `//` with `..` | depends on the order of merging | refused |
//! | `#`, anything but printable ASCII | varies | refused |
//! | `http://host/path` | path with authority | if the authority is that of `Host` |
//! | other schemes, `*` without OPTIONS | | refused |
//! | the query | never touched | as it stands |
//!
//! **Upgrades.** `websocket` is carried if the request is allowed: the client's bytes behind it wait for the response, and
//! after `101` both sides are opaque. So is an offer of `h2c` if it is all that RFC 7540 §3.2 asks for and the request has
//! no body: after `101` the connection is HTTP/2 to us as well, and the request its stream 1. An offer with a body, in
//! HTTP/1.0, with `Connection: close`, or with settings that cannot be read or kept up is taken out of the head, and the
//! request goes on in HTTP/1.1. Other upgrades, and CONNECT, are not carried (nor are they by Cilium): `403`, and the connection ends, since what
//! follows may be a tunnel's.
//!
//! **Bounds.** [`Settings::max_head`](crate::Settings::max_head), [`Settings::max_headers`](crate::Settings::max_headers)
//! (at most 256). Beyond [`Settings::max_outstanding`](crate::Settings::max_outstanding) requests, or 32 KiB of what is
//! remembered of them, the client waits for responses; that is an oddity and no error.

mod chunk;
mod client;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod head;
mod known;
mod outstanding;
mod scan;
mod server;
pub(crate) mod target;

use crate::anomaly::Anomaly;
use crate::http2::Http2;
use crate::inspector::{Context, End, Inspector, Side, Step};
use client::Client;
use known::{KnownRequest, KnownResponse};
pub(crate) use outstanding::Remembered;
use outstanding::{Awaited, Outstanding, Refusal};
use scan::{Caps, Scan};
use server::Server;

/// One connection.
#[derive(Debug)]
pub struct Http1 {
    client: Client,
    server: Server,
    outstanding: Outstanding,
    known_request: KnownRequest,
    known_response: KnownResponse,
    offer: Offer,
    /// Where an odd path is normalised.
    scratch: Vec<u8>,
    /// A request was read, so what fails to be one is no other protocol.
    spoke_http: bool,
    /// An empty line was swallowed before the next request.
    empty_line: bool,
    /// The server ended its stream: nothing can be said behind it.
    server_ended: bool,
    /// The client was made to wait for responses, and that was told.
    overfull: bool,
}

/// The client's offer to go on in HTTP/2. Behind it nothing of the client is read, so there is but one.
#[derive(Debug, Default)]
enum Offer {
    #[default]
    None,
    /// It has passed, with these settings.
    Made(Box<[u8]>),
    /// The server has taken it.
    Taken(Box<Http2>),
}

impl Default for Http1 {
    fn default() -> Self {
        Self::new()
    }
}

impl Http1 {
    /// A connection on which nothing was said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            client: Client::Head(Scan::START),
            server: Server::Head(Scan::START),
            outstanding: Outstanding::new(),
            known_request: KnownRequest::none(),
            known_response: KnownResponse::none(),
            offer: Offer::None,
            scratch: Vec::new(),
            spoke_http: false,
            empty_line: false,
            server_ended: false,
            overfull: false,
        }
    }

    /// Bytes that it holds on the heap.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn heap(&self) -> usize {
        let offer = match &self.offer {
            Offer::None => 0,
            Offer::Made(payload) => payload.len(),
            Offer::Taken(_) => size_of::<Http2>(),
        };
        let known = self.known_request.heap() + self.known_response.heap();
        self.outstanding.heap() + self.scratch.capacity() + known + offer
    }

    /// Forgets the heads that would be known again.
    #[cfg(any(test, feature = "testing"))]
    pub fn forget(&mut self) {
        self.known_request = KnownRequest::none();
        self.known_response = KnownResponse::none();
    }

    /// The connection behind the `101` that has just passed, if it goes on in HTTP/2. This one reads nothing more.
    pub(crate) fn upgraded(&mut self) -> Option<Box<Http2>> {
        if !matches!(self.offer, Offer::Taken(_)) {
            return None;
        }
        match core::mem::take(&mut self.offer) {
            Offer::Taken(http2) => Some(http2),
            Offer::None | Offer::Made(_) => None,
        }
    }

    /// Says the refusals whose turn it is; `Some` when nothing comes behind the last of them.
    fn refuse_in_turn(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if self.server_ended || !self.server.is_between_messages() {
            return None;
        }
        while let Some(Awaited::Refusal(refusal)) = self.outstanding.front() {
            refusal.write(cx.to_client);
            self.outstanding.pop();
            if refusal.last.is_some() {
                return refusal.last;
            }
        }
        None
    }

    /// Reads nothing more from the client; it is told why in its turn. What it sent is held and never passes.
    fn refuse_rest(&mut self, refusal: Refusal, cx: &mut Context<'_>) -> Step {
        self.client = Client::Refused;
        if self.server_ended {
            return refusal.last.map_or(Step::NeedMore, Step::End);
        }
        self.outstanding.push_refusal(refusal);
        self.refuse_in_turn(cx).map_or(Step::NeedMore, Step::End)
    }

    /// Answers bytes that are no request.
    fn refuse_malformed(&mut self, anomaly: Anomaly, cx: &mut Context<'_>) -> Step {
        let anomaly = match anomaly {
            Anomaly::HttpStartLine if !self.spoke_http => Anomaly::HttpNotHttp,
            _ => anomaly,
        };
        let last = Some(End::Anomaly(anomaly));
        self.refuse_rest(Refusal { malformed: true, head: false, last }, cx)
    }
}

impl Inspector for Http1 {
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        match side {
            Side::Client => self.feed_client(bytes, cx),
            Side::Server => self.feed_server(bytes, cx),
        }
    }

    fn finish(&mut self, side: Side, undecided: usize, cx: &mut Context<'_>) -> Option<End> {
        match side {
            Side::Client => self.finish_client(undecided, cx),
            Side::Server => self.finish_server(undecided, cx),
        }
    }

    fn is_at_rest(&self) -> bool {
        self.client.needs_more()
            && self.server.needs_more()
            && !matches!(self.outstanding.front(), Some(Awaited::Refusal(_)))
    }
}

/// Caps of a head.
fn head_caps(cx: &Context<'_>) -> Caps {
    Caps { bytes: cx.settings.max_head, fields: cx.settings.max_headers.min(head::MOST_FIELDS) }
}

/// Caps of a trailer section.
fn trailer_caps(cx: &Context<'_>) -> Caps {
    Caps {
        bytes: cx.settings.max_head.min(chunk::MAX_TRAILERS),
        fields: cx.settings.max_headers.min(chunk::MAX_TRAILER_FIELDS),
    }
}
