//! Real TCP stacks on both sides of an inspected connection: see `splice/mod.rs`.

mod splice;

use packet::TcpFlags;
use splice::length::Length;
use splice::many::{play, play_all, play_all_in_bursts};
use splice::node::Rules;
use splice::raw::{End, Say, Seen, Wire};
use std::time::Duration;

/// Allowed requests arrive, byte for byte and nothing else; every request gets its own answer, in order.
#[test]
fn allowed_requests_arrive_and_denied_ones_are_refused() {
    play_all(Rules::Http, Length::Long, 300);
}

/// Seeds on which the splicer fell silent or lost its place once.
#[test]
fn seeds_that_went_wrong_once() {
    const LONG: [u64; 11] =
        [1006579, 1009134, 1020682, 1028118, 1031934, 1036286, 1041789, 1050591, 1061505, 1065074, 5026200];
    const SHORT: [u64; 14] = [
        1022554, 1063803, 1071158, 1103444, 1110987, 1152604, 1198689, 1235550, 1393299, 1405650, 1472842,
        1659081, 1711922, 1714554,
    ];
    for (seeds, length) in [(&LONG[..], Length::Long), (&SHORT[..], Length::Short)] {
        for seed in seeds {
            if let Err(what) = play(*seed, Rules::Http, length) {
                panic!("seed {seed}, {length:?}: {what}");
            }
        }
    }
}

/// The same with little to say: ten times as many.
#[test]
fn short_conversations_come_out_right() {
    play_all(Rules::Http, Length::Short, 3_000);
}

/// Segments that arrive together are taken in one after the other and may leave otherwise than each by itself.
#[test]
fn bursts_come_out_right() {
    play_all_in_bursts(Rules::Http, Length::Short, 1_000, 64);
    play_all_in_bursts(Rules::Http, Length::Long, 100, 64);
}

/// A client that never stops within a request's end, and never for long: nothing of it is ever held for so long that it
/// would have to be taken over, which means copied, and acknowledged in the server's name.
#[test]
fn a_stream_that_moves_on_is_never_taken_over() {
    let say =
        |flags, payload: &[u8]| Say { flags, window: 64_000, payload: payload.to_vec(), ..Say::default() };
    let mut wire = Wire::new(Rules::Http, [1, 2], false);
    wire.say(End::Client, &say(TcpFlags::SYN, b""));
    wire.say(End::Server, &say(TcpFlags::SYN | TcpFlags::ACK, b""));
    wire.say(End::Client, &say(TcpFlags::ACK, b""));
    wire.unseen(End::Client).clear();
    let request = b"GET /allowed/1 HTTP/1.1\r\nHost: s\r\n\r\n";
    let mut text = &request.repeat(20)[..];
    while text.len() > request.len() {
        let (segment, rest) = text.split_at(request.len() + 1);
        wire.say(End::Client, &say(TcpFlags::ACK | TcpFlags::PSH, segment));
        wire.wait(Duration::from_millis(5));
        text = rest;
    }
    assert_eq!(wire.unseen(End::Client), &[], "nobody acknowledges in the server's name");
}

/// A server that still has an older connection on these ports answers a SYN with an acknowledgement (RFC 5961 §4.2). What we
/// would take for a request may be the rest of a message there, so nothing passes before its SYN.
#[test]
fn no_bytes_pass_before_the_server_has_answered_the_syn() {
    let say =
        |flags, payload: &[u8]| Say { flags, window: 64_000, payload: payload.to_vec(), ..Say::default() };
    let request = b"GET /allowed/1 HTTP/1.1\r\nHost: s\r\n\r\n";
    let mut wire = Wire::new(Rules::Http, [1, 2], false);
    wire.say(End::Client, &say(TcpFlags::SYN, b""));
    wire.unseen(End::Server).clear();
    wire.say(End::Server, &Say { at: Some(700), ..say(TcpFlags::ACK, b"") });
    wire.say(End::Server, &Say { at: Some(700), ..say(TcpFlags::ACK | TcpFlags::PSH, b"x") });
    assert!(wire.unseen(End::Client).iter().all(Seen::is_bare), "{:?}", wire.unseen(End::Client));
    for flags in [TcpFlags::ACK | TcpFlags::PSH, TcpFlags::PSH, TcpFlags::ACK | TcpFlags::FIN] {
        wire.say(End::Client, &Say { at: Some(0), ..say(flags, request) });
        assert_eq!(wire.unseen(End::Server), &[], "with flags {flags:#x}");
    }
    wire.say(End::Client, &Say { at: Some(0), ..say(TcpFlags::ACK | TcpFlags::FIN, b"") });
    assert_eq!(wire.unseen(End::Server), &[], "an end without bytes");
    // The handshake goes on all the same, and the client says it again.
    wire.say(End::Server, &Say { at: Some(-1), ..say(TcpFlags::SYN | TcpFlags::ACK, b"") });
    wire.say(End::Client, &Say { at: Some(0), ..say(TcpFlags::ACK | TcpFlags::PSH, request) });
    assert!(wire.unseen(End::Server).iter().any(|seen| seen.payload == request));
}

