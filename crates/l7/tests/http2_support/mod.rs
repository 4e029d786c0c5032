//! Frames written and read, and header blocks, for the tests of HTTP/2.
#![allow(dead_code)]

use l7::http2::hpack::{Decoder, Encoder, Fields, Limits, literal};
use l7::testing::{Event, Recorder, Splice};
use l7::{Settings, Side, http2::Http2};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const LIMITS: Limits = Limits { list: 64 * 1024, fields: 100 };

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The frames of a stream of octets, behind the preface if there is one.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut frames = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        frames.push(Frame { kind: head[3], flags: head[4], stream, payload: behind[..len].to_vec() });
        rest = &behind[len..];
    }
    assert!(rest.is_empty(), "half a frame");
    frames
}

/// The number at the end of a payload.
pub(crate) fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[payload.len() - 4..].try_into().expect("four octets"))
}

/// A header block that touches no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    fields.iter().for_each(|(name, value)| literal(name.as_bytes(), value.as_bytes(), &mut block));
    block
}

/// An encoder as a client has it, with a table.
pub(crate) struct Client(Encoder);

impl Client {
    pub(crate) fn new() -> Self {
        Self(Encoder::new(4_096))
    }

    pub(crate) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut list = Fields::default();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes(), false, &LIMITS).expect("fits");
        }
        let mut block = Vec::new();
        self.0.encode(&list, &mut block);
        block
    }

    /// HEADERS of a request for `path` with some fields that are the same each time.
    pub(crate) fn request(&mut self, stream: u32, path: &str, content_type: &str, end: bool) -> Event {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "orders:8080"),
            ("content-type", content_type),
            ("x-tenant", "blue"),
        ];
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        client(frame(HEADERS, flags, stream, &self.block(&fields)))
    }
}

pub(crate) fn client(bytes: Vec<u8>) -> Event {
    Event::Send(Side::Client, bytes)
}

pub(crate) fn server(bytes: Vec<u8>) -> Event {
    Event::Send(Side::Server, bytes)
}

/// SETTINGS_MAX_CONCURRENT_STREAMS as a server says it that takes fewer than are followed: nothing has to be added.
pub(crate) const SOME_STREAMS: &[u8] = &[0, 3, 0, 0, 0, 100];

/// Preface and SETTINGS of both sides, acknowledged.
pub(crate) fn handshake(client_settings: &[u8]) -> Vec<Event> {
    vec![
        client([PREFACE, &frame(SETTINGS, 0, 0, client_settings)].concat()),
        server([frame(SETTINGS, 0, 0, SOME_STREAMS), frame(SETTINGS, ACK, 0, &[])].concat()),
        client(frame(SETTINGS, ACK, 0, &[])),
    ]
}

/// A connection on which paths below `/denied` are.
pub(crate) fn splice() -> Splice<Http2> {
    let judge = Recorder::http(|request| !request.path.starts_with(b"/denied"));
    Splice::new(Http2::new(&Settings::default()), judge)
}

/// What a peer decodes of a list of blocks.
pub(crate) fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
    let mut fields = Fields::default();
    decoder.decode(block, &mut fields, &LIMITS).expect("a valid block");
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// Value of a field of a decoded list.
pub(crate) fn value<'a>(list: &'a [(String, String)], name: &str) -> Option<&'a str> {
    list.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The paths of the requests that a server decodes.
pub(crate) fn paths(bytes: &[u8]) -> Vec<(u32, String)> {
    let mut decoder = Decoder::default();
    let blocks = frames(bytes).into_iter().filter(|frame| frame.kind == HEADERS);
    let decoded = blocks.map(|frame| (frame.stream, decode(&mut decoder, &frame.payload)));
    decoded.filter_map(|(stream, list)| Some((stream, value(&list, ":path")?.to_owned()))).collect()
}
