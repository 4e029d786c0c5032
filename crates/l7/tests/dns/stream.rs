//! What only a stream has: several messages at once, waiting, overflow, ends in the middle.

use l7::dns::{QUESTION_LIFETIME_NS, Tcp};
use l7::testing::{Event, Recorder, Splice, agree};
use l7::{Anomaly, End, Learning, Side};

use crate::support::{address, allows, framed, message};

fn recorder() -> Recorder {
    Recorder { dns: Box::new(allows), ..Recorder::default() }
}

fn query(id: u16, name: &str) -> Vec<u8> {
    framed(&message(id, 0x0100, name, 1, &[]))
}

fn answer(id: u16, name: &str) -> Vec<u8> {
    framed(&message(id, 0x8180, name, 1, &[address(1)]))
}

fn refusal(id: u16, name: &str) -> Vec<u8> {
    framed(&message(id, 0x8185, name, 1, &[]))
}

/// Allowed and refused questions in one segment; the refusals come before answers that are still on their way, and the
/// stream goes on behind them.
#[test]
fn pipelined_questions_get_their_answers() {
    let asked = [query(1, "a.test"), query(2, "x.denied.test"), query(3, "b.test"), query(4, "denied.test")];
    let answers = [answer(3, "b.test"), answer(1, "a.test")];
    let script = [
        Event::Send(Side::Client, asked.concat()),
        Event::Send(Side::Server, answers.concat()),
        Event::Send(Side::Client, [query(5, "c.test"), query(6, "denied.test")].concat()),
        Event::Send(Side::Server, answer(5, "c.test")),
        Event::Finish(Side::Client),
        Event::Finish(Side::Server),
    ];
    let outcome = agree(&script, || Splice::new(Tcp::new(), recorder()));
    assert_eq!(outcome.to_server, [query(1, "a.test"), query(3, "b.test"), query(5, "c.test")].concat());
    let expected = [
        refusal(2, "x.denied.test"),
        refusal(4, "denied.test"),
        answer(3, "b.test"),
        answer(1, "a.test"),
        refusal(6, "denied.test"),
        answer(5, "c.test"),
    ];
    assert_eq!(outcome.to_client, expected.concat());
    assert_eq!((outcome.end, outcome.finished), (None, vec![Side::Client, Side::Server]));
}

/// A refusal never lands inside an answer of which only a part has come.
#[test]
fn a_refusal_between_the_halves_of_an_answer() {
    let whole = answer(1, "a.test");
    for at in 1..whole.len() {
        let mut splice = Splice::new(Tcp::new(), recorder());
        splice.send(Side::Client, &query(1, "a.test"));
        splice.send(Side::Server, &whole[..at]);
        splice.send(Side::Client, &query(2, "denied.test"));
        splice.send(Side::Server, &whole[at..]);
        assert_eq!(splice.outcome().to_client, [refusal(2, "denied.test"), whole.clone()].concat(), "{at}");
    }
}

#[test]
fn an_answer_waits_until_it_is_in_force() {
    let mut pending = 2;
    let judge = Recorder {
        learning: Box::new(move || {
            pending -= 1;
            if pending >= 0 { Learning::Pending } else { Learning::Done }
        }),
        ..recorder()
    };
    let mut splice = Splice::new(Tcp::new(), judge);
    splice.send(Side::Client, &query(1, "a.test"));
    splice.send(Side::Server, &answer(1, "a.test"));
    assert!(splice.outcome().to_client.is_empty());
    splice.send(Side::Client, &query(2, "denied.test"));
    splice.now = 7;
    splice.poll();
    let so_far = splice.outcome().to_client;
    assert!(so_far.starts_with(&refusal(2, "denied.test")), "a refusal does not wait behind it");
    splice.poll();
    assert_eq!(splice.outcome().to_client, [refusal(2, "denied.test"), answer(1, "a.test")].concat());
    let told = splice.outcome().told;
    assert!(told.last().is_some_and(|line| line.contains("latency_ns: 0")), "{told:?}");
}

#[test]
fn too_many_questions_end_the_connection() {
    let mut splice = Splice::new(Tcp::new(), recorder());
    splice.settings.max_outstanding = 3;
    for id in 0..3 {
        splice.send(Side::Client, &query(id, "a.test"));
    }
    splice.send(Side::Client, &query(2, "a.test"));
    assert_eq!(splice.outcome().end, None, "sent again it is no other");
    splice.now = QUESTION_LIFETIME_NS;
    splice.send(Side::Client, &query(9, "a.test"));
    assert_eq!((splice.outcome().end, splice.inspector.outstanding()), (None, 1), "the others are too old");
    splice.send(Side::Client, &[query(10, "a.test"), query(11, "a.test"), query(12, "a.test")].concat());
    let outcome = splice.outcome();
    assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::DnsTooManyOutstanding)));
    assert!(!outcome.told.iter().any(|line| line.contains("id: 12")), "{:?}", outcome.told);
}

#[test]
fn messages_without_a_header_end_the_connection() {
    for side in [Side::Client, Side::Server] {
        for bytes in [&[0, 0][..], &[0, 1, 0], &[0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let outcome = agree(&[Event::Send(side, bytes.to_vec())], || Splice::new(Tcp::new(), recorder()));
            assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::DnsMalformed)), "{side:?} {bytes:?}");
            assert!(outcome.to_server.is_empty() && outcome.to_client.is_empty());
        }
    }
}

/// The largest message that a length can announce; nothing of it leaves before it is whole.
#[test]
fn the_largest_answer() {
    let records = vec![address(1); (65_535 - 24) / 16];
    let large = framed(&message(1, 0x8180, "a.test", 1, &records));
    let mut splice = Splice::new(Tcp::new(), recorder());
    splice.send(Side::Client, &query(1, "a.test"));
    splice.send(Side::Server, &large[..large.len() - 1]);
    assert!(splice.outcome().to_client.is_empty());
    splice.send(Side::Server, &large[large.len() - 1..]);
    assert_eq!(splice.outcome().to_client, large);
}

#[test]
fn an_end_within_a_message() {
    let cut = &query(1, "a.test")[..20];
    let script = [Event::Send(Side::Client, cut.to_vec()), Event::Finish(Side::Client)];
    let outcome = agree(&script, || Splice::new(Tcp::new(), recorder()));
    assert!(outcome.to_server.is_empty());
    assert_eq!((outcome.end, outcome.finished), (None, vec![Side::Client]));
}
