//! The client application: says its requests in pieces, and judges what it is answered.

use super::schedule::Reader;
use super::script::{Answer, Script};
use super::stack::Stack;
use packet::Instant;
use smoltcp::socket::tcp::{RecvError, State};
use std::time::Duration;

/// What a refusal's body is.
const REFUSAL: &[u8] = b"Access denied\r\n";

/// How a client speaks.
#[derive(Clone, Debug)]
pub struct ClientSpec {
    /// Ends of the pieces that are written at once, and how long it waits behind each.
    pub cuts: Vec<(usize, Duration)>,
    /// One request at a time.
    pub lockstep: bool,
    /// Ends its stream right behind the last request.
    pub closes_early: bool,
    pub reader: Reader,
}

pub struct Client {
    spec: ClientSpec,
    wire: Vec<u8>,
    written: usize,
    cut: usize,
    resumes: Instant,
    /// Ends of requests (and of heads that wait), and how many answers must have come before going on.
    gates: Vec<(usize, usize)>,
    answers: Vec<(usize, Answer)>,
    answered: usize,
    received: Vec<u8>,
    reads: Instant,
    closed: bool,
    pub saw_end: bool,
}

impl Client {
    pub fn new(spec: ClientSpec, script: &Script, now: Instant) -> Self {
        let answers = script.answers();
        let mut gates = Vec::new();
        let mut at = 0;
        for (number, request) in script.requests.iter().enumerate() {
            let before = answers.iter().take_while(|(n, _)| *n < number).count();
            if request.waits {
                gates.push((at + request.head, before + 1));
            }
            at += request.wire.len();
            if spec.lockstep {
                gates.push((at, answers.iter().take_while(|(n, _)| *n <= number).count()));
            }
        }
        Self {
            wire: script.sent(),
            spec,
            written: 0,
            cut: 0,
            resumes: now,
            gates,
            answers,
            answered: 0,
            received: Vec::new(),
            reads: now,
            closed: false,
            saw_end: false,
        }
    }

    /// All was said and answered, and both streams ended.
    pub fn is_done(&self) -> bool {
        self.closed && self.saw_end && self.answered == self.answers.len()
    }

    /// When it wants to go on without anything having come.
    pub fn wakes(&self) -> Instant {
        self.resumes.max(self.reads)
    }

    pub fn progress(&self) -> String {
        format!(
            "client: {} of {} bytes written, {} of {} answers, {} bytes unjudged, closed {}, end {}",
            self.written,
            self.wire.len(),
            self.answered,
            self.answers.len(),
            self.received.len(),
            self.closed,
            self.saw_end
        )
    }

    pub fn step(&mut self, stack: &mut Stack, now: Instant) -> Result<(), String> {
        self.read(stack, now)?;
        self.write(stack, now);
        let all_said = self.written == self.wire.len();
        let all_heard = self.answered == self.answers.len();
        if !self.closed
            && all_said
            && (self.spec.closes_early || all_heard)
            && stack.state() != State::SynSent
        {
            stack.socket().close();
            self.closed = true;
        }
        Ok(())
    }

    fn write(&mut self, stack: &mut Stack, now: Instant) {
        while self.written < self.wire.len() && now >= self.resumes && stack.socket().can_send() {
            let gate = self.gates.iter().find(|(at, need)| *at >= self.written && self.answered < *need);
            let most = gate.map_or(self.wire.len(), |(at, _)| *at);
            let (cut, pause) =
                self.spec.cuts.get(self.cut).copied().unwrap_or((self.wire.len(), Duration::ZERO));
            let piece = &self.wire[self.written..most.min(cut)];
            let sent = stack.socket().send_slice(piece).unwrap_or(0);
            self.written += sent;
            if self.written == cut {
                self.cut += 1;
                self.resumes = now + pause;
                // A piece of its own unless the stack collects.
                return;
            }
            if sent == 0 {
                return;
            }
        }
    }

    fn read(&mut self, stack: &mut Stack, now: Instant) -> Result<(), String> {
        // smoltcp forgets what was not read when it leaves TIME-WAIT.
        let hurry = stack.state() == State::TimeWait;
        if (now < self.reads && !hurry) || self.saw_end {
            return Ok(());
        }
        match stack.read(if hurry { usize::from(u16::MAX) * 4 } else { self.spec.reader.most }) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => {
                self.reads = now + self.spec.reader.pause;
                self.received.extend(bytes);
                while self.judge()? {}
            }
            Err(RecvError::Finished) => {
                self.saw_end = true;
                if self.answered < self.answers.len() || !self.received.is_empty() {
                    return Err(format!("the stream ended early: {}", self.progress()));
                }
            }
            Err(RecvError::InvalidState) => {
                if matches!(stack.state(), State::Closed) {
                    return Err(format!("the client was reset: {}", self.progress()));
                }
            }
        }
        Ok(())
    }

    /// Compares the next answer; whether there may be more.
    fn judge(&mut self) -> Result<bool, String> {
        let Some((number, answer)) = self.answers.get(self.answered) else {
            return if self.received.is_empty() {
                Ok(false)
            } else {
                Err(format!("bytes behind the last answer: {}", shown(&self.received)))
            };
        };
        let wrong = |what: String| Err(format!("request {number}: {what}"));
        let used = match answer {
            Answer::Exact(expected) => {
                let both = expected.len().min(self.received.len());
                if self.received[..both] != expected[..both] {
                    return wrong(format!("{} instead of {}", shown(&self.received), shown(expected)));
                }
                (both == expected.len()).then_some(both)
            }
            Answer::Refusal { is_head } => match refusal(&self.received, *is_head) {
                Ok(used) => used,
                Err(what) => return wrong(format!("no refusal ({what}): {}", shown(&self.received))),
            },
        };
        let Some(used) = used else { return Ok(false) };
        self.received.drain(..used);
        self.answered += 1;
        Ok(true)
    }
}

/// Bytes of the refusal at the start of `bytes`; `None` if it is not all there.
fn refusal(bytes: &[u8], is_head: bool) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes).map_err(|e| e.to_string())?;
    if head.code.is_some_and(|code| code != 403) || head.version.is_some_and(|v| v != 1) {
        return Err(format!("status {:?}", head.code));
    }
    let httparse::Status::Complete(len) = parsed else { return Ok(None) };
    let fields = |name: &str| -> Vec<Vec<u8>> {
        let named = head.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
        named.map(|h| h.value.to_vec()).collect()
    };
    if fields("content-length") != [REFUSAL.len().to_string().into_bytes()] {
        return Err("its length".into());
    }
    if !fields("transfer-encoding").is_empty() || !fields("connection").is_empty() {
        return Err("its framing".into());
    }
    if is_head {
        return Ok(Some(len));
    }
    let body = &bytes[len..];
    let both = body.len().min(REFUSAL.len());
    if body[..both] != REFUSAL[..both] {
        return Err("its body".into());
    }
    Ok((both == REFUSAL.len()).then_some(len + both))
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]))
}
