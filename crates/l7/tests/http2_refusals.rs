//! What the two ends of a connection see when streams are refused, octet by octet where it counts.

mod http2_support;

use http2_support::*;
use l7::http2::Http2;
use l7::http2::hpack::Decoder;
use l7::testing::{Event, Outcome, Recorder, Splice, agree, play};
use l7::{Anomaly, End, Settings, Side};

fn said(outcome: &Outcome, stream: u32) -> Vec<Frame> {
    frames(&outcome.to_client).into_iter().filter(|frame| frame.stream == stream).collect()
}

/// The header list of a refusal.
fn refusal(frame: &Frame) -> Vec<(String, String)> {
    assert_eq!(frame.kind, HEADERS);
    decode(&mut Decoder::default(), &frame.payload)
}

#[test]
fn what_is_allowed_passes_as_it_came() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    script.push(caller.request(1, "/a", "text/plain", false));
    script.push(client(frame(DATA, END_STREAM, 1, b"body")));
    script.push(server(frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "201")]))));
    script.push(server(frame(DATA, END_STREAM, 1, b"answer")));
    script.push(Event::Finish(Side::Client));
    script.push(Event::Finish(Side::Server));
    let outcome = agree(&script, splice);
    for (side, received) in [(Side::Client, &outcome.to_server), (Side::Server, &outcome.to_client)] {
        let sent = script.iter().filter_map(|event| match event {
            Event::Send(from, bytes) if *from == side => Some(bytes.as_slice()),
            _ => None,
        });
        assert_eq!(*received, sent.collect::<Vec<_>>().concat());
    }
    let told = [
        "allow HTTP/2 POST /a host=orders:8080 stream=1",
        "response HTTP/2 201 to POST /a host=orders:8080 after 0 ns stream=1",
    ];
    assert_eq!(outcome.told, told);
    assert_eq!((outcome.end, outcome.finished), (None, vec![Side::Client, Side::Server]));
}

#[test]
fn a_refused_stream_costs_no_other() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    script.push(caller.request(1, "/one", "text/plain", true));
    script.push(caller.request(3, "/denied", "text/plain", true));
    // Its table now holds what the server has never seen.
    script.push(caller.request(5, "/denied", "text/plain", true));
    script.push(caller.request(7, "/two", "text/plain", true));
    script.push(server(frame(HEADERS, END_HEADERS | END_STREAM, 7, &block(&[(":status", "200")]))));
    script.push(caller.request(9, "/one", "text/plain", true));
    let outcome = agree(&script, splice);
    assert_eq!(outcome.end, None);
    assert_eq!(paths(&outcome.to_server), [(1, "/one".into()), (7, "/two".into()), (9, "/one".into())]);
    for stream in [3, 5] {
        let answer = said(&outcome, stream);
        let list = refusal(&answer[0]);
        assert_eq!((value(&list, ":status"), value(&list, "content-length")), (Some("403"), Some("15")));
        assert_eq!(
            answer[1],
            Frame { kind: DATA, flags: END_STREAM, stream, payload: b"Access denied\r\n".to_vec() }
        );
        assert_eq!(answer.len(), 2, "no reset: the request was complete");
    }
    assert!(
        outcome
            .told
            .contains(&"response HTTP/2 200 to POST /two host=orders:8080 after 0 ns stream=7".to_owned())
    );
}

#[test]
fn a_refused_call_answers_in_trailers() {
    for (content_type, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc; charset=utf-8", true),
        ("application/grpc-web", false),
    ] {
        let mut script = handshake(&[]);
        script.push(Client::new().request(1, "/denied/Method", content_type, false));
        let outcome = agree(&script, splice);
        let answer = said(&outcome, 1);
        let list = refusal(&answer[0]);
        if !grpc {
            assert_eq!(value(&list, ":status"), Some("403"), "{content_type}");
            continue;
        }
        assert_eq!(answer[0].flags, END_HEADERS | END_STREAM);
        assert_eq!(value(&list, ":status"), Some("200"));
        assert_eq!(value(&list, "content-type"), Some("application/grpc"));
        assert_eq!(value(&list, "grpc-status"), Some("7"));
        assert_eq!(value(&list, "grpc-message"), Some("Access denied"));
        // RFC 9113 §8.1.
        assert_eq!(answer[1], Frame { kind: RST_STREAM, flags: 0, stream: 1, payload: vec![0; 4] });
        assert_eq!(answer.len(), 2);
    }
}

