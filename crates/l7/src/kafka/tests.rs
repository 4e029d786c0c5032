//! The table, and requests of versions that no library of today writes.

use super::schema::{Field, Kind, NEVER, Role};
use super::{Kafka, table};
use crate::testing::{Event, Outcome, Recorder, Splice, agree};
use crate::{Anomaly, End, Settings, Side};

#[test]
fn the_table_is_ordered_by_key_and_its_versions_make_sense() {
    for (at, api) in table::all().enumerate() {
        assert_eq!(usize::try_from(api.key), Ok(at));
        assert!(api.min <= api.max && (api.flexible <= api.max + 1 || api.flexible == NEVER), "{api:?}");
        assert!(core::ptr::eq(api, table::api(api.key).expect("listed")));
    }
    assert_eq!(table::all().count(), 93);
    assert!(table::api(93).is_none() && table::api(-1).is_none() && table::api(i16::MIN).is_none());
}

#[test]
fn every_error_has_a_place_in_some_version() {
    fn says(fields: &[Field]) -> bool {
        fields
            .iter()
            .any(|field| field.role == Role::Error || matches!(field.kind, Kind::List(inner) if says(inner)))
    }
    for api in table::all().filter(|api| ![49, 51].contains(&api.key)) {
        assert!(says(api.response), "{api:?}");
    }
}

/// A frame of header version 1.
fn frame(key: i16, version: i16, correlation: i32, body: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [key.to_be_bytes(), version.to_be_bytes()].concat();
    bytes.extend(correlation.to_be_bytes());
    bytes.extend(text("old"));
    bytes.extend(body.concat());
    [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], &bytes].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).expect("short").to_be_bytes()[..], text.as_bytes()].concat()
}

fn number(number: i32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn run(bytes: Vec<u8>, allow: bool) -> Outcome {
    agree(&[Event::Send(Side::Client, bytes)], || {
        let judge = Recorder { kafka: Box::new(move |_| allow), ..Recorder::default() };
        Splice::new(Kafka::new(&Settings::default()), judge)
    })
}

/// One partition of one topic.
fn topic(name: &str, partition: &[u8]) -> Vec<u8> {
    [number(1), text(name), number(1), partition.to_vec()].concat()
}

fn answered(correlation: i32, body: &[&[u8]]) -> Vec<u8> {
    let body = [&number(correlation)[..], &body.concat()].concat();
    [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], &body].concat()
}

#[test]
fn old_produces_and_fetches_are_judged_and_refused() {
    let code = 29i16.to_be_bytes();
    let none = (-1i64).to_be_bytes();
    for version in 0..=2 {
        let partition = [number(3), number(4), b"data".to_vec()].concat();
        let produce = frame(0, version, 7, &[&1i16.to_be_bytes(), &number(1000), &topic("a.b", &partition)]);
        let outcome = run(produce.clone(), true);
        assert_eq!(outcome.to_server, produce);
        assert!(outcome.told[0].contains("client_id: \"old\", topics: [\"a.b\"]"), "{:?}", outcome.told);
        let said = topic("a.b", &[&number(3)[..], &code, &none].concat());
        let said = match version {
            0 => answered(7, &[&said]),
            1 => answered(7, &[&said, &number(0)]),
            _ => answered(7, &[&said, &none, &number(0)]),
        };
        let refused = run(produce, false);
        assert_eq!((refused.to_client, refused.to_server, refused.end), (said, vec![], None));
    }
    for version in 0..=3 {
        let size = if version == 3 { number(1 << 20) } else { vec![] };
        let partition = [&number(3)[..], &[0; 8], &number(4096)].concat();
        let head = [number(-1), number(500), number(1), size].concat();
        let fetch = frame(1, version, 8, &[&head, &topic("a.b", &partition)]);
        let outcome = run(fetch.clone(), true);
        assert_eq!(outcome.to_server, fetch);
        assert!(outcome.told[0].contains("topics: [\"a.b\"]"), "{:?}", outcome.told);
        let said = topic("a.b", &[&number(3)[..], &code, &[0; 8], &number(0)].concat());
        let throttle = if version > 0 { number(0) } else { vec![] };
        assert_eq!(run(fetch, false).to_client, answered(8, &[&throttle, &said]));
    }
}

#[test]
fn old_offsets_are_judged_and_refused() {
    let code = 29i16.to_be_bytes();
    let partition = [&number(3)[..], &(-1i64).to_be_bytes(), &number(1)].concat();
    let refused = run(frame(2, 0, 9, &[&number(-1), &topic("t", &partition)]), false);
    let said = topic("t", &[&number(3)[..], &code, &number(0)].concat());
    assert_eq!(refused.to_client, answered(9, &[&said]));
    let partition = [&number(3)[..], &[0; 8], &text("meta")].concat();
    let refused = run(frame(8, 0, 9, &[&text("group"), &topic("t", &partition)]), false);
    assert_eq!(refused.to_client, answered(9, &[&topic("t", &[&number(3)[..], &code].concat())]));
    let refused = run(frame(9, 0, 9, &[&text("group"), &topic("t", &number(3))]), false);
    let said = [&number(3)[..], &(-1i64).to_be_bytes(), &[0xff, 0xff], &code].concat();
    assert_eq!(refused.to_client, answered(9, &[&topic("t", &said)]));
}

