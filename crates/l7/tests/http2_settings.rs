//! What is promised to a client about streams: no more of them than are followed, and one acknowledgement for one frame.

mod http2_support;

use http2_support::*;
use l7::testing::{Outcome, agree};
use l7::{Anomaly, End};

/// Streams that are followed.
const FOLLOWED: u32 = 1_024;

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn streams(value: u32) -> Vec<u8> {
    setting(3, value)
}

/// A connection whose server sends these SETTINGS, one after the other; the client acknowledges all of them.
fn play(payloads: &[Vec<u8>]) -> Outcome {
    let mut script = vec![client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())];
    script.extend(payloads.iter().map(|payload| server(frame(SETTINGS, 0, 0, payload))));
    script.push(server(frame(SETTINGS, ACK, 0, &[])));
    script.push(client(frame(SETTINGS, ACK, 0, &[]).repeat(payloads.len())));
    script.push(server(frame(GOAWAY, 0, 0, &[0; 8])));
    agree(&script, splice)
}

/// The payloads of the SETTINGS that the client receives.
fn seen(outcome: &Outcome) -> Vec<Vec<u8>> {
    let settings =
        frames(&outcome.to_client).into_iter().filter(|frame| frame.kind == SETTINGS && frame.flags == 0);
    settings.map(|frame| frame.payload).collect()
}

#[test]
fn a_server_promises_no_more_streams_than_are_followed() {
    let (window, table) = (setting(4, 1 << 20), setting(1, 8_192));
    for (said, told) in [
        (vec![vec![]], vec![streams(FOLLOWED)]),
        (vec![window.clone()], vec![[window.clone(), streams(FOLLOWED)].concat()]),
        (vec![streams(100)], vec![streams(100)]),
        (vec![streams(0)], vec![streams(0)]),
        (vec![streams(FOLLOWED)], vec![streams(FOLLOWED)]),
        (vec![streams(FOLLOWED + 1)], vec![streams(FOLLOWED)]),
        (vec![streams(u32::MAX)], vec![streams(FOLLOWED)]),
        // Of several the last counts, so none of them may promise more.
        (
            vec![[window.clone(), streams(5_000), table.clone(), streams(6_000)].concat()],
            vec![[window.clone(), streams(FOLLOWED), table.clone(), streams(FOLLOWED)].concat()],
        ),
        // Only the first frame speaks for what it leaves out.
        (vec![vec![], window.clone(), vec![]], vec![streams(FOLLOWED), window.clone(), vec![]]),
        (vec![streams(10), streams(2_000)], vec![streams(10), streams(FOLLOWED)]),
        (vec![vec![], streams(50), streams(3_000)], vec![streams(FOLLOWED), streams(50), streams(FOLLOWED)]),
        // No more settings than everybody reads.
        (vec![window.repeat(31)], vec![[window.repeat(31), streams(FOLLOWED)].concat()]),
        (vec![window.repeat(32)], vec![window.repeat(32)]),
    ] {
        let outcome = play(&said);
        assert_eq!(outcome.end, None, "{said:?}");
        assert_eq!(seen(&outcome), told, "{said:?}");
        let acknowledged = frames(&outcome.to_server).iter().filter(|frame| frame.flags == ACK).count();
        assert_eq!(acknowledged, said.len(), "{said:?}");
        assert_eq!(
            frames(&outcome.to_client).last().map(|frame| frame.kind),
            Some(GOAWAY),
            "what follows passes"
        );
    }
}

#[test]
fn what_a_client_announces_is_about_pushes_and_stays() {
    for payload in [vec![], streams(0), streams(u32::MAX), [setting(2, 0), streams(5_000)].concat()] {
        let outcome = agree(&handshake(&payload), splice);
        assert_eq!((outcome.end, &frames(&outcome.to_server)[0].payload), (None, &payload));
    }
}

/// An acknowledgement too many is one, whatever stood for the frames that were acknowledged.
#[test]
fn settings_of_ours_need_no_acknowledgement_of_their_own() {
    let script = [
        client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()),
        server(frame(SETTINGS, 0, 0, &[])),
        client(frame(SETTINGS, ACK, 0, &[]).repeat(2)),
    ];
    assert_eq!(agree(&script, splice).end, Some(End::Anomaly(Anomaly::Http2Protocol)));
}

/// Before it knows of the limit a client may open more. What is too much is refused as something to be sent again, and
/// those that fit are not touched.
#[test]
fn streams_beyond_the_limit_are_to_be_sent_again() {
    let mut splice = splice();
    let mut requests = Client::new();
    let mut send = |event| match event {
        l7::testing::Event::Send(side, bytes) => splice.send(side, &bytes),
        l7::testing::Event::Finish(side) => splice.finish(side),
    };
    handshake(&[]).into_iter().for_each(&mut send);
    for number in 0..FOLLOWED + 3 {
        send(requests.request(2 * number + 1, "/a", "text/plain", true));
    }
    let first_answer = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "204")]));
    send(server(first_answer));
    // One has ended, so there is room for one.
    send(requests.request(2 * FOLLOWED + 7, "/b", "text/plain", true));
    let outcome = splice.outcome();
    assert_eq!(outcome.end, None);
    let resets: Vec<(u32, u32)> = frames(&outcome.to_client)
        .iter()
        .filter(|frame| frame.kind == RST_STREAM)
        .map(|frame| (frame.stream, number(&frame.payload)))
        .collect();
    assert_eq!(
        resets,
        [(2 * FOLLOWED + 1, 7), (2 * FOLLOWED + 3, 7), (2 * FOLLOWED + 5, 7)],
        "REFUSED_STREAM"
    );
    let passed = paths(&outcome.to_server);
    assert_eq!(
        (passed.len() as u32, passed.last()),
        (FOLLOWED + 1, Some(&(2 * FOLLOWED + 7, "/b".to_owned())))
    );
}
