//! HTTP/2 by upgrade (RFC 7540 §3.2): an HTTP/1.1 request with an offer, the server's `101`, and from there on HTTP/2 both
//! ways, the first request being stream 1.

mod http2_support;

use http2_support::*;
use l7::http::Http;
use l7::testing::{Event, Outcome, Recorder, Splice, agree};
use l7::{Anomaly, End, Settings, Side};

const TAKEN: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// A connection on which paths below `/denied` are, 100 ns after its beginning.
fn splice() -> Splice<Http> {
    let judge = Recorder::http(|request| !request.path.starts_with(b"/denied"));
    Splice::new(Http::new(&Settings::default()), judge)
}

/// A request with an offer; SETTINGS_INITIAL_WINDOW_SIZE is 10.
fn offer() -> Vec<u8> {
    b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\n\r\n"
        .to_vec()
}

/// The server's `101`, SETTINGS and response on stream 1.
fn answer() -> Vec<u8> {
    let ok = block(&[(":status", "200")]);
    [TAKEN, &frame(SETTINGS, 0, 0, SOME_STREAMS), &frame(HEADERS, END_HEADERS | END_STREAM, 1, &ok)].concat()
}

fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// What reached an end behind its part in HTTP/1.
fn behind<'a>(bytes: &'a [u8], http1: &[u8]) -> &'a [u8] {
    bytes.strip_prefix(http1).unwrap_or_else(|| panic!("{}", bytes.escape_ascii()))
}

fn statuses(outcome: &Outcome, stream: u32) -> Vec<String> {
    let mut decoder = l7::http2::hpack::Decoder::default();
    let blocks = frames(behind(&outcome.to_client, TAKEN)).into_iter().filter(|frame| frame.kind == HEADERS);
    let decoded = blocks.map(|frame| (frame.stream, decode(&mut decoder, &frame.payload)));
    decoded
        .filter(|(id, _)| *id == stream)
        .filter_map(|(_, list)| Some(value(&list, ":status")?.to_owned()))
        .collect()
}

#[test]
fn an_offer_that_is_taken_goes_on_in_http2() {
    let mut requests = Client::new();
    let script = [
        client(offer()),
        server(answer()),
        client(hello()),
        server(frame(SETTINGS, ACK, 0, &[])),
        client(frame(SETTINGS, ACK, 0, &[])),
        requests.request(3, "/denied", "text/plain", true),
        requests.request(5, "/next", "text/plain", true),
        server(frame(HEADERS, END_HEADERS | END_STREAM, 5, &block(&[(":status", "204")]))),
        requests.request(7, "/denied/call", "application/grpc", false),
        client(frame(DATA, END_STREAM, 7, b"more")),
    ];
    let outcome = agree(&script, splice);
    assert_eq!(outcome.end, None);
    assert_eq!(
        outcome.told,
        [
            "allow HTTP/1.1 GET /up host=a",
            "response HTTP/2 200 to GET /up host=a after 0 ns stream=1",
            "deny HTTP/2 POST /denied host=orders:8080 stream=3",
            "allow HTTP/2 POST /next host=orders:8080 stream=5",
            "response HTTP/2 204 to POST /next host=orders:8080 after 0 ns stream=5",
            "deny HTTP/2 POST /denied/call host=orders:8080 stream=7",
        ]
    );
    assert_eq!(paths(behind(&outcome.to_server, &offer())), [(5, "/next".to_owned())]);
    let seen = [1, 3, 5, 7].map(|stream| statuses(&outcome, stream).join(" "));
    assert_eq!(seen, ["200", "403", "204", "200"]);
    // The client's SETTINGS leave the window at what came with the offer, and no body fits that.
    let data =
        frames(behind(&outcome.to_client, TAKEN)).into_iter().filter(|frame| frame.kind == DATA).count();
    assert_eq!(data, 0);
}

#[test]
fn latency_counts_from_the_request_in_http1() {
    let mut splice = splice();
    splice.now = 7;
    splice.send(Side::Client, &offer());
    splice.now = 107;
    splice.send(Side::Server, &answer());
    assert_eq!(splice.outcome().told[1], "response HTTP/2 200 to GET /up host=a after 100 ns stream=1");
}

