//! What is asked of a server: an HTTP method and path, a gRPC method, a DNS name, a Kafka topic, a TLS server name.

use super::Counts;
use flowlog::Record;
use flowlog::record::{Http, L7Type, Verdict};
use serde::{Deserialize, Serialize};

/// Longest name of an endpoint.
const MAX_NAME: usize = 120;

/// What protocol it is of.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// HTTP: method and path.
    Http,
    /// gRPC: service and method.
    Grpc,
    /// DNS: name.
    Dns,
    /// Kafka: what is done, and the topic.
    Kafka,
    /// TLS: server name.
    Tls,
    /// What there was no room for.
    Others,
}

/// An endpoint as the page gets it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EndpointView {
    /// What protocol it is of.
    pub kind: EndpointKind,
    /// `GET /api/v1/orders`, `example.com.`, `produce orders`, …
    pub name: String,
    /// Requests by verdict.
    pub requests: Counts,
    /// Answers that failed: status 5xx, a gRPC status, an error code.
    pub failed: u64,
    /// Answers.
    pub answers: u64,
    /// Mean time to the answer in milliseconds.
    pub latency_ms: f64,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Endpoint {
    requests: Counts,
    failed: u64,
    answers: u64,
    latency_ns: u128,
}

impl Endpoint {
    /// Counts a message.
    pub(super) fn add(&mut self, record: &Record) {
        let Some(l7) = record.l7.as_ref() else { return };
        if l7.kind != L7Type::Response {
            self.requests.add(record.verdict);
            return;
        }
        self.answers += 1;
        self.latency_ns += u128::from(l7.latency_ns);
        let grpc = record.extensions.as_ref().and_then(|extra| extra.grpc_status);
        let failed = l7.http.as_ref().is_some_and(|http| http.code >= 500)
            || grpc.is_some_and(|status| status != 0)
            || l7.dns.as_ref().is_some_and(|dns| dns.rcode != 0)
            || l7.kafka.as_ref().is_some_and(|kafka| kafka.error_code != 0);
        self.failed += u64::from(failed);
    }

    pub(super) fn view(&self, kind: EndpointKind, name: &str) -> EndpointView {
        let mean = if self.answers == 0 { 0.0 } else { self.latency_ns as f64 / self.answers as f64 / 1e6 };
        EndpointView {
            kind,
            name: name.to_owned(),
            requests: self.requests,
            failed: self.failed,
            answers: self.answers,
            latency_ms: (mean * 100.0).round() / 100.0,
        }
    }
}

/// The endpoint that a message is about.
pub(super) fn of(record: &Record) -> Option<(EndpointKind, String)> {
    let l7 = record.l7.as_ref()?;
    let tls = record.extensions.as_ref().and_then(|extra| extra.tls.as_ref());
    let (kind, name) = if let Some(http) = &l7.http {
        let path = general(path(&http.url));
        if is_grpc(record, http, &path) {
            (EndpointKind::Grpc, path.trim_start_matches('/').to_owned())
        } else {
            (EndpointKind::Http, format!("{} {path}", http.method))
        }
    } else if let Some(dns) = &l7.dns {
        (EndpointKind::Dns, format!("{} {}", dns.query.trim_end_matches('.'), dns.qtypes.join(",")))
    } else if let Some(kafka) = &l7.kafka {
        (EndpointKind::Kafka, format!("{} {}", kafka.api_key, kafka.topic))
    } else if let Some(tls) = tls.filter(|_| record.verdict != Verdict::Unknown) {
        (EndpointKind::Tls, tls.server_name.clone())
    } else {
        return None;
    };
    let name: String = name.trim_end().chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    Some((kind, name))
}

/// Requests say so in a header, answers in a trailer.
fn is_grpc(record: &Record, http: &Http, path: &str) -> bool {
    let header = |key: &str| http.headers.iter().find(|header| header.key.eq_ignore_ascii_case(key));
    header("content-type").is_some_and(|header| header.value.starts_with("application/grpc"))
        || record.extensions.as_ref().is_some_and(|extra| extra.grpc_status.is_some())
        || (http.protocol == "HTTP/2"
            && http.method == "POST"
            && path.matches('/').count() == 2
            && path.split('/').nth(1).is_some_and(|service| service.contains('.')))
}

