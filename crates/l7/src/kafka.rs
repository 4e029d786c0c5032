//! Kafka: requests and their responses on one connection.
//!
//! Every request is read as far as policy needs it (header and topics, see `table`), judged, and passed as it came or
//! swallowed and answered in its own API and version with an authorization error. A broker answers in the order of the
//! requests, so what is outstanding is a queue, and an answer of ours waits for its turn in it.
//!
//! * **Held back:** a request until it is at hand whole, if it is not larger than [`MAX_UNDECIDED`]; of APIs without
//!   topics, and of a produce to one topic, the head alone. What is passed unread (`free`) stands behind the last field
//!   that names a topic, within a frame whose size was read: it can change nothing that was judged.
//! * **Too large to judge:** a request of which more than [`MAX_UNDECIDED`] bytes stand before its last topic (a produce
//!   to several topics that is as large) is refused without asking, for those topics that could be read.
//! * **Unknown:** an API or version that is not in the table ends the connection; policy cannot be asked about topics
//!   that cannot be found. Clients do not get there, because the answer to ApiVersions is restricted to what is known.
//!   It is also restricted to versions that call topics by name where there is a choice (Produce, Fetch, OffsetCommit,
//!   OffsetFetch): an id can only be told on a connection that saw the Metadata answer which gave it. Requests by id
//!   are judged when the id is known, else as a topic in parentheses, which only rules without topics allow.
//! * **Metadata** for several topics is judged topic by topic, because clients ask about all their topics together. The
//!   refused ones are taken out of the request and put into the response with their error.
//! * **Fetch sessions:** an incremental fetch is judged with all topics of its session; see `session`.
//! * **All topics:** a request for all of them (Metadata, OffsetFetch) counts as one without topics, and its answer is
//!   not filtered, as in Cilium. From the answer to a request for the brokers alone topics are left out.
//! * **SASL:** SaslHandshake and SaslAuthenticate pass without asking: who a client is opens no topic. SaslHandshake version 0, behind which tokens follow that are no
//!   requests, is answered with UNSUPPORTED_VERSION; GSSAPI tokens without any handshake are an unknown API.
//! * **No answer:** a produce with `acks=0` has none, so its refusal is silent.

#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod ids;
mod metadata;
mod names;
mod outstanding;
mod produce;
mod refusal;
mod request;
mod response;
mod schema;
mod session;
mod table;
mod walk;
mod wire;

#[cfg(test)]
mod tests;

use crate::anomaly::Anomaly;
use crate::inspector::{Context, End, Inspector, MAX_UNDECIDED, Settings, Side, Step};
use ids::TopicIds;
pub use names::{API_NAMES, api_key, api_name};
use outstanding::{Asked, Outstanding};
use request::{Header, Topics};
use schema::Api;
use wire::{Fault, Reader};

/// Largest request (broker: `socket.request.max.bytes`, 100 MiB).
const MAX_REQUEST: usize = 100 * 1024 * 1024;
/// Smallest request: key, version, correlation id.
const MIN_REQUEST: usize = 8;
/// Smallest response: the correlation id.
const MIN_RESPONSE: usize = 4;

/// A request, as far as policy reads it.
#[derive(Copy, Clone, Debug)]
pub struct KafkaRequest<'a> {
    /// API key.
    pub api_key: i16,
    /// API version.
    pub api_version: i16,
    /// Correlation id.
    pub correlation_id: i32,
    /// Client id; empty if there is none.
    pub client_id: &'a str,
    /// Topics that the request names; empty for APIs without topics. One whose name is not known is told as its id in
    /// parentheses, which no rule can name.
    pub topics: &'a [&'a str],
}

/// The response to a request that was passed on.
#[derive(Copy, Clone, Debug)]
pub struct KafkaResponse<'a> {
    /// API key of the request.
    pub api_key: i16,
    /// API version of the request.
    pub api_version: i16,
    /// Correlation id.
    pub correlation_id: i32,
    /// First topic of the request; empty if none.
    pub topic: &'a str,
    /// Error code of the response, where the API has one in a place that is read; else 0.
    pub error_code: i16,
    /// Nanoseconds since the request.
    pub latency_ns: u64,
}

