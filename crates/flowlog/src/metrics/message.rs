//! Counters of messages. What labels say comes from the network, so every label is held to a known set or to a fixed
//! number of values; the rest is counted as `other`.

use super::{head, label_text, line};
use crate::detail::{Message, Question};
use crate::event::{EventKind, FlowEvent, MessageVerdict};
use crate::record::{TrafficDirection, seen_from};
use crate::summary::message::{known_dns_rcode, known_dns_type, known_kafka_api};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a label says where the value is not one that is counted by itself.
const OTHER: &str = "other";

/// Kafka topics that are counted by name: the first so many that are seen.
const MAX_TOPICS: usize = 128;

/// Methods that are counted by name: those of RFC 9110 §9.3 and RFC 5789.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Upper bounds in seconds, Prometheus' usual ones, as text and as nanoseconds.
const BUCKETS: [(&str, u64); 11] = [
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("10", 10_000_000_000),
];

/// How often a latency fell into each bucket.
#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum_ns: u128,
}

impl Histogram {
    fn add(&mut self, ns: u64) {
        for (count, (_, bound)) in self.counts.iter_mut().zip(BUCKETS) {
            *count += u64::from(ns <= bound);
        }
        self.count += 1;
        self.sum_ns += u128::from(ns);
    }

    fn write(&self, out: &mut String, name: &str, labels: &[(&str, &str)]) {
        let bucket = format!("{name}_bucket");
        for (count, (bound, _)) in self.counts.iter().zip(BUCKETS) {
            line(out, &bucket, &[labels, &[("le", bound)]].concat(), *count);
        }
        line(out, &bucket, &[labels, &[("le", "+Inf")]].concat(), self.count);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name}_sum{{{}}} {}", label_text(labels), self.sum_ns as f64 / 1e9);
        line(out, &format!("{name}_count"), labels, self.count);
    }
}

/// Counters of messages.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageMetrics {
    /// Method, protocol, reporter.
    http_requests: BTreeMap<[String; 3], u64>,
    /// Method, reporter, status.
    http_responses: BTreeMap<[String; 3], u64>,
    /// Method, reporter.
    http_latency: BTreeMap<[String; 2], Histogram>,
    /// Addresses returned, record type, response code.
    dns_queries: BTreeMap<[String; 3], u64>,
    dns_responses: BTreeMap<[String; 3], u64>,
    /// Record type asked for, record type of the answer.
    dns_types: BTreeMap<[String; 2], u64>,
    /// API, error code, reporter, topic.
    kafka_requests: BTreeMap<[String; 4], u64>,
    /// API, reporter, topic.
    kafka_latency: BTreeMap<[String; 3], Histogram>,
    topics: Vec<String>,
}

/// Protocol of a message as Hubble's labels name it.
pub(super) fn protocol(message: Option<&Message>) -> &'static str {
    match message {
        Some(Message::HttpRequest { .. } | Message::HttpResponse { .. }) => "HTTP",
        Some(Message::DnsQuery(_) | Message::DnsAnswer { .. }) => "DNS",
        Some(Message::KafkaRequest { .. } | Message::KafkaResponse { .. }) => "Kafka",
        Some(Message::TlsHello { .. }) => "TLS",
        Some(Message::Anomaly(_)) | None => "Unknown L7",
    }
}

/// The same for the `match` of a policy verdict; `None` for what policy was not asked about.
pub(super) fn policy_match(message: Option<&Message>) -> Option<&'static str> {
    match message? {
        Message::HttpRequest { .. } => Some("l7/http"),
        Message::DnsQuery(_) => Some("l7/dns"),
        Message::KafkaRequest { .. } => Some("l7/kafka"),
        Message::TlsHello { .. } => Some("l7/tls"),
        _ => None,
    }
}

