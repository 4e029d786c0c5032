//! Inspection that refuses nothing: audit mode, and ports that are only to be seen.

mod splice;

use flowlog::event::MessageVerdict;
use packet::TcpFlags;
use splice::node::Rules;
use splice::raw::{End, Say, Wire};

const ACK: u8 = TcpFlags::ACK;

fn say(flags: u8, payload: &[u8]) -> Say {
    Say { flags, window: 64_000, payload: payload.to_vec(), ..Say::default() }
}

/// What the server was told, byte for byte, after the client said these pieces.
fn told(rules: Rules, pieces: &[&[u8]]) -> (Vec<u8>, Vec<(MessageVerdict, String)>) {
    let mut wire = Wire::new(rules, [1, 2], false);
    wire.say(End::Client, &say(TcpFlags::SYN, b""));
    wire.say(End::Server, &say(TcpFlags::SYN | ACK, b""));
    wire.say(End::Client, &say(ACK, b""));
    for piece in pieces {
        wire.say(End::Client, &say(ACK | TcpFlags::PSH, piece));
    }
    let bytes = wire.unseen(End::Server).iter().flat_map(|seen| seen.payload.clone()).collect();
    (bytes, wire.node.messages())
}

const DENIED: &[u8] = b"GET /denied HTTP/1.1\r\nHost: s\r\n\r\n";
const MALFORMED: &[u8] = b"GET /allowed/ HTTP/1.1\r\nHost : s\r\n\r\n";

#[test]
fn audit_mode_lets_pass_and_says_so() {
    let (bytes, messages) = told(Rules::Audit, &[DENIED]);
    assert_eq!(bytes, DENIED);
    let [(MessageVerdict::Audited, line)] = &messages[..] else { panic!("{messages:?}") };
    assert!(line.contains("/denied"), "{line}");
}

#[test]
fn a_visible_port_refuses_nothing() {
    let (bytes, messages) = told(Rules::Visible, &[&DENIED[..9], &DENIED[9..]]);
    assert_eq!(bytes, DENIED);
    let [(MessageVerdict::Forwarded, line)] = &messages[..] else { panic!("{messages:?}") };
    assert!(line.contains("/denied"), "{line}");
}

#[test]
fn what_cannot_be_read_passes_where_nothing_is_refused() {
    for rules in [Rules::Audit, Rules::Visible] {
        let (bytes, _) = told(rules, &[MALFORMED, b"anything", DENIED]);
        assert_eq!(bytes, [MALFORMED, b"anything", DENIED].concat(), "{rules:?}");
    }
    let (bytes, messages) = told(Rules::Http, &[MALFORMED, DENIED]);
    assert!(bytes.is_empty(), "and nothing of it where rules are enforced");
    assert!(messages.iter().any(|(verdict, _)| *verdict == MessageVerdict::Error), "{messages:?}");
}
