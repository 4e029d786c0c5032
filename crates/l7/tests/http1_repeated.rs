//! Heads that come again and again: none is read twice, and everything is judged each time.

use l7::anomaly::Anomaly;
use l7::http::{Header, HttpRequest};
use l7::http1::Http1;
use l7::http1::fuzzing::assert_repeats_agree;
use l7::testing::{Event, Recorder, Splice, agree};
use l7::{End, Side};

const REQUEST: &[u8] =
    b"POST /orders?limit=7 HTTP/1.1\r\nHost: orders:8080\r\nAccept:\r\nX-Tenant: \tblue \r\n\
    Content-Length: 4\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

fn client(parts: &[&[u8]]) -> Event {
    Event::Send(Side::Client, parts.concat())
}

fn server(parts: &[&[u8]]) -> Event {
    Event::Send(Side::Server, parts.concat())
}

#[test]
fn policy_is_asked_about_each_with_all_that_it_says() {
    let exchange = [client(&[REQUEST, b"body"]), server(&[OK, b"hello"])];
    let script = exchange.iter().cycle().take(12).cloned().collect::<Vec<_>>();
    let make = || {
        let mut asked = 0;
        let judge = Recorder::http(move |request: &HttpRequest<'_>| {
            let field = |name: &'static str, value: &'static str| Header {
                name: name.as_bytes(),
                value: value.as_bytes(),
            };
            let fields = [
                field("Host", "orders:8080"),
                field("Accept", ""),
                field("X-Tenant", "blue"),
                field("Content-Length", "4"),
            ];
            assert_eq!(request.headers, fields);
            assert_eq!(request.normal_path, b"/orders?limit=7");
            asked += 1;
            asked != 4
        });
        Splice::new(Http1::new(), judge)
    };
    // One answer of the server is to nothing, since the fourth request never came to it.
    let outcome = agree(&script[..11], make);
    let asked = |verdict: &str| format!("{verdict} HTTP/1.1 POST /orders?limit=7 host=orders:8080");
    let told = "response HTTP/1.1 200 to POST /orders?limit=7 host=orders:8080 after 0 ns";
    let requests: Vec<_> = outcome.told.iter().filter(|line| !line.starts_with("response")).collect();
    assert_eq!(requests[..4], [&asked("allow"), &asked("allow"), &asked("allow"), &asked("deny")]);
    assert_eq!(outcome.told.iter().filter(|line| *line == told).count(), 3);
    assert_eq!(outcome.to_server, [REQUEST, b"body"].concat().repeat(3));
    assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::HttpUnexpectedResponse)));
}

#[test]
fn a_head_that_differs_anywhere_is_read() {
    for at in 0..REQUEST.len() {
        for byte in *b"\0\n\r :;%/.0aZ\x7f\xff" {
            let mut other = REQUEST.to_vec();
            other[at] = byte;
            let script = [
                client(&[REQUEST, b"body", REQUEST, b"body", &other, b"body", REQUEST, b"body"]),
                server(&[OK, b"hello"]),
            ];
            assert_repeats_agree(&script);
        }
    }
}

#[test]
fn an_answer_that_differs_anywhere_is_read() {
    let exchange = |answer: &[u8]| [client(&[REQUEST, b"body"]), server(&[answer, b"hello"])];
    for at in 0..OK.len() {
        for byte in *b"\0\n\r :014x\xff" {
            let mut other = OK.to_vec();
            other[at] = byte;
            assert_repeats_agree(&[exchange(OK), exchange(OK), exchange(&other), exchange(OK)].concat());
        }
    }
}