#[test]
fn the_server_hears_nothing_of_a_refused_stream_and_the_client_loses_no_credit() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    script.push(caller.request(1, "/denied", "application/grpc", false));
    script.push(client(frame(DATA, 0, 1, &[b'x'; 100])));
    // Padding counts too.
    script.push(client(frame(DATA, 8, 1, &[2, b'x', 0, 0])));
    script.push(client(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0])));
    script.push(client(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])));
    script.push(client(frame(16, 0, 0, b"\0\0\0\x01u=1")));
    script.push(client(frame(0xfa, 0, 1, b"unknown")));
    let trailers = caller.block(&[("x-sum", "a new entry of the client's table")]);
    script.push(client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)));
    script.push(client(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0])));
    script.push(client(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])));
    // An index into what came with the swallowed trailers.
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/b"),
        (":authority", "b"),
        ("x-sum", "a new entry of the client's table"),
    ];
    script.push(client(frame(HEADERS, END_HEADERS | END_STREAM, 3, &caller.block(&fields))));
    let outcome = agree(&script, splice);
    assert_eq!(outcome.end, None);
    let heard: Vec<_> = frames(&outcome.to_server).iter().map(|frame| (frame.kind, frame.stream)).collect();
    assert_eq!(heard, [(SETTINGS, 0), (SETTINGS, 0), (HEADERS, 3)]);
    let last = frames(&outcome.to_server).pop().expect("a request");
    assert_eq!(
        value(&decode(&mut Decoder::default(), &last.payload), "x-sum"),
        Some("a new entry of the client's table")
    );
    let credit: Vec<_> =
        frames(&outcome.to_client).into_iter().filter(|frame| frame.kind == WINDOW_UPDATE).collect();
    assert!(credit.iter().all(|frame| frame.stream == 0), "none for the stream");
    assert_eq!(credit.iter().map(|frame| number(&frame.payload)).collect::<Vec<_>>(), [100, 4]);
}

/// RFC 9113 §3.4: SETTINGS are the first that a client reads.
#[test]
fn a_refusal_waits_for_the_servers_settings() {
    let script = [
        client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()),
        Client::new().request(1, "/denied", "text/plain", true),
        server(frame(SETTINGS, 0, 0, &[])),
    ];
    let early = play(splice(), &script[..2], |_, _| Vec::new());
    assert!(early.to_client.is_empty());
    let outcome = agree(&script, splice);
    let kinds: Vec<_> = frames(&outcome.to_client).iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [SETTINGS, HEADERS, DATA]);
    // Where the connection ends before, the client is given settings that say nothing.
    let script = [script[0].clone(), script[1].clone(), client(frame(HEADERS, END_HEADERS, 2, &[]))];
    let outcome = agree(&script, splice);
    let kinds: Vec<_> = frames(&outcome.to_client).iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [SETTINGS, HEADERS, DATA, GOAWAY]);
    assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::Http2Protocol)));
}

#[test]
fn a_malformed_request_is_reset_alone() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    let malformed = caller.block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("Upper", "case"),
    ]);
    script.push(client(frame(HEADERS, END_HEADERS, 1, &malformed)));
    script.push(client(frame(DATA, END_STREAM, 1, b"body")));
    script.push(caller.request(3, "/a", "text/plain", true));
    let outcome = agree(&script, splice);
    assert_eq!(outcome.end, None);
    assert_eq!(
        said(&outcome, 1),
        [Frame { kind: RST_STREAM, flags: 0, stream: 1, payload: vec![0, 0, 0, 1] }]
    );
    assert_eq!(paths(&outcome.to_server), [(3, "/a".into())]);
    assert_eq!(outcome.told[0], "oddity http2-message");
}

#[test]
fn targets_are_read_as_in_http1() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    for (stream, path) in [(1, "/a/../denied"), (3, "/a/%2e%2e/b"), (5, "//host/a"), (7, "/a%5cb"), (9, "*")]
    {
        script.push(caller.request(stream, path, "text/plain", true));
    }
    let make = || {
        let judge = Recorder::http(|request| request.normal_path != b"/denied");
        Splice::new(Http2::new(&Settings::default()), judge)
    };
    let outcome = agree(&script, make);
    let told = [
        "deny HTTP/2 POST /a/../denied host=orders:8080 normal=/denied stream=1",
        "allow HTTP/2 POST /a/%2e%2e/b host=orders:8080 normal=/b stream=3",
        "oddity http-target",
        "oddity http-target",
        "oddity http-target",
    ];
    assert_eq!(outcome.told, told);
    assert_eq!(paths(&outcome.to_server), [(3, "/a/%2e%2e/b".into())]);
    assert_eq!(value(&refusal(&said(&outcome, 5)[0]), ":status"), Some("403"));
}

