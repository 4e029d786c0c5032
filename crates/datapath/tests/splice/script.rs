//! The requests of one schedule, and what each must be answered.
//!
//! A denied request carries a marker in every place a server could act upon. Bodies of allowed ones look like other
//! requests, so that whoever loses count delivers or refuses the wrong thing.

use super::length::Length;
use super::node::Rules;
use super::rng::Rng;

/// One request on the wire.
#[derive(Clone, Debug)]
pub struct Request {
    pub wire: Vec<u8>,
    /// Bytes of the head.
    pub head: usize,
    pub allowed: bool,
    pub is_head: bool,
    /// Sent with `Expect: 100-continue`; the client waits behind the head for the first answer.
    pub waits: bool,
    /// What the server says: bytes of this request that it must have for it, and the answer.
    pub replies: Vec<(usize, Vec<u8>)>,
}

/// What the client must see next.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Exactly these bytes, from the server.
    Exact(Vec<u8>),
    /// A refusal of ours; to a HEAD request without a body.
    Refusal { is_head: bool },
}

/// Everything that is said on one connection.
#[derive(Clone, Debug)]
pub struct Script {
    pub requests: Vec<Request>,
    /// The server ends the stream behind its last answer, which has no length.
    pub server_closes: bool,
}

/// What a denied request's every part says.
const MARKER: &str = "f0rb1dd3n";

impl Script {
    pub fn random(rng: &mut Rng, rules: Rules, length: Length) -> Self {
        let count = length.pick(rng, &[1, 1, 2, 2, 3, 3, 4], &[1, 1, 2, 2, 3, 3, 5, 8, 16]);
        let denials = rng.pick(&[0, 20, 50, 80, 100]);
        let big = rng.percent(8) && length == Length::Long;
        let mut requests: Vec<Request> = (0..count)
            .map(|number| {
                let denied = rng.percent(denials);
                request(rng, number, denied, rules, (length, big))
            })
            .collect();
        let server_closes = rng.percent(25)
            && requests.last_mut().is_some_and(|last| {
                let fits = last.allowed && !last.is_head;
                if fits {
                    close_delimited(last, rng, length);
                }
                fits
            });
        Self { requests, server_closes }
    }

    /// All requests, one behind the other.
    pub fn sent(&self) -> Vec<u8> {
        self.requests.iter().flat_map(|r| r.wire.clone()).collect()
    }

    /// What the server must receive.
    pub fn allowed(&self) -> Vec<u8> {
        self.requests.iter().filter(|r| r.allowed).flat_map(|r| r.wire.clone()).collect()
    }

    /// What the server says, and how many bytes it must have received for it.
    pub fn replies(&self) -> Vec<(usize, Vec<u8>)> {
        let mut at = 0;
        let mut replies = Vec::new();
        for request in self.requests.iter().filter(|r| r.allowed) {
            replies.extend(request.replies.iter().map(|(point, bytes)| (at + point, bytes.clone())));
            at += request.wire.len();
        }
        replies
    }

    /// What the client must see, with the number of the request.
    pub fn answers(&self) -> Vec<(usize, Answer)> {
        let mut answers = Vec::new();
        for (number, request) in self.requests.iter().enumerate() {
            if request.allowed {
                let exact = |(_, bytes): &(usize, Vec<u8>)| (number, Answer::Exact(bytes.clone()));
                answers.extend(request.replies.iter().map(exact));
            } else {
                answers.push((number, Answer::Refusal { is_head: request.is_head }));
            }
        }
        answers
    }

    /// What must not reach the server.
    pub fn markers(&self, rules: Rules) -> Vec<Vec<u8>> {
        if rules == Rules::Http { vec![MARKER.as_bytes().to_vec()] } else { Vec::new() }
    }
}

