//! The connections of `testdata/l7/http1`: whole, cut at every point, byte by byte.

use core::fmt::Write as _;
use std::path::Path;

use l7::http::Http;
use l7::http1::fuzzing::assert_repeats_agree;
use l7::testing::{Event, Outcome, Recorder, Splice, agree, show};
use l7::{End, Settings, Side};

/// One case.
#[derive(Default)]
struct Case {
    name: String,
    script: Vec<Event>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    told: Vec<String>,
    end: Option<String>,
    orderly: bool,
    closed: Vec<Side>,
}

impl Case {
    fn send(&mut self, side: Side, bytes: &[u8]) {
        match self.script.last_mut() {
            Some(Event::Send(last, sent)) if *last == side => sent.extend_from_slice(bytes),
            _ => self.script.push(Event::Send(side, bytes.to_vec())),
        }
    }

    fn sent(&self, side: Side) -> Vec<u8> {
        let of_side = |event: &Event| match event {
            Event::Send(from, bytes) if *from == side => bytes.clone(),
            _ => Vec::new(),
        };
        self.script.iter().flat_map(of_side).collect()
    }

    fn line(&mut self, line: &str) {
        let (mark, text) = line.split_once(' ').unwrap_or((line, ""));
        let bytes = unescape(text);
        let with_end = [bytes.as_slice(), b"\r\n"].concat();
        match mark {
            "C:" => self.send(Side::Client, &with_end),
            "C|" => self.send(Side::Client, &bytes),
            "S:" => self.send(Side::Server, &with_end),
            "S|" => self.send(Side::Server, &bytes),
            "C." => self.script.push(Event::Finish(Side::Client)),
            "S." => self.script.push(Event::Finish(Side::Server)),
            ">" if text == "all" => self.to_server = self.sent(Side::Client),
            "<" if text == "all" => self.to_client = self.sent(Side::Server),
            "<" => self.to_client.extend(refusal(text)),
            ">:" => self.to_server.extend(with_end),
            ">|" => self.to_server.extend(bytes),
            "<:" => self.to_client.extend(with_end),
            "<|" => self.to_client.extend(bytes),
            "=" => self.told.push(text.to_owned()),
            "end" | "reset" => {
                self.orderly = mark == "end";
                self.end = Some(text.to_owned());
            }
            "closed" => {
                let side = |name| if name == "Client" { Side::Client } else { Side::Server };
                self.closed = text.split(' ').map(side).collect();
            }
            _ => panic!("{}: no such line: {line}", self.name),
        }
    }

    /// What of the outcome is not what was expected.
    fn differs(&self, outcome: &Outcome) -> Option<String> {
        let mut text = String::new();
        let end = outcome.end.map(|end| match end {
            End::Refused => "refused".to_owned(),
            End::Anomaly(anomaly) => anomaly.name().to_owned(),
        });
        if end != self.end || outcome.orderly != self.orderly || outcome.finished != self.closed {
            let _ =
                writeln!(text, "expected end: {:?}, orderly: {}, {:?}", self.end, self.orderly, self.closed);
        }
        if outcome.to_server != self.to_server {
            let _ = writeln!(text, "expected to server: {}", self.to_server.escape_ascii());
        }
        if outcome.to_client != self.to_client {
            let _ = writeln!(text, "expected to client: {}", self.to_client.escape_ascii());
        }
        if !self.told.is_empty() && outcome.told != self.told {
            let _ = writeln!(text, "expected to be told: {:#?}", self.told);
        }
        (!text.is_empty()).then(|| format!("{}\n{text}got\n{}", self.name, show(outcome)))
    }
}

fn refusal(text: &str) -> Vec<u8> {
    let (line, body) = match text {
        _ if text.starts_with("403") => ("403 Forbidden", "Access denied\r\n"),
        _ if text.starts_with("400") => ("400 Bad Request", "Bad request\r\n"),
        _ => panic!("no refusal: {text}"),
    };
    let length = body.len();
    let close = if text.contains("close") { "connection: close\r\n" } else { "" };
    let body = if text.contains("head") { "" } else { body };
    format!("HTTP/1.1 {line}\r\ncontent-length: {length}\r\ncontent-type: text/plain\r\n{close}\r\n{body}")
        .into_bytes()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.bytes();
    while let Some(byte) = chars.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match chars.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits: String = chars.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
            }
            other => panic!("no such escape: {other:?} in {text}"),
        });
    }
    bytes
}

fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/l7/http1").join(file);
    let text = std::fs::read_to_string(path).expect("the vectors");
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("== ") {
            Some(name) => cases.push(Case { name: name.to_owned(), ..Case::default() }),
            None => cases.last_mut().expect("a case").line(line),
        }
    }
    cases
}

fn run(file: &str, at_least: usize) {
    let cases = cases(file);
    assert!(cases.len() >= at_least, "{} cases", cases.len());
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let outcome = agree(&case.script, || {
                let denied = |path: &[u8]| path.starts_with(b"/denied");
                let judge = Recorder::http(move |it| !denied(it.path) && !denied(it.normal_path));
                Splice::new(Http::new(&Settings::default()), judge)
            });
            // A connection on which a side has ended its stream says nothing twice.
            if !case.script.iter().any(|event| matches!(event, Event::Finish(_))) {
                assert_repeats_agree(&case.script);
            }
            case.differs(&outcome)
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}\n\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn framing() {
    run("framing.txt", 16);
}

#[test]
fn denial() {
    run("denial.txt", 12);
}

#[test]
fn smuggling() {
    run("smuggling.txt", 70);
}

#[test]
fn targets() {
    run("targets.txt", 25);
}

#[test]
fn upgrades() {
    run("upgrade.txt", 12);
}

#[test]
fn responses() {
    run("responses.txt", 13);
}
