//! Words for messages: Hubble's summaries, and the names of what is a number on the wire.

use crate::detail::Message;
use crate::record::{Dns, Http, Kafka, L7Type, Layer7};
use std::borrow::Cow;

pub(crate) use ::l7::kafka::api_name as known_kafka_api;

/// The one-line text of a message.
pub(crate) fn of_message(l7: &Layer7, message: Option<&Message<'_>>) -> String {
    let response = l7.kind == L7Type::Response;
    match (l7, message) {
        (Layer7 { http: Some(http), .. }, _) => of_http(http, response, l7.latency_ns),
        (Layer7 { dns: Some(dns), .. }, _) => of_dns(dns, response),
        (Layer7 { kafka: Some(kafka), .. }, _) => of_kafka(kafka, response),
        (_, Some(Message::TlsHello { server_name, encrypted })) => {
            let name = server_name.as_deref().unwrap_or("without a server name");
            let encrypted = if *encrypted { ", encrypted hello" } else { "" };
            format!("TLS ClientHello {name}{encrypted}")
        }
        (_, Some(Message::Anomaly(anomaly))) => format!("Anomaly {}", anomaly.name()),
        _ => String::new(),
    }
}

fn of_http(http: &Http, response: bool, latency_ns: u64) -> String {
    let Http { code, method, url, protocol, .. } = http;
    if response {
        format!("{protocol} {code} {}ms ({method} {url})", latency_ns / 1_000_000)
    } else if *code != 0 {
        // A refusal, which is answered at once.
        format!("{protocol} {code} {method} {url}")
    } else {
        format!("{protocol} {method} {url}")
    }
}

fn of_dns(dns: &Dns, response: bool) -> String {
    let types = dns.qtypes.join(",");
    if !response {
        return format!("DNS Query {} {types}", dns.query);
    }
    let answer = if dns.rcode == 0 {
        let mut parts = Vec::new();
        if !dns.ips.is_empty() {
            parts.push(format!("\"{}\"", dns.ips.join(",")));
        }
        if !dns.cnames.is_empty() {
            parts.push(format!("CNAMEs: \"{}\"", dns.cnames.join(",")));
        }
        parts.join(" ")
    } else {
        format!("RCode: {}", dns_rcode(dns.rcode))
    };
    format!("DNS Answer {answer} TTL: {} (Proxy {} {types})", dns.ttl, dns.query)
}

fn of_kafka(kafka: &Kafka, response: bool) -> String {
    let Kafka { error_code, api_key, correlation_id, topic, .. } = kafka;
    let (way, code) = if response {
        ("response", format!(" return code {error_code}"))
    } else {
        ("request", String::new())
    };
    let topic = if topic.is_empty() { String::new() } else { format!(" topic '{topic}'") };
    format!("Kafka {way} {api_key} correlation id {correlation_id}{topic}{code}")
}

/// What a rule would have to allow; `None` for what no rule is about.
pub(crate) fn wanted(message: &Message<'_>) -> Option<String> {
    Some(match message {
        Message::HttpRequest { method, host, path, .. } => format!("{method} {path} of {host}"),
        Message::DnsQuery(question) => format!("DNS query {}", question.name),
        Message::KafkaRequest { api_key, topics, .. } if topics.is_empty() => {
            format!("Kafka {}", kafka_api(*api_key))
        }
        Message::KafkaRequest { api_key, topics, .. } => {
            format!("Kafka {} of {}", kafka_api(*api_key), topics.join(", "))
        }
        Message::TlsHello { server_name: Some(name), .. } => format!("TLS to {name}"),
        Message::TlsHello { server_name: None, .. } => "TLS without a server name".to_owned(),
        _ => return None,
    })
}

/// A record type (RFC 1035 §3.2.2 and later; RFC 3597 §5 for those without a name).
pub(crate) fn dns_type(number: u16) -> Cow<'static, str> {
    known_dns_type(number).map_or_else(|| format!("TYPE{number}").into(), Cow::Borrowed)
}

pub(crate) fn known_dns_type(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        50 => "NSEC3",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        _ => return None,
    })
}

/// A response code as Hubble writes it.
pub(crate) fn dns_rcode(number: u32) -> Cow<'static, str> {
    known_dns_rcode(number).map_or_else(|| format!("Unknown {number}").into(), Cow::Borrowed)
}

pub(crate) fn known_dns_rcode(number: u32) -> Option<&'static str> {
    Some(match number {
        0 => "No Error",
        1 => "Format Error",
        2 => "Server Failure",
        3 => "Non-Existent Domain",
        4 => "Not Implemented",
        5 => "Query Refused",
        6 => "Name Exists when it should not",
        7 => "RR Set Exists when it should not",
        8 => "RR Set that should exist does not",
        9 => "Server Not Authoritative for zone",
        10 => "Name not contained in zone",
        _ => return None,
    })
}

pub(crate) fn kafka_api(key: i16) -> Cow<'static, str> {
    known_kafka_api(key).map_or_else(|| key.to_string().into(), Cow::Borrowed)
}

/// Whether an API has this name.
pub(crate) fn is_kafka_api(name: &str) -> bool {
    ::l7::kafka::API_NAMES.contains(&name)
}
