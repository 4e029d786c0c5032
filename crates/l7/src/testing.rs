//! A model of the splicer, and a judge that writes down what it is told.
//!
//! [`Splice`] applies an inspector's steps to two byte streams as the contract in [`crate::inspector`] says, and
//! panics where an inspector breaks it. What it answers, [`Outcome`], does not depend on how the bytes were cut into
//! pieces: [`agree`] runs a script whole, at every split point and byte by byte, and compares.

use core::fmt::Write as _;
use std::collections::VecDeque;

use crate::anomaly::Anomaly;
use crate::dns;
use crate::http::{HttpRequest, HttpResponse};
use crate::inspector::{Context, End, Inspector, MAX_UNDECIDED, Settings, Side, Step};
use crate::judge::{Judge, Learning};
use crate::kafka::{KafkaRequest, KafkaResponse};
use crate::tls::TlsHello;

/// Calls of `feed` in a row that decide nothing about a byte: more is a loop without an end.
const MOST_IDLE_STEPS: u32 = 1_000;

/// A judge that answers by functions and writes down each thing it is told, one line each.
pub struct Recorder {
    /// Answers HTTP requests; all of them are allowed at first.
    pub http: Box<dyn FnMut(&HttpRequest<'_>) -> bool>,
    /// Answers Kafka requests; all of them are allowed at first.
    pub kafka: Box<dyn FnMut(&KafkaRequest<'_>) -> bool>,
    /// Answers DNS questions; all of them are allowed at first.
    pub dns: Box<dyn FnMut(&dns::Query<'_>) -> bool>,
    /// Answers TLS hellos; all of them are allowed at first.
    pub tls: Box<dyn FnMut(&TlsHello<'_>) -> bool>,
    /// Answers whether a DNS answer is in force; it is, at first.
    pub learning: Box<dyn FnMut() -> Learning>,
    /// What it was told.
    pub told: Vec<String>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            http: Box::new(|_| true),
            kafka: Box::new(|_| true),
            dns: Box::new(|_| true),
            tls: Box::new(|_| true),
            learning: Box::new(|| Learning::Done),
            told: Vec::new(),
        }
    }
}

impl core::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Recorder").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Recorder {
    /// One that allows the HTTP requests for which `allow` says so.
    #[must_use]
    pub fn http(allow: impl FnMut(&HttpRequest<'_>) -> bool + 'static) -> Self {
        Self { http: Box::new(allow), ..Self::default() }
    }
}

const fn verb(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}

impl Judge for Recorder {
    fn http_request(&mut self, request: &HttpRequest<'_>) -> bool {
        let allowed = (self.http)(request);
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let mut line = format!(
            "{} {} {} {} host={}",
            verb(allowed),
            request.version.name(),
            text(request.method),
            text(request.path),
            text(request.host)
        );
        if request.normal_path != request.path {
            let _ = write!(line, " normal={}", text(request.normal_path));
        }
        if request.stream != 0 {
            let _ = write!(line, " stream={}", request.stream);
        }
        self.told.push(line);
        allowed
    }

    fn http_response(&mut self, response: &HttpResponse<'_>) {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let mut line = format!(
            "response {} {} to {} {} host={} after {} ns",
            response.version.name(),
            response.status,
            text(response.method),
            text(response.path),
            text(response.host),
            response.latency_ns
        );
        if let Some(status) = response.grpc_status {
            let _ = write!(line, " grpc-status={status}");
        }
        if response.stream != 0 {
            let _ = write!(line, " stream={}", response.stream);
        }
        self.told.push(line);
    }

    fn dns_query(&mut self, query: &dns::Query<'_>) -> bool {
        let allowed = (self.dns)(query);
        self.told.push(format!("{} {query:?}", verb(allowed)));
        allowed
    }

    fn dns_answer(&mut self, answer: &dns::Answer<'_>) -> Learning {
        let learning = (self.learning)();
        // Asked again and again while pending, and told once.
        if learning == Learning::Done {
            self.told.push(format!("{answer:?}"));
        }
        learning
    }

    fn kafka_request(&mut self, request: &KafkaRequest<'_>) -> bool {
        let allowed = (self.kafka)(request);
        self.told.push(format!("{} {request:?}", verb(allowed)));
        allowed
    }

    fn kafka_response(&mut self, response: &KafkaResponse<'_>) {
        self.told.push(format!("{response:?}"));
    }

    fn tls_hello(&mut self, hello: &TlsHello<'_>) -> bool {
        let allowed = (self.tls)(hello);
        self.told.push(format!("{} {hello:?}", verb(allowed)));
        allowed
    }

    fn oddity(&mut self, anomaly: Anomaly) {
        self.told.push(format!("oddity {}", anomaly.name()));
    }
}

/// What came of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// What the server received.
    pub to_server: Vec<u8>,
    /// What the client received.
    pub to_client: Vec<u8>,
    /// What the judge was told.
    pub told: Vec<String>,
    /// Why it was ended, if it was.
    pub end: Option<End>,
    /// Whether the end was an orderly one, behind something that was said to the client.
    pub orderly: bool,
    /// Whose end of stream was passed on.
    pub finished: Vec<Side>,
}

