//! Caps, memory and time of HTTP/1 connections.

use l7::anomaly::Anomaly;
use l7::http::{Http, HttpRequest};
use l7::http1::{Http1, fuzzing};
use l7::testing::{Event, Outcome, Recorder, Splice};
use l7::{End, Settings, Side};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const FORBIDDEN: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 15\r\ncontent-type: text/plain\r\n\r\nAccess denied\r\n";

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

fn splice(allow: impl FnMut(&HttpRequest<'_>) -> bool + 'static) -> Splice<Http> {
    Splice::new(Http::new(&Settings::default()), Recorder::http(allow))
}

fn once(head: &[u8]) -> Outcome {
    let mut splice = splice(|_| true);
    splice.send(Side::Client, head);
    splice.outcome()
}

#[test]
fn a_head_of_just_the_size_that_is_read_passes() {
    let max = Settings::default().max_head;
    let head = |len: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(len - rest)).into_bytes()
    };
    assert_eq!(once(&head(max)).to_server.len(), max);
    let refused = once(&head(max + 1));
    assert_eq!(refused.end, Some(End::Anomaly(Anomaly::HttpHeadTooLarge)));
    assert!(refused.orderly && refused.to_server.is_empty());
    assert!(refused.to_client.starts_with(b"HTTP/1.1 400 "));
    // It is refused before it ends, too, and byte by byte no later.
    assert_eq!(once(&head(max + 1)[..max]), refused);
}

#[test]
fn as_many_fields_as_are_read_pass() {
    let head = |fields: usize| {
        format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(fields - 1)).into_bytes()
    };
    let max = Settings::default().max_headers;
    assert_eq!(once(&head(max)).to_server, head(max));
    assert_eq!(once(&head(max + 1)).end, Some(End::Anomaly(Anomaly::HttpHeadTooLarge)));
}

#[test]
fn a_client_that_asks_too_much_at_once_waits_for_answers() {
    let mut splice = splice(|request| request.path != b"/denied");
    splice.settings.max_outstanding = 2;
    splice.send(Side::Client, &[get("/1"), get("/2"), get("/denied"), get("/4"), get("/5")].concat());
    assert_eq!(splice.outcome().to_server, [get("/1"), get("/2")].concat());
    splice.send(Side::Server, OK);
    // The third is denied and waits in its place.
    assert_eq!(splice.outcome().to_server, [get("/1"), get("/2")].concat());
    splice.send(Side::Server, OK);
    splice.send(Side::Server, OK);
    splice.send(Side::Server, OK);
    let outcome = splice.outcome();
    assert_eq!(outcome.to_server, [get("/1"), get("/2"), get("/4"), get("/5")].concat());
    assert_eq!(outcome.to_client, [OK, OK, FORBIDDEN, OK, OK].concat());
    assert_eq!(outcome.end, None);
    let oddities: Vec<_> = outcome.told.iter().filter(|line| line.starts_with("oddity")).collect();
    assert_eq!(oddities, ["oddity http-too-many-outstanding"], "told once");
}

#[test]
fn what_is_remembered_is_bounded_and_cut() {
    let long = format!("/{}", "a".repeat(3_000));
    let mut splice = Splice::new(Http1::new(), Recorder::default());
    splice.send(Side::Client, &get(&long).repeat(16));
    splice.send(Side::Client, &get(&long).repeat(16));
    let passed = splice.outcome().to_server.len() / get(&long).len();
    assert_eq!(passed, 32);
    for _ in 0..passed {
        splice.send(Side::Server, OK);
    }
    let outcome = splice.outcome();
    let expected = format!("response HTTP/1.1 200 to GET {} host=h after 0 ns", &long[..1024]);
    assert_eq!(outcome.told.last(), Some(&expected));
    assert!(splice.inspector.heap() <= 4 * 1024, "{} bytes", splice.inspector.heap());
}

#[test]
fn pipelined_requests_hold_no_more_than_is_remembered() {
    let long = format!("/{}", "a".repeat(2_000));
    let mut splice = Splice::new(Http1::new(), Recorder::default());
    for _ in 0..40 {
        splice.send(Side::Client, &get(&long));
    }
    let passed = splice.outcome().to_server.len() / get(&long).len();
    assert_eq!(passed, 32, "32 KiB at 1,028 bytes each");
    assert!(splice.inspector.heap() <= 80 * 1024, "{} bytes", splice.inspector.heap());
}

#[test]
fn an_idle_connection_is_small_and_stays_so() {
    assert!(size_of::<Http1>() <= 512, "{}", size_of::<Http1>());
    assert!(size_of::<Http>() <= 512, "{}", size_of::<Http>());
    assert_eq!(fuzzing::memory(&[]), size_of::<Http1>(), "nothing on the heap before the first request");
    let exchange = [
        Event::Send(Side::Client, get("/some/./path?with=a&query=b")),
        Event::Send(Side::Server, OK.to_vec()),
    ];
    let after_one = fuzzing::memory(&exchange);
    assert!(after_one <= 1_024, "{after_one}");
    let many: Vec<_> = (0..100).flat_map(|_| exchange.clone()).collect();
    assert_eq!(fuzzing::memory(&many), after_one, "no request adds to it");
}

#[test]
fn latency_is_the_time_between_the_heads() {
    let mut splice = splice(|_| true);
    splice.now = 1_000;
    splice.send(Side::Client, &get("/a"));
    splice.now = 2_000;
    splice.send(Side::Client, &get("/b"));
    splice.now = 5_000;
    splice.send(Side::Server, OK);
    splice.now = 9_500;
    splice.send(Side::Server, OK);
    let told = splice.outcome().told;
    assert_eq!(told[2], "response HTTP/1.1 200 to GET /a host=h after 4000 ns");
    assert_eq!(told[3], "response HTTP/1.1 200 to GET /b host=h after 7500 ns");
}

#[test]
fn a_connection_that_knows_http2_is_handed_over() {
    let mut splice = splice(|_| true);
    splice.send(Side::Client, &l7::http::PREFACE[..23]);
    assert_eq!((splice.outcome().to_server.len(), splice.outcome().end), (0, None));
    splice.send(Side::Client, &l7::http::PREFACE[23..]);
    splice.send(Side::Client, &[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let outcome = splice.outcome();
    assert_eq!(outcome.end, None, "{}", l7::testing::show(&outcome));
    assert!(outcome.to_server.starts_with(l7::http::PREFACE), "{}", l7::testing::show(&outcome));
}
