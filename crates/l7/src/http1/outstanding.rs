//! What the client waits for: responses of the server, and refusals of ours, in the order of the requests.
//!
//! What the flow log will want to know of a request stands in one buffer, first in first out, which is reused: a
//! connection that asks one thing at a time allocates on its first request and never again.

use std::collections::VecDeque;

use crate::inspector::End;

/// Bytes of a path that are remembered.
const MAX_PATH: usize = 1024;
/// Bytes of a host that are remembered.
const MAX_HOST: usize = 255;
/// Bytes of all requests that are remembered; behind them a client waits.
const MAX_TEXT: usize = 32 * 1024;
/// Bytes that an idle connection keeps: those of the longest request that is remembered.
const IDLE_TEXT: usize = 2 * 1024;
/// Entries that an idle connection keeps room for.
const IDLE_ENTRIES: usize = 16;

/// What stands at one place of the queue.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Awaited {
    /// The response to a request that was passed on.
    Response(Asked),
    /// Our refusal.
    Refusal(Refusal),
}

/// What of a request decides how its response is framed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// Nothing.
    Any,
    /// HEAD: the response has no body.
    Head,
    /// The response may be the last one in HTTP.
    WebSocket,
    /// The response may be the last one in HTTP/1.
    Http2 {
        /// If it is not, it is one to HEAD.
        head: bool,
    },
}

impl Asked {
    /// Whether the response has no body.
    pub(super) const fn is_head(self) -> bool {
        matches!(self, Self::Head | Self::Http2 { head: true })
    }

    /// Whether what the client sends behind the request is read when that is answered.
    pub(super) const fn may_switch(self) -> bool {
        matches!(self, Self::WebSocket | Self::Http2 { .. })
    }
}

/// A refusal.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// What is wrong; else the request was denied.
    pub(super) malformed: bool,
    /// Answers a HEAD request.
    pub(super) head: bool,
    /// Nothing comes behind it.
    pub(super) last: Option<End>,
}

impl Refusal {
    /// Appends the response.
    pub(super) fn write(self, to: &mut Vec<u8>) {
        let (line, body): (&[u8], &[u8]) = if self.malformed {
            (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 13\r\n", b"Bad request\r\n")
        } else {
            (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 15\r\n", b"Access denied\r\n")
        };
        to.extend_from_slice(line);
        to.extend_from_slice(b"content-type: text/plain\r\n");
        if self.last.is_some() {
            to.extend_from_slice(b"connection: close\r\n");
        }
        to.extend_from_slice(b"\r\n");
        if !self.head {
            to.extend_from_slice(body);
        }
    }
}

/// What is remembered of a request.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Remembered<'a> {
    pub(crate) at: u64,
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) host: &'a [u8],
}

#[derive(Copy, Clone, Debug)]
struct Entry {
    awaited: Awaited,
    at: u64,
    path: u16,
    method: u8,
    host: u8,
}

impl Entry {
    fn text(&self) -> usize {
        usize::from(self.path) + usize::from(self.method) + usize::from(self.host)
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    entries: VecDeque<Entry>,
    /// Method, path and host of each request, in the order of `entries`.
    text: Vec<u8>,
    /// Where the text of the first entry begins.
    start: usize,
}

impl Outstanding {
    pub(super) const fn new() -> Self {
        Self { entries: VecDeque::new(), text: Vec::new(), start: 0 }
    }

    /// Whether the next request has to wait.
    pub(super) fn is_full(&self, most: usize) -> bool {
        self.entries.len() >= most || self.text.len() - self.start >= MAX_TEXT
    }

    /// What the client waits for first.
    pub(super) fn front(&self) -> Option<Awaited> {
        self.entries.front().map(|entry| entry.awaited)
    }

    /// What the client waits for last.
    pub(super) fn back(&self) -> Option<Awaited> {
        self.entries.back().map(|entry| entry.awaited)
    }

    /// Appends a request that was passed on.
    pub(super) fn push_request(&mut self, asked: Asked, request: Remembered<'_>) {
        // Only a queue that never empties keeps what was answered; it is moved when it is the larger half.
        if self.start > self.text.len() / 2 {
            self.text.drain(..self.start);
            self.start = 0;
        }
        let method = &request.method[..request.method.len().min(usize::from(u8::MAX))];
        let path = &request.path[..request.path.len().min(MAX_PATH)];
        let host = &request.host[..request.host.len().min(MAX_HOST)];
        for part in [method, path, host] {
            self.text.extend_from_slice(part);
        }
        self.entries.push_back(Entry {
            awaited: Awaited::Response(asked),
            at: request.at,
            path: path.len() as u16,
            method: method.len() as u8,
            host: host.len() as u8,
        });
    }

    /// Appends a refusal.
    pub(super) fn push_refusal(&mut self, refusal: Refusal) {
        let awaited = Awaited::Refusal(refusal);
        self.entries.push_back(Entry { awaited, at: 0, path: 0, method: 0, host: 0 });
    }

    /// What is remembered of the request at the front.
    pub(super) fn remembered(&self) -> Option<Remembered<'_>> {
        let entry = self.entries.front()?;
        let (method, rest) = self.text.get(self.start..)?.split_at_checked(usize::from(entry.method))?;
        let (path, rest) = rest.split_at_checked(usize::from(entry.path))?;
        let host = rest.get(..usize::from(entry.host))?;
        Some(Remembered { at: entry.at, method, path, host })
    }

    /// Takes away what is at the front.
    pub(super) fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.start += entry.text();
        }
        self.tidy();
    }

    /// Takes away what is at the back.
    pub(super) fn pop_back(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.text.truncate(self.text.len().saturating_sub(entry.text()));
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if !self.entries.is_empty() {
            return;
        }
        self.start = 0;
        self.text.clear();
        if self.text.capacity() > IDLE_TEXT {
            self.text = Vec::new();
        }
        if self.entries.capacity() > IDLE_ENTRIES {
            self.entries = VecDeque::new();
        }
    }

    /// Bytes on the heap.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn heap(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}