/// What is to happen to the next bytes of a stream.
#[derive(Debug)]
enum Decided {
    Pass(u64),
    Swallow(u64),
    Inject(Vec<u8>),
}

/// One stream: what `side` sends.
#[derive(Debug, Default)]
struct Stream {
    at_hand: Vec<u8>,
    decided: VecDeque<Decided>,
    delivered: Vec<u8>,
    finished: bool,
    finish_told: bool,
    /// Asked for more, or to be asked later, since when nothing changed.
    stuck: bool,
}

impl Stream {
    /// Whether a byte could ever stand behind the boundary.
    fn unbounded(&self) -> bool {
        matches!(self.decided.back(), Some(Decided::Pass(u64::MAX) | Decided::Swallow(u64::MAX)))
    }

    /// Moves what is decided.
    fn drain(&mut self) {
        while let Some(next) = self.decided.front_mut() {
            match next {
                Decided::Inject(bytes) => self.delivered.append(bytes),
                Decided::Pass(left) | Decided::Swallow(left) if *left == 0 => {}
                Decided::Pass(left) => {
                    let len = take(left, self.at_hand.len());
                    self.delivered.extend(self.at_hand.drain(..len));
                    if *left > 0 {
                        return;
                    }
                }
                Decided::Swallow(left) => {
                    let len = take(left, self.at_hand.len());
                    self.at_hand.drain(..len);
                    if *left > 0 {
                        return;
                    }
                }
            }
            self.decided.pop_front();
        }
    }
}

/// Takes at most `available` from what is left.
fn take(left: &mut u64, available: usize) -> usize {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    if *left != u64::MAX {
        *left -= len as u64;
    }
    len
}

/// Two streams with an inspector between them.
pub struct Splice<I> {
    /// The inspector.
    pub inspector: I,
    /// The judge.
    pub judge: Recorder,
    /// Caps.
    pub settings: Settings,
    /// The worker's clock.
    pub now: u64,
    client: Stream,
    server: Stream,
    end: Option<End>,
    orderly: bool,
    finished: Vec<Side>,
}

impl<I: Inspector> Splice<I> {
    /// A connection on which nothing was said yet.
    pub fn new(inspector: I, judge: Recorder) -> Self {
        Self {
            inspector,
            judge,
            settings: Settings::default(),
            now: 0,
            client: Stream::default(),
            server: Stream::default(),
            end: None,
            orderly: false,
            finished: Vec::new(),
        }
    }

    fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// `side` sends `bytes`.
    pub fn send(&mut self, side: Side, bytes: &[u8]) {
        let stream = self.stream(side);
        assert!(!stream.finished, "a script sends behind the end of its stream");
        stream.at_hand.extend_from_slice(bytes);
        stream.stuck = false;
        self.run();
    }

    /// `side` ends its stream.
    pub fn finish(&mut self, side: Side) {
        self.stream(side).finished = true;
        self.run();
    }

