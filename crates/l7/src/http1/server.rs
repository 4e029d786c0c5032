//! What the server sends: responses.

use super::chunk;
use super::client::Client;
use super::head::{self, ResponseHead, Upgrade};
use super::outstanding::{Asked, Awaited};
use super::scan::{Found, Scan, Start};
use super::{Http1, Offer, head_caps, trailer_caps};
use crate::anomaly::Anomaly;
use crate::http::{HttpResponse, Version};
use crate::http2::Http2;
use crate::inspector::{Context, End, Settings, Step};

/// Where the server's stream stands.
#[derive(Debug)]
pub(super) enum Server {
    /// Before or in a head.
    Head(Scan),
    /// In a chunked body, before a line with a size.
    Size,
    /// Behind the bytes of a chunk.
    Data,
    /// In the trailer section.
    Trailers(Scan),
    /// Everything passes.
    Rest,
    /// Behind the answer that takes the offer to go on in HTTP/2: not read here any more.
    Http2,
}

impl Server {
    /// Whether something may be said at the boundary.
    pub(super) const fn is_between_messages(&self) -> bool {
        matches!(self, Self::Head(_))
    }

    /// Whether nothing happens here before there are bytes to look at, but for refusals between messages.
    pub(super) const fn needs_more(&self) -> bool {
        matches!(self, Self::Head(_) | Self::Size | Self::Data)
    }
}

/// How a body is framed.
#[derive(Copy, Clone, Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked,
    /// To the end of the stream.
    Rest,
}

/// What a final response says.
#[derive(Copy, Clone, Debug)]
pub(super) struct Said {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) grpc_status: Option<u32>,
    pub(super) body: Body,
}

const fn end(anomaly: Anomaly) -> Step {
    Step::End(End::Anomaly(anomaly))
}

impl Http1 {
    pub(super) fn feed_server(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        match &mut self.server {
            Server::Head(_) => {
                if let Some(end) = self.refuse_in_turn(cx) {
                    return Step::End(end);
                }
                self.server_head(bytes, cx)
            }
            Server::Size => self.server_size(0, bytes),
            Server::Data => match chunk::data_end(bytes) {
                Ok(false) => Step::NeedMore,
                Ok(true) => self.server_size(2, bytes),
                Err(anomaly) => end(anomaly),
            },
            Server::Trailers(scan) => {
                let (len, lines) = match scan.run(bytes, Start::Nothing, trailer_caps(cx)) {
                    Ok(Found::Partial) => return Step::NeedMore,
                    Ok(Found::End { len, lines }) => (len, lines),
                    Err(anomaly) => return end(anomaly),
                };
                if lines > 0
                    && let Err(anomaly) = chunk::check_trailers(&bytes[..len])
                {
                    return end(anomaly);
                }
                self.server = Server::Head(Scan::START);
                Step::Pass { counted: len, free: 0 }
            }
            Server::Rest | Server::Http2 => Step::NeedMore,
        }
    }

    fn server_head(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        let Server::Head(scan) = &mut self.server else { return Step::NeedMore };
        if bytes.is_empty() {
            return Step::NeedMore;
        }
        let Some(Awaited::Response(asked)) = self.outstanding.front() else {
            return end(Anomaly::HttpUnexpectedResponse);
        };
        let caps = head_caps(cx);
        if asked == Asked::Any
            && let Some((len, said)) = self.known_response.at(bytes, caps)
        {
            let free = self.answered(said, asked, cx);
            return Step::Pass { counted: len, free };
        }
        let (len, lines) = match scan.run(bytes, Start::Response, caps) {
            Ok(Found::Partial) => return Step::NeedMore,
            Ok(Found::End { lines: 0, .. }) | Err(Anomaly::HttpStartLine) => {
                return end(Anomaly::HttpResponse);
            }
            Ok(Found::End { len, lines }) => (len, lines),
            Err(anomaly) => return end(anomaly),
        };
        let whole = &bytes[..len];
        match head::response(whole, lines, |response| self.answer(whole, lines, response, asked, cx)) {
            Ok(Ok(free)) => Step::Pass { counted: len, free },
            Ok(Err(Anomaly::HttpStartLine)) | Err(Anomaly::HttpStartLine) => end(Anomaly::HttpResponse),
            Ok(Err(anomaly)) | Err(anomaly) => end(anomaly),
        }
    }