fn request(
    rng: &mut Rng,
    number: usize,
    denied: bool,
    rules: Rules,
    (length, big): (Length, bool),
) -> Request {
    let method = rng.pick(&["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]);
    let has_body = matches!(method, "POST" | "PUT");
    let path = match (denied, rng.below(4)) {
        (false, _) => format!("/allowed/{number}"),
        (true, 0) => format!("/{MARKER}/{number}"),
        (true, 1) => format!("/allowed?{MARKER}/{number}"),
        (true, 2) => format!("/allowedly/{MARKER}/{number}"),
        (true, _) => format!("/{MARKER}"),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: server\r\n");
    let tag = if denied { MARKER } else { "plain" };
    let most = if length == Length::Short { 20 } else { 60 };
    for field in 0..length.pick(rng, &[0, 0, 1], &[0, 0, 1, 3, 10]) {
        head += &format!("X-{field}: {tag}{}\r\n", "v".repeat(rng.below(most)));
    }
    if big && rng.percent(30) {
        // More than most windows here, less than any limit on heads.
        head += &format!("Cookie: {tag}{}\r\n", "c".repeat(rng.pick(&[1_000, 9_000, 20_000, 50_000])));
    }
    let mut body = Vec::new();
    let mut waits = false;
    if has_body {
        let len = length.pick(rng, &[0, 1, 20, 100], &[0, 1, 20, 300, 3_000])
            * if big && rng.percent(30) { 10 } else { 1 };
        let content = content(rng, len, denied);
        if rng.percent(50) {
            head += &format!("Content-Length: {len}\r\n");
            body = content;
        } else {
            head += "Transfer-Encoding: chunked\r\n";
            body = chunked(rng, &content, denied);
        }
        waits = rng.percent(20);
        if waits {
            head += "Expect: 100-continue\r\n";
        }
    }
    head += "\r\n";
    let is_head = method == "HEAD";
    let mut wire = head.clone().into_bytes();
    wire.extend(&body);
    let replies = replies(rng, number, method, (head.len(), wire.len()), waits, length);
    let allowed = rules == Rules::L4 || !denied;
    Request { head: head.len(), wire, allowed, is_head, waits, replies }
}

/// A body: allowed ones are full of requests and denied ones full of markers.
fn content(rng: &mut Rng, len: usize, denied: bool) -> Vec<u8> {
    let pieces: &[&str] = if denied {
        &["f0rb1dd3n", "\r\n\r\n", "GET /allowed/1 HTTP/1.1\r\nHost: f0rb1dd3n\r\n\r\n", "0\r\n\r\n"]
    } else {
        &[
            "\r\n\r\n",
            "0\r\n\r\n",
            "GET /nowhere HTTP/1.1\r\nHost: server\r\n\r\n",
            "x",
            "\u{1}\u{7f}",
            "5\r\nhello\r\n",
        ]
    };
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend(rng.pick(pieces).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn chunked(rng: &mut Rng, content: &[u8], denied: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let len = rng.pick(&[1, 2, 7, 100, 5_000]).min(rest.len());
        let size = if rng.percent(50) { format!("{len:x}\r\n") } else { format!("{len:04X}\r\n") };
        out.extend(size.as_bytes());
        out.extend(&rest[..len]);
        out.extend(b"\r\n");
        rest = &rest[len..];
    }
    out.extend(b"0\r\n");
    if rng.percent(20) {
        out.extend(if denied { &b"X-Sum: f0rb1dd3n\r\n"[..] } else { b"X-Sum: 1\r\n" });
    }
    out.extend(b"\r\n");
    out
}

/// A server's answers to one request that it may see: interim ones and the final one.
fn replies(
    rng: &mut Rng,
    number: usize,
    method: &str,
    (head, end): (usize, usize),
    waits: bool,
    length: Length,
) -> Vec<(usize, Vec<u8>)> {
    let mut replies = Vec::new();
    // A server may answer before it has read the body.
    let early = rng.percent(5) && !waits;
    if waits {
        replies.push((head, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
    }
    if rng.percent(10) {
        replies.push((head, b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n".to_vec()));
    }
    let len = length.pick(rng, &[0, 1, 15, 200, 500], &[0, 1, 15, 200, 2_000, 2_000, 12_000]);
    let content: Vec<u8> =
        format!("answer {number}: HTTP/1.1 200 OK\r\n\r\n0\r\n\r\n").bytes().cycle().take(len).collect();
    let mut reply = Vec::new();
    match (method, rng.below(6)) {
        ("HEAD", _) => reply.extend(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").as_bytes()),
        (_, 0) => reply.extend(b"HTTP/1.1 204 No Content\r\nX-Number: 1\r\n\r\n"),
        ("GET", 1) => {
            reply.extend(format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {len}\r\n\r\n").as_bytes())
        }
        (_, 2) => {
            reply.extend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            reply.extend(chunked(rng, &content, false));
        }
        (_, status) => {
            let status = if status == 3 { "404 Not Found" } else { "200 OK" };
            reply.extend(format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n").as_bytes());
            reply.extend(&content);
        }
    }
    replies.push((if early { head } else { end }, reply));
    replies
}

/// Makes the last answer one that lasts until the stream ends.
fn close_delimited(last: &mut Request, rng: &mut Rng, length: Length) {
    let len = length.pick(rng, &[0, 1, 300], &[0, 1, 500, 9_000]);
    let mut reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    reply.extend(b"until the end\r\n".iter().cycle().take(len));
    let end = last.wire.len();
    if let Some(final_reply) = last.replies.last_mut() {
        *final_reply = (end, reply);
    }
}