#[test]
fn connect_is_refused() {
    for fields in [
        &[(":method", "CONNECT"), (":authority", "a:443")][..],
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ],
    ] {
        let mut script = handshake(&[]);
        script.push(client(frame(HEADERS, END_HEADERS, 1, &block(fields))));
        let outcome = agree(&script, splice);
        assert_eq!(outcome.told, ["oddity http-upgrade"]);
        assert_eq!(value(&refusal(&said(&outcome, 1)[0]), ":status"), Some("403"));
    }
}

/// The body of a refusal takes 15 octets of a window of which the server believes to have all.
#[test]
fn a_refusals_body_is_taken_out_of_the_clients_next_credit() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    script.push(caller.request(1, "/a", "text/plain", true));
    script.push(caller.request(3, "/denied", "text/plain", true));
    script.push(server(frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200")]))));
    script.push(server(frame(DATA, 0, 1, &[b'd'; 16_384]).repeat(3)));
    // All that is left in the server's view, and 15 more than in the client's.
    script.push(server(frame(DATA, 0, 1, &[b'd'; 16_383])));
    let outcome = play(splice(), &script, |_, _| Vec::new());
    let data = |outcome: &Outcome| {
        said(outcome, 1)
            .iter()
            .filter(|frame| frame.kind == DATA)
            .map(|frame| frame.payload.len())
            .sum::<usize>()
    };
    assert_eq!(data(&outcome), 3 * 16_384, "kept back");
    assert_eq!(outcome.end, None);

    script.push(client(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 10])));
    assert_eq!(data(&play(splice(), &script, |_, _| Vec::new())), 3 * 16_384, "kept back still");
    script.push(client(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 10])));
    script.push(client(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 10])));
    let outcome = play(splice(), &script, |_, _| Vec::new());
    assert_eq!(data(&outcome), 65_535, "the client has the room now");
    assert_eq!(outcome.end, None);
    let credit: Vec<_> = frames(&outcome.to_server)
        .into_iter()
        .filter(|frame| frame.kind == WINDOW_UPDATE)
        .map(|frame| number(&frame.payload))
        .collect();
    assert_eq!(credit, [5, 10], "20 octets of three times 10 settle nothing: 15 do");
}

#[test]
fn no_body_where_the_clients_flow_control_could_suffer() {
    // SETTINGS_INITIAL_WINDOW_SIZE 14, and SETTINGS_MAX_FRAME_SIZE 16385.
    for settings in [&[0, 4, 0, 0, 0, 14][..], &[0, 5, 0, 0, 0x40, 1]] {
        let mut script = handshake(settings);
        script.push(Client::new().request(1, "/denied", "text/plain", true));
        let outcome = agree(&script, splice);
        let answer = said(&outcome, 1);
        assert_eq!(answer.len(), 1, "{settings:?}");
        assert_eq!(answer[0].flags, END_HEADERS | END_STREAM);
        assert_eq!(refusal(&answer[0]), [(":status".to_owned(), "403".to_owned())]);
    }
    // HEAD is answered without a body.
    let mut script = handshake(&[]);
    let fields = [(":method", "HEAD"), (":scheme", "http"), (":path", "/denied"), (":authority", "a")];
    script.push(client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))));
    assert_eq!(said(&agree(&script, splice), 1).len(), 1);
}

/// RFC 7541 §4.2: behind the acknowledgement of a smaller table the next block begins with an update, whoever wrote it.
#[test]
fn a_refusal_says_the_size_update_that_the_server_owes() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    script.push(caller.request(1, "/a", "text/plain", true));
    script.push(server(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88\x40\x01a\x01b")));
    script.push(client(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 100])));
    script.push(caller.request(3, "/denied", "text/plain", true));
    script.push(server(frame(SETTINGS, ACK, 0, &[])));
    script.push(caller.request(5, "/denied", "text/plain", true));
    script.push(caller.request(7, "/b", "text/plain", true));
    // The server's own: to 100, then an index of the entry that survives.
    script.push(server(frame(HEADERS, END_HEADERS | END_STREAM, 7, b"\x3f\x45\x88\xbe")));
    script.push(caller.request(9, "/denied", "text/plain", true));
    let outcome = agree(&script, splice);
    assert_eq!(outcome.end, None);
    let first = |stream| said(&outcome, stream)[0].payload[..2].to_vec();
    assert_eq!(first(5), [0x3f, 0x45]);
    for stream in [3, 9] {
        assert_ne!(first(stream), [0x3f, 0x45], "nothing owed on {stream}");
    }
    // A client that insists reads all of it.
    let (mut decoder, mut limits) = (Decoder::default(), [4_096, 100].into_iter());
    for frame in frames(&outcome.to_client) {
        match frame.kind {
            SETTINGS if frame.flags == ACK => decoder.acknowledged(limits.next().expect("two"), 0),
            HEADERS => drop(decode(&mut decoder, &frame.payload)),
            _ => {}
        }
    }
    assert_eq!(limits.next(), None);
}

