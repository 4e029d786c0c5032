//! Heads that come again. Most clients say the same few words over and over, and their servers answer alike: a head whose
//! octets are those of the last one on its side is that head, and is neither searched for its end nor taken apart again.
//!
//! That holds because a head's reading depends on its octets and on two caps alone: a head ends at its first empty line, so
//! octets that begin with a whole head begin with just that one. **What is remembered is what was read, never what policy
//! said**: policy is asked about each request. Heads that did not pass every check are not remembered, nor those whose
//! reading depends on more: odd paths, upgrades, interim responses, responses to HEAD.

use super::client::Asking;
use super::scan::Caps;
use super::server::Said;
use super::{client, server};
use crate::http::{Header, HttpRequest, Version};

/// Bytes of a head that is remembered; longer ones are read each time.
const MAX_HEAD: usize = 512;
/// Fields of a request that is remembered.
const MAX_FIELDS: usize = 16;

/// The last request's head of a connection.
#[derive(Debug)]
pub(super) struct KnownRequest {
    /// Nothing: none is known.
    head: Vec<u8>,
    version: Version,
    method: Span,
    path: Span,
    host: Span,
    /// Name and value of each.
    fields: Vec<[Span; 2]>,
    body: client::Body,
    last: bool,
}

/// The last response's head of a connection.
#[derive(Debug)]
pub(super) struct KnownResponse {
    /// Nothing: none is known.
    head: Vec<u8>,
    fields: usize,
    said: Said,
}

/// A part of a head.
#[derive(Copy, Clone, Debug, Default)]
struct Span {
    start: u16,
    len: u16,
}

impl Span {
    /// Where `part` lies in `head`; `None` if it is no slice of that. Empty ones lie anywhere.
    fn of(part: &[u8], head: &[u8]) -> Option<Self> {
        if part.is_empty() {
            return Some(Self::default());
        }
        let start = part.as_ptr().addr().checked_sub(head.as_ptr().addr())?;
        if start.checked_add(part.len())? > head.len() {
            return None;
        }
        Some(Self { start: u16::try_from(start).ok()?, len: u16::try_from(part.len()).ok()? })
    }

    fn in_head(self, head: &[u8]) -> &[u8] {
        head.get(usize::from(self.start)..usize::from(self.start) + usize::from(self.len)).unwrap_or_default()
    }
}

/// How long the known head is, if `bytes` begin with it and the caps of this call allow it.
fn len_at(head: &[u8], fields: usize, bytes: &[u8], caps: Caps) -> Option<usize> {
    let known = !head.is_empty() && head.len() <= caps.bytes && fields <= caps.fields;
    (known && bytes.starts_with(head)).then_some(head.len())
}

/// Writes `head` where nothing is known, in no more room than the longest so far takes.
fn remember(known: &mut Vec<u8>, head: &[u8]) {
    known.reserve_exact(head.len());
    known.extend_from_slice(head);
}

impl KnownRequest {
    pub(super) const fn none() -> Self {
        Self {
            head: Vec::new(),
            version: Version::Http11,
            method: Span { start: 0, len: 0 },
            path: Span { start: 0, len: 0 },
            host: Span { start: 0, len: 0 },
            fields: Vec::new(),
            body: client::Body::Length(0),
            last: false,
        }
    }

    /// How long the head at the beginning of `bytes` is, if it is the known one.
    pub(super) fn len_at(&self, bytes: &[u8], caps: Caps) -> Option<usize> {
        len_at(&self.head, self.fields.len(), bytes, caps)
    }

    /// Remembers what `head` was read as. Nothing is known afterwards if it is too long to be remembered.
    pub(super) fn note(&mut self, head: &[u8], asking: &Asking<'_>) {
        self.head.clear();
        self.fields.clear();
        let request = &asking.request;
        if head.len() > MAX_HEAD || request.headers.len() > MAX_FIELDS || self.place(head, request).is_none()
        {
            return;
        }
        self.version = request.version;
        self.body = asking.body;
        self.last = asking.last;
        remember(&mut self.head, head);
    }

    fn place(&mut self, head: &[u8], request: &HttpRequest<'_>) -> Option<()> {
        self.method = Span::of(request.method, head)?;
        self.path = Span::of(request.path, head)?;
        self.host = Span::of(request.host, head)?;
        for field in request.headers {
            self.fields.push([Span::of(field.name, head)?, Span::of(field.value, head)?]);
        }
        Some(())
    }

    /// Calls `with` on what the known head says.
    pub(super) fn asking<T>(&self, with: impl FnOnce(&Asking<'_>) -> T) -> T {
        match self.fields.len() {
            0..=4 => self.asking_in::<4, T>(with),
            _ => self.asking_in::<MAX_FIELDS, T>(with),
        }
    }

    fn asking_in<const N: usize, T>(&self, with: impl FnOnce(&Asking<'_>) -> T) -> T {
        let part = |span: Span| span.in_head(&self.head);
        let mut headers = [Header::default(); N];
        for (header, &[name, value]) in headers.iter_mut().zip(&self.fields) {
            *header = Header { name: part(name), value: part(value) };
        }
        let path = part(self.path);
        let request = HttpRequest {
            version: self.version,
            method: part(self.method),
            path,
            normal_path: path,
            host: part(self.host),
            headers: &headers[..self.fields.len().min(N)],
            stream: 0,
        };
        with(&Asking { request, body: self.body, last: self.last })
    }

    /// Bytes on the heap.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn heap(&self) -> usize {
        self.head.capacity() + self.fields.capacity() * size_of::<[Span; 2]>()
    }
}

impl KnownResponse {
    pub(super) const fn none() -> Self {
        let said =
            Said { version: Version::Http11, status: 0, grpc_status: None, body: server::Body::Length(0) };
        Self { head: Vec::new(), fields: 0, said }
    }

    /// How long the head at the beginning of `bytes` is and what it says, if it is the known one.
    pub(super) fn at(&self, bytes: &[u8], caps: Caps) -> Option<(usize, Said)> {
        len_at(&self.head, self.fields, bytes, caps).map(|len| (len, self.said))
    }

    /// Remembers what `head`, of that many fields, was read as. Nothing is known afterwards if it is too long to be
    /// remembered.
    pub(super) fn note(&mut self, head: &[u8], fields: usize, said: Said) {
        self.head.clear();
        if head.len() <= MAX_HEAD {
            remember(&mut self.head, head);
            self.fields = fields;
            self.said = said;
        }
    }

    /// Bytes on the heap.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn heap(&self) -> usize {
        self.head.capacity()
    }
}
