//! What the client sends: requests.

use super::chunk;
use super::head::{self, RequestHead, Upgrade};
use super::outstanding::{Asked, Awaited, Outstanding, Refusal, Remembered};
use super::scan::{Found, Scan, Start};
use super::target;
use super::{Http1, Offer, head_caps, trailer_caps};
use crate::anomaly::Anomaly;
use crate::http::{HttpRequest, Version};
use crate::http2;
use crate::inspector::{Context, End, Step};

/// Bytes that an idle connection keeps for normal paths.
const IDLE_SCRATCH: usize = 1024;

/// Where the client's stream stands.
#[derive(Debug)]
pub(super) enum Client {
    /// Before or in a head.
    Head(Scan),
    /// Before a body of known length, whose head was replaced.
    Body(u64),
    /// In a chunked body, before a line with a size.
    Size(Fate),
    /// Behind the bytes of a chunk.
    Data(Fate),
    /// In the trailer section.
    Trailers(Fate, Scan),
    /// Behind a request to upgrade: what follows is read when it is answered.
    Upgrading,
    /// Upgraded.
    Upgraded,
    /// Everything passes.
    Rest,
    /// Nothing is read any more: a refusal ends the connection when its turn comes.
    Refused,
}

impl Client {
    /// Whether nothing happens here before there are bytes to look at.
    pub(super) const fn needs_more(&self) -> bool {
        matches!(self, Self::Head(_) | Self::Size(_) | Self::Data(_))
    }
}

/// What becomes of a body.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Pass,
    Swallow,
}

impl Fate {
    /// The step for a line and the bytes behind it.
    const fn step(self, line: usize, data: u64) -> Step {
        match self {
            Self::Pass => Step::Pass { counted: line, free: data },
            Self::Swallow => Step::Swallow { len: (line as u64).saturating_add(data) },
        }
    }
}

/// What to do about a head.
enum Ruling {
    /// It passes.
    Pass { body: Body, asked: Asked },
    /// It passes, rewritten into what is said to the server.
    Replace { body: Body },
    /// It is refused, and the connection goes on unless `last`.
    Deny { body: Body, head: bool, last: bool },
    /// It is refused, and nothing is read behind it.
    Fail { malformed: bool, anomaly: Anomaly },
}

/// How a body is framed.
#[derive(Copy, Clone, Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

/// A request that is well formed and asks for no upgrade.
#[derive(Copy, Clone, Debug)]
pub(super) struct Asking<'a> {
    pub(super) request: HttpRequest<'a>,
    pub(super) body: Body,
    /// Nothing comes behind it.
    pub(super) last: bool,
}

impl Asking<'_> {
    /// Asks policy, and waits for the response if it passes.
    fn rule(&self, outstanding: &mut Outstanding, cx: &mut Context<'_>) -> Ruling {
        let Self { request, body, last } = *self;
        let head = request.method == b"HEAD";
        if !cx.judge.http_request(&request) {
            return Ruling::Deny { body, head, last };
        }
        let asked = if head { Asked::Head } else { Asked::Any };
        outstanding.push_request(asked, remembered(&request, cx.now));
        Ruling::Pass { body, asked }
    }
}

fn remembered<'a>(request: &HttpRequest<'a>, at: u64) -> Remembered<'a> {
    Remembered { at, method: request.method, path: request.path, host: request.host }
}

impl Http1 {
    pub(super) fn feed_client(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        match self.client {
            Client::Head(_) => self.client_head(bytes, cx),
            Client::Body(len) => {
                self.client = Client::Head(Scan::START);
                Step::Pass { counted: 0, free: len }
            }
            Client::Size(fate) => self.client_size(0, bytes, fate, cx),
            Client::Data(fate) => match chunk::data_end(bytes) {
                Ok(false) => Step::NeedMore,
                Ok(true) => self.client_size(2, bytes, fate, cx),
                Err(anomaly) => self.fail_in_body(fate, anomaly, cx),
            },
            Client::Trailers(fate, _) => self.client_trailers(bytes, fate, cx),
            Client::Upgraded => {
                self.client = Client::Rest;
                Step::Pass { counted: 0, free: u64::MAX }
            }
            Client::Upgrading | Client::Rest => Step::NeedMore,
            Client::Refused => self.refuse_in_turn(cx).map_or(Step::NeedMore, Step::End),
        }
    }

