//! The server application: compares what it receives with what it may, and answers each request when it is whole.

use super::schedule::Reader;
use super::script::Script;
use super::stack::Stack;
use packet::Instant;
use smoltcp::socket::tcp::{RecvError, State};
use std::collections::VecDeque;
use std::time::Duration;

/// How a server speaks.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Time from a request to its answer, one after the other, round and round.
    pub thinks: Vec<Duration>,
    /// Most bytes it writes at once.
    pub piece: usize,
    pub reader: Reader,
}

pub struct Server {
    spec: ServerSpec,
    expected: Vec<u8>,
    received: usize,
    replies: VecDeque<(usize, Vec<u8>)>,
    replied: usize,
    /// Being written.
    output: VecDeque<u8>,
    resumes: Instant,
    thinking: bool,
    reads: Instant,
    closes_itself: bool,
    pub closed: bool,
    pub saw_end: bool,
}

impl Server {
    pub fn new(spec: ServerSpec, script: &Script, now: Instant) -> Self {
        Self {
            spec,
            expected: script.allowed(),
            received: 0,
            replies: script.replies().into(),
            replied: 0,
            output: VecDeque::new(),
            resumes: now,
            thinking: false,
            reads: now,
            closes_itself: script.server_closes,
            closed: false,
            saw_end: false,
        }
    }

    /// All was received and answered, and both streams ended.
    pub fn is_done(&self) -> bool {
        self.saw_end && self.closed && self.received == self.expected.len()
    }

    pub fn wakes(&self) -> Instant {
        self.resumes.max(self.reads)
    }

    pub fn progress(&self) -> String {
        format!(
            "server: {} of {} bytes received, {} answers given, {} to give, {} bytes to write, closed {}, end {}",
            self.received,
            self.expected.len(),
            self.replied,
            self.replies.len(),
            self.output.len(),
            self.closed,
            self.saw_end
        )
    }

    pub fn step(&mut self, stack: &mut Stack, now: Instant) -> Result<(), String> {
        self.read(stack, now)?;
        self.answer(now);
        self.write(stack, now);
        let all_said = self.replies.is_empty() && self.output.is_empty();
        let may_close = stack.socket().may_send() || stack.state() == State::CloseWait;
        if !self.closed && may_close && all_said && (self.saw_end || self.closes_itself) {
            stack.socket().close();
            self.closed = true;
        }
        Ok(())
    }

    fn read(&mut self, stack: &mut Stack, now: Instant) -> Result<(), String> {
        if now < self.reads || self.saw_end {
            return Ok(());
        }
        match stack.read(self.spec.reader.most) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => {
                self.reads = now + self.spec.reader.pause;
                let rest = &self.expected[self.received..];
                if !rest.starts_with(&bytes) {
                    let got = String::from_utf8_lossy(&bytes).into_owned();
                    return Err(format!("the server received {got:?}\n  {}", self.progress()));
                }
                self.received += bytes.len();
            }
            Err(RecvError::Finished) => {
                self.saw_end = true;
                if self.received < self.expected.len() {
                    return Err(format!("the stream to the server ended early: {}", self.progress()));
                }
            }
            Err(RecvError::InvalidState) => {
                if stack.state() == State::Closed {
                    return Err(format!("the server was reset: {}", self.progress()));
                }
            }
        }
        Ok(())
    }

    /// The next answer, after a while, as soon as its request is there.
    fn answer(&mut self, now: Instant) {
        while let Some((need, _)) = self.replies.front() {
            if self.received < *need || !self.output.is_empty() {
                return;
            }
            if !self.thinking {
                self.thinking = true;
                self.resumes = now + self.spec.thinks[self.replied % self.spec.thinks.len()];
            }
            if now < self.resumes {
                return;
            }
            self.thinking = false;
            self.replied += 1;
            if let Some((_, bytes)) = self.replies.pop_front() {
                self.output.extend(bytes);
            }
        }
    }

    fn write(&mut self, stack: &mut Stack, _: Instant) {
        if self.output.is_empty() || !stack.socket().can_send() {
            return;
        }
        let piece: Vec<u8> = self.output.iter().copied().take(self.spec.piece).collect();
        let sent = stack.socket().send_slice(&piece).unwrap_or(0);
        self.output.drain(..sent);
    }
}
