//! gRPC calls on a [`Web`]'s connections, in memory: turns of some streams, as `rpc_peer` of the comparison between pods has
//! them, cut into segments wherever they are full.

use super::{CLIENT_PORT, Peer, Rules, SERVER_PORT, Web};
use l7::http::PREFACE;
use l7::http2::hpack::{Encoder, Fields, Limits};
use packet::TcpFlags;

/// The method that the rules allow.
const METHOD: &str = "/bench.Echo/Ping";

/// Bytes of a segment at an MTU of 1,500 with timestamps.
const SEGMENT: usize = 1_448;

/// A message of 64 bytes behind its prefix.
const MESSAGE: [u8; 69] = {
    let mut message = [b'm'; 69];
    let prefix = [0, 0, 0, 0, 64];
    let mut at = 0;
    while at < prefix.len() {
        message[at] = prefix[at];
        at += 1;
    }
    message
};

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection with so many calls at a time.
pub struct Calls {
    /// The node.
    pub web: Web,
    streams: u32,
    /// The stream of the next turn's first call.
    next: u32,
    /// Whether each call carries a trace context of its own.
    traced: bool,
    request: Encoder,
    response: Encoder,
    fields: Fields,
    bytes: Vec<u8>,
}

impl Calls {
    /// A connection on which both sides have said their settings.
    ///
    /// # Panics
    /// If the node loses what opens it.
    #[must_use]
    pub fn new(rules: Rules, streams: u32) -> Self {
        let encoder = || Encoder::new(4_096);
        let mut calls = Self {
            web: Web::new(rules, 1),
            streams,
            next: 1,
            traced: false,
            request: encoder(),
            response: encoder(),
            fields: Fields::default(),
            bytes: Vec::new(),
        };
        calls.say(true, &[&PREFACE[..], &SETTINGS].concat());
        calls.say(false, &[SETTINGS, SETTINGS_ACK].concat());
        calls.say(true, &SETTINGS_ACK);
        calls
    }

    /// From now on no call's header block is like another's: each carries a trace context of its own, as those of an
    /// instrumented client do.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    fn say(&mut self, to_server: bool, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.arrive(to_server);
        self.web.poll();
        self.web.drain_events();
    }

    /// A turn's requests have arrived.
    pub fn requests(&mut self) {
        self.bytes.clear();
        for call in 0..self.streams {
            let stream = self.next + 2 * call;
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "10.0.0.2:80"),
                (":path", METHOD),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("user-agent", "rpc-peer/1"),
                ("traceparent", &format!("00-{stream:032x}-{stream:016x}-01")),
            ];
            let fields = if self.traced { &fields[..] } else { &fields[..fields.len() - 1] };
            Self::block(&mut self.request, &mut self.fields, fields, stream, 0, &mut self.bytes);
            frame(DATA, END_STREAM, stream, &MESSAGE, &mut self.bytes);
        }
        // What the last turn's messages took is given back.
        frame(WINDOW_UPDATE, 0, 0, &(self.streams * 69).to_be_bytes(), &mut self.bytes);
        self.arrive(true);
    }

    /// The responses to them have arrived.
    pub fn responses(&mut self) {
        self.bytes.clear();
        for call in 0..self.streams {
            let stream = self.next + 2 * call;
            let head = [
                (":status", "200"),
                ("content-type", "application/grpc"),
                ("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ];
            Self::block(&mut self.response, &mut self.fields, &head, stream, 0, &mut self.bytes);
            frame(DATA, 0, stream, &MESSAGE, &mut self.bytes);
            let trailers = [("grpc-status", "0")];
            Self::block(&mut self.response, &mut self.fields, &trailers, stream, END_STREAM, &mut self.bytes);
        }
        frame(WINDOW_UPDATE, 0, 0, &(self.streams * 69).to_be_bytes(), &mut self.bytes);
        self.next += 2 * self.streams;
        self.arrive(false);
    }

    fn block(
        encoder: &mut Encoder,
        fields: &mut Fields,
        list: &[(&str, &str)],
        stream: u32,
        flags: u8,
        out: &mut Vec<u8>,
    ) {
        fields.clear();
        let limits = Limits { list: usize::MAX, fields: usize::MAX };
        for (name, value) in list {
            fields.push(name.as_bytes(), value.as_bytes(), false, &limits).expect("no limits");
        }
        let at = out.len();
        frame(HEADERS, END_HEADERS | flags, stream, &[], out);
        let begin = out.len();
        encoder.encode(fields, out);
        let len = ((out.len() - begin) as u32).to_be_bytes();
        out[at..at + 3].copy_from_slice(&len[1..]);
    }

    /// What was made arrives, in full segments and a last one.
    fn arrive(&mut self, to_server: bool) {
        let bytes = std::mem::take(&mut self.bytes);
        for piece in bytes.chunks(SEGMENT) {
            let peer = self.web.peers[0];
            let port = if to_server { CLIENT_PORT } else { SERVER_PORT };
            self.web.arrive(port, &peer, TcpFlags::ACK | TcpFlags::PSH, piece);
            let Peer { client, server, .. } = &mut self.web.peers[0];
            let seq = if to_server { client } else { server };
            *seq = seq.wrapping_add(piece.len() as u32);
        }
        self.bytes = bytes;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
