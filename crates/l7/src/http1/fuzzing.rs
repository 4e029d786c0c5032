//! What must hold for any bytes on both sides: the body of the fuzz target `http1` and of its smoke test.

use std::cell::RefCell;
use std::rc::Rc;

use super::Http1;
use crate::anomaly::Anomaly;
use crate::http::{Header, Http, HttpRequest, PREFACE};
use crate::inspector::{Context, End, Inspector, Settings, Side, Step};
use crate::testing::{Event, Outcome, Recorder, Splice, play, show};

/// A path that policy denies.
const DENIED: &[u8] = b"/denied";

/// Input as a fuzzer gives it: two bytes say where the client's bytes end, one how they are cut.
pub fn run(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let middle = usize::from(u16::from_le_bytes([head[0], head[1]])).min(rest.len());
    check(&rest[..middle], &rest[middle..], usize::from(head[2]));
}

/// Checks that whole and cut input agree, and that an independent reader of what reaches the server finds the requests
/// that were allowed, and no other.
pub fn check(client: &[u8], server: &[u8], cut: usize) {
    let script = [Event::Send(Side::Client, client.to_vec()), Event::Send(Side::Server, server.to_vec())];
    assert_repeats_agree(&script);
    let splice = || {
        let judge = Recorder::http(|request| request.path != DENIED && request.normal_path != DENIED);
        Splice::new(Http::new(&Settings::default()), judge)
    };
    let whole = play(splice(), &script, |_, _| Vec::new());
    let step = cut % 7 + 1;
    let pieces = play(splice(), &script, |_, len| (1..len).step_by(step).collect());
    // An end is orderly when something was said with it or shortly before, and bytes that come at once end sooner.
    let [whole, pieces] = [whole, pieces].map(|outcome| Outcome { orderly: false, ..outcome });
    // In HTTP/2 it depends on what comes first what is said first; that protocol has a target of its own.
    if whole.told.iter().any(|line| line.contains(" HTTP/2 ")) {
        return;
    }
    // What waits behind an offer and what the server says behind its no are both at hand then; whichever is wrong first
    // is the end, and an allowed request behind the offer may have passed before it or not. An answer to that request, in
    // one piece with the no, came before its request was passed on; in a piece of its own it did not, and nothing is wrong.
    let early = whole.end == Some(End::Anomaly(Anomaly::HttpUnexpectedResponse));
    let raced = whole.end.is_some() && (pieces.end.is_some() || early) && offers(&whole.to_server);
    if raced {
        let (a, b) = (&whole.to_server, &pieces.to_server);
        // Where only the whole one ended, all that it passed has passed in pieces too.
        let agree = b.starts_with(a) || (pieces.end.is_some() && a.starts_with(b));
        assert!(agree, "{}\n{}", a.escape_ascii(), b.escape_ascii());
        assert!(
            pieces.end.is_some() || pieces.told.starts_with(&whole.told),
            "{}\n{}",
            show(&whole),
            show(&pieces)
        );
        assert_only_allowed(&pieces);
    } else {
        assert_eq!(show(&whole), show(&pieces), "whole, and in pieces of {step}");
    }
    assert_only_allowed(&whole);
}

/// A connection that knows no head again.
struct Forgetful(Http1);

impl Inspector for Forgetful {
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        self.0.forget();
        self.0.feed(side, bytes, cx)
    }

    fn finish(&mut self, side: Side, undecided: usize, cx: &mut Context<'_>) -> Option<End> {
        self.0.finish(side, undecided, cx)
    }
}

/// Plays a script three times over on a connection that knows heads again and on one that does not: policy must be asked the
/// same, with all fields, and the same must come of it.
pub fn assert_repeats_agree(script: &[Event]) {
    let script = [script, script, script].concat();
    let (knowing, asked_knowing) = outcome_and_fields(Http1::new(), &script);
    let (reading, asked_reading) = outcome_and_fields(Forgetful(Http1::new()), &script);
    assert_eq!(show(&knowing), show(&reading), "knowing heads again, and reading each");
    assert_eq!(asked_knowing, asked_reading, "the fields that policy was asked about");
}

/// What comes of a script, and the fields of each request.
fn outcome_and_fields(inspector: impl Inspector, script: &[Event]) -> (Outcome, Vec<String>) {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&asked);
    let judge = Recorder::http(move |request: &HttpRequest<'_>| {
        let field =
            |field: &Header<'_>| format!("{}: {}\n", field.name.escape_ascii(), field.value.escape_ascii());
        noted.borrow_mut().push(request.headers.iter().map(field).collect());
        request.path != DENIED && request.normal_path != DENIED
    });
    let outcome = play(Splice::new(inspector, judge), script, |_, _| Vec::new());
    (outcome, asked.take())
}

/// Whether a server was asked to switch protocols.
fn offers(to_server: &[u8]) -> bool {
    to_server.windows(9).any(|text| text.eq_ignore_ascii_case(b"\nupgrade:"))
}

/// Reads what reached the server as a server would, and compares.
fn assert_only_allowed(outcome: &Outcome) {
    let mut rest = outcome.to_server.as_slice();
    if rest.starts_with(PREFACE) {
        // Another protocol, with a target of its own.
        return;
    }
    let mut allowed = outcome.told.iter().filter(|line| line.starts_with("allow "));
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let (head, behind) = rest.split_at(end + 4);
        let mut headers = [httparse::EMPTY_HEADER; super::head::MOST_FIELDS];
        let mut request = httparse::Request::new(&mut headers);
        assert!(request.parse(head).is_ok_and(|status| status.is_complete()), "{}", head.escape_ascii());
        let told = allowed.next().map(|line| line.split(' ').nth(2).unwrap_or_default());
        // The recorder writes bytes escaped.
        let method = request.method.map(|method| method.as_bytes().escape_ascii().to_string());
        assert_eq!(told, method.as_deref(), "a request that was not allowed: {}", head.escape_ascii());
        assert!(request.path.is_some_and(|path| path.as_bytes() != DENIED), "{}", head.escape_ascii());
        let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        // What follows is opaque, or HTTP/2.
        if field("upgrade")
            .is_some_and(|field| !field.value.eq_ignore_ascii_case(b"h2c") || behind.starts_with(PREFACE))
        {
            return;
        }
        let number = |text: &[u8], radix| {
            core::str::from_utf8(text).ok().and_then(|text| usize::from_str_radix(text.trim(), radix).ok())
        };
        rest = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), None) => {
                let length = number(length.value, 10).expect("a length that a server can read");
                behind.get(length..).unwrap_or_default()
            }
            (None, Some(_)) => match skip_chunks(behind) {
                Some(behind) => behind,
                None => return,
            },
            (None, None) => behind,
            _ => panic!("two ways to frame {}", head.escape_ascii()),
        };
    }
}

/// What stands behind a chunked body, if it is whole.
fn skip_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = &rest[..end];
        let digits = line.split(|&byte| byte == b';').next()?;
        let size = usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            let trailers = &rest[end..];
            let end = trailers.windows(4).position(|four| four == b"\r\n\r\n")?;
            return Some(&trailers[end + 4..]);
        }
        rest = rest.get(end + 2..)?.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// Bytes that `Http1` holds after it read a script, on the stack and on the heap.
#[must_use]
pub fn memory(script: &[Event]) -> usize {
    let mut splice = Splice::new(Http1::new(), Recorder::default());
    for event in script {
        match event {
            Event::Send(side, bytes) => splice.send(*side, bytes),
            Event::Finish(side) => splice.finish(*side),
        }
    }
    size_of::<Http1>() + splice.inspector.heap()
}
