//! Hubble's metrics about messages: dns, http, httpV2, kafka.
//!
//! What labels say comes from the network, so every label is held to a known set or to a fixed number of values; the
//! rest is counted as `other`.

use super::config::PluginConfig;
use super::contexts::Contexts;
use super::exposition::{Exemplar, Page};
use super::family::{Count, Family, Latency, Texts, Value};
use super::{OTHER, Seen};
use crate::detail::{Message, Question};
use crate::event::{EventKind, MessageVerdict};
use crate::record::{Resolver, TrafficDirection};
use crate::summary::message::{known_dns_rcode, known_dns_type, known_kafka_api};
use foldhash::fast::RandomState;
use packet::FlowKey;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Kafka topics that are counted by name: the first so many that are seen.
const MAX_TOPICS: usize = 128;

/// DNS names that are counted by name, where that is asked for: the first so many.
const MAX_QUERIES: usize = 1024;

/// Addresses in an answer that are counted exactly.
const MAX_ADDRESSES: usize = 16;

/// Requests under way whose trace is remembered.
const MAX_TRACES: usize = 4096;

/// Methods that are counted by name: those of RFC 9110 §9.3 and RFC 5789.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// What the client of a refused HTTP request is answered.
const FORBIDDEN: u16 = 403;

/// What the client of a refused gRPC call is answered, with the refusal in `grpc-status`.
const OK: u16 = 200;

/// `TOPIC_AUTHORIZATION_FAILED`, which a refused Kafka request is answered with.
const TOPIC_REFUSED: u32 = 29;

/// Counts of one plugin.
#[derive(Clone, Debug)]
pub(super) enum Messages {
    Dns(Dns),
    Http(Http),
    HttpV2(HttpV2),
    Kafka(Kafka),
}

/// DNS.
#[derive(Clone, Debug)]
pub(super) struct Dns {
    queries: Family<Count>,
    responses: Family<Count>,
    types: Family<Count>,
    names: Option<Texts>,
    ignore_aaaa: bool,
}

/// HTTP, requests and responses by themselves.
#[derive(Clone, Debug)]
pub(super) struct Http {
    requests: Family<Count>,
    responses: Family<Count>,
    latency: Family<Latency>,
}

/// HTTP, requests with what they were answered.
#[derive(Clone, Debug)]
pub(super) struct HttpV2 {
    requests: Family<Count>,
    latency: Family<Latency>,
    /// Traces of requests under way, by flow of the request, method and path.
    traces: Option<HashMap<(FlowKey, u64), Arc<str>, RandomState>>,
}

/// Kafka.
#[derive(Clone, Debug)]
pub(super) struct Kafka {
    requests: Family<Count>,
    latency: Family<Latency>,
    topics: Texts,
}