    /// Asks again, as a splicer does when what was pending may be in force.
    pub fn poll(&mut self) {
        self.client.stuck = false;
        self.server.stuck = false;
        self.run();
    }

    /// What came of it so far.
    pub fn outcome(&self) -> Outcome {
        Outcome {
            to_server: self.client.delivered.clone(),
            to_client: self.server.delivered.clone(),
            told: self.judge.told.clone(),
            end: self.end,
            orderly: self.orderly,
            finished: self.finished.clone(),
        }
    }

    fn run(&mut self) {
        let mut idle = 0;
        loop {
            self.client.drain();
            self.server.drain();
            if self.end.is_some() {
                return;
            }
            let stepped = self.feed(Side::Client) | self.feed(Side::Server);
            if !stepped {
                break;
            }
            idle += 1;
            assert!(idle < MOST_IDLE_STEPS * 1_000, "steps without an end");
        }
        self.tell_finish(Side::Client);
        self.tell_finish(Side::Server);
    }

    /// Calls the inspector; also answers what it said to the client and to the server.
    fn call<T>(&mut self, call: impl FnOnce(&mut I, &mut Context<'_>) -> T) -> (T, Vec<u8>, Vec<u8>) {
        let Self { inspector, judge, settings, now, .. } = self;
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        let mut cx =
            Context { judge, now: *now, settings, to_client: &mut to_client, to_server: &mut to_server };
        let answer = call(inspector, &mut cx);
        (answer, to_client, to_server)
    }

    /// Feeds one side until it is stuck; whether it made a step.
    fn feed(&mut self, side: Side) -> bool {
        let mut idle = 0;
        let mut stepped = false;
        // Nothing can stand behind everything that ever comes.
        while self.end.is_none() && !self.stream(side).stuck && !self.stream(side).unbounded() {
            let stream = self.stream(side);
            stream.drain();
            // Until the boundary is reached nothing stands behind it.
            let shown = if stream.decided.is_empty() { stream.at_hand.len() } else { 0 };
            let at_hand = core::mem::take(&mut stream.at_hand);
            let (step, to_client, to_server) =
                self.call(|inspector, cx| inspector.feed(side, &at_hand[..shown], cx));
            self.stream(side).at_hand = at_hand;
            self.inject(Side::Server, to_client);
            self.inject(Side::Client, to_server);
            idle = if shown == 0 { idle + 1 } else { 0 };
            assert!(idle < MOST_IDLE_STEPS, "{side:?}: steps without an end");
            stepped |= self.apply(side, shown, step);
            self.check_rest();
        }
        stepped
    }

    /// An inspector that is at rest is not called where nothing is at hand, so calling it must do nothing.
    fn check_rest(&mut self) {
        if self.end.is_some() || !self.inspector.is_at_rest() {
            return;
        }
        let told = self.judge.told.len();
        for side in [Side::Client, Side::Server] {
            let (step, to_client, to_server) = self.call(|inspector, cx| inspector.feed(side, &[], cx));
            assert_eq!(step, Step::NeedMore, "{side:?}: at rest");
            assert!(to_client.is_empty() && to_server.is_empty(), "{side:?}: spoke though at rest");
        }
        assert_eq!(self.judge.told.len(), told, "told something though at rest");
    }

    /// Puts bytes into the stream that `side` sends, at its boundary.
    fn inject(&mut self, side: Side, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let stream = self.stream(side);
        assert!(!stream.unbounded(), "{side:?}: said behind everything that ever comes");
        stream.decided.push_back(Decided::Inject(bytes));
        if side == Side::Server {
            self.orderly = true;
        }
    }

    /// Applies one step; whether it was one.
    fn apply(&mut self, side: Side, shown: usize, step: Step) -> bool {
        let said = core::mem::take(&mut self.orderly);
        let stream = self.stream(side);
        match step {
            Step::NeedMore | Step::Wait => {
                assert!(shown <= MAX_UNDECIDED, "{side:?}: {shown} bytes undecided");
                stream.stuck = true;
                return false;
            }
            Step::Pass { counted, free } => {
                assert!(counted > 0 || free > 0, "{side:?}: a step about nothing");
                assert!(counted <= shown, "{side:?}: {counted} bytes judged of {shown} seen");
                assert!(!stream.unbounded(), "{side:?}: passed behind everything that ever comes");
                stream.decided.push_back(Decided::Pass(counted as u64));
                stream.decided.push_back(Decided::Pass(free));
            }
            Step::Swallow { len } => {
                assert!(len > 0, "{side:?}: a step about nothing");
                assert!(!stream.unbounded(), "{side:?}: swallowed behind everything that ever comes");
                stream.decided.push_back(Decided::Swallow(len));
            }
            Step::End(end) => {
                self.stop(end, said);
                return true;
            }
        }
        self.stream(side.opposite()).stuck = false;
        true
    }

    /// Ends the connection: in order behind what was said to the client, else at once.
    fn stop(&mut self, end: End, orderly: bool) {
        self.client.drain();
        self.server.drain();
        self.orderly = orderly;
        self.end = Some(end);
        self.client.decided = VecDeque::from([Decided::Swallow(u64::MAX)]);
        if !orderly {
            self.server.decided.clear();
        }
        self.server.decided.push_back(Decided::Swallow(u64::MAX));
    }

    fn tell_finish(&mut self, side: Side) {
        let stream = self.stream(side);
        if !stream.finished || stream.finish_told {
            return;
        }
        stream.finish_told = true;
        let undecided = if stream.decided.is_empty() { stream.at_hand.len() } else { 0 };
        let (end, to_client, to_server) = self.call(|inspector, cx| inspector.finish(side, undecided, cx));
        self.inject(Side::Server, to_client);
        self.inject(Side::Client, to_server);
        let said = core::mem::take(&mut self.orderly);
        match end {
            None => self.finished.push(side),
            Some(end) => self.stop(end, said),
        }
        self.client.drain();
        self.server.drain();
    }
}

/// One thing that happens on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A side sends bytes.
    Send(Side, Vec<u8>),
    /// A side ends its stream.
    Finish(Side),
}

