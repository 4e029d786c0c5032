//! The L7 part of a record: Hubble's `l7`, and what it has no field for under `extensions`.

use super::json::{is_default, u64_string};
use super::names::named_enum;
use super::{
    DefaultDeny, EventType, Extensions, FlowType, Record, Resolver, Rule, TraceContext, TraceParent, Verdict,
    message_type, policies, seen_from,
};
use crate::detail::{Message, Question};
use crate::drop_reason::DropReason;
use crate::event::{FlowEvent, MessageVerdict};
use crate::summary::{self, message as words};
use policy::{DenyReason, Direction, Provenance, RuleId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

named_enum!(/// Which way a message goes.
L7Type, default Unknown, {
    /// Not said.
    Unknown = "UNKNOWN_L7_TYPE",
    /// From client to server.
    Request = "REQUEST",
    /// From server to client.
    Response = "RESPONSE",
    /// One of many.
    Sample = "SAMPLE",
});

/// A message.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer7 {
    /// Which way it goes.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: L7Type,
    /// Nanoseconds from request to response.
    #[serde(with = "u64_string", skip_serializing_if = "is_default")]
    pub latency_ns: u64,
    /// DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
}

/// An HTTP request, or a response and what it answers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Status code; 0 for requests.
    #[serde(skip_serializing_if = "is_default")]
    pub code: u32,
    /// Method.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Scheme, authority, path and query.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// `HTTP/1.1`, `HTTP/2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Header fields, those of [`KEPT_HEADERS`](crate::detail::KEPT_HEADERS).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
}

/// A header field.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A DNS question, or an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name with the final dot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
    /// Names that CNAMEs lead to, with the final dot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cnames: Vec<String>,
    /// `proxy`, as Hubble says of what was read on its way.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub observation_source: String,
    /// Response code.
    #[serde(skip_serializing_if = "is_default")]
    pub rcode: u32,
    /// Record types asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub qtypes: Vec<String>,
    /// Record types of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rrtypes: Vec<String>,
}

/// A Kafka request, or a response.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kafka {
    /// Error code.
    #[serde(skip_serializing_if = "is_default")]
    pub error_code: i32,
    /// API version.
    #[serde(skip_serializing_if = "is_default")]
    pub api_version: i32,
    /// API by its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_key: String,
    /// Correlation id.
    #[serde(skip_serializing_if = "is_default")]
    pub correlation_id: i32,
    /// Topic; the first, if there are several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topic: String,
}

/// A TLS hello.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Server name; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Whether it carries an encrypted hello.
    #[serde(skip_serializing_if = "is_default")]
    pub encrypted_hello: bool,
}

/// `PERMISSION_DENIED` (gRPC's `status_codes`).
const GRPC_PERMISSION_DENIED: u32 = 7;

impl Record {
    /// A message and what became of it.
    pub(super) fn message(
        &mut self,
        event: &FlowEvent,
        message: Option<&Message<'_>>,
        (verdict, direction, rule): (MessageVerdict, Option<Direction>, RuleId),
        names: &dyn Resolver,
        extra: &mut Extensions,
    ) {
        let rules = &names.rules(rule);
        self.flow_type = FlowType::L7;
        self.event_type = Some(EventType { kind: message_type::L7, sub_type: 0 });
        self.traffic_direction = direction.map_or_else(|| seen_from(event), Into::into);
        self.is_reply = Some(event.is_reply);
        let mut l7 = layer7(message, event.is_reply);
        if let (MessageVerdict::Dropped(_), Some(Message::HttpRequest { headers, .. })) = (verdict, message) {
            let grpc = |(name, value): &(&str, Cow<'_, str>)| {
                *name == "content-type" && value.starts_with("application/grpc")
            };
            // What the client was answered; Hubble leaves it out.
            match (&mut l7.http, headers.iter().any(grpc)) {
                (_, true) => extra.grpc_status = Some(GRPC_PERMISSION_DENIED),
                (Some(http), false) => http.code = 403,
                (None, false) => {}
            }
        }
        self.trace_context = message.and_then(trace_context);
        self.summary = words::of_message(&l7, message);
        self.l7 = Some(l7);
        extra.describe(message);
        self.verdict = verdict.into();
        match (verdict, direction) {
            (MessageVerdict::Dropped(reason), _) => {
                self.refused(message, (reason, direction), rules, extra);
            }
            (MessageVerdict::Audited, Some(direction)) => {
                extra.default_deny = Some(DefaultDeny::of_message(direction, rules));
            }
            _ => extra.rules = rules.iter().map(Rule::from).collect(),
        }
        if let (Some(Message::Anomaly(anomaly)), Verdict::Dropped | Verdict::Error) = (message, self.verdict)
        {
            self.because(DropReason::L7(*anomaly));
        }
    }

    fn because(&mut self, reason: DropReason) {
        let (name, number) = reason.hubble();
        name.clone_into(&mut self.drop_reason_desc);
        self.drop_reason = number;
    }

    /// A refusal by policy: unlike Hubble's it has a reason and names the policies.
    fn refused(
        &mut self,
        message: Option<&Message<'_>>,
        (reason, direction): (DenyReason, Option<Direction>),
        rules: &[Provenance],
        extra: &mut Extensions,
    ) {
        self.because(DropReason::Denied(reason));
        let by = policies(rules, extra.epoch);
        match direction {
            Some(Direction::Ingress) => self.ingress_denied_by = by,
            Some(Direction::Egress) => self.egress_denied_by = by,
            None => {}
        }
        match (reason, direction) {
            (DenyReason::NoRule, Some(direction)) => {
                extra.default_deny = Some(DefaultDeny::of_message(direction, rules));
                extra.hint =
                    message.and_then(words::wanted).map(|wanted| summary::no_rule(self, direction, &wanted));
            }
            _ => extra.rules = rules.iter().map(Rule::from).collect(),
        }
    }
}

