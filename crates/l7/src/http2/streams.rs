//! The streams of a connection, as somebody between the two ends sees them.
//!
//! A stream is remembered from its request until both sides have ended it. Where one side reset it the other may still
//! have frames on their way, or may never send another: such a stream is *left over*, and only so many of those are
//! remembered. With the texts that are kept of each that makes some 3 MiB at the very most.

use std::collections::VecDeque;

use super::request::Request;
use crate::http::{HttpResponse, Version};
use crate::judge::Judge;

/// Streams that are open at once (Envoy: `max_concurrent_streams`, 1,024).
pub(super) const MAX_OPEN: usize = 1_024;

/// Streams that are left over.
const MAX_LEFT_OVER: usize = 1_024;

/// Octets of a path, and of an authority, that are kept for the response.
const KEPT_PATH: usize = 1_024;
const KEPT_HOST: usize = 255;

/// How far a response has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Answer {
    /// No final head yet.
    #[default]
    Awaited,
    /// The head has come, its `grpc-status` has not.
    Head(u16),
    /// Nothing to be told any more.
    Told,
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// When its request's head was complete.
    since: u64,
    /// Method, path and authority of the request behind one another, and where the first two end.
    text: Vec<u8>,
    method_end: usize,
    path_end: usize,
    /// Whether the client has more to send.
    pub(super) client_open: bool,
    /// Whether the server has more to send.
    pub(super) server_open: bool,
    /// The server has not heard of it.
    pub(super) refused: bool,
    /// It is left over.
    left_over: bool,
    /// Its status is told with the trailers.
    pub(super) grpc: bool,
    /// Octets of DATA that the request still has to send, where it said how many.
    pub(super) remaining: Option<u64>,
    /// The response.
    pub(super) answer: Answer,
}

impl Stream {
    fn open(&mut self, request: &Request<'_>, now: u64) {
        let cut = |octets: &[u8], most: usize| octets.len().min(most);
        self.since = now;
        self.text.clear();
        self.text.extend_from_slice(&request.method[..cut(request.method, KEPT_HOST)]);
        self.method_end = self.text.len();
        self.text.extend_from_slice(&request.path[..cut(request.path, KEPT_PATH)]);
        self.path_end = self.text.len();
        self.text.extend_from_slice(&request.host[..cut(request.host, KEPT_HOST)]);
        self.server_open = true;
        self.refused = false;
        self.left_over = false;
        self.grpc = request.grpc;
        self.remaining = request.content_length;
        self.answer = Answer::Awaited;
    }

    /// Tells the response.
    pub(super) fn tell(
        &mut self,
        id: u32,
        status: u16,
        grpc_status: Option<u32>,
        now: u64,
        judge: &mut dyn Judge,
    ) {
        self.answer = Answer::Told;
        judge.http_response(&HttpResponse {
            version: Version::Http2,
            status,
            latency_ns: now.saturating_sub(self.since),
            method: self.text.get(..self.method_end).unwrap_or_default(),
            path: self.text.get(self.method_end..self.path_end).unwrap_or_default(),
            host: self.text.get(self.path_end..).unwrap_or_default(),
            grpc_status,
            stream: id,
        });
    }

    /// The stream is over: a response that waited for trailers is told without them.
    pub(super) fn tell_rest(&mut self, id: u32, now: u64, judge: &mut dyn Judge) {
        if let Answer::Head(status) = self.answer {
            self.tell(id, status, None, now, judge);
        }
    }
}

/// All streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Stream id and slot, ascending: the client's ids only rise.
    index: VecDeque<(u32, u32)>,
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// Ids of streams that became left over, oldest first. Some are gone.
    left_over: VecDeque<u32>,
    /// How many of `index` are left over.
    left_over_now: usize,
    /// The highest id that the client has used, and the highest of which the server knows.
    pub(super) last: u32,
    pub(super) last_passed: u32,
}

impl Streams {
    /// Streams that are not left over.
    pub(super) fn open_now(&self) -> usize {
        self.index.len() - self.left_over_now
    }

    /// Whether no frame of this stream may have been seen before: RFC 9113 §5.1, *idle*.
    pub(super) fn idle(&self, id: u32) -> bool {
        id.is_multiple_of(2) || id > self.last
    }

    /// Opens `id`, which is higher than all before. What the slot held before is overwritten.
    pub(super) fn open(&mut self, id: u32, request: &Request<'_>, now: u64) -> &mut Stream {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::default());
            self.slots.len() as u32 - 1
        });
        self.index.push_back((id, slot));
        let stream = &mut self.slots[slot as usize];
        stream.open(request, now);
        stream
    }

    /// The stream `id`, if it is remembered.
    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.find(id)?;
        let (_, slot) = *self.index.get(at)?;
        self.slots.get_mut(slot as usize)
    }

    /// Forgets `id`.
    pub(super) fn close(&mut self, id: u32) {
        let Some((_, slot)) = self.find(id).and_then(|at| self.index.remove(at)) else { return };
        if self.slots.get(slot as usize).is_some_and(|stream| stream.left_over) {
            self.left_over_now -= 1;
        }
        self.free.push(slot);
    }

    /// Only the client may still send on `id`, and it may not.
    pub(super) fn leave(&mut self, id: u32) {
        let Some(stream) = self.get(id).filter(|stream| !stream.left_over) else { return };
        stream.left_over = true;
        self.left_over_now += 1;
        self.left_over.push_back(id);
        if self.left_over.len() > MAX_LEFT_OVER
            && let Some(oldest) = self.left_over.pop_front()
        {
            self.close(oldest);
        }
    }

    fn find(&self, id: u32) -> Option<usize> {
        // Where it stands while none between the first one and it is gone.
        let (first, _) = *self.index.front()?;
        let at = id.checked_sub(first)? as usize / 2;
        if self.index.get(at).is_some_and(|&(found, _)| found == id) {
            return Some(at);
        }
        self.index.binary_search_by_key(&id, |&(id, _)| id).ok()
    }
}