/// Kafka on one connection.
#[derive(Debug)]
pub struct Kafka {
    max_outstanding: usize,
    outstanding: Outstanding,
    ids: TopicIds,
    sessions: session::Sessions,
    /// A refused produce that is going by.
    refused: Option<produce::Refused>,
}

impl Kafka {
    /// A connection that is about to begin.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            max_outstanding: settings.max_outstanding,
            outstanding: Outstanding::default(),
            ids: TopicIds::default(),
            sessions: session::Sessions::default(),
            refused: None,
        }
    }
}

impl Inspector for Kafka {
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        self.outstanding.say_due(cx.to_client);
        // What is decided must not depend on how much more than that is at hand.
        let bytes = bytes.get(..MAX_UNDECIDED).unwrap_or(bytes);
        let step = match side {
            Side::Client => self.request(bytes, cx),
            Side::Server => self.response(bytes, cx),
        };
        step.unwrap_or_else(|anomaly| Step::End(End::Anomaly(anomaly)))
    }

    fn finish(&mut self, _side: Side, _undecided: usize, _cx: &mut Context<'_>) -> Option<End> {
        None
    }
}

/// A request whose header was read.
#[derive(Copy, Clone)]
struct Frame<'a> {
    api: &'static Api,
    version: i16,
    header: Header<'a>,
    bytes: &'a [u8],
    /// Where the body begins and where the frame ends.
    body: usize,
    end: usize,
}

impl<'a> Frame<'a> {
    fn reader(&self) -> Reader<'a> {
        Reader::new(self.bytes, self.body, self.end)
    }

    fn flexible(&self) -> bool {
        self.api.is_flexible(self.version)
    }

    /// What passes when it was judged up to `at`.
    fn pass(&self, at: usize) -> Step {
        Step::Pass { counted: at, free: (self.end - at) as u64 }
    }

    fn swallow(&self) -> Step {
        Step::Swallow { len: self.end as u64 }
    }
}

/// The answer of a step that wants more than is at hand, as long as more can come.
fn more(bytes: &[u8], anomaly: Anomaly) -> Result<Step, Anomaly> {
    if bytes.len() < MAX_UNDECIDED { Ok(Step::NeedMore) } else { Err(anomaly) }
}

/// End of the frame that begins with a size.
fn frame_end(bytes: &[u8], least: usize, most: usize) -> Option<Result<usize, ()>> {
    let size = i32::from_be_bytes(*bytes.first_chunk::<4>()?);
    Some(
        usize::try_from(size)
            .ok()
            .filter(|size| (least..=most).contains(size))
            .map(|size| size + 4)
            .ok_or(()),
    )
}

impl Kafka {
    fn request(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        if let Some(refused) = &mut self.refused {
            let (len, last) = refused.read_on(bytes);
            return self.swallow_on(len, last, cx);
        }
        let Some(end) = frame_end(bytes, MIN_REQUEST, MAX_REQUEST) else { return Ok(Step::NeedMore) };
        // A TLS record: handshake, version 3.
        let end = end.map_err(|()| match bytes {
            [0x16, 3, ..] => Anomaly::KafkaTls,
            _ => Anomaly::KafkaFrameSize,
        })?;
        let mut reader = Reader::new(bytes, 4, end);
        let (Ok(key), Ok(version)) = (reader.int16(), reader.int16()) else { return Ok(Step::NeedMore) };
        let api = table::api(key).ok_or(Anomaly::KafkaUnknownApi)?;
        let later = key == table::API_VERSIONS && version > api.max;
        if !later && !api.has(version) {
            return Err(Anomaly::KafkaUnknownApi);
        }
        let header = match Header::read(key, version, api.is_flexible(version), &mut reader) {
            Ok(header) => header,
            Err(Fault::Short) => return more(bytes, Anomaly::KafkaRequest),
            Err(Fault::Bad) => return Err(Anomaly::KafkaRequest),
        };
        let frame = Frame { api, version, header, bytes, body: reader.at(), end };
        if self.outstanding.len() >= self.max_outstanding {
            return Err(Anomaly::KafkaTooManyOutstanding);
        }
        if later {
            let mut answer = Vec::new();
            response::unknown_api_versions(header.correlation_id, &mut answer);
            return self.answer(&frame, answer, cx);
        }
        if key == table::SASL_HANDSHAKE && version == 0 {
            cx.judge.oddity(Anomaly::KafkaUnknownApi);
            return self.refuse(&frame, table::UNSUPPORTED_VERSION, cx);
        }
        match key {
            table::SASL_HANDSHAKE | table::SASL_AUTHENTICATE => {
                self.outstanding.expect(api, version, header.correlation_id, "", cx.now, false);
                Ok(frame.pass(frame.body))
            }
            table::PRODUCE => self.produce(&frame, cx),
            table::METADATA if end <= MAX_UNDECIDED => self.metadata(&frame, cx),
            _ if api.request.is_empty() => match self.ask(&frame, &Topics::new(), true, cx) {
                true => Ok(frame.pass(frame.body)),
                false => self.refuse(&frame, api.code, cx),
            },
            _ => self.whole(&frame, true, cx),
        }
    }