impl MessageMetrics {
    pub(super) fn count(&mut self, event: &FlowEvent, message: &Message) {
        let EventKind::Message { verdict, direction, .. } = event.kind else { return };
        let reporter = match direction.map_or_else(|| seen_from(event), TrafficDirection::from) {
            TrafficDirection::Ingress => "server",
            TrafficDirection::Egress => "client",
            TrafficDirection::Unknown => "unknown",
        };
        match message {
            Message::HttpRequest { version, method, .. } => {
                bump(&mut self.http_requests, [known_method(method), version.name(), reporter]);
            }
            Message::HttpResponse { status, latency_ns, method, .. } => {
                let method = known_method(method);
                let status = status.to_string();
                let status = if status.len() == 3 { status.as_str() } else { OTHER };
                bump(&mut self.http_responses, [method, reporter, status]);
                let latency = self.http_latency.entry([method, reporter].map(str::to_owned)).or_default();
                latency.add(*latency_ns);
            }
            Message::DnsQuery(question) => {
                let refused = matches!(verdict, MessageVerdict::Dropped(_));
                let rcode = if refused { "Policy denied" } else { "" };
                bump(&mut self.dns_queries, ["0", known_type(question), rcode]);
            }
            Message::DnsAnswer { question, rcode, addresses, cnames, .. } => {
                let asked = known_type(question);
                let rcode = known_dns_rcode(u32::from(*rcode)).unwrap_or(OTHER);
                bump(&mut self.dns_responses, [&addresses.len().to_string(), asked, rcode]);
                let present = [
                    ("A", addresses.iter().any(std::net::IpAddr::is_ipv4)),
                    ("AAAA", addresses.iter().any(std::net::IpAddr::is_ipv6)),
                    ("CNAME", !cnames.is_empty()),
                ];
                for (kind, _) in present.iter().filter(|kind| kind.1) {
                    bump(&mut self.dns_types, [asked, kind]);
                }
            }
            Message::KafkaRequest { api_key, topics, .. } => {
                let topic = self.known_topic(topics.first().map_or("", String::as_str));
                let api = known_kafka_api(*api_key).unwrap_or(OTHER);
                let refused = matches!(verdict, MessageVerdict::Dropped(_));
                // TOPIC_AUTHORIZATION_FAILED is what a refused request is answered with.
                let error = if refused { "29" } else { "0" };
                bump(&mut self.kafka_requests, [api, error, reporter, &topic]);
            }
            Message::KafkaResponse { api_key, topic, latency_ns, .. } => {
                let topic = self.known_topic(topic);
                let api = known_kafka_api(*api_key).unwrap_or(OTHER);
                let latency =
                    self.kafka_latency.entry([api, reporter, &topic].map(str::to_owned)).or_default();
                latency.add(*latency_ns);
            }
            Message::TlsHello { .. } | Message::Anomaly(_) => {}
        }
    }

    fn known_topic(&mut self, topic: &str) -> String {
        if self.topics.iter().any(|known| known == topic) {
            return topic.to_owned();
        }
        if self.topics.len() < MAX_TOPICS {
            self.topics.push(topic.to_owned());
            return topic.to_owned();
        }
        OTHER.to_owned()
    }

    pub(super) fn write(&self, out: &mut String) {
        family(
            out,
            ("hubble_http_requests_total", "HTTP requests."),
            ["method", "protocol", "reporter"],
            &self.http_requests,
        );
        family(
            out,
            ("hubble_http_responses_total", "HTTP responses."),
            ["method", "reporter", "status"],
            &self.http_responses,
        );
        histograms(
            out,
            ("hubble_http_request_duration_seconds", "From HTTP request to response."),
            ["method", "reporter"],
            &self.http_latency,
        );
        let answer = ["ips_returned", "qtypes", "rcode"];
        family(out, ("hubble_dns_queries_total", "DNS questions."), answer, &self.dns_queries);
        family(out, ("hubble_dns_responses_total", "DNS answers."), answer, &self.dns_responses);
        family(
            out,
            ("hubble_dns_response_types_total", "Record types in DNS answers."),
            ["qtypes", "type"],
            &self.dns_types,
        );
        family(
            out,
            ("hubble_kafka_requests_total", "Kafka requests."),
            ["api_key", "error_code", "reporter", "topic"],
            &self.kafka_requests,
        );
        histograms(
            out,
            ("hubble_kafka_request_duration_seconds", "From Kafka request to response."),
            ["api_key", "reporter", "topic"],
            &self.kafka_latency,
        );
    }
}

fn known_method(method: &str) -> &'static str {
    METHODS.iter().copied().find(|known| *known == method).unwrap_or(OTHER)
}

fn known_type(question: &Question) -> &'static str {
    known_dns_type(question.qtype).unwrap_or(OTHER)
}

fn bump<const N: usize>(counters: &mut BTreeMap<[String; N], u64>, labels: [&str; N]) {
    *counters.entry(labels.map(str::to_owned)).or_default() += 1;
}

fn named<'a, const N: usize>(names: [&'a str; N], values: &'a [String; N]) -> Vec<(&'a str, &'a str)> {
    names.into_iter().zip(values.iter().map(String::as_str)).collect()
}

fn family<const N: usize>(
    out: &mut String,
    (name, help): (&str, &str),
    labels: [&str; N],
    counters: &BTreeMap<[String; N], u64>,
) {
    head(out, name, "counter", help);
    for (values, n) in counters {
        line(out, name, &named(labels, values), *n);
    }
}

fn histograms<const N: usize>(
    out: &mut String,
    (name, help): (&str, &str),
    labels: [&str; N],
    counters: &BTreeMap<[String; N], Histogram>,
) {
    head(out, name, "histogram", help);
    for (values, histogram) in counters {
        histogram.write(out, name, &named(labels, values));
    }
}