#[test]
fn a_header_table_larger_than_is_followed_is_announced_smaller() {
    let script = [
        client([PREFACE, &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9, 0, 1, 0x7f, 0, 0, 0])].concat()),
        server(frame(SETTINGS, 0, 0, &[0, 1, 0, 1, 0, 1])),
        server(frame(SETTINGS, ACK, 0, &[])),
    ];
    let outcome = agree(&script, splice);
    assert_eq!(frames(&outcome.to_server)[0].payload, [0, 3, 0, 0, 0, 9, 0, 1, 0, 1, 0, 0]);
    assert_eq!(frames(&outcome.to_client)[0].payload, [0, 1, 0, 1, 0, 0, 0, 3, 0, 0, 4, 0]);
    assert_eq!(frames(&outcome.to_client).len(), 2);
}

#[test]
fn responses_are_told_with_status_and_latency() {
    let mut caller = Client::new();
    let mut splice = splice();
    let send = |splice: &mut Splice<Http2>, event: Event| match event {
        Event::Send(side, bytes) => splice.send(side, &bytes),
        Event::Finish(side) => splice.finish(side),
    };
    handshake(&[]).into_iter().for_each(|event| send(&mut splice, event));
    let answer = |stream, flags, fields: &[(&str, &str)]| {
        server(frame(HEADERS, END_HEADERS | flags, stream, &block(fields)))
    };
    for (stream, content_type) in
        [(1, "application/grpc"), (3, "application/grpc"), (5, "text/plain"), (7, "application/grpc")]
    {
        splice.now = u64::from(stream) * 100;
        let event = caller.request(stream, "/s.S/M", content_type, false);
        send(&mut splice, event);
    }
    splice.now = 1_000;
    send(&mut splice, answer(1, 0, &[(":status", "200")]));
    send(&mut splice, server(frame(DATA, 0, 1, b"\0\0\0\0\0")));
    splice.now = 2_000;
    send(&mut splice, answer(1, END_STREAM, &[("grpc-status", "5")]));
    send(&mut splice, answer(3, END_STREAM, &[(":status", "200"), ("grpc-status", "12")]));
    send(&mut splice, answer(5, 0, &[(":status", "100")]));
    send(&mut splice, answer(5, 0, &[(":status", "404")]));
    send(&mut splice, answer(7, 0, &[(":status", "200")]));
    // A deadline: what was known is told.
    send(&mut splice, client(frame(RST_STREAM, 0, 7, &[0, 0, 0, 8])));
    let told: Vec<_> =
        splice.outcome().told.into_iter().filter(|line| line.starts_with("response")).collect();
    let expected = [
        "response HTTP/2 200 to POST /s.S/M host=orders:8080 after 1900 ns grpc-status=5 stream=1",
        "response HTTP/2 200 to POST /s.S/M host=orders:8080 after 1700 ns grpc-status=12 stream=3",
        "response HTTP/2 404 to POST /s.S/M host=orders:8080 after 1500 ns stream=5",
        "response HTTP/2 200 to POST /s.S/M host=orders:8080 after 1300 ns stream=7",
    ];
    assert_eq!(told, expected);
}

#[test]
fn going_away_names_the_last_stream_that_the_server_knows() {
    let mut caller = Client::new();
    let mut script = handshake(&[]);
    script.push(caller.request(1, "/a", "text/plain", true));
    script.push(caller.request(3, "/denied", "text/plain", true));
    script.push(client(frame(DATA, 0, 0, b"")));
    let outcome = agree(&script, splice);
    let last = frames(&outcome.to_client).pop().expect("said");
    assert_eq!((last.kind, last.payload), (GOAWAY, vec![0, 0, 0, 1, 0, 0, 0, 1]));
}

#[test]
fn streams_are_bounded() {
    let mut caller = Client::new();
    let mut opened = splice();
    let mut send = |event: Event| match event {
        Event::Send(side, bytes) => opened.send(side, &bytes),
        Event::Finish(side) => opened.finish(side),
    };
    handshake(&[]).into_iter().for_each(&mut send);
    // Refused ones that the client never ends do not count: it was told to stop.
    for number in 0..3_000 {
        send(caller.request(1 + 2 * number, "/denied", "text/plain", false));
    }
    for number in 3_000..4_025 {
        send(caller.request(1 + 2 * number, "/a", "text/plain", true));
    }
    let outcome = opened.outcome();
    assert_eq!(outcome.end, None);
    assert_eq!(paths(&outcome.to_server).len(), 1_024);
    // REFUSED_STREAM: to be asked again later.
    let last = frames(&outcome.to_client).pop().expect("said");
    assert_eq!((last.kind, last.stream, number(&last.payload)), (RST_STREAM, 1 + 2 * 4_024, 7));
}