    /// A produce with one topic is judged by its head.
    fn produce(&mut self, frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        let mut reader = frame.reader();
        let head = match produce::Head::read(frame.version, frame.flexible(), &mut reader) {
            Ok(head) => head,
            Err(Fault::Short) => return more(frame.bytes, Anomaly::KafkaRequest),
            Err(Fault::Bad) => return Err(Anomaly::KafkaRequest),
        };
        let Some(topic) = head.only else {
            return self.whole(frame, head.answered, cx);
        };
        let mut topics = Topics::new();
        topics.push(topic);
        match self.ask(frame, &topics, head.answered, cx) {
            true => Ok(frame.pass(reader.at())),
            false => self.refuse_produce(frame, head.answered, cx),
        }
    }

    /// A request that is judged when its topics are at hand.
    fn whole(&mut self, frame: &Frame<'_>, answered: bool, cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        if frame.bytes.len() < frame.end.min(MAX_UNDECIDED) {
            return Ok(Step::NeedMore);
        }
        let mut reader = frame.reader();
        let allowed = match Topics::read(frame.api, frame.version, &mut reader) {
            Ok(topics) if frame.api.key == table::FETCH => match self.fetch(frame, topics, cx)? {
                Some(allowed) => allowed,
                None => {
                    let mut answer = Vec::new();
                    let (version, id) = (frame.version, frame.header.correlation_id);
                    let nothing = refusal::Element::default();
                    refusal::write_code(frame.api, version, id, &nothing, session::NOT_FOUND, &mut answer);
                    return self.answer(frame, answer, cx);
                }
            },
            Ok(topics) => self.ask(frame, &topics, answered, cx),
            Err(Fault::Bad) => return Err(Anomaly::KafkaRequest),
            Err(Fault::Short) => {
                cx.judge.oddity(Anomaly::KafkaRequest);
                false
            }
        };
        match (allowed, frame.api.key) {
            (true, _) => Ok(frame.pass(reader.at())),
            (false, table::PRODUCE) => self.refuse_produce(frame, answered, cx),
            (false, _) => self.refuse(frame, frame.api.code, cx),
        }
    }

    /// A fetch is judged with all topics of its session. `None`: the session is not known here.
    fn fetch(
        &mut self,
        frame: &Frame<'_>,
        topics: Topics<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Option<bool>, Anomaly> {
        let said = session::Fetch::read(frame.version, frame.reader()).map_err(|_| Anomaly::KafkaRequest)?;
        let before = match said {
            session::Fetch::GoesOn(id) => match self.sessions.take(id) {
                Some(names) => names,
                None => return Ok(None),
            },
            _ => Vec::new(),
        };
        let added = topics.len();
        let mut all = topics;
        for name in &before {
            all.push(request::Named::Name(name));
        }
        if !self.ask(frame, &all, true, cx) {
            // What is answered ends the session for the client, too.
            return Ok(Some(false));
        }
        if said == session::Fetch::Alone {
            return Ok(Some(true));
        }
        let names = if added == 0 { None } else { all.with_names(&self.ids, session::names) };
        match said {
            session::Fetch::GoesOn(id) if added == 0 => self.sessions.put(id, before),
            session::Fetch::GoesOn(id) => {
                if let Some(names) = names {
                    self.sessions.put(id, names);
                }
            }
            _ => self.outstanding.session(names),
        }
        Ok(Some(true))
    }

    /// The topics of a Metadata request are judged one by one, and those that are refused left out of it.
    fn metadata(&mut self, frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        let &Frame { api, version, header, bytes, body, end } = frame;
        if bytes.len() < end {
            return Ok(Step::NeedMore);
        }
        let Header { correlation_id, client_id } = header;
        let (api_key, api_version) = (api.key, version);
        let mut ask = |topics: &[&str]| {
            cx.judge.kafka_request(&KafkaRequest { api_key, api_version, correlation_id, client_id, topics })
        };
        let judged = metadata::judge(api, version, bytes, (body, end), &self.ids, &mut ask);
        let split = match judged.map_err(|_| Anomaly::KafkaRequest)? {
            metadata::Judged::Together => return self.whole(frame, true, cx),
            metadata::Judged::All(topic) => {
                self.outstanding.expect(api, version, correlation_id, &topic, cx.now, true);
                return Ok(frame.pass(end));
            }
            metadata::Judged::Some(split) => split,
            // A request without topics is another one, so policy is asked.
            metadata::Judged::None(split) if ask(&[]) => split,
            metadata::Judged::Brokers if ask(&[]) => {
                self.outstanding.expect(api, version, correlation_id, "", cx.now, true);
                self.outstanding.merge(metadata::Merge::brokers(), 0)?;
                return Ok(frame.pass(end));
            }
            metadata::Judged::None(_) | metadata::Judged::Brokers => return self.refuse(frame, api.code, cx),
        };
        self.outstanding.expect(api, version, correlation_id, &split.topic, cx.now, true);
        self.outstanding.merge(split.merge, end)?;
        cx.to_server.extend_from_slice(&split.frame);
        Ok(frame.swallow())
    }

    /// Asks policy, and remembers what is to be answered if it allows.
    fn ask(&mut self, frame: &Frame<'_>, topics: &Topics<'_>, answered: bool, cx: &mut Context<'_>) -> bool {
        let Header { correlation_id, client_id } = frame.header;
        let (api_key, api_version) = (frame.api.key, frame.version);
        let outstanding = &mut self.outstanding;
        topics.with_names(&self.ids, |topics| {
            let request = KafkaRequest { api_key, api_version, correlation_id, client_id, topics };
            let allowed = cx.judge.kafka_request(&request);
            if allowed && answered {
                let topic = topics.first().copied().unwrap_or_default();
                outstanding.expect(frame.api, api_version, correlation_id, topic, cx.now, true);
            }
            allowed
        })
    }

    /// Swallows a request and answers it with `code`.
    fn refuse(&mut self, frame: &Frame<'_>, code: i16, cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        let asked = refusal::capture(frame.api, frame.version, frame.reader());
        let mut answer = Vec::new();
        refusal::write_code(frame.api, frame.version, frame.header.correlation_id, &asked, code, &mut answer);
        self.answer(frame, answer, cx)
    }

    fn answer(&mut self, frame: &Frame<'_>, answer: Vec<u8>, cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        self.outstanding.say(answer, cx.to_client)?;
        Ok(frame.swallow())
    }

    /// Swallows a produce while it comes, then answers it, if it wants an answer.
    fn refuse_produce(
        &mut self,
        frame: &Frame<'_>,
        answered: bool,
        cx: &mut Context<'_>,
    ) -> Result<Step, Anomaly> {
        if !answered {
            return Ok(frame.swallow());
        }
        let left = frame.end - frame.body;
        let mut refused =
            produce::Refused::new(frame.version, frame.flexible(), left, frame.header.correlation_id);
        let (len, last) = refused.read_on(frame.bytes.get(frame.body..).unwrap_or_default());
        self.refused = Some(refused);
        self.swallow_on(frame.body + len, last, cx)
    }

    fn swallow_on(&mut self, len: usize, last: bool, cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        if last
            && let Some(refused) = self.refused.take()
            && let Some(api) = table::api(table::PRODUCE)
        {
            let mut answer = Vec::new();
            refusal::write(api, refused.version(), refused.correlation_id, &refused.asked, &mut answer);
            self.outstanding.say(answer, cx.to_client)?;
        }
        Ok(if len == 0 { Step::NeedMore } else { Step::Swallow { len: len as u64 } })
    }

    fn response(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<Step, Anomaly> {
        let Some(end) = frame_end(bytes, MIN_RESPONSE, i32::MAX as usize) else { return Ok(Step::NeedMore) };
        let end = end.map_err(|()| Anomaly::KafkaResponse)?;
        let asked = self.outstanding.first().ok_or(Anomaly::KafkaResponse)?;
        let (api, version) = (asked.api, asked.version);
        let learns = matches!(api.key, table::METADATA | table::CREATE_TOPICS | table::API_VERSIONS);
        let wanted = end.min(if learns { MAX_UNDECIDED } else { response::HEAD });
        if bytes.len() < wanted {
            return Ok(Step::NeedMore);
        }
        let bytes = bytes.get(..wanted).unwrap_or(bytes);
        if bytes.get(4..8) != Some(&asked.correlation_id.to_be_bytes()[..]) {
            return Err(Anomaly::KafkaResponse);
        }
        let mut step = Step::Pass { counted: 8, free: (end - 8) as u64 };
        // What only leaves topics out can do without, where the response is too large to be read whole.
        let merge = asked.merge.as_deref().filter(|(merge, _)| end <= wanted || !merge.is_empty());
        let error_code = if let Some((merge, _)) = merge {
            step = Step::Swallow { len: end as u64 };
            if end > wanted {
                merge.alone(api, version, asked.correlation_id, cx.to_client);
                0
            } else {
                let merged = metadata::merge(api, version, bytes, end, merge, &mut self.ids);
                let (frame, code) = merged.map_err(|_| Anomaly::KafkaResponse)?;
                if bytes.get(..end) == Some(&frame[..]) {
                    step = Step::Pass { counted: end, free: 0 };
                } else {
                    cx.to_client.extend_from_slice(&frame);
                }
                code
            }
        } else if learns && api.key != table::API_VERSIONS {
            step = Step::Pass { counted: wanted, free: (end - wanted) as u64 };
            response::learn(api, version, bytes, end, &mut self.ids)
        } else {
            response::error_code(api, version, bytes, end)
        };
        if api.key == table::API_VERSIONS {
            step = Step::Pass { counted: wanted, free: (end - wanted) as u64 };
            let other = response::restrict(version, bytes, end).map_err(|_| Anomaly::KafkaResponse)?;
            if let Some(other) = other {
                cx.to_client.extend_from_slice(&other);
                step = Step::Swallow { len: end as u64 };
            }
        }
        if api.key == table::FETCH
            && let Some(names) = self.outstanding.begun()
            && let Some(id) =
                response::body(api, version, bytes, end).ok().and_then(|at| session::begun(version, at))
        {
            self.sessions.put(id, names);
        }
        self.tell(error_code, cx);
        Ok(step)
    }

    /// Tells the log of the oldest outstanding request's response.
    fn tell(&mut self, error_code: i16, cx: &mut Context<'_>) {
        let Some(asked) = self.outstanding.answered() else { return };
        let Asked { api, version, correlation_id, topic, since, told, .. } = asked;
        if !told {
            return;
        }
        cx.judge.kafka_response(&KafkaResponse {
            api_key: api.key,
            api_version: version,
            correlation_id,
            topic: &topic,
            error_code,
            latency_ns: cx.now.saturating_sub(since),
        });
        self.outstanding.reuse(topic);
    }
}