/// Protocol of a message as Hubble's labels name it.
pub(super) fn protocol(message: Option<&Message<'_>>) -> &'static str {
    match message {
        Some(Message::HttpRequest { .. } | Message::HttpResponse { .. }) => "HTTP",
        Some(Message::DnsQuery(_) | Message::DnsAnswer { .. }) => "DNS",
        Some(Message::KafkaRequest { .. } | Message::KafkaResponse { .. }) => "Kafka",
        Some(Message::TlsHello { .. }) => "TLS",
        Some(Message::Anomaly(_)) | None => super::UNKNOWN_L7,
    }
}

/// The same for the `match` of a policy verdict; `None` for what policy was not asked about.
pub(super) fn policy_match(message: Option<&Message<'_>>) -> Option<&'static str> {
    match message? {
        Message::HttpRequest { .. } => Some("l7/http"),
        Message::DnsQuery(_) => Some("l7/dns"),
        Message::KafkaRequest { .. } => Some("l7/kafka"),
        Message::TlsHello { .. } => Some("l7/tls"),
        _ => None,
    }
}

impl Messages {
    /// `None` for what is no plugin about messages.
    pub(super) fn new(config: &PluginConfig, most: usize) -> Option<Self> {
        let count = |name, help, labels: &[&'static str]| {
            Family::<Count>::new(name, help, labels.iter().copied(), most)
        };
        let latency = |name, help, labels: &[&'static str]| {
            Family::<Latency>::new(name, help, labels.iter().copied(), most)
        };
        let http_latency = || {
            latency(
                "hubble_http_request_duration_seconds",
                "From HTTP request to response.",
                &["method", "reporter"],
            )
        };
        Some(match config.name {
            "dns" => {
                let query = config.has("query").then_some("query");
                let labels: Vec<_> = ["rcode", "qtypes", "ips_returned"].into_iter().chain(query).collect();
                Self::Dns(Dns {
                    queries: count("hubble_dns_queries_total", "DNS questions.", &labels),
                    responses: count("hubble_dns_responses_total", "DNS answers.", &labels),
                    types: count(
                        "hubble_dns_response_types_total",
                        "Record types in DNS answers.",
                        &["type", "qtypes"],
                    ),
                    names: query.map(|_| Texts::new(MAX_QUERIES)),
                    ignore_aaaa: config.has("ignoreAAAA"),
                })
            }
            "http" => Self::Http(Http {
                requests: count(
                    "hubble_http_requests_total",
                    "HTTP requests.",
                    &["method", "protocol", "reporter"],
                ),
                responses: count(
                    "hubble_http_responses_total",
                    "HTTP responses.",
                    &["method", "status", "reporter"],
                ),
                latency: http_latency(),
            }),
            "httpV2" => Self::HttpV2(HttpV2 {
                requests: count(
                    "hubble_http_requests_total",
                    "HTTP requests, by what they were answered.",
                    &["method", "protocol", "status", "reporter"],
                ),
                latency: http_latency(),
                traces: config.has("exemplars").then(HashMap::default),
            }),
            "kafka" => Self::Kafka(Kafka {
                requests: count(
                    "hubble_kafka_requests_total",
                    "Kafka requests.",
                    &["topic", "api_key", "error_code", "reporter"],
                ),
                latency: latency(
                    "hubble_kafka_request_duration_seconds",
                    "From Kafka request to response.",
                    &["topic", "api_key", "reporter"],
                ),
                topics: Texts::new(MAX_TOPICS),
            }),
            _ => return None,
        })
    }

    pub(super) fn count(&mut self, contexts: &mut Contexts, seen: &Seen<'_>, names: &dyn Resolver) {
        let (Some(message), EventKind::Message { verdict, .. }) = (seen.message, seen.event.kind) else {
            return;
        };
        let refused = matches!(verdict, MessageVerdict::Dropped(_));
        match self {
            Self::Dns(dns) => dns.count(contexts, seen, (message, refused), names),
            Self::Http(http) => http.count(contexts, seen, message, names),
            Self::HttpV2(http) => http.count(contexts, seen, (message, refused), names),
            Self::Kafka(kafka) => kafka.count(contexts, seen, (message, refused), names),
        }
    }

    pub(super) fn forget(&mut self, dead: &HashSet<u32>) {
        match self {
            Self::Dns(Dns { queries, responses, types, .. }) => {
                [queries, responses, types].into_iter().for_each(|family| family.forget(dead));
            }
            Self::Http(Http { requests, responses, latency }) => {
                [requests, responses].into_iter().for_each(|family| family.forget(dead));
                latency.forget(dead);
            }
            Self::HttpV2(HttpV2 { requests, latency, .. }) | Self::Kafka(Kafka { requests, latency, .. }) => {
                requests.forget(dead);
                latency.forget(dead);
            }
        }
    }

    pub(super) fn fill(&self) -> Vec<(&'static str, usize, u64)> {
        match self {
            Self::Dns(Dns { queries, responses, types, .. }) => {
                vec![queries.fill(), responses.fill(), types.fill()]
            }
            Self::Http(Http { requests, responses, latency }) => {
                vec![requests.fill(), responses.fill(), latency.fill()]
            }
            Self::HttpV2(HttpV2 { requests, latency, .. }) | Self::Kafka(Kafka { requests, latency, .. }) => {
                vec![requests.fill(), latency.fill()]
            }
        }
    }

    pub(super) fn write(&self, page: &mut Page, contexts: &Contexts) {
        match self {
            Self::Dns(Dns { queries, responses, types, .. }) => {
                [queries, responses, types].into_iter().for_each(|family| family.write(page, contexts));
            }
            Self::Http(Http { requests, responses, latency }) => {
                [requests, responses].into_iter().for_each(|family| family.write(page, contexts));
                latency.write(page, contexts);
            }
            Self::HttpV2(HttpV2 { requests, latency, .. }) | Self::Kafka(Kafka { requests, latency, .. }) => {
                requests.write(page, contexts);
                latency.write(page, contexts);
            }
        }
    }
}

impl Dns {
    fn count(
        &mut self,
        contexts: &mut Contexts,
        seen: &Seen<'_>,
        (message, refused): (&Message<'_>, bool),
        names: &dyn Resolver,
    ) {
        let (question, rcode, addresses) = match message {
            Message::DnsQuery(question) => (question, if refused { "Policy denied" } else { "" }, 0),
            Message::DnsAnswer { question, rcode, addresses, .. } => {
                (question, known_dns_rcode(u32::from(*rcode)).unwrap_or(OTHER), addresses.len())
            }
            _ => return,
        };
        let asked = known_type(question);
        if self.ignore_aaaa && asked == "AAAA" {
            return;
        }
        let context = contexts.of(seen, false, names);
        let returned = match u32::try_from(addresses) {
            Ok(n) if addresses <= MAX_ADDRESSES => Value::Number(n),
            _ => Value::Word(OTHER),
        };
        let query = match &mut self.names {
            Some(known) => known.value(&question.name),
            None => Value::Empty,
        };
        let values = [rcode.into(), asked.into(), returned, query];
        let Message::DnsAnswer { addresses, cnames, .. } = message else {
            return self.queries.add(context, values);
        };
        self.responses.add(context, values);
        let present = [
            ("A", addresses.iter().any(std::net::IpAddr::is_ipv4)),
            ("AAAA", addresses.iter().any(std::net::IpAddr::is_ipv6)),
            ("CNAME", !cnames.is_empty()),
        ];
        for (kind, _) in present.iter().filter(|kind| kind.1) {
            self.types.add(context, [*kind, asked].map(Value::from));
        }
    }
}

impl Http {
    fn count(
        &mut self,
        contexts: &mut Contexts,
        seen: &Seen<'_>,
        message: &Message<'_>,
        names: &dyn Resolver,
    ) {
        let reporter = reporter(seen);
        match message {
            Message::HttpRequest { version, method, .. } => {
                let context = contexts.of(seen, false, names);
                self.requests.add(context, [known_method(method), version.name(), reporter].map(Value::from));
            }
            Message::HttpResponse { status: code, latency_ns, method, .. } => {
                let context = contexts.of(seen, false, names);
                let method = known_method(method);
                self.responses.add(context, [method.into(), status(*code), reporter.into()]);
                self.latency.observe(context, [method, reporter].map(Value::from), *latency_ns, None);
            }
            _ => {}
        }
    }
}

impl HttpV2 {
    /// A request counts when it is answered, and then as the client's, whose direction is that of the response turned
    /// round. One that is refused is answered at once.
    fn count(
        &mut self,
        contexts: &mut Contexts,
        seen: &Seen<'_>,
        (message, refused): (&Message<'_>, bool),
        names: &dyn Resolver,
    ) {
        let reporter = reporter(seen);
        match message {
            Message::HttpRequest { version, method, headers, .. } if refused => {
                let context = contexts.of(seen, false, names);
                let grpc = headers
                    .iter()
                    .any(|(name, value)| *name == "content-type" && value.starts_with("application/grpc"));
                let status = status(if grpc { OK } else { FORBIDDEN });
                let method = known_method(method);
                self.requests.add(context, [method.into(), version.name().into(), status, reporter.into()]);
            }
            Message::HttpRequest { method, path, headers, .. } => {
                let Some(traces) = &mut self.traces else { return };
                let Some(id) = headers.iter().find(|(name, _)| *name == "traceparent").and_then(trace_id)
                else {
                    return;
                };
                if traces.len() >= MAX_TRACES {
                    // Of requests that were never answered there may be any number.
                    traces.clear();
                }
                traces.insert((seen.event.key, digest(method, path)), id.into());
            }
            Message::HttpResponse { version, status: code, latency_ns, method, path, .. } => {
                let traced = self.traces.as_mut().filter(|traces| !traces.is_empty());
                let key = seen.event.key;
                let asked = if seen.event.is_reply { key.reversed() } else { key };
                let exemplar =
                    traced.and_then(|traces| traces.remove(&(asked, digest(method, path)))).map(|trace_id| {
                        Exemplar {
                            trace_id,
                            value: *latency_ns as f64 / 1e9,
                            at: (names.wall_clock_offset_ns() + i128::from(seen.event.at.as_nanos())) as f64
                                / 1e9,
                        }
                    });
                let context = contexts.of(seen, seen.event.is_reply, names);
                let method = known_method(method);
                self.requests.add_traced(
                    context,
                    [method.into(), version.name().into(), status(*code), reporter.into()],
                    exemplar.as_ref(),
                );
                let values = [method, reporter].map(Value::from);
                self.latency.observe(context, values, *latency_ns, exemplar.as_ref());
            }
            _ => {}
        }
    }
}

impl Kafka {
    fn count(
        &mut self,
        contexts: &mut Contexts,
        seen: &Seen<'_>,
        (message, refused): (&Message<'_>, bool),
        names: &dyn Resolver,
    ) {
        let reporter: Value = reporter(seen).into();
        match message {
            Message::KafkaRequest { api_key, topics, .. } => {
                let context = contexts.of(seen, false, names);
                let topic = self.topics.value(topics.first().map_or("", |topic| topic));
                let error = Value::Number(if refused { TOPIC_REFUSED } else { 0 });
                self.requests.add(context, [topic, api(*api_key), error, reporter]);
            }
            Message::KafkaResponse { api_key, topic, latency_ns, .. } => {
                let context = contexts.of(seen, false, names);
                let topic = self.topics.value(topic);
                self.latency.observe(context, [topic, api(*api_key), reporter], *latency_ns, None);
            }
            _ => {}
        }
    }
}

/// Whose side saw it.
fn reporter(seen: &Seen<'_>) -> &'static str {
    match seen.direction {
        TrafficDirection::Ingress => "server",
        TrafficDirection::Egress => "client",
        TrafficDirection::Unknown => "unknown",
    }
}

fn api(key: i16) -> Value {
    known_kafka_api(key).unwrap_or(OTHER).into()
}

fn status(code: u16) -> Value {
    if (100..=999).contains(&code) { Value::Number(u32::from(code)) } else { Value::Word(OTHER) }
}

fn known_method(method: &str) -> &'static str {
    METHODS.iter().copied().find(|known| *known == method).unwrap_or(OTHER)
}

fn known_type(question: &Question<'_>) -> &'static str {
    known_dns_type(question.qtype).unwrap_or(OTHER)
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2.2).
fn trace_id<'a>((_, value): &'a (&str, Cow<'_, str>)) -> Option<&'a str> {
    let id = value.split('-').nth(1)?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (id.len() == 32 && id.bytes().all(hex) && id.bytes().any(|b| b != b'0')).then_some(id)
}

/// Tells requests of one connection apart; two that are equal in this share their trace, which does no harm.
fn digest(method: &str, path: &str) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    (method, path).hash(&mut hasher);
    hasher.finish()
}
