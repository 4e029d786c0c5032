//! What must hold whatever both sides send: the bodies of the fuzz targets `http2` and `hpack` and of their smoke test.

use std::collections::VecDeque;

use super::frame::{FrameHeader, flag, kind, number, write_header};
use super::hpack::{Decoder, Encoder, Fields, Limits, Reader};
use crate::http::{Http, PREFACE};
use crate::inspector::{Settings, Side};
use crate::testing::{Event, Outcome, Recorder, Splice, play, show};

/// What policy denies.
const DENIED: &[u8] = b"/denied";

/// Frames of one conversation.
const MOST_FRAMES: usize = 64;

/// As large as any list that a block of a fuzzer gives.
const LIMITS: Limits = Limits { list: 1 << 20, fields: 10_000 };

/// Any octets as header blocks, the first octet of each its length, each sent twice: what is decoded says the same when
/// encoded again, and whoever knows blocks again reads the same.
pub fn hpack(data: &[u8]) {
    let (mut decoder, mut encoder, mut again) = (Decoder::default(), Encoder::new(4_096), Decoder::default());
    let mut reader = Reader::<()>::new(LIMITS);
    let (mut fields, mut second) = (Fields::default(), Fields::default());
    let mut rest = data;
    while let Some((&len, behind)) = rest.split_first() {
        let (block, behind) = behind.split_at(usize::from(len).min(behind.len()));
        rest = behind;
        for _ in 0..2 {
            let decoded = decoder.decode(block, &mut fields, &LIMITS);
            assert_eq!(reader.read(block), decoded, "{block:02x?}");
            if decoded.is_err() {
                return;
            }
            assert!(fields.iter().eq(reader.fields().iter()), "{block:02x?}");
        }
        let mut encoded = Vec::new();
        encoder.encode(&fields, &mut encoded);
        again.decode(&encoded, &mut second, &LIMITS).expect("our own block");
        assert!(fields.iter().eq(second.iter()), "{block:02x?}");
    }
}

/// How a connection begins that becomes HTTP/2 by upgrade.
const OFFER: &[u8] = b"GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAABa\r\n\r\n";
const TAKEN: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";

/// A conversation by choices, with prior knowledge or by upgrade: whole and cut input agree, and both ends see what
/// they must.
pub fn run(data: &[u8]) {
    let Some((&cut, choices)) = data.split_first() else { return };
    let script = Writer::new(choices).script(cut & 0x80 != 0);
    let splice = || {
        let judge = Recorder::http(|request| request.path != DENIED && request.normal_path != DENIED);
        Splice::new(Http::new(&Settings::default()), judge)
    };
    let whole = play(splice(), &script, |_, _| Vec::new());
    let step = usize::from(cut) % 13 + 1;
    let pieces = play(splice(), &script, |_, len| (1..len).step_by(step).collect());
    assert_eq!(show(&whole), show(&pieces), "whole, and in pieces of {step}");
    check(&script, &whole);
}

/// Reads both streams as the ends read them.
fn check(script: &[Event], outcome: &Outcome) {
    fn behind<'a>(bytes: &'a [u8], http1: &[u8]) -> &'a [u8] {
        bytes.strip_prefix(http1).unwrap_or(bytes)
    }
    let sent = |side: Side| -> Vec<u8> {
        let events = script.iter().filter_map(|event| match event {
            Event::Send(from, bytes) if *from == side => Some(bytes.as_slice()),
            _ => None,
        });
        events.collect::<Vec<_>>().concat()
    };
    let allowed: Vec<String> =
        outcome.told.iter().filter(|line| line.starts_with("allow HTTP/2 ")).cloned().collect();
    let server = View::read(behind(&outcome.to_server, OFFER));
    assert_eq!(server.requests, allowed.len(), "requests at the server: {}", show(outcome));
    let client = View::read(behind(&outcome.to_client, TAKEN));
    if outcome.end.is_some() {
        return;
    }
    // What the client may still send, in its own view and in the server's.
    let by_client = View::frames_only(behind(&sent(Side::Client), OFFER));
    let by_server = View::frames_only(behind(&sent(Side::Server), TAKEN));
    // Before the server has said its settings, what is said to the client waits.
    if by_client.whole && by_server.whole && !behind(&outcome.to_client, TAKEN).is_empty() {
        assert_eq!(client.credit - by_client.data, by_server.credit - server.data, "{}", show(outcome));
    }
    assert!(65_535 + by_client.credit >= client.data, "the client's window is overrun: {}", show(outcome));
}