/// CVE-2023-44487. What the server answered first is nobody's fault.
#[test]
fn resets_are_rationed() {
    for (answered, most) in [(false, 1_000), (true, u32::MAX)] {
        let mut caller = Client::new();
        let mut hasty = splice();
        let mut send = |event: Event| match event {
            Event::Send(side, bytes) => hasty.send(side, &bytes),
            Event::Finish(side) => hasty.finish(side),
        };
        handshake(&[]).into_iter().for_each(&mut send);
        for number in 0..1_500 {
            let stream = 1 + 2 * number;
            send(caller.request(stream, "/a", "text/plain", false));
            if answered {
                send(server(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[(":status", "200")]))));
            }
            send(client(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])));
            if number >= most {
                break;
            }
        }
        let end = hasty.outcome().end;
        assert_eq!(end, (!answered).then_some(End::Anomaly(Anomaly::Http2Flood)));
    }
}

/// Stream numbers to the last there is, in steps that no connection takes, with refusals all the way: nothing is counted
/// by number, nothing overflows, and numbers that were left out are closed.
#[test]
fn stream_numbers_up_to_the_last() {
    const LAST: u32 = (1 << 31) - 1;
    const STEP: u32 = 1 << 17;
    let mut splice = splice();
    let mut caller = Client::new();
    let mut send = |event| match event {
        Event::Send(side, bytes) => splice.send(side, &bytes),
        Event::Finish(side) => splice.finish(side),
    };
    handshake(&[]).into_iter().for_each(&mut send);
    let ids: Vec<u32> = (1..LAST).step_by(STEP as usize).chain([LAST - 4, LAST - 2, LAST]).collect();
    for (number, &id) in ids.iter().enumerate() {
        // In turn: refused, refused with a body to come, answered.
        match number % 3 {
            0 => send(caller.request(id, "/denied", "text/plain", true)),
            1 => {
                send(caller.request(id, "/denied", "application/grpc", false));
                send(client(frame(DATA, END_STREAM, id, b"more")));
            }
            _ => {
                send(caller.request(id, "/allowed", "text/plain", true));
                send(server(frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[(":status", "204")]))));
            }
        }
    }
    let outcome = splice.outcome();
    assert_eq!(outcome.end, None);
    let answered = |from: usize| ids.iter().copied().skip(from).step_by(3).collect::<Vec<_>>();
    let seen: Vec<u32> = paths(&outcome.to_server).into_iter().map(|(stream, _)| stream).collect();
    assert_eq!((seen.len() > 5_000, seen), (true, answered(2)));
    let mut decoder = Decoder::default();
    let mut told: [Vec<u32>; 3] = Default::default();
    for frame in frames(&outcome.to_client).into_iter().filter(|frame| frame.kind == HEADERS) {
        let list = decode(&mut decoder, &frame.payload);
        let which = match (value(&list, ":status"), value(&list, "grpc-status")) {
            (Some("403"), None) => 0,
            (Some("200"), Some("7")) => 1,
            (Some("204"), None) => 2,
            other => panic!("{other:?}"),
        };
        told[which].push(frame.stream);
    }
    assert_eq!(told, [answered(0), answered(1), answered(2)]);
    // There is none behind the last, and none may come back.
    for id in [LAST, LAST - 6, 3] {
        let mut splice = self::splice();
        for event in handshake(&[]).into_iter().chain([Client::new().request(LAST, "/allowed", "", true)]) {
            let Event::Send(side, bytes) = event else { continue };
            splice.send(side, &bytes);
        }
        splice
            .send(Side::Client, &frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[(":method", "GET")])));
        assert_eq!(splice.outcome().end, Some(End::Anomaly(Anomaly::Http2Protocol)), "{id}");
    }
}

#[test]
fn a_stream_of_octets_that_ends_within_a_frame_is_cut() {
    let mut script = handshake(&[]);
    script.push(client(frame(HEADERS, END_HEADERS, 1, b"")[..5].to_vec()));
    script.push(Event::Finish(Side::Client));
    assert_eq!(agree(&script, splice).end, Some(End::Anomaly(Anomaly::HttpTruncated)));
}
