//! Frames that only clients send, or that mean something else from them: requests, their bodies, their resets.

use super::block::collect;
use super::frame::{
    FrameHeader, MIN_MAX_FRAME, Violation, data_len, flag, write_headers, write_window_update,
};
use super::hpack::{Encoder, HpackError};
use super::refusal::{self, BODY_LEN, Refusal};
use super::request::{self, Fault, Request};
use super::streams::{Answer, MAX_OPEN};
use super::{Http2, flood, lend, pass, swallow};
use crate::anomaly::Anomaly;
use crate::http::{Header, HttpRequest, Version};
use crate::http1::target;
use crate::inspector::{Context, Side, Step};

/// Octets of bodies that the client was sent and has not given credit for. What may have to be kept back of the server's
/// DATA is this much and a frame.
const MAX_DEBT: u32 = 4_096;

impl From<HpackError> for Violation {
    fn from(error: HpackError) -> Self {
        if error == HpackError::TooLarge { Self::HEAD_TOO_LARGE } else { Self::COMPRESSION }
    }
}

impl Http2 {
    pub(super) fn client_headers(
        &mut self,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        let id = head.stream;
        if id.is_multiple_of(2) {
            return Err(Violation::PROTOCOL);
        }
        let max_frame = self.server.largest_frame();
        let Some(block) = collect(bytes, head, max_frame, self.max_block, &mut self.block)? else {
            return Ok(Step::NeedMore);
        };
        let len = block.len;
        self.client.idle.earn(flood::PER_MOVE);
        if id <= self.streams.last {
            // Looked for before the block is decoded: of a closed stream nothing may come.
            if self.streams.get(id).is_none_or(|stream| !stream.client_open) {
                return Err(Violation::STREAM_CLOSED);
            }
            self.client.blocks.read(block.octets)?;
            return self.client_trailers(head, len, cx);
        }
        let full = self.streams.open_now() >= MAX_OPEN;
        self.client.blocks.read(block.octets)?;
        self.streams.last = id;
        let end_stream = head.has(flag::END_STREAM);
        if full {
            cx.judge.oddity(Anomaly::Http2TooManyStreams);
            if !end_stream {
                let stream = self.streams.open(id, &Request::default(), cx.now);
                (stream.client_open, stream.refused) = (true, true);
            }
            return self.refuse(id, end_stream, Refusal::Later, len, cx);
        }
        if let Some(refusal) = self.judge(id, end_stream, cx) {
            return self.refuse(id, end_stream, refusal, len, cx);
        }
        self.streams.last_passed = id;
        Ok(self.pass_block(id, end_stream, len, cx))
    }

    /// Reads the list decoded last as a request, asks policy, and remembers the stream. How it is to be refused, if it is.
    fn judge(&mut self, id: u32, end_stream: bool, cx: &mut Context<'_>) -> Option<Refusal> {
        let binary = self.server.reads_binary();
        let mut headers = lend(core::mem::take(&mut self.headers));
        let known = self.client.blocks.note();
        let fields = self.client.blocks.fields();
        let read = request::read(fields, known, end_stream, binary, &mut headers).and_then(|read| {
            let (_, request) = read;
            if request.odd_path {
                target::normalise(request.path, &mut self.normal_path).map_err(Fault::Refused)?;
            }
            Ok(read)
        });
        let refusal = match &read {
            Ok((_, request)) => {
                let normal_path = if request.odd_path { &self.normal_path } else { request.path };
                ask(request, normal_path, &headers, id, cx)
            }
            Err(Fault::Malformed) => {
                cx.judge.oddity(Anomaly::Http2Message);
                Some(Refusal::Reset)
            }
            Err(Fault::Refused(anomaly)) => {
                cx.judge.oddity(*anomaly);
                Some(Refusal::Status)
            }
        };
        let refused = refusal.is_some();
        // Of a refused stream that is complete nothing more is to be known.
        if !(refused && end_stream) {
            let (_, request) = read.unwrap_or_default();
            let stream = self.streams.open(id, &request, cx.now);
            stream.client_open = !end_stream;
            stream.refused = refused;
            if refused {
                stream.remaining = None;
            }
        }
        self.headers = lend(headers);
        if let Ok((head, _)) = read
            && known != Some(head)
        {
            self.client.blocks.set_note(Some(head));
        }
        refusal
    }

    /// Answers a request in the server's place and takes its head from the server.
    fn refuse(
        &mut self,
        id: u32,
        end_stream: bool,
        refusal: Refusal,
        len: usize,
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if refusal == Refusal::Reset {
            self.client.resets.charge(cx.now)?;
        }
        let refusal =
            if refusal == Refusal::StatusAndBody && !self.afford_body() { Refusal::Status } else { refusal };
        if refusal == Refusal::StatusAndBody {
            self.debt += BODY_LEN;
        }
        let owed = self.server.blocks.decoder().owed();
        self.say(cx, |out| refusal::write(refusal, id, !end_stream, owed, out))?;
        if !end_stream {
            // We have reset it: the client may have more on its way, or may never send another frame.
            self.streams.leave(id);
        }
        let (smallest, _) = self.server.header_table();
        self.encoder.get_or_insert_with(|| Encoder::new(smallest));
        Ok(Step::Swallow { len: len as u64 })
    }