/// What an end makes of its stream.
#[derive(Default)]
struct View {
    requests: usize,
    /// Octets of DATA frames, and credit given for the connection.
    data: i64,
    credit: i64,
    /// Whether it ends between two frames.
    whole: bool,
}

impl View {
    /// Reads frames and decodes header blocks, which must all be there and valid.
    fn read(bytes: &[u8]) -> Self {
        let mut decoder = Decoder::default();
        decoder.announced(u32::MAX);
        let mut highest = 0;
        let mut block: Vec<u8> = Vec::new();
        Self::walk(bytes, |view, head, payload| {
            if head.kind != kind::HEADERS && head.kind != kind::CONTINUATION {
                return;
            }
            block.extend_from_slice(strip(head, payload));
            if head.has(flag::END_HEADERS) {
                let mut fields = Fields::default();
                decoder.decode(&block, &mut fields, &LIMITS).expect("a block that the receiver can decode");
                block.clear();
                assert!(fields.iter().all(|field| field != (b":path", DENIED)), "denied");
                if head.stream > highest && fields.iter().any(|(name, _)| name == b":path") {
                    highest = head.stream;
                    view.requests += 1;
                }
            }
        })
    }

    fn frames_only(bytes: &[u8]) -> Self {
        Self::walk(bytes, |_, _, _| {})
    }

    fn walk(bytes: &[u8], mut see: impl FnMut(&mut Self, FrameHeader, &[u8])) -> Self {
        let mut view = Self::default();
        let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
        while let Some(head) = FrameHeader::parse(rest) {
            let Some(payload) = head.payload(rest) else { break };
            match head.kind {
                kind::DATA => view.data += i64::from(head.len),
                kind::WINDOW_UPDATE if head.stream == 0 => view.credit += i64::from(number(payload)),
                _ => {}
            }
            see(&mut view, head, payload);
            rest = &rest[head.total()..];
        }
        view.whole = rest.is_empty();
        view
    }
}

/// A fragment without padding and priority.
fn strip(head: FrameHeader, payload: &[u8]) -> &[u8] {
    let mut fragment = payload;
    if head.kind == kind::HEADERS && head.has(flag::PADDED) {
        fragment = &payload[1..payload.len() - usize::from(payload[0])];
    }
    if head.kind == kind::HEADERS && head.has(flag::PRIORITY) {
        fragment = &fragment[5..];
    }
    fragment
}

/// A stream as its writer knows it.
#[derive(Copy, Clone)]
struct Talk {
    id: u32,
    client_open: bool,
    server_open: bool,
    answered: bool,
}

/// Writes a conversation that is right more often than not.
struct Writer<'a> {
    choices: core::slice::Iter<'a, u8>,
    script: Vec<Event>,
    next: u32,
    talks: Vec<Talk>,
    encoders: [Encoder; 2],
    /// Header tables that a side announced and the other has not acknowledged.
    announced: [VecDeque<u32>; 2],
}

impl<'a> Writer<'a> {
    fn new(choices: &'a [u8]) -> Self {
        Self {
            choices: choices.iter(),
            script: Vec::new(),
            next: 1,
            talks: Vec::new(),
            encoders: [Encoder::new(4_096), Encoder::new(4_096)],
            announced: [VecDeque::from([4_096]), VecDeque::new()],
        }
    }

    fn choose(&mut self, below: usize) -> usize {
        usize::from(self.choices.next().copied().unwrap_or_default()) % below
    }