#[test]
fn broken_requests_end_the_connection() {
    let ends = |bytes: Vec<u8>| run(bytes, true).end;
    let end = |anomaly| Some(End::Anomaly(anomaly));
    for size in [-1, 0, 7, 100 * 1024 * 1024 + 1, i32::MAX, i32::MIN] {
        assert_eq!(ends([number(size), vec![0; 20]].concat()), end(Anomaly::KafkaFrameSize), "{size}");
    }
    assert_eq!(ends(vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]), end(Anomaly::KafkaTls));
    assert_eq!(ends(b"GET / HTTP/1.1\r\n\r\n".to_vec()), end(Anomaly::KafkaFrameSize));
    for (key, version) in [(93, 0), (-1, 0), (0, 14), (0, -1), (3, 99), (18, -1), (76, 0)] {
        assert_eq!(ends(frame(key, version, 1, &[])), end(Anomaly::KafkaUnknownApi), "{key} {version}");
    }
    let bad = [
        // A list longer than the frame, a negative one, a null one, a topic beyond the frame, no UTF-8, a null name.
        frame(2, 1, 1, &[&number(-1), &number(i32::MAX)]),
        frame(2, 1, 1, &[&number(-1), &number(-2)]),
        frame(2, 1, 1, &[&number(-1), &number(-1)]),
        frame(2, 1, 1, &[&number(-1), &number(1), &[0x7f, 0xff, b'a']]),
        frame(2, 1, 1, &[&number(-1), &number(1), &[0, 1, 0xff], &number(0)]),
        frame(2, 1, 1, &[&number(-1), &number(1), &[0xff, 0xff], &number(0)]),
        frame(0, 2, 1, &[&[0, 1], &number(1), &number(1), &[0x80, 0]]),
        // A varint of more than 31 bits.
        frame(0, 9, 1, &[&[0, 0, 0, 1], &number(1), &[0xff, 0xff, 0xff, 0xff, 0x0f]]),
    ];
    for bytes in bad {
        assert_eq!(ends(bytes.clone()), end(Anomaly::KafkaRequest), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_request_within_its_frame_cannot_reach_the_next() {
    // The frame ends within the partitions; what follows would fit them.
    let whole = frame(2, 1, 1, &[&number(-1), &topic("t", &[0; 12])]);
    let mut cut = whole.clone();
    let shorter = u32::try_from(whole.len() - 4 - 8).expect("short");
    cut[..4].copy_from_slice(&shorter.to_be_bytes());
    assert_eq!(run(cut, true).end, Some(End::Anomaly(Anomaly::KafkaRequest)));
}

#[test]
fn responses_must_answer_the_oldest_request() {
    let ask = || frame(12, 0, 5, &[]);
    let end = |anomaly| Some(End::Anomaly(anomaly));
    let run = |script: &[Event]| {
        agree(script, || Splice::new(Kafka::new(&Settings::default()), Recorder::default()))
    };
    let response = |bytes: &[u8]| Event::Send(Side::Server, bytes.to_vec());
    let good = run(&[Event::Send(Side::Client, ask()), response(&answered(5, &[&[0, 30]]))]);
    assert_eq!(good.end, None);
    assert!(good.told[1].contains("error_code: 30"), "{:?}", good.told);
    for bytes in [answered(6, &[&[0, 0]]), number(3), number(-1)] {
        let outcome = run(&[Event::Send(Side::Client, ask()), response(&bytes)]);
        assert_eq!(outcome.end, end(Anomaly::KafkaResponse));
    }
    assert_eq!(run(&[response(&answered(5, &[&[0, 0]]))]).end, end(Anomaly::KafkaResponse));
}

#[test]
fn outstanding_requests_are_bounded() {
    let settings = Settings { max_outstanding: 3, ..Settings::default() };
    let bytes = (0..4).flat_map(|id| frame(12, 0, id, &[])).collect();
    let outcome = agree(&[Event::Send(Side::Client, bytes)], || {
        Splice::new(Kafka::new(&settings), Recorder::default())
    });
    assert_eq!(outcome.end, Some(End::Anomaly(Anomaly::KafkaTooManyOutstanding)));
    assert_eq!(outcome.told.len(), 3);
}

#[test]
fn authentication_passes_unasked_and_its_first_version_is_refused() {
    let handshake = frame(17, 1, 1, &[&text("PLAIN")]);
    let outcome = run(handshake.clone(), false);
    assert_eq!((outcome.to_server, outcome.told.len()), (handshake, 0));
    let outcome = run(frame(17, 0, 1, &[&text("PLAIN")]), true);
    assert!(outcome.to_server.is_empty());
    assert_eq!(outcome.to_client, answered(1, &[&[0, 35], &number(0)]));
}