impl Extensions {
    /// What Hubble has no field for.
    fn describe(&mut self, message: Option<&Message<'_>>) {
        match message {
            Some(Message::HttpResponse { grpc_status, .. }) => self.grpc_status = *grpc_status,
            Some(Message::KafkaRequest { client_id, topics, .. }) => {
                client_id.as_ref().clone_into(&mut self.kafka_client_id);
                if topics.len() > 1 {
                    self.kafka_topics = topics.iter().map(|topic| topic.clone().into_owned()).collect();
                }
            }
            Some(Message::TlsHello { server_name, encrypted }) => {
                let server_name = server_name.clone().unwrap_or_default().into_owned();
                self.tls = Some(Tls { server_name, encrypted_hello: *encrypted });
            }
            Some(Message::Anomaly(anomaly)) => anomaly.name().clone_into(&mut self.anomaly),
            _ => {}
        }
    }
}

fn layer7(message: Option<&Message<'_>>, is_reply: bool) -> Layer7 {
    let kind = if is_reply { L7Type::Response } else { L7Type::Request };
    let mut l7 = Layer7 { kind, ..Layer7::default() };
    match message {
        Some(Message::HttpRequest { version, method, host, path, headers }) => {
            l7.kind = L7Type::Request;
            let header = |(key, value): &(&str, Cow<'_, str>)| HttpHeader {
                key: (*key).to_owned(),
                value: value.clone().into_owned(),
            };
            l7.http = Some(Http {
                code: 0,
                method: method.clone().into_owned(),
                url: url(host, path),
                protocol: version.name().to_owned(),
                headers: headers.iter().map(header).collect(),
            });
        }
        Some(Message::HttpResponse { version, status, latency_ns, method, host, path, .. }) => {
            l7.kind = L7Type::Response;
            l7.latency_ns = *latency_ns;
            l7.http = Some(Http {
                code: u32::from(*status),
                method: method.clone().into_owned(),
                url: url(host, path),
                protocol: version.name().to_owned(),
                headers: Vec::new(),
            });
        }
        Some(Message::DnsQuery(question)) => {
            l7.kind = L7Type::Request;
            l7.dns = Some(dns(question));
        }
        Some(Message::DnsAnswer { question, rcode, addresses, cnames, ttl, latency_ns }) => {
            l7.kind = L7Type::Response;
            l7.latency_ns = *latency_ns;
            let present = [
                ("CNAME", !cnames.is_empty()),
                ("A", addresses.iter().any(std::net::IpAddr::is_ipv4)),
                ("AAAA", addresses.iter().any(std::net::IpAddr::is_ipv6)),
            ];
            l7.dns = Some(Dns {
                ips: addresses.iter().map(ToString::to_string).collect(),
                ttl: *ttl,
                cnames: cnames.iter().map(|name| rooted(name)).collect(),
                rcode: u32::from(*rcode),
                rrtypes: present.iter().filter(|t| t.1).map(|t| t.0.to_owned()).collect(),
                ..dns(question)
            });
        }
        Some(Message::KafkaRequest { api_key, api_version, correlation_id, topics, .. }) => {
            l7.kind = L7Type::Request;
            l7.kafka = Some(Kafka {
                error_code: 0,
                api_version: i32::from(*api_version),
                api_key: words::kafka_api(*api_key).into_owned(),
                correlation_id: *correlation_id,
                topic: topics.first().cloned().unwrap_or_default().into_owned(),
            });
        }
        Some(Message::KafkaResponse {
            api_key,
            api_version,
            correlation_id,
            topic,
            error_code,
            latency_ns,
        }) => {
            l7.kind = L7Type::Response;
            l7.latency_ns = *latency_ns;
            l7.kafka = Some(Kafka {
                error_code: i32::from(*error_code),
                api_version: i32::from(*api_version),
                api_key: words::kafka_api(*api_key).into_owned(),
                correlation_id: *correlation_id,
                topic: topic.clone().into_owned(),
            });
        }
        Some(Message::TlsHello { .. } | Message::Anomaly(_)) | None => {}
    }
    l7
}

fn dns(question: &Question<'_>) -> Dns {
    Dns {
        query: rooted(&question.name),
        observation_source: "proxy".to_owned(),
        qtypes: vec![words::dns_type(question.qtype).into_owned()],
        ..Dns::default()
    }
}

fn rooted(name: &str) -> String {
    format!("{name}.")
}

fn url(host: &str, path: &str) -> String {
    // A target that is no path (`*`) must not run into the authority.
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    format!("http://{host}{slash}{path}")
}

/// The trace that a request says it belongs to (W3C Trace Context §3.2: `version-trace-parent-flags`).
fn trace_context(message: &Message<'_>) -> Option<Box<TraceContext>> {
    let Message::HttpRequest { headers, .. } = message else { return None };
    let (_, value) = headers.iter().find(|(name, _)| *name == "traceparent")?;
    let trace_id = value.split('-').nth(1)?;
    let digits = trace_id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let valid = trace_id.len() == 32 && digits && trace_id.bytes().any(|b| b != b'0');
    let parent = valid.then(|| TraceParent { trace_id: trace_id.to_owned() })?;
    Some(Box::new(TraceContext { parent: Some(parent) }))
}