#[test]
fn an_answer_has_a_body_or_not_by_what_was_asked() {
    let get: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let head: &[u8] = b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let body: &[u8] = b"HTTP/";
    // Were the third answer read as one with a body, its head would swallow what follows.
    let script = [
        client(&[get]),
        server(&[OK, body]),
        client(&[head]),
        server(&[OK]),
        client(&[get]),
        server(&[OK, body]),
        client(&[head]),
        server(&[OK]),
    ];
    let outcome = agree(&script, || Splice::new(Http1::new(), Recorder::default()));
    assert_eq!(outcome.told.iter().filter(|line| line.starts_with("response")).count(), 4);
    assert_eq!(outcome.to_client, [OK, body, OK, OK, body, OK].concat());
    assert_eq!(outcome.end, None);
    assert_repeats_agree(&script);
}

#[test]
fn what_is_told_in_between_ends_nothing() {
    let get: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let hints: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let script = [client(&[get]), server(&[hints, hints, OK, b"hello"])];
    assert_repeats_agree(&script);
    let outcome = agree(&script, || Splice::new(Http1::new(), Recorder::default()));
    assert_eq!(outcome.to_client, [hints, hints, OK, b"hello"].concat());
    assert_eq!(
        outcome.told.last().map(String::as_str),
        Some("response HTTP/1.1 200 to GET /a host=h after 0 ns")
    );
}

#[test]
fn chunked_bodies_follow_known_heads() {
    let post: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let ok: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body: &[u8] = b"5\r\nhello\r\n0\r\n\r\n";
    let script = [client(&[post, body]), server(&[ok, body])];
    assert_repeats_agree(&script);
    let twice = [script.clone(), script].concat();
    let outcome = agree(&twice, || Splice::new(Http1::new(), Recorder::default()));
    assert_eq!(outcome.to_server, [post, body, post, body].concat());
    assert_eq!(outcome.to_client, [ok, body, ok, body].concat());
    assert_eq!(outcome.end, None);
}

#[test]
fn a_known_request_that_is_the_last_one_is_the_last_one() {
    for request in [
        &b"GET /denied HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"[..],
        b"GET /denied HTTP/1.0\r\n\r\n",
        b"GET /denied HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let mut asked = 0;
        let judge = Recorder::http(move |_: &HttpRequest<'_>| {
            asked += 1;
            asked == 1
        });
        let mut splice = Splice::new(Http1::new(), judge);
        splice.send(Side::Client, request);
        splice.send(Side::Server, b"HTTP/1.1 204 No Content\r\n\r\n");
        splice.send(Side::Client, request);
        let outcome = splice.outcome();
        assert_eq!(outcome.to_server, request);
        assert_eq!(outcome.end, Some(End::Refused), "{}", request.escape_ascii());
        assert_repeats_agree(&[client(&[request]), server(&[b"HTTP/1.1 204 No Content\r\n\r\n"])]);
    }
}

#[test]
fn caps_that_came_since_hold_for_known_heads() {
    let passes = |change: fn(&mut Splice<Http1>)| {
        let mut splice = Splice::new(Http1::new(), Recorder::default());
        let exchange = |splice: &mut Splice<Http1>| {
            splice.send(Side::Client, &[REQUEST, b"body"].concat());
            splice.send(Side::Server, &[OK, b"hello"].concat());
        };
        exchange(&mut splice);
        change(&mut splice);
        exchange(&mut splice);
        splice.outcome().end
    };
    assert_eq!(passes(|splice| splice.settings.max_head = REQUEST.len()), None);
    let too_large = Some(End::Anomaly(Anomaly::HttpHeadTooLarge));
    assert_eq!(passes(|splice| splice.settings.max_head = REQUEST.len() - 1), too_large);
    assert_eq!(passes(|splice| splice.settings.max_headers = 4), None);
    assert_eq!(passes(|splice| splice.settings.max_headers = 3), too_large);
}

