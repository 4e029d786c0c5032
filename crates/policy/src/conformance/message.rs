//! First messages of flows, and what rule sets say to them.

use crate::l7::{HttpRequest, KafkaRequest, L7Decision, L7Kind, L7RuleSet};
use crate::verdict::DenyReason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use super::Flow;

/// An HTTP request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpFacts {
    /// Method.
    #[serde(default)]
    pub method: String,
    /// Path with query.
    #[serde(default)]
    pub path: String,
    /// Authority.
    #[serde(default)]
    pub host: String,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A DNS question.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DnsFacts {
    /// The name asked for.
    pub name: String,
}

/// A Kafka request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KafkaFacts {
    /// API key.
    pub api_key: i16,
    /// API version.
    #[serde(default)]
    pub api_version: i16,
    /// Client id.
    #[serde(default, rename = "clientID")]
    pub client_id: String,
    /// Topics.
    #[serde(default)]
    pub topics: Vec<String>,
}

/// A TLS hello.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TlsFacts {
    /// The server name; `None` for a hello without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// The answer to a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct MessageAnswer {
    /// As Cilium answers it.
    pub decision: L7Decision,
    /// Whether it passes there only after header fields were changed, which is not done here: the datapath denies it.
    pub needs_rewriting: bool,
}

impl Flow {
    /// Whether the flow has a message.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.http.is_some() || self.dns.is_some() || self.kafka.is_some() || self.tls.is_some()
    }

    /// The protocol of its message.
    #[must_use]
    pub fn message_kind(&self) -> Option<L7Kind> {
        if self.http.is_some() {
            Some(L7Kind::Http)
        } else if self.kafka.is_some() {
            Some(L7Kind::Kafka)
        } else if self.tls.is_some() {
            Some(L7Kind::Tls)
        } else {
            self.dns.is_some().then_some(L7Kind::Dns)
        }
    }
}

/// The answer for the flow's message; none if it has none, and no for one of another protocol.
pub(crate) fn decide(set: &L7RuleSet, flow: &Flow) -> Option<MessageAnswer> {
    let plain = |decision| MessageAnswer { decision, needs_rewriting: false };
    match (set.kind(), &flow.http, &flow.dns, &flow.kafka, &flow.tls) {
        (_, None, None, None, None) => None,
        (L7Kind::Tls, _, _, _, Some(hello)) => Some(plain(set.tls(hello.server_name.as_deref()))),
        (L7Kind::Dns, _, Some(dns), _, _) => Some(plain(set.dns(&dns.name))),
        (_, _, _, Some(kafka), _) => {
            let topics: Vec<&str> = kafka.topics.iter().map(String::as_str).collect();
            Some(plain(set.kafka(&KafkaRequest {
                api_key: kafka.api_key,
                api_version: kafka.api_version,
                client_id: &kafka.client_id,
                topics: &topics,
            })))
        }
        (_, Some(http), _, _, _) => {
            let headers: Vec<(&str, &str)> =
                http.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let request = HttpRequest {
                method: http.method.as_bytes(),
                path: http.path.as_bytes(),
                host: http.host.as_bytes(),
                headers: &headers,
            };
            Some(MessageAnswer {
                decision: set.http_rewritten(&request),
                needs_rewriting: set.http(&request).reason == Some(DenyReason::Unsupported),
            })
        }
        (_, None, Some(dns), None, _) => Some(plain(set.dns(&dns.name))),
        (_, None, None, None, Some(hello)) => Some(plain(set.tls(hello.server_name.as_deref()))),
    }
}

impl fmt::Display for Flow {
    /// `SOURCE -> DESTINATION PORT/PROTO` and the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}/{}", self.src, self.dst, self.port, self.proto)?;
        if let Some(http) = &self.http {
            write!(f, " {} {}{}", http.method, http.host, http.path)?;
        }
        if let Some(kafka) = &self.kafka {
            write!(f, " kafka {} {}", kafka.api_key, kafka.topics.join(","))?;
        }
        if let Some(dns) = &self.dns {
            write!(f, " dns {}", dns.name)?;
        }
        if let Some(hello) = &self.tls {
            write!(f, " tls {}", hello.server_name.as_deref().unwrap_or("(no name)"))?;
        }
        Ok(())
    }
}
