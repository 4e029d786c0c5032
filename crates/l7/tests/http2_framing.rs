//! The cases of `testdata/l7/http2/framing.txt`: each whole, and cut at every octet.

use std::fmt::Write as _;

use l7::http2::Http2;
use l7::testing::{Event, Outcome, Recorder, Splice, agree, play, show};
use l7::{Anomaly, End, Settings, Side};

const CASES: &str = include_str!("../../../testdata/l7/http2/framing.txt");

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Scripts up to this many octets are cut at every point.
const MOST_CUT: usize = 400;

const KINDS: &[&str] = &[
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// Header blocks without tables: a request for `/` of host `a`, a response, trailers.
const BLOCKS: &[(&str, &str)] = &[
    ("GET", "828684410161"),
    ("POST", "838684410161"),
    ("OK", "88"),
    ("DONE", "000b677270632d7374617475730130"),
];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Octets of a payload as the cases write it.
fn octets(text: &str) -> Vec<u8> {
    let mut hex = text.replace([' ', '-'], "");
    for (name, block) in BLOCKS {
        hex = hex.replace(name, block);
    }
    while let Some((before, rest)) = hex.split_once('[') {
        let (repeated, after) = rest.split_once(']').expect("a closing bracket");
        let (octet, times) = repeated.split_once('*').expect("a number");
        hex = format!("{before}{}{after}", octet.repeat(times.parse().expect("a number")));
    }
    assert!(hex.len().is_multiple_of(2), "{text}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// One line that sends something.
fn event(side: Side, text: &str) -> Event {
    let (kind, rest) = text.split_once(' ').expect("a kind");
    if kind == "raw" {
        return Event::Send(side, octets(rest));
    }
    let kind = KINDS
        .iter()
        .position(|name| *name == kind)
        .map_or_else(|| u8::from_str_radix(kind, 16).expect("a kind"), |at| at as u8);
    let (rest, times) = match rest.rsplit_once(" x") {
        Some((rest, times)) => (rest, times.parse().expect("a number")),
        None => (rest, 1),
    };
    let mut words = rest.splitn(3, ' ');
    let mut number = || u32::from_str_radix(words.next().expect("a number"), 16).expect("a number");
    let (flags, stream) = (number() as u8, number());
    Event::Send(side, frame(kind, flags, stream, &octets(words.next().expect("a payload"))).repeat(times))
}

/// Frames of a stream: kind, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        frames.push((head[3], stream, rest[..len].to_vec()));
        bytes = &rest[len..];
    }
    frames
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[payload.len() - 4..].try_into().expect("four octets"))
}

/// What came of a case, in the words of the cases.
fn verdict(outcome: &Outcome, sent: &[Vec<u8>; 2]) -> String {
    let mut text = String::new();
    let _ = match outcome.end {
        Some(End::Anomaly(anomaly)) if outcome.orderly => {
            let frames = frames(&outcome.to_client);
            let (kind, stream, payload) = frames.last().expect("something said");
            assert_eq!((*kind, *stream, payload.len()), (7, 0, 8), "GOAWAY");
            write!(text, "ends {} {}", anomaly.name(), number(payload))
        }
        Some(End::Anomaly(anomaly)) => write!(text, "silent {}", anomaly.name()),
        Some(End::Refused) => write!(text, "refused"),
        None if outcome.to_server == sent[0] && outcome.to_client == sent[1] => write!(text, "passes"),
        None => {
            let frames = frames(&outcome.to_client);
            let (kind, stream, payload) = frames.last().expect("something said");
            assert_eq!((*kind, number(payload)), (3, 1), "RST_STREAM, PROTOCOL_ERROR");
            assert!(
                outcome.told.contains(&format!("oddity {}", Anomaly::Http2Message.name())),
                "{:?}",
                outcome.told
            );
            write!(text, "reset {stream}")
        }
    };
    text
}

fn run(name: &str, lines: &[&str]) -> Option<String> {
    let (expected, lines) = lines.split_last().expect("an expectation");
    let bare = lines.first() == Some(&"bare");
    let mut script = Vec::new();
    if !bare {
        script.push(Event::Send(Side::Client, PREFACE.to_vec()));
        script.push(event(Side::Client, "SETTINGS 0 0 -"));
        // Fewer streams than are followed: nothing has to be added.
        script.push(event(Side::Server, "SETTINGS 0 0 000300000064"));
        script.push(event(Side::Server, "SETTINGS 1 0 -"));
        script.push(event(Side::Client, "SETTINGS 1 0 -"));
    }
    for line in &lines[usize::from(bare)..] {
        let (side, text) = line.split_once(' ').expect("a side");
        script.push(event(if side == "client" { Side::Client } else { Side::Server }, text));
    }
    let mut sent = [Vec::new(), Vec::new()];
    for event in &script {
        let Event::Send(side, bytes) = event else { continue };
        sent[usize::from(*side == Side::Server)].extend(bytes);
    }
    let make = || Splice::new(Http2::new(&Settings::default()), Recorder::default());
    let outcome = if sent.iter().map(Vec::len).sum::<usize>() <= MOST_CUT {
        agree(&script, make)
    } else {
        let whole = play(make(), &script, |_, _| Vec::new());
        let pieces = play(make(), &script, |_, len| (1..len).step_by(5).collect());
        assert_eq!(show(&whole), show(&pieces), "{name}");
        whole
    };
    let seen = verdict(&outcome, &sent);
    (seen != *expected).then(|| format!("{name}: {seen}, not {expected}\n{}", show(&outcome)))
}

#[test]
fn framing_cases() {
    let lines: Vec<&str> =
        CASES.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let cases: Vec<&[&str]> = lines.chunk_by(|_, next| !next.starts_with("case ")).collect();
    assert!(cases.len() > 100, "{} cases", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| run(case[0], &case[1..])).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
