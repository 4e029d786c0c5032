//! Header blocks that come again and again: nothing is decoded twice, and everything is judged each time.

mod http2_support;

use http2_support::*;
use l7::http::HttpRequest;
use l7::http2::Http2;
use l7::testing::{Event, Recorder, Splice, agree};
use l7::{Settings, Side};

/// A request without a table, for streams 1, 3 and so on.
fn repeated(fields: &[(&str, &str)], flags: &[u8]) -> Vec<Event> {
    let block = block(fields);
    let request = |(number, &flags): (usize, &u8)| {
        client(frame(HEADERS, END_HEADERS | flags, 2 * number as u32 + 1, &block))
    };
    flags.iter().enumerate().map(request).collect()
}

const REQUEST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "orders")];

fn resets(bytes: &[u8]) -> Vec<u32> {
    frames(bytes).iter().filter(|frame| frame.kind == RST_STREAM).map(|frame| frame.stream).collect()
}

#[test]
fn policy_is_asked_about_each_with_all_that_it_says() {
    let script = || {
        let mut caller = Client::new();
        let mut script = handshake(&[]);
        script.extend((0..6).map(|call| caller.request(2 * call + 1, "/a", "application/grpc", true)));
        script
    };
    let make = || {
        let mut asked = 0;
        let judge = Recorder::http(move |request: &HttpRequest<'_>| {
            let fields: Vec<_> = request.headers.iter().map(|field| (field.name, field.value)).collect();
            assert_eq!(fields, [(&b"content-type"[..], &b"application/grpc"[..]), (b"x-tenant", b"blue")]);
            asked += 1;
            asked != 4
        });
        Splice::new(Http2::new(&Settings::default()), judge)
    };
    let outcome = agree(&script(), make);
    let told: Vec<String> = (1..=6)
        .map(|call| {
            let verdict = if call == 4 { "deny" } else { "allow" };
            format!("{verdict} HTTP/2 POST /a host=orders:8080 stream={}", 2 * call - 1)
        })
        .collect();
    assert_eq!(outcome.told, told);
    let passed = paths(&outcome.to_server);
    assert_eq!(passed, [1, 3, 5, 9, 11].map(|stream| (stream, "/a".to_owned())));
}

#[test]
fn what_is_malformed_is_reset_each_time() {
    let mut script = handshake(&[]);
    let fields = [&REQUEST[..], &[("Upper", "case")]].concat();
    script.extend(repeated(&fields, &[END_STREAM; 3]));
    let outcome = agree(&script, splice);
    assert_eq!(outcome.told, ["oddity http2-message"; 3]);
    assert_eq!(resets(&outcome.to_client), [1, 3, 5]);
}

#[test]
fn a_length_without_a_body_is_malformed_though_the_same_head_was_right() {
    let mut script = handshake(&[]);
    let fields = [&REQUEST[..], &[("content-length", "4")]].concat();
    let mut heads = repeated(&fields, &[0, END_STREAM, 0]).into_iter();
    script.extend(heads.next());
    script.push(client(frame(DATA, END_STREAM, 1, b"body")));
    script.extend(heads);
    // The length of the third is believed, too: one octet more is one too many.
    script.push(client(frame(DATA, 0, 5, b"bodies")));
    let outcome = agree(&script, splice);
    assert_eq!(resets(&outcome.to_client), [3]);
    let told = ["allow HTTP/2 POST /a host=orders stream=1", "oddity http2-message"];
    assert_eq!(outcome.told[..2], told);
    assert!(outcome.end.is_some(), "{:?}", outcome.told);
}

#[test]
fn binary_metadata_is_refused_once_the_server_reads_it_no_more() {
    let reads = |binary: u8| server(frame(SETTINGS, 0, 0, &[0xfe, 3, 0, 0, 0, binary]));
    let fields = [&REQUEST[..], &[("x-bin", "\0\u{1}")]].concat();
    let mut heads = repeated(&fields, &[END_STREAM; 5]).into_iter();
    let mut script = handshake(&[]);
    for (binary, requests) in [(1, 2), (0, 2), (1, 1)] {
        script.push(reads(binary));
        script.extend(heads.by_ref().take(requests));
    }
    let outcome = agree(&script, splice);
    assert_eq!(resets(&outcome.to_client), [5, 7]);
    assert_eq!(paths(&outcome.to_server), [1, 3, 9].map(|stream| (stream, "/a".to_owned())));
}

#[test]
fn an_index_says_what_the_table_says_now() {
    // `:path: /a` and `:path: /denied` enter the table in turn; then its newest entry is asked for.
    let literal = |path: &str| [&[0x44, path.len() as u8], path.as_bytes()].concat();
    // POST, http, the path, and `a` as authority, which no table keeps.
    let head = |path: &[u8]| [&[0x83, 0x86], path, &[0x01, 0x01, b'a']].concat();
    let newest = head(&[0xbe]);
    let mut script = handshake(&[]);
    let blocks = [head(&literal("/a")), newest.clone(), newest.clone(), head(&literal("/denied")), newest];
    for (number, block) in blocks.iter().enumerate() {
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 2 * number as u32 + 1, block);
        script.push(Event::Send(Side::Client, bytes));
    }
    let outcome = agree(&script, splice);
    let verdicts: Vec<_> = outcome.told.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verdicts, ["allow", "allow", "allow", "deny", "deny"], "{:?}", outcome.told);
}