    /// Reads a response to what was asked, whose head is `whole`; how many bytes pass behind its head.
    fn answer(
        &mut self,
        whole: &[u8],
        lines: usize,
        response: &ResponseHead<'_>,
        asked: Asked,
        cx: &mut Context<'_>,
    ) -> Result<u64, Anomaly> {
        let body = body(response, asked)?;
        let switches = response.status == 101;
        if switches {
            match (asked, response.facts.upgrade) {
                (Asked::WebSocket, Some(Upgrade::WebSocket)) => {}
                (Asked::Http2 { .. }, Some(Upgrade::Http2)) => return self.take_offer(cx.settings),
                _ => return Err(Anomaly::HttpUpgrade),
            }
        }
        if response.status < 200 && !switches {
            self.server = Server::Head(Scan::START);
            return Ok(0);
        }
        let ResponseHead { version, status, .. } = *response;
        let said = Said { version, status, grpc_status: response.facts.grpc_status, body };
        if asked == Asked::Any {
            // One of the lines is the first one, which is no field.
            self.known_response.note(whole, lines.saturating_sub(1), said);
        }
        Ok(self.answered(said, asked, cx))
    }

    /// Tells of a final response and goes on behind its head; how many bytes pass there.
    fn answered(&mut self, said: Said, asked: Asked, cx: &mut Context<'_>) -> u64 {
        self.offer = Offer::None;
        if let Some(request) = self.outstanding.remembered() {
            cx.judge.http_response(&HttpResponse {
                version: said.version,
                status: said.status,
                latency_ns: cx.now.saturating_sub(request.at),
                method: request.method,
                path: request.path,
                host: request.host,
                grpc_status: said.grpc_status,
                stream: 0,
            });
        }
        self.outstanding.pop();
        if asked.may_switch() {
            let switches = said.status == 101;
            self.client = if switches { Client::Upgraded } else { Client::Head(Scan::START) };
        }
        let (server, free) = match said.body {
            Body::Length(len) => (Server::Head(Scan::START), len),
            Body::Chunked => (Server::Size, 0),
            Body::Rest => (Server::Rest, u64::MAX),
        };
        self.server = server;
        free
    }

    /// The server goes on in HTTP/2. What it says there first answers the request that came with the offer.
    fn take_offer(&mut self, settings: &Settings) -> Result<u64, Anomaly> {
        let (Offer::Made(payload), Some(request)) =
            (core::mem::take(&mut self.offer), self.outstanding.remembered())
        else {
            return Err(Anomaly::HttpUpgrade);
        };
        let http2 = Http2::upgraded(settings, request, &payload).ok_or(Anomaly::HttpUpgrade)?;
        self.offer = Offer::Taken(Box::new(http2));
        self.outstanding.pop();
        self.server = Server::Http2;
        Ok(0)
    }

    /// A line with a size, behind the line end of the chunk before it if `skip` is 2.
    fn server_size(&mut self, skip: usize, bytes: &[u8]) -> Step {
        match chunk::size_line(&bytes[skip..]) {
            // What ends a chunk goes at once: the next one may be minutes away, or wrong.
            Ok(None) | Err(_) if skip > 0 => {
                self.server = Server::Size;
                Step::Pass { counted: skip, free: 0 }
            }
            Ok(None) => Step::NeedMore,
            Ok(Some((len, size))) => {
                self.server = if size == 0 { Server::Trailers(Scan::START) } else { Server::Data };
                Step::Pass { counted: skip + len, free: size }
            }
            Err(anomaly) => end(anomaly),
        }
    }

    pub(super) fn finish_server(&mut self, undecided: usize, cx: &mut Context<'_>) -> Option<End> {
        self.server_ended = true;
        // A client notices by itself that a response is cut off.
        if undecided > 0 || !matches!(self.server, Server::Head(_) | Server::Rest | Server::Http2) {
            cx.judge.oddity(Anomaly::HttpTruncated);
        }
        None
    }
}

/// How a response's body is framed (RFC 9112 §6.3).
fn body(response: &ResponseHead<'_>, asked: Asked) -> Result<Body, Anomaly> {
    let facts = &response.facts;
    match response.status {
        101 if asked == Asked::WebSocket => Ok(Body::Rest),
        100..=199 | 204 => {
            // Nothing may be announced here, and clients that believe it read something else.
            if facts.chunked {
                return Err(Anomaly::HttpTransferEncoding);
            }
            if facts.content_length.is_some_and(|len| len > 0) {
                return Err(Anomaly::HttpContentLength);
            }
            Ok(Body::Length(0))
        }
        304 => Ok(Body::Length(0)),
        _ if asked.is_head() => Ok(Body::Length(0)),
        _ if facts.chunked => Ok(Body::Chunked),
        _ => Ok(facts.content_length.map_or(Body::Rest, Body::Length)),
    }
}