#[test]
fn what_the_client_says_before_the_answer_waits_for_it() {
    let eager = [offer(), hello(), frame(HEADERS, END_HEADERS | END_STREAM, 3, &request("/denied"))].concat();
    // Taken: it is read as HTTP/2.
    let mut settings = answer();
    let response = settings.split_off(TAKEN.len() + 15);
    let outcome = agree(&[client(eager.clone()), server(settings), server(response)], splice);
    assert_eq!(outcome.end, None);
    assert_eq!([1, 3].map(|stream| statuses(&outcome, stream).join(" ")), ["200", "403"]);
    assert_eq!(behind(&outcome.to_server, &offer()), hello());
    // Not taken: it is read as HTTP/1, and is none.
    let no = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
    let outcome = agree(&[client(eager), server(no.to_vec())], splice);
    assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::HttpStartLine)));
    assert_eq!(outcome.to_server, offer());
    assert!(outcome.to_client.starts_with(&[&no[..], b"HTTP/1.1 400 "].concat()));
}

fn request(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")])
}

#[test]
fn an_offer_that_is_not_taken_leaves_http1() {
    let second = b"GET /denied HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let head = String::from_utf8(offer()).expect("text").replace("GET", "HEAD").into_bytes();
    for (offer, no) in [
        (offer(), &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"[..]),
        (offer(), b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        // What answers HEAD has no body, whatever it says.
        (head, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    ] {
        let script = [client([offer.clone(), second.clone()].concat()), server(no.to_vec())];
        let outcome = agree(&script, splice);
        assert_eq!((outcome.end, outcome.to_server), (None, offer));
        assert!(outcome.to_client.starts_with(&[no, b"HTTP/1.1 403 "].concat()), "{}", no.escape_ascii());
    }
}

/// An offer that would be followed by something nobody here can follow does not reach the server.
#[test]
fn what_is_no_proper_offer_is_taken_out() {
    let offer =
        |fields: &str, more: &str| format!("POST /up HTTP/1.1\r\nHost: a\r\n{fields}\r\n{more}").into_bytes();
    let connection = "Connection: Upgrade, HTTP2-Settings\r\n";
    for (fields, more) in [
        ("Upgrade: h2c\r\nHTTP2-Settings: \r\n", ""),
        ("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\n", ""),
        ("Connection: HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\n", ""),
        ("Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\n", ""),
        ("@Upgrade: h2c\r\n", ""),
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\nHTTP2-Settings: AAQAAAAK\r\n", ""),
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\nContent-Length: 2\r\n", "hi"),
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        // Not base64url, no whole setting, padded, settings that may not be, more of them than are read.
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAQA!AAK\r\n", ""),
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAQAAAA\r\n", ""),
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAQAAAAK=\r\n", ""),
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAT_____\r\n", ""),
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAUAAAAK\r\n", ""),
        // A header table beyond what is followed.
        ("@Upgrade: h2c\r\nHTTP2-Settings: AAEAAQAB\r\n", ""),
    ] {
        let sent = offer(&fields.replace('@', connection), more);
        let outcome = agree(&[client(sent), server(TAKEN.to_vec())], splice);
        let seen = String::from_utf8_lossy(&outcome.to_server).to_ascii_lowercase();
        assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{fields}: {seen}");
        assert!(
            seen.starts_with("post /up http/1.1\r\nhost: a\r\n") && seen.ends_with(more),
            "{fields}: {seen}"
        );
        // Nobody has asked for this answer.
        assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::HttpUpgrade)), "{fields}");
        assert_eq!(outcome.to_client, b"", "{fields}");
    }
}

