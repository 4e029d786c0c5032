//! What becomes of a connection: real ones, refused ones, and those whose server asks for a second hello.

use l7::testing::{Event, Outcome, Recorder, Splice, agree, play};
use l7::tls::Tls;
use l7::{Anomaly, End, Side};

use crate::support::{
    Hello, allowed, conversations, encrypted, handshake, open, record, records, server_name,
};

/// The random that asks for a second hello: SHA-256 of "HelloRetryRequest" (RFC 8446 §4.1.3).
const RETRY: [u8; 32] = [
    207, 33, 173, 116, 229, 154, 97, 17, 190, 29, 140, 2, 30, 101, 184, 145, 194, 162, 17, 22, 122, 187, 140,
    94, 7, 158, 9, 226, 200, 168, 51, 156,
];

fn server_hello(random: &[u8; 32]) -> Vec<u8> {
    let body = [&[3, 3][..], random, &[0, 0x13, 1, 0, 0, 0]].concat();
    handshake(2, &body)
}

fn client(bytes: Vec<u8>) -> Event {
    Event::Send(Side::Client, bytes)
}

fn server(bytes: Vec<u8>) -> Event {
    Event::Send(Side::Server, bytes)
}

fn said(script: &[Event], side: Side) -> Vec<u8> {
    let mine = script.iter().filter_map(|event| match event {
        Event::Send(who, bytes) if *who == side => Some(bytes.clone()),
        _ => None,
    });
    mine.flatten().collect()
}

fn assert_all_passed(outcome: &Outcome, script: &[Event], what: &str) {
    assert_eq!(outcome.end, None, "{what}");
    assert_eq!(outcome.to_server, said(script, Side::Client), "{what}: to the server");
    assert_eq!(outcome.to_client, said(script, Side::Server), "{what}: to the client");
}

#[test]
fn real_conversations_pass() {
    for conversation in conversations() {
        let script: Vec<_> =
            conversation.said.iter().map(|(side, bytes)| Event::Send(*side, bytes.clone())).collect();
        let name = (!conversation.title.contains("without a name")).then_some("api.example.com");
        let outcome = agree(&script, open);
        assert_all_passed(&outcome, &script, &conversation.title);
        assert_eq!(outcome.told, [allowed(name, false)], "{}", conversation.title);
    }
}

#[test]
fn a_refused_hello_resets_the_connection() {
    for conversation in conversations() {
        let bytes = conversation.said[0].1.clone();
        let outcome = agree(&[client(bytes)], || {
            Splice::new(Tls::new(), Recorder { tls: Box::new(|_| false), ..Recorder::default() })
        });
        assert_eq!((outcome.end, outcome.orderly), (Some(End::Refused), false), "{}", conversation.title);
        assert!(outcome.to_server.is_empty() && outcome.to_client.is_empty());
        assert_eq!(outcome.told.len(), 1);
    }
}

#[test]
fn a_server_that_speaks_first() {
    for (before, banner) in [(0, &b"220 mail\r\n"[..]), (20, b"x"), (0, &[21, 3, 3, 0, 2, 2, 40])] {
        let hello = Hello::named(b"a.test").record();
        let script = [client(hello[..before].to_vec()), server(banner.to_vec()), client(hello)];
        let outcome = play(open(), &script, |_, _| vec![]);
        assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::TlsNotTls)));
        assert!(outcome.to_server.is_empty() && outcome.to_client.is_empty());
    }
}

#[test]
fn behind_a_first_answer_everything_passes() {
    let hello = Hello::named(b"a.test").record();
    let answers: [(&str, Vec<u8>); 6] = [
        ("a hello", record(22, &server_hello(&[1; 32]))),
        ("a hello in small records", records(&server_hello(&[1; 32]), 3)),
        ("an alert", record(21, &[2, 40])),
        ("no TLS", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("another message", record(22, &handshake(0, &[]))),
        ("an empty record", record(22, &[])),
    ];
    for (what, answer) in answers {
        let second = Hello::named(b"b.test").record();
        let script =
            [client(hello.clone()), server(answer), client(second), server(vec![1; 9]), client(vec![2; 9])];
        let outcome = agree(&script, open);
        assert_all_passed(&outcome, &script, what);
        assert_eq!(outcome.told.len(), 1, "{what}");
    }
}

#[test]
fn a_second_hello_with_the_same_name() {
    let hello = Hello::with(&[server_name(b"A.test"), encrypted()]);
    let again = Hello::with(&[(51, vec![0; 600]), server_name(b"a.test"), encrypted()]);
    for record_len in [20, 10_000] {
        let script = [
            client(hello.record()),
            server([records(&server_hello(&RETRY), record_len), record(20, &[1])].concat()),
            client([record(20, &[1]), records(&again.message(), record_len)].concat()),
            server(vec![3; 9]),
            client(vec![4; 9]),
        ];
        let outcome = agree(&script, open);
        assert_all_passed(&outcome, &script, "a second hello");
        assert_eq!(outcome.told, [allowed(Some("a.test"), true)], "told once");
    }
}

#[test]
fn a_second_hello_with_another_name() {
    let name = || server_name(b"a.test");
    let seconds: [(&str, Vec<u8>); 6] = [
        ("another name", Hello::named(b"b.test").record()),
        ("no name", Hello::with(&[]).record()),
        ("an encrypted hello beside it", Hello::with(&[name(), encrypted()]).record()),
        ("two names", Hello::with(&[name(), name()]).record()),
        ("no hello", record(22, &handshake(16, &[0; 60]))),
        ("in two records", records(&Hello::named(b"b.test").message(), 70)),
    ];
    for (what, second) in seconds {
        let first = Hello::named(b"a.test").record();
        // It comes after the request, or at once, in the hope that it is not looked at.
        for at_once in [false, true] {
            let request = server(record(22, &server_hello(&RETRY)));
            let mut script = vec![client(first.clone()), request.clone(), client(second.clone())];
            if at_once {
                script = vec![client([&first[..], &second].concat()), request];
            }
            // How much of the server's answer came through before the end is a matter of time.
            for step in 1..=second.len() {
                let outcome = play(open(), &script, |_, len| (step..len).step_by(step).collect());
                assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::TlsHello)), "{what}");
                assert_eq!(outcome.to_server, first, "{what}");
            }
        }
    }
}

/// Early data does not wait for the server (RFC 8446 §2.3); a handshake message does.
#[test]
fn early_data_passes_before_the_server_speaks() {
    let hello = Hello::named(b"a.test").record();
    let early = [record(20, &[1]), record(23, &[5; 900]), record(23, &[]), record(21, &[1, 90])].concat();
    let held = record(22, &handshake(16, &[0; 30]));
    let outcome = agree(&[client([&hello[..], &early, &held].concat())], open);
    assert_eq!((outcome.end, outcome.to_server), (None, [&hello[..], &early].concat()));
    let odd = [&hello[..], &[24, 3, 3, 0, 1, 0]].concat();
    assert_eq!(agree(&[client(odd)], open).end, Some(End::Anomaly(Anomaly::TlsHello)));
}

#[test]
fn an_end_within_the_hello() {
    let hello = Hello::named(b"a.test").record();
    let outcome = agree(&[client(hello[..40].to_vec()), Event::Finish(Side::Client)], open);
    assert!(outcome.to_server.is_empty() && outcome.told.is_empty());
    assert_eq!((outcome.end, outcome.finished), (None, vec![Side::Client]));
}

#[test]
fn a_connection_is_small() {
    assert!(size_of::<Tls>() <= 64, "{}", size_of::<Tls>());
}