    /// One of the streams that fit.
    fn pick(&mut self, fits: impl Fn(&Talk) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.talks.len()).filter(|&at| fits(&self.talks[at])).collect();
        let at = self.choose(fitting.len().max(1));
        fitting.get(at).copied()
    }

    fn script(mut self, upgraded: bool) -> Vec<Event> {
        if upgraded {
            self.script.push(Event::Send(Side::Client, OFFER.to_vec()));
            self.script.push(Event::Send(Side::Server, TAKEN.to_vec()));
            self.talks.push(Talk { id: 1, client_open: false, server_open: true, answered: false });
            self.next = 3;
        }
        let mut hello = PREFACE.to_vec();
        write_header(0, kind::SETTINGS, 0, 0, &mut hello);
        self.script.push(Event::Send(Side::Client, hello));
        // Some servers are slow to say something.
        let late = self.choose(8);
        for number in 0..MOST_FRAMES {
            if number == late {
                self.settings(Side::Server, 3);
            }
            if self.choices.len() == 0 {
                break;
            }
            if self.choose(100) == 99 {
                self.garbage();
            } else if number < late || self.choose(2) == 0 {
                self.client_step();
            } else {
                self.server_step();
            }
        }
        self.script
    }

    fn client_step(&mut self) {
        match self.choose(16) {
            0..6 => self.request(),
            6..10 => {
                let Some(at) = self.pick(|talk| talk.client_open) else { return };
                let end = self.choose(3) == 0;
                self.talks[at].client_open = !end;
                self.data(Side::Client, self.talks[at].id, end, 7);
            }
            10 => {
                let Some(at) = self.pick(|talk| talk.client_open) else { return };
                self.talks[at].client_open = false;
                self.block(Side::Client, self.talks[at].id, flag::END_STREAM, &[(b"x-sum", b"of the body")]);
            }
            11 => {
                let Some(at) = self.pick(|_| true) else { return };
                let talk = &mut self.talks[at];
                (talk.client_open, talk.server_open) = (false, false);
                let id = talk.id;
                self.frame(Side::Client, kind::RST_STREAM, 0, id, &[0, 0, 0, 8]);
            }
            12 => {
                let Some(at) = self.pick(|_| true) else { return };
                self.frame(Side::Client, kind::PRIORITY, 0, self.talks[at].id, &[0; 5]);
            }
            _ => self.either(Side::Client),
        }
    }

    fn server_step(&mut self) {
        match self.choose(16) {
            0..5 => {
                let Some(at) = self.pick(|talk| talk.server_open && !talk.answered) else { return };
                let end = self.choose(3) == 0;
                let interim = !end && self.choose(4) == 0;
                let talk = &mut self.talks[at];
                (talk.answered, talk.server_open) = (!interim, !end);
                let id = talk.id;
                let status: &[u8] = if interim { b"103" } else { b"200" };
                let long = b"a value that fills the table a little more than others do";
                let flags = if end { flag::END_STREAM } else { 0 };
                self.block(
                    Side::Server,
                    id,
                    flags,
                    &[(b":status", status), (b"x-one", long), (b"grpc-status", b"0")],
                );
            }
            5..10 => {
                let Some(at) = self.pick(|talk| talk.server_open && talk.answered) else { return };
                let end = self.choose(3) == 0;
                self.talks[at].server_open = !end;
                self.data(Side::Server, self.talks[at].id, end, 60);
            }
            10 => {
                let Some(at) = self.pick(|talk| talk.server_open && talk.answered) else { return };
                self.talks[at].server_open = false;
                self.block(Side::Server, self.talks[at].id, flag::END_STREAM, &[(b"grpc-status", b"5")]);
            }
            11 => {
                let Some(at) = self.pick(|talk| talk.server_open) else { return };
                self.talks[at].server_open = false;
                self.frame(Side::Server, kind::RST_STREAM, 0, self.talks[at].id, &[0, 0, 0, 7]);
            }
            _ => self.either(Side::Server),
        }
    }

    fn either(&mut self, side: Side) {
        match self.choose(8) {
            0..4 => {
                let stream = self.pick(|talk| talk.server_open).map_or(0, |at| self.talks[at].id);
                let stream = if self.choose(2) == 0 { 0 } else { stream };
                let increment = [0, 0, self.choose(64) as u8, 1 + self.choose(255) as u8];
                self.frame(side, kind::WINDOW_UPDATE, 0, stream, &increment);
            }
            4 => {
                let id = [1, 1, 3, 4, 6, 8][self.choose(6)];
                self.settings(side, id);
            }
            5 | 6 => {
                let (mine, other) = (usize::from(side == Side::Server), usize::from(side == Side::Client));
                let Some(table) = self.announced[other].pop_front() else { return };
                self.frame(side, kind::SETTINGS, flag::ACK, 0, &[]);
                self.encoders[mine].limit(table);
            }
            _ => self.frame(side, kind::PING, 0, 0, &[1; 8]),
        }
    }

    fn settings(&mut self, side: Side, id: u8) {
        let announced = &mut self.announced[usize::from(side == Side::Server)];
        let table = announced.back().copied().unwrap_or(4_096);
        let value = [0u32, 90, 200, 5_000, 100_000]
            [usize::from(self.choices.next().copied().unwrap_or_default()) % 5];
        announced.push_back(if id == 1 { value } else { table });
        let mut setting = vec![0, id];
        setting.extend(value.to_be_bytes());
        self.frame(side, kind::SETTINGS, 0, 0, &setting);
    }

    /// What may end the connection.
    fn garbage(&mut self) {
        let side = if self.choose(2) == 0 { Side::Client } else { Side::Server };
        if self.choose(2) == 0 {
            let bytes = (0..self.choose(20)).map(|_| self.choose(256) as u8).collect();
            self.script.push(Event::Send(side, bytes));
            return;
        }
        let (kind, flags, stream) = (self.choose(20) as u8, self.choose(256) as u8, self.choose(12) as u32);
        let payload: Vec<u8> = (0..self.choose(20)).map(|_| self.choose(256) as u8).collect();
        self.frame(side, kind, flags, stream, &payload);
    }

    fn request(&mut self) {
        let end = self.choose(2) == 0;
        let method: &[u8] = [&b"GET"[..], b"POST", b"POST", b"HEAD"][self.choose(4)];
        let path: &[u8] = [&b"/a"[..], DENIED, b"/b/../denied", b"/a?b"][self.choose(4)];
        let mut fields: Vec<(&[u8], &[u8])> =
            vec![(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"host:80")];
        let more: [(&[u8], &[u8]); 8] = [
            (b"content-type", b"application/grpc"),
            (b"content-type", b"application/grpc"),
            (b"x-one", b"a value that fills the table a little more than others do"),
            (b"x-two", b"value"),
            (b"te", b"trailers"),
            // Malformed.
            (b"te", b"gzip"),
            (b"host", b"host"),
            (b":path", b"/again"),
        ];
        let mut malformed = false;
        for _ in 0..self.choose(4) {
            let which = self.choose(8);
            malformed |= which > 4;
            fields.push(more[which]);
        }
        let denied = malformed || path == DENIED || path == b"/b/../denied";
        let id = self.next;
        self.next += 2;
        self.talks.push(Talk { id, client_open: !end, server_open: !denied, answered: false });
        self.block(Side::Client, id, if end { flag::END_STREAM } else { 0 }, &fields);
    }

    fn data(&mut self, side: Side, stream: u32, end: bool, scale: usize) {
        let len = self.choose(256) * scale;
        let padded = len > 0 && self.choose(8) == 0;
        let flags = if end { flag::END_STREAM } else { 0 } | if padded { flag::PADDED } else { 0 };
        // One octet of padding, whose length stands first.
        let mut payload = vec![1; len + usize::from(padded)];
        payload.truncate(len + 1);
        self.frame(side, kind::DATA, flags, stream, &payload);
    }

    fn frame(&mut self, side: Side, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = Vec::new();
        write_header(payload.len(), kind, flags, stream, &mut frame);
        frame.extend_from_slice(payload);
        self.script.push(Event::Send(side, frame));
    }

    /// A header block, perhaps in two frames.
    fn block(&mut self, side: Side, stream: u32, end: u8, fields: &[(&[u8], &[u8])]) {
        let mut list = Fields::default();
        for (name, value) in fields {
            let never_indexed = self.choose(8) == 7;
            list.push(name, value, never_indexed, &LIMITS).expect("fits");
        }
        let mut block = Vec::new();
        self.encoders[usize::from(side == Side::Server)].encode(&list, &mut block);
        let split = self.choose(256);
        if split < block.len() {
            self.frame(side, kind::HEADERS, end, stream, &block[..split]);
            self.frame(side, kind::CONTINUATION, flag::END_HEADERS, stream, &block[split..]);
        } else {
            self.frame(side, kind::HEADERS, end | flag::END_HEADERS, stream, &block);
        }
    }
}