    fn client_head(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        let Client::Head(scan) = &mut self.client else { return Step::NeedMore };
        if bytes.is_empty() {
            return Step::NeedMore;
        }
        if self.outstanding.is_full(cx.settings.max_outstanding.max(1)) {
            if !core::mem::replace(&mut self.overfull, true) {
                cx.judge.oddity(Anomaly::HttpTooManyOutstanding);
            }
            return Step::NeedMore;
        }
        let caps = head_caps(cx);
        if let Some(len) = self.known_request.len_at(bytes, caps) {
            let ruling = self.known_request.asking(|asking| asking.rule(&mut self.outstanding, cx));
            return self.apply(ruling, len, cx);
        }
        let (len, lines) = match scan.run(bytes, Start::Request, caps) {
            Ok(Found::Partial) => return Step::NeedMore,
            Ok(Found::End { len, lines: 0 }) => {
                // RFC 9112 §2.2: some clients send one behind a body. Nobody needs it.
                if core::mem::replace(&mut self.empty_line, true) {
                    return self.refuse_malformed(Anomaly::HttpStartLine, cx);
                }
                *scan = Scan::START;
                return Step::Swallow { len: len as u64 };
            }
            Ok(Found::End { len, lines }) => (len, lines),
            Err(anomaly) => return self.refuse_malformed(anomaly, cx),
        };
        let whole = &bytes[..len];
        match head::request(whole, lines, |request| self.rule(whole, request, cx)) {
            Ok(ruling) => self.apply(ruling, len, cx),
            Err(anomaly) => self.refuse_malformed(anomaly, cx),
        }
    }

    /// Decides about a request, whose head is `whole`.
    fn rule(&mut self, whole: &[u8], request: &RequestHead<'_>, cx: &mut Context<'_>) -> Ruling {
        let fail = |anomaly| Ruling::Fail { malformed: true, anomaly };
        let facts = &request.facts;
        self.spoke_http = true;
        let host = match facts.host {
            Some(host) if target::is_authority(host) => host,
            None if request.version == Version::Http10 => b"",
            _ => return fail(Anomaly::HttpHost),
        };
        if request.method == b"CONNECT" {
            return Ruling::Fail { malformed: false, anomaly: Anomaly::HttpUpgrade };
        }
        let target = match target::split(request.method, request.target) {
            Ok(target) => target,
            Err(anomaly) => return fail(anomaly),
        };
        let host = match target.authority {
            Some(authority) if !target::is_authority(authority) => return fail(Anomaly::HttpHost),
            Some(authority) if facts.host.is_none() => authority,
            Some(authority) if !authority.eq_ignore_ascii_case(host) => return fail(Anomaly::HttpHost),
            _ => host,
        };
        if target.odd
            && let Err(anomaly) = target::normalise(target.path, &mut self.scratch)
        {
            return fail(anomaly);
        }
        let normal_path = if target.odd { self.scratch.as_slice() } else { target.path };
        let body =
            if facts.chunked { Body::Chunked } else { Body::Length(facts.content_length.unwrap_or(0)) };
        let old = request.version == Version::Http10;
        let asking = Asking {
            request: HttpRequest {
                version: request.version,
                method: request.method,
                path: target.path,
                normal_path,
                host,
                headers: request.headers,
                stream: 0,
            },
            body,
            last: facts.connection.close || old,
        };
        match facts.upgrade {
            None => {
                if !target.odd {
                    self.known_request.note(whole, &asking);
                }
                return asking.rule(&mut self.outstanding, cx);
            }
            Some(Upgrade::WebSocket)
                if old || request.method != b"GET" || !matches!(body, Body::Length(0)) =>
            {
                return fail(Anomaly::HttpUpgrade);
            }
            Some(Upgrade::Other) => {
                return Ruling::Fail { malformed: false, anomaly: Anomaly::HttpUpgrade };
            }
            Some(_) => {}
        }
        let head = request.method == b"HEAD";
        if !cx.judge.http_request(&asking.request) {
            return Ruling::Deny { body, head, last: asking.last };
        }
        // HTTP/1.0 knows no upgrade (RFC 9110 §7.8).
        let offer = facts.http2_offer().filter(|_| !old).and_then(http2::offered);
        let asked = match facts.upgrade {
            Some(Upgrade::WebSocket) => Asked::WebSocket,
            Some(Upgrade::Http2) if offer.is_some() => Asked::Http2 { head },
            _ if head => Asked::Head,
            _ => Asked::Any,
        };
        self.outstanding.push_request(asked, remembered(&asking.request, cx.now));
        match offer {
            Some(payload) => self.offer = Offer::Made(payload),
            None if facts.upgrade == Some(Upgrade::Http2) => {
                head::without_upgrade(request, cx.to_server);
                return Ruling::Replace { body };
            }
            None => {}
        }
        Ruling::Pass { body, asked }
    }