#[test]
fn answers_that_are_not_believed() {
    for (answer, anomaly) in [
        ("Upgrade: websocket\r\n", Anomaly::HttpUpgrade),
        ("Upgrade: h2c, websocket\r\n", Anomaly::HttpUpgrade),
        ("Upgrade: h2c\r\nUpgrade: h2c\r\n", Anomaly::HttpUpgrade),
        ("Upgrade: h2\r\n", Anomaly::HttpUpgrade),
        ("", Anomaly::HttpUpgrade),
        ("Upgrade: h2c\r\nContent-Length: 5\r\n", Anomaly::HttpContentLength),
        ("Upgrade: h2c\r\nTransfer-Encoding: chunked\r\n", Anomaly::HttpTransferEncoding),
    ] {
        let answer = format!("HTTP/1.1 101 x\r\n{answer}\r\n").into_bytes();
        let outcome = agree(&[client(offer()), server(answer.clone())], splice);
        assert_eq!(outcome.end, Some(End::Anomaly(anomaly)), "{}", answer.escape_ascii());
        assert_eq!(outcome.to_client, b"", "{}", answer.escape_ascii());
    }
    // WebSocket is asked for, HTTP/2 is answered.
    let ask = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec();
    let outcome = agree(&[client(ask), server(TAKEN.to_vec())], splice);
    assert_eq!((outcome.end, outcome.to_client.len()), (Some(End::Anomaly(Anomaly::HttpUpgrade)), 0));
}

#[test]
fn a_denied_request_makes_no_offer() {
    let denied = String::from_utf8(offer()).expect("text").replace("/up", "/denied").into_bytes();
    let outcome = agree(&[client([denied, offer()].concat()), server(TAKEN.to_vec())], splice);
    assert_eq!((outcome.end, outcome.to_server), (None, offer()));
    assert!(outcome.to_client.starts_with(b"HTTP/1.1 403 ") && outcome.to_client.ends_with(TAKEN));
}

/// Both ends are held to HTTP/2 from the `101` on, and the client is told so: it knows that the server speaks it.
#[test]
fn what_violates_http2_behind_an_upgrade_ends_in_goaway() {
    let settings = frame(SETTINGS, 0, 0, SOME_STREAMS);
    let cases: [(Vec<Event>, Anomaly); 6] = [
        // Neither HTTP/1 nor anything else.
        (vec![client(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n".to_vec())], Anomaly::Http2Preface),
        (
            vec![client([PREFACE, &frame(HEADERS, END_HEADERS | END_STREAM, 3, &request("/a"))].concat())],
            Anomaly::Http2Preface,
        ),
        (vec![server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())], Anomaly::Http2FrameSize),
        // Stream 1 is ended by the client, and there is no other yet.
        (vec![client(hello()), client(frame(DATA, END_STREAM, 1, b"x"))], Anomaly::Http2Protocol),
        (
            vec![client(hello()), client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("/denied")))],
            Anomaly::Http2Protocol,
        ),
        (
            vec![server(settings), server(frame(HEADERS, END_HEADERS, 3, &block(&[(":status", "200")])))],
            Anomaly::Http2Protocol,
        ),
    ];
    for (more, anomaly) in cases {
        let script = [vec![client(offer()), server(TAKEN.to_vec())], more].concat();
        let outcome = agree(&script, splice);
        assert_eq!(outcome.end, Some(End::Anomaly(anomaly)), "{script:?}");
        assert!(outcome.orderly, "{script:?}");
        let said = frames(behind(&outcome.to_client, TAKEN));
        assert_eq!(
            (said[0].kind, said.last().map(|frame| frame.kind)),
            (SETTINGS, Some(GOAWAY)),
            "{script:?}"
        );
    }
}

/// What an HTTP/1 end leaves undecided ends as it does there; the ends of both streams pass.
#[test]
fn streams_that_end_around_an_upgrade() {
    let script =
        [client(offer()), server(answer()), Event::Finish(Side::Client), Event::Finish(Side::Server)];
    let outcome = agree(&script, splice);
    assert_eq!((outcome.end, outcome.finished), (None, vec![Side::Client, Side::Server]));
    let script = [client(offer()), Event::Finish(Side::Client), server(answer())];
    let outcome = agree(&script, splice);
    assert_eq!((outcome.end, outcome.to_client), (None, answer()));
    let script = [client(offer()), server(answer()[..TAKEN.len() + 5].to_vec()), Event::Finish(Side::Server)];
    assert_eq!(agree(&script, splice).end, Some(End::Anomaly(Anomaly::HttpTruncated)));
}