/// What one end says.
fn says(flags: u8, payload: &[u8]) -> Say {
    Say { flags, window: 64_000, payload: payload.to_vec(), ..Say::default() }
}

/// A connection whose ends have greeted each other.
fn greeted() -> Wire {
    let mut wire = Wire::new(Rules::Http, [1, 2], false);
    wire.say(End::Client, &says(TcpFlags::SYN, b""));
    wire.say(End::Server, &says(TcpFlags::SYN | TcpFlags::ACK, b""));
    wire.say(End::Client, &says(TcpFlags::ACK, b""));
    wire.unseen(End::Client).clear();
    wire.unseen(End::Server).clear();
    wire
}

const REQUEST: &[u8] = b"GET /allowed/1 HTTP/1.1\r\nHost: s\r\n\r\n";

/// The flags and bytes of all that came to the server.
fn came(wire: &mut Wire) -> Vec<(u8, Vec<u8>)> {
    wire.unseen(End::Server).drain(..).map(|seen: Seen| (seen.flags, seen.payload)).collect()
}

/// A head that ends in the next segment of its burst costs no segment more; one that ends later does.
#[test]
fn a_head_over_two_segments_of_one_burst_leaves_in_them() {
    let text = REQUEST.repeat(2);
    let (first, second) = text.split_at(REQUEST.len() + 10);
    for together in [true, false] {
        let mut wire = greeted();
        if together {
            wire.put(End::Client, &says(TcpFlags::ACK, first));
        } else {
            wire.say(End::Client, &says(TcpFlags::ACK, first));
        }
        wire.say(End::Client, &says(TcpFlags::ACK | TcpFlags::PSH, second));
        let came = came(&mut wire);
        let pieces: Vec<&[u8]> = came.iter().map(|(_, bytes)| &bytes[..]).collect();
        let expected: &[&[u8]] = if together { &[first, second] } else { &[REQUEST, &REQUEST[..10], second] };
        assert_eq!(pieces, expected, "together: {together}");
    }
}

/// The segments of a burst have an order, whatever becomes of the later ones.
#[test]
fn what_was_allowed_passes_before_what_follows_it_in_its_burst() {
    const ACK: u8 = TcpFlags::ACK;
    const RST: u8 = TcpFlags::RST;
    // What follows, and what comes to the server behind the request.
    let followers = [
        ("no HTTP", says(ACK, b"\x00\x01\x02\r\n\r\n"), vec![]),
        ("a reset", says(RST | ACK, b""), vec![RST | ACK]),
        ("a wrong checksum", Say { bad_checksum: true, ..says(ACK, REQUEST) }, vec![]),
        ("an acknowledgement", says(ACK, b""), vec![ACK]),
        ("the end", says(TcpFlags::FIN | ACK, b""), vec![TcpFlags::FIN | TcpFlags::PSH | ACK]),
    ];
    for (what, follower, behind) in followers {
        let mut wire = greeted();
        wire.put(End::Client, &says(ACK, REQUEST));
        wire.say(End::Client, &follower);
        let mut came = came(&mut wire);
        assert!(!came.is_empty(), "{what}: the request came");
        assert_eq!(came.remove(0), (ACK, REQUEST.to_vec()), "{what}");
        assert!(came.iter().all(|(_, bytes)| bytes.is_empty()), "{what}: {came:?}");
        let flags: Vec<u8> = came.iter().map(|(flags, _)| *flags).take(behind.len()).collect();
        assert_eq!(flags, behind, "{what}");
    }
}