#[test]
fn long_heads_are_read_each_time_and_little_is_kept() {
    for len in [400, 511, 512, 513, 4_000] {
        let frame = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(len - frame));
        let frame = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n".len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "x".repeat(len - frame));
        let script = [client(&[request.as_bytes()]), server(&[answer.as_bytes()])];
        assert_repeats_agree(&script);
        let mut splice = Splice::new(Http1::new(), Recorder::default());
        for _ in 0..3 {
            splice.send(Side::Client, request.as_bytes());
            splice.send(Side::Server, answer.as_bytes());
        }
        assert_eq!(splice.outcome().to_client, answer.repeat(3).into_bytes());
        assert!(splice.inspector.heap() <= 2_048, "{len}: {} bytes", splice.inspector.heap());
    }
    for fields in [3, 4, 5, 16, 17] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
            (1..fields).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>()
        );
        assert_repeats_agree(&[client(&[request.as_bytes()]), server(&[OK, b"hello"])]);
    }
}

#[test]
fn both_readings_of_a_path_are_judged_each_time() {
    for path in ["/a/../denied", "/%64enied", "/a//denied", "/;a", "/a%2fb"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_repeats_agree(&[client(&[request.as_bytes()]), server(&[OK, b"hello"])]);
        let judge = Recorder::http(|request: &HttpRequest<'_>| {
            request.normal_path == b"/;a" || request.normal_path != request.path
        });
        let mut splice = Splice::new(Http1::new(), judge);
        splice.send(Side::Client, request.repeat(3).as_bytes());
        assert_eq!(splice.outcome().to_server, request.repeat(3).into_bytes(), "the normal path is told");
    }
}

#[test]
fn only_the_last_head_is_known() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    let ok = |len: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes();
    // Each head comes behind the other one and right behind itself; one kind of answer has no body between.
    let order = [1, 2, 1, 2, 2, 1, 1, 2];
    let requests = order.map(|number| get(&format!("/{number}")));
    let answers = order.map(|number| [ok(number - 1), vec![b'x'; number - 1]].concat());
    let script = [Event::Send(Side::Client, requests.concat()), Event::Send(Side::Server, answers.concat())];
    assert_repeats_agree(&script);
    let outcome = agree(&script, || Splice::new(Http1::new(), Recorder::default()));
    assert_eq!(outcome.told.len(), 2 * order.len());
    assert_eq!(outcome.end, None);
}

#[test]
fn old_versions_stay_old() {
    let request = &b"GET /a HTTP/1.0\r\n\r\n"[..];
    let answer = &b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"[..];
    let script = [client(&[request]), server(&[answer])];
    assert_repeats_agree(&script);
    let outcome =
        agree(&[script.clone(), script].concat(), || Splice::new(Http1::new(), Recorder::default()));
    let told = ["allow HTTP/1.0 GET /a host=", "response HTTP/1.0 200 to GET /a host= after 0 ns"];
    assert_eq!(outcome.told, [told, told].concat());
}

#[test]
fn status_and_grpc_status_are_told_each_time() {
    let get: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let not_found: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\ngrpc-status: 5\r\n\r\n";
    let script = [client(&[get]), server(&[not_found])];
    assert_repeats_agree(&script);
    let outcome =
        agree(&[script.clone(), script].concat(), || Splice::new(Http1::new(), Recorder::default()));
    let told: Vec<_> = outcome.told.iter().filter(|line| line.starts_with("response")).collect();
    assert_eq!(told, ["response HTTP/1.1 404 to GET /a host=h after 0 ns grpc-status=5"; 2]);
}

#[test]
fn heads_that_grow_take_no_more_room_than_the_longest() {
    let mut splice = Splice::new(Http1::new(), Recorder::default());
    for len in 400..=450 {
        let long = "x".repeat(len);
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {long}\r\n\r\n");
        splice.send(Side::Client, request.as_bytes());
        splice.send(Side::Server, answer.as_bytes());
    }
    // Both heads and the places of three fields; what is outstanding has room for a handful of requests.
    assert!(splice.inspector.heap() <= 2 * 512 + 512, "{} bytes", splice.inspector.heap());
}