    /// Whether a refusal's body can be sent without harm to the client's flow control.
    ///
    /// It takes octets that the server believes to have. Until the client has given as many back, DATA of the server
    /// that exceeds the client's view is kept back whole. That never lasts if such a frame is at most a quarter of the
    /// smallest connection window: a client that has used up the other three gives credit.
    fn afford_body(&self) -> bool {
        self.debt + BODY_LEN <= MAX_DEBT
            && self.server.window >= self.debt + BODY_LEN
            && self.client.smallest_window() >= BODY_LEN
            && self.client.largest_frame() <= MIN_MAX_FRAME
    }

    fn client_trailers(
        &mut self,
        head: FrameHeader,
        len: usize,
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        let id = head.stream;
        let Some(stream) = self.streams.get(id) else { return Err(Violation::STREAM_CLOSED) };
        // RFC 9113 §8.1: what follows a head and does not end the stream is malformed.
        if !head.has(flag::END_STREAM) || stream.remaining.is_some_and(|left| left > 0) {
            return Err(Violation::MESSAGE);
        }
        request::check_trailers(self.client.blocks.fields(), self.server.reads_binary())
            .map_err(|_| Violation::MESSAGE)?;
        let refused = stream.refused;
        self.end_client(id);
        if refused { Ok(Step::Swallow { len: len as u64 }) } else { Ok(self.pass_block(id, true, len, cx)) }
    }

    /// Passes the block decoded last, `len` octets with its frames, as it came or re-encoded.
    fn pass_block(&mut self, id: u32, end_stream: bool, len: usize, cx: &mut Context<'_>) -> Step {
        let Some(encoder) = &mut self.encoder else { return Step::Pass { counted: len, free: 0 } };
        self.block.clear();
        encoder.encode(self.client.blocks.fields(), &mut self.block);
        write_headers(&self.block, end_stream, id, cx.to_server);
        Step::Swallow { len: len as u64 }
    }

    pub(super) fn client_data(
        &mut self,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        let Some((counted, data)) = data_len(head, bytes)? else { return Ok(Step::NeedMore) };
        if self.streams.idle(head.stream) {
            return Err(Violation::PROTOCOL);
        }
        let end_stream = head.has(flag::END_STREAM);
        self.ration_data(Side::Client, head, cx.now)?;
        self.client.spend(head.len)?;
        let swallowed = match self.streams.get(head.stream) {
            // Sent before the server's reset was read. A server that never heard of the stream must not now.
            None => self.encoder.is_some(),
            Some(stream) if !stream.client_open => return Err(Violation::STREAM_CLOSED),
            Some(stream) => {
                if let Some(remaining) = &mut stream.remaining {
                    // RFC 9113 §8.1.1: servers that trust the length read the rest as something else.
                    *remaining = remaining.checked_sub(u64::from(data)).ok_or(Violation::MESSAGE)?;
                    if end_stream && *remaining > 0 {
                        return Err(Violation::MESSAGE);
                    }
                }
                stream.refused
            }
        };
        if end_stream {
            self.end_client(head.stream);
        }
        if !swallowed {
            return Ok(Step::Pass { counted, free: (head.total() - counted) as u64 });
        }
        if head.len > 0 {
            self.client.credit(head.len)?;
            self.say(cx, |out| write_window_update(head.len, out))?;
        }
        Ok(swallow(head))
    }

    pub(super) fn client_reset(
        &mut self,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if self.reset_code(head, bytes)?.is_none() {
            return Ok(Step::NeedMore);
        }
        let id = head.stream;
        let hidden = self.hidden(id);
        match self.streams.get(id) {
            Some(stream) if !stream.refused && stream.server_open => {
                stream.tell_rest(id, cx.now, cx.judge);
                self.client.resets.charge(cx.now)?;
            }
            _ => self.client.idle.charge(cx.now)?,
        }
        self.streams.close(id);
        Ok(if hidden { swallow(head) } else { pass(head) })
    }

    /// The client has ended its half of a stream.
    fn end_client(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.client_open = false;
        if stream.refused || !stream.server_open {
            self.finish_stream(id);
        }
    }

    /// Both halves of a stream have ended.
    pub(super) fn finish_stream(&mut self, id: u32) {
        if self.streams.get(id).is_some_and(|stream| stream.answer == Answer::Told) {
            self.client.resets.earn(1);
        }
        self.streams.close(id);
    }

    /// Whether the server must not hear of this stream: it was refused, or it is gone and may have been.
    pub(super) fn hidden(&mut self, id: u32) -> bool {
        let forgotten = self.encoder.is_some() && id > 0 && !self.streams.idle(id);
        self.streams.get(id).map_or(forgotten, |stream| stream.refused)
    }
}

/// Asks policy; how the request is to be refused, if it is.
fn ask(
    request: &Request<'_>,
    normal_path: &[u8],
    headers: &[Header<'_>],
    stream: u32,
    cx: &mut Context<'_>,
) -> Option<Refusal> {
    let &Request { method, path, host, grpc, .. } = request;
    let version = Version::Http2;
    if cx.judge.http_request(&HttpRequest { version, method, path, normal_path, host, headers, stream }) {
        return None;
    }
    Some(match method {
        _ if grpc => Refusal::Grpc,
        // What answers HEAD has no body (RFC 9110 §9.3.2).
        b"HEAD" => Refusal::Status,
        _ => Refusal::StatusAndBody,
    })
}
