//! Hostile ends: segments anywhere near the streams, with any flags, repeated, overlapping, with other bytes, in any
//! order; time passes in between. Whatever happens, the server can put together nothing but whole allowed requests.
//!
//! `fuzz/fuzz_targets/splice.rs` runs the same body with a fuzzer's choices.

use super::node::Rules;
use super::raw::{End, Say, Wire};
use packet::{PacketIo as _, TcpFlags};
use std::fmt::Write as _;
use std::time::Duration;

/// What the client would say if it were honest: no bodies, so every byte of it counts.
const REQUESTS: &[u8] = b"GET /allowed/1 HTTP/1.1\r\nHost: s\r\n\r\nGET /denied/2 HTTP/1.1\r\nHost: s\r\n\r\n\
GET /allowed/3 HTTP/1.1\r\nHost: s\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n\
DELETE /denied/4 HTTP/1.1\r\nHost: s\r\n\r\nHEAD /allowed/5 HTTP/1.1\r\nHost: s\r\n\r\n\
GET /denied/6 HTTP/1.1\r\nHost: s\r\n\r\nGET /allowed/7 HTTP/1.1\r\nHost: s\r\n\r\n";

/// What the server says.
const RESPONSES: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\
Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\
Content-Length: 0\r\n\r\n";

const ACK: u8 = TcpFlags::ACK;

/// Plays `steps` steps; `choose(n)` answers a number below `n`.
pub fn drive(choose: impl FnMut(u32) -> u32, steps: u32) {
    drive_with(choose, steps, true, |_| {});
}

/// The same with a worker that `prepare` has changed, with or without segments that arrive together; answers what the two
/// ends were told, and the worker.
pub fn drive_with(
    mut choose: impl FnMut(u32) -> u32,
    steps: u32,
    bursts: bool,
    prepare: impl FnOnce(&mut Wire),
) -> (String, Wire) {
    let isns = [choose(4), choose(4)].map(|c| [1, 0xffff_ff00, 0x7fff_fff0, 77_777][c as usize]);
    let mut wire = Wire::new(Rules::Http, isns, choose(2) == 1);
    let window = [64_000, 200, 30, 1][choose(4) as usize];
    let say = |flags, payload: &[u8]| Say { flags, window, payload: payload.to_vec(), ..Say::default() };
    prepare(&mut wire);
    let mut told = String::new();
    wire.say(End::Client, &say(TcpFlags::SYN, b""));
    wire.say(End::Server, &say(TcpFlags::SYN | ACK, b""));
    wire.say(End::Client, &say(ACK, b""));
    let mut server = Vec::new();
    let mut honest = [0; 2];
    for _ in 0..steps {
        let client = choose(3) != 0;
        let (end, script) = if client { (End::Client, REQUESTS) } else { (End::Server, RESPONSES) };
        match choose(16) {
            0 => wire.wait(Duration::from_millis(u64::from(choose(400)))),
            1 => wire.say(end, &say(ACK, b"")),
            kind => {
                let mut at = choose(script.len() as u32) as usize;
                let mut len = choose(64) as usize;
                if kind > 10 {
                    // What it would say next if it were honest.
                    let next = &mut honest[usize::from(client)];
                    at = *next % script.len();
                    len = if kind > 12 { whole(&script[at..]) } else { len };
                    *next = at + len.min(script.len() - at);
                }
                let len = len.min(script.len() - at);
                let mut payload = script[at..at + len].to_vec();
                if kind == 2 && !payload.is_empty() {
                    let byte = choose(payload.len() as u32) as usize;
                    payload[byte] ^= 1 << choose(8);
                }
                let more = [0, TcpFlags::PSH, TcpFlags::FIN, TcpFlags::URG, TcpFlags::RST][match choose(40) {
                    0 => 2,
                    1 => 3,
                    2 => 4,
                    n => usize::from(n % 2 == 0),
                }];
                let shift = if kind == 3 { i64::from(choose(200)) - 100 } else { 0 };
                let mut segment = say(ACK | more, &payload);
                segment.at = Some(at as i64 + shift);
                segment.urgent = u16::from(more == TcpFlags::URG);
                if (kind == 4 || kind == 15) && client {
                    // A server that lies about what it has deceives itself.
                    segment.ack = Some(i64::from(choose(2_000)) - 200);
                }
                match choose(3) {
                    0 if bursts => wire.put(end, &segment),
                    _ => wire.say(end, &segment),
                }
            }
        }
        for end in [End::Client, End::Server] {
            let _ = writeln!(told, "{:?}", wire.unseen(end));
        }
        for seen in wire.unseen(End::Server).drain(..) {
            note(&mut server, seen.at, &seen.payload);
        }
        wire.unseen(End::Client).clear();
        check(&server);
    }
    // Everything is given up in the end.
    for _ in 0..50 {
        wire.wait(Duration::from_secs(400));
    }
    let worker = &wire.node.worker;
    let left = (worker.io().outstanding(), worker.conntrack().len(), worker.inspection().connections);
    assert_eq!(left, (0, 0, 0), "frames, connections, inspections are never given back");
    (told, wire)
}

/// Bytes to the end of the next head.
fn whole(script: &[u8]) -> usize {
    script.windows(4).position(|four| four == b"\r\n\r\n").map_or(script.len(), |at| at + 4)
}

/// Puts bytes where the server would; bytes that were there must be the same.
fn note(stream: &mut Vec<Option<u8>>, at: i64, payload: &[u8]) {
    for (offset, byte) in (at..).zip(payload) {
        let Ok(offset) = usize::try_from(offset) else { continue };
        if stream.len() <= offset {
            stream.resize(offset + 1, None);
        }
        let before = stream[offset].replace(*byte);
        assert!(
            before.is_none_or(|before| before == *byte),
            "the server is told two bytes for place {offset}"
        );
    }
}

/// What the server has without a gap: allowed requests, the last one perhaps not whole yet.
fn check(stream: &[Option<u8>]) {
    let bytes: Vec<u8> = stream.iter().map_while(|byte| *byte).collect();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Request::new(&mut headers);
        let len = match head.parse(rest) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return,
            Err(error) => panic!("the server is told no request: {error}: {}", rest.escape_ascii()),
        };
        let path = head.path.unwrap_or_default();
        assert!(path.starts_with("/allowed/"), "the server is told {path}");
        let length = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
        let body = length.map_or(0, |h| String::from_utf8_lossy(h.value).parse().unwrap_or(0));
        let Some(behind) = rest.get(len + body..) else { return };
        rest = behind;
    }
}