    fn apply(&mut self, ruling: Ruling, len: usize, cx: &mut Context<'_>) -> Step {
        if self.scratch.capacity() > IDLE_SCRATCH {
            self.scratch = Vec::new();
        }
        match ruling {
            Ruling::Pass { body, asked } => {
                let free = self.begin(body, Fate::Pass);
                if asked.may_switch() {
                    self.client = Client::Upgrading;
                }
                Step::Pass { counted: len, free }
            }
            Ruling::Replace { body } => {
                let free = self.begin(body, Fate::Pass);
                if free > 0 {
                    self.client = Client::Body(free);
                }
                Step::Swallow { len: len as u64 }
            }
            Ruling::Deny { head, last: true, .. } => {
                self.refuse_rest(Refusal { malformed: false, head, last: Some(End::Refused) }, cx)
            }
            Ruling::Deny { body, head, last: false } => {
                let free = self.begin(body, Fate::Swallow);
                self.outstanding.push_refusal(Refusal { malformed: false, head, last: None });
                // A refusal that ends the connection is the last one, and this is not.
                let _ = self.refuse_in_turn(cx);
                Step::Swallow { len: (len as u64).saturating_add(free) }
            }
            Ruling::Fail { malformed: true, anomaly } => self.refuse_malformed(anomaly, cx),
            Ruling::Fail { malformed: false, anomaly } => {
                let last = Some(End::Anomaly(anomaly));
                self.refuse_rest(Refusal { malformed: false, head: false, last }, cx)
            }
        }
    }

    /// Goes on behind a head; how many bytes its body has, if that is known.
    fn begin(&mut self, body: Body, fate: Fate) -> u64 {
        self.empty_line = false;
        match body {
            Body::Length(len) => {
                self.client = Client::Head(Scan::START);
                len
            }
            Body::Chunked => {
                self.client = Client::Size(fate);
                0
            }
        }
    }

    /// A line with a size, behind the line end of the chunk before it if `skip` is 2.
    fn client_size(&mut self, skip: usize, bytes: &[u8], fate: Fate, cx: &mut Context<'_>) -> Step {
        match chunk::size_line(&bytes[skip..]) {
            // What ends a chunk goes at once: the next one may be minutes away, or wrong.
            Ok(None) | Err(_) if skip > 0 => {
                self.client = Client::Size(fate);
                fate.step(skip, 0)
            }
            Ok(None) => Step::NeedMore,
            Ok(Some((len, size))) => {
                self.client =
                    if size == 0 { Client::Trailers(fate, Scan::START) } else { Client::Data(fate) };
                fate.step(skip + len, size)
            }
            Err(anomaly) => self.fail_in_body(fate, anomaly, cx),
        }
    }

    fn client_trailers(&mut self, bytes: &[u8], fate: Fate, cx: &mut Context<'_>) -> Step {
        let Client::Trailers(_, scan) = &mut self.client else { return Step::NeedMore };
        let found = match scan.run(bytes, Start::Nothing, trailer_caps(cx)) {
            Ok(Found::End { len, lines }) => {
                if lines == 0 {
                    Ok(len)
                } else {
                    chunk::check_trailers(&bytes[..len]).map(|()| len)
                }
            }
            Ok(Found::Partial) => return Step::NeedMore,
            Err(anomaly) => Err(anomaly),
        };
        match found {
            Ok(len) => {
                self.client = Client::Head(Scan::START);
                fate.step(len, 0)
            }
            Err(anomaly) => self.fail_in_body(fate, anomaly, cx),
        }
    }

    /// A body goes wrong. If the server has its head already, it will never have the rest; whatever it answers to a
    /// part of a request is not waited for, so `400` stands in the place of that answer.
    fn fail_in_body(&mut self, fate: Fate, anomaly: Anomaly, cx: &mut Context<'_>) -> Step {
        if fate == Fate::Pass {
            match self.outstanding.back() {
                Some(Awaited::Response(_)) => self.outstanding.pop_back(),
                // It was answered before it was complete.
                _ => return Step::End(End::Anomaly(anomaly)),
            }
        }
        self.refuse_malformed(anomaly, cx)
    }

    pub(super) fn finish_client(&mut self, undecided: usize, cx: &mut Context<'_>) -> Option<End> {
        let truncated = Some(End::Anomaly(Anomaly::HttpTruncated));
        match self.client {
            Client::Size(Fate::Pass) | Client::Data(Fate::Pass) | Client::Trailers(Fate::Pass, _) => {
                truncated
            }
            Client::Upgrading if undecided > 0 => truncated,
            Client::Refused => None,
            _ if undecided > 0 => {
                // The server sees an end between two requests.
                cx.judge.oddity(Anomaly::HttpTruncated);
                None
            }
            _ => None,
        }
    }
}