/// The path of a URL, without the query.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    path.split(['?', '#']).next().unwrap_or(path)
}

/// Numbers and identifiers in a path stand for any.
fn general(path: &str) -> String {
    let part = |part: &str| -> String {
        let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
        let is_number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_identifier =
            part.len() >= 16 && part.chars().all(hex) && part.contains(|c: char| c.is_ascii_digit());
        if is_number || is_identifier { "{id}".to_owned() } else { part.to_owned() }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowlog::record::{Dns, Extensions, HttpHeader, Kafka, Layer7, Tls};

    fn http(method: &str, url: &str, protocol: &str) -> Record {
        let http =
            Http { method: method.into(), url: url.into(), protocol: protocol.into(), ..Http::default() };
        Record { l7: Some(Layer7 { http: Some(http), ..Layer7::default() }), ..Record::default() }
    }

    fn name(record: &Record) -> String {
        of(record).map_or_else(|| "none".into(), |(kind, name)| format!("{kind:?} {name}"))
    }

    #[test]
    fn messages_name_what_they_ask_for() {
        assert_eq!(name(&http("GET", "http://api:8080/v1/pay?id=7", "HTTP/1.1")), "Http GET /v1/pay");
        assert_eq!(name(&http("GET", "http://api", "HTTP/1.1")), "Http GET /");
        assert_eq!(
            name(&http("GET", "http://api/users/17/orders/4", "HTTP/1.1")),
            "Http GET /users/{id}/orders/{id}"
        );
        let uuid = "http://api/o/67e55044-10b1-426f-9247-bb680e5fe0c8/x";
        assert_eq!(name(&http("PUT", uuid, "HTTP/2")), "Http PUT /o/{id}/x");
        assert_eq!(name(&http("GET", "http://api/v1/deadbeef", "HTTP/1.1")), "Http GET /v1/deadbeef");
        let grpc = "http://api/shop.Cart/Add";
        assert_eq!(name(&http("POST", grpc, "HTTP/2")), "Grpc shop.Cart/Add");
        let mut marked = http("POST", "http://api/Cart/Add", "HTTP/2");
        assert_eq!(name(&marked), "Http POST /Cart/Add");
        let header = HttpHeader { key: "content-type".into(), value: "application/grpc+proto".into() };
        if let Some(http) = marked.l7.as_mut().and_then(|l7| l7.http.as_mut()) {
            http.headers.push(header);
        }
        assert_eq!(name(&marked), "Grpc Cart/Add");
        let dns = Dns { query: "example.com.".into(), qtypes: vec!["AAAA".into()], ..Dns::default() };
        let l7 = Layer7 { dns: Some(dns), ..Layer7::default() };
        assert_eq!(name(&Record { l7: Some(l7), ..Record::default() }), "Dns example.com AAAA");
        let kafka = Kafka { api_key: "produce".into(), topic: "orders".into(), ..Kafka::default() };
        let l7 = Layer7 { kafka: Some(kafka), ..Layer7::default() };
        assert_eq!(name(&Record { l7: Some(l7), ..Record::default() }), "Kafka produce orders");
        let tls = Tls { server_name: "example.com".into(), ..Tls::default() };
        let extensions = Some(Extensions { tls: Some(tls), ..Extensions::default() });
        let hello = Record {
            l7: Some(Layer7::default()),
            extensions,
            verdict: Verdict::Forwarded,
            ..Record::default()
        };
        assert_eq!(name(&hello), "Tls example.com");
        assert_eq!(name(&Record::default()), "none");
    }

    #[test]
    fn names_are_cut_and_cleaned() {
        let long = format!("http://api/{}\u{1b}[0m", "ä".repeat(500));
        let (_, name) = of(&http("GET", &long, "HTTP/1.1")).expect("an endpoint");
        assert_eq!(name.chars().count(), MAX_NAME);
        assert!(!name.contains('\u{1b}'));
    }
}