/// Plays a script, each `Send` cut into pieces at the points that `cut` answers for its number and length (ascending).
pub fn play<I: Inspector>(
    mut splice: Splice<I>,
    script: &[Event],
    mut cut: impl FnMut(usize, usize) -> Vec<usize>,
) -> Outcome {
    for (number, event) in script.iter().enumerate() {
        match event {
            Event::Finish(side) => splice.finish(*side),
            Event::Send(side, bytes) => {
                let mut from = 0;
                for to in cut(number, bytes.len()).into_iter().chain([bytes.len()]) {
                    splice.send(*side, &bytes[from..to]);
                    from = to;
                }
            }
        }
    }
    splice.outcome()
}

/// Plays a script whole, at every split point and byte by byte, and panics where the outcomes differ.
pub fn agree<I: Inspector>(script: &[Event], mut make: impl FnMut() -> Splice<I>) -> Outcome {
    let whole = play(make(), script, |_, _| Vec::new());
    let bytes = play(make(), script, |_, len| (1..len).collect());
    assert_eq!(show(&whole), show(&bytes), "whole, and byte by byte");
    for (number, event) in script.iter().enumerate() {
        let Event::Send(_, bytes) = event else { continue };
        for at in 1..bytes.len() {
            let split = play(make(), script, |n, _| if n == number { vec![at] } else { Vec::new() });
            assert_eq!(show(&whole), show(&split), "whole, and event {number} split at {at}");
        }
    }
    whole
}

/// An outcome as text, for messages that can be read.
#[must_use]
pub fn show(outcome: &Outcome) -> String {
    let mut text = String::new();
    for line in &outcome.told {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "to server: {}", outcome.to_server.escape_ascii());
    let _ = writeln!(text, "to client: {}", outcome.to_client.escape_ascii());
    let _ = writeln!(
        text,
        "end: {:?}{}; finished: {:?}",
        outcome.end,
        if outcome.orderly { ", orderly" } else { "" },
        outcome.finished
    );
    text
}
