//! The compact form between worker and reader: an encoder and a decoder, both of which borrow.
//!
//! The decoder takes nothing for granted; bytes that are no message are no message.

use super::{Detail, KEPT_HEADERS, Message, Question};
use l7::Anomaly;
use l7::http::{Header, Version};
use serde::ser::{SerializeSeq as _, SerializeTuple as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::net::IpAddr;

/// Longest method; the registered ones have at most 16 letters.
const MAX_METHOD: usize = 32;
/// Longest host, server name and DNS name (RFC 1035 §2.3.4, escapes and port included).
const MAX_HOST: usize = 320;
/// Longest path and query. Longer ones are rare and their start tells what they are.
const MAX_PATH: usize = 2048;
/// Longest header value.
const MAX_VALUE: usize = 256;
/// Longest Kafka topic (249 by its rules) and client id.
const MAX_TOPIC: usize = 256;
/// Most addresses of an answer.
const MAX_ADDRESSES: usize = 32;
/// Most names in a CNAME chain, and most topics.
const MAX_NAMES: usize = 16;

/// Text and whether it was cut.
#[derive(Copy, Clone)]
struct Text<'a>(&'a [u8], usize);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(bytes, limit) = *self;
        let kept = bytes.get(..limit).unwrap_or(bytes);
        let mut tuple = s.serialize_tuple(2)?;
        tuple.serialize_element(&Bytes(kept))?;
        tuple.serialize_element(&(kept.len() < bytes.len()))?;
        tuple.end()
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(self.0)
    }
}

struct Names<'a>(&'a [&'a str]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().take(MAX_NAMES).map(|name| Text(name.as_bytes(), MAX_HOST)))
    }
}

struct Addresses<'a>(&'a [IpAddr]);

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().take(MAX_ADDRESSES))
    }
}

/// Pairs of index into [`KEPT_HEADERS`] and value.
struct Headers<'a>(&'a [Header<'a>]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut kept = [(0_u8, Text(&[], 0)); KEPT_HEADERS.len()];
        let mut count = 0;
        for header in self.0 {
            if let (Some(slot), Some(index)) = (kept.get_mut(count), kept_header(header.name)) {
                *slot = (index, Text(header.value, MAX_VALUE));
                count += 1;
            }
        }
        let mut list = s.serialize_seq(Some(count))?;
        kept.iter().take(count).try_for_each(|pair| list.serialize_element(pair))?;
        list.end()
    }
}

fn kept_header(name: &[u8]) -> Option<u8> {
    // Most fields of a request are none of these; their length says so.
    let same = |kept: &&str| kept.len() == name.len() && name.eq_ignore_ascii_case(kept.as_bytes());
    KEPT_HEADERS.iter().position(same).and_then(|index| u8::try_from(index).ok())
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Version")]
enum VersionForm {
    Http10,
    Http11,
    Http2,
}

/// Fields stand in the order of [`Decoded`].
#[derive(Serialize)]
enum Encoded<'a> {
    HttpRequest(#[serde(with = "VersionForm")] Version, Text<'a>, Text<'a>, Text<'a>, Headers<'a>),
    HttpResponse(#[serde(with = "VersionForm")] Version, u16, u64, Text<'a>, Text<'a>, Text<'a>, Option<u32>),
    DnsQuery(Text<'a>, u16),
    DnsAnswer(Text<'a>, u16, u8, Addresses<'a>, Names<'a>, u32, u64),
    KafkaRequest(i16, i16, i32, Text<'a>, Names<'a>),
    KafkaResponse(i16, i16, i32, Text<'a>, i16, u64),
    TlsHello(Option<Text<'a>>, bool),
    Anomaly(u8),
}

/// Writes `detail` to the start of `buffer`; `None` if it has no room.
pub(crate) fn encode(detail: Detail<'_>, buffer: &mut [u8]) -> Option<usize> {
    let form = match detail {
        Detail::HttpRequest(r) => Encoded::HttpRequest(
            r.version,
            Text(r.method, MAX_METHOD),
            Text(r.host, MAX_HOST),
            Text(r.path, MAX_PATH),
            Headers(r.headers),
        ),
        Detail::HttpResponse(r) => Encoded::HttpResponse(
            r.version,
            r.status,
            r.latency_ns,
            Text(r.method, MAX_METHOD),
            Text(r.host, MAX_HOST),
            Text(r.path, MAX_PATH),
            r.grpc_status,
        ),
        Detail::DnsQuery(q) => Encoded::DnsQuery(Text(q.name.as_bytes(), MAX_HOST), q.qtype),
        Detail::DnsAnswer(a) => Encoded::DnsAnswer(
            Text(a.query.name.as_bytes(), MAX_HOST),
            a.query.qtype,
            a.rcode,
            Addresses(a.addresses),
            Names(a.cnames),
            a.ttl,
            a.latency_ns,
        ),
        Detail::KafkaRequest(r) => Encoded::KafkaRequest(
            r.api_key,
            r.api_version,
            r.correlation_id,
            Text(r.client_id.as_bytes(), MAX_TOPIC),
            Names(r.topics),
        ),
        Detail::KafkaResponse(r) => Encoded::KafkaResponse(
            r.api_key,
            r.api_version,
            r.correlation_id,
            Text(r.topic.as_bytes(), MAX_TOPIC),
            r.error_code,
            r.latency_ns,
        ),
        Detail::TlsHello(h) => {
            Encoded::TlsHello(h.server_name.map(|name| Text(name.as_bytes(), MAX_HOST)), h.encrypted)
        }
        Detail::Anomaly(anomaly) => Encoded::Anomaly(u8::try_from(anomaly.index()).ok()?),
    };
    postcard::to_slice(&form, buffer).ok().map(|written| written.len())
}

/// Text, with the mark of a cut.
struct Read<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Read<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (bytes, cut) = <(&[u8], bool)>::deserialize(d)?;
        // Nearly all text is right, and finding that out takes two thirds of looking for what is not.
        let mut text = match str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        };
        if cut {
            let text = text.to_mut();
            // A cut within a character leaves a replacement character that was never sent.
            while text.ends_with('\u{fffd}') {
                text.pop();
            }
            text.push('…');
        }
        Ok(Self(text))
    }
}

#[derive(Deserialize)]
enum Decoded<'a> {
    HttpRequest(#[serde(with = "VersionForm")] Version, Read<'a>, Read<'a>, Read<'a>, Vec<(u8, Read<'a>)>),
    HttpResponse(#[serde(with = "VersionForm")] Version, u16, u64, Read<'a>, Read<'a>, Read<'a>, Option<u32>),
    DnsQuery(#[serde(borrow)] Read<'a>, u16),
    DnsAnswer(Read<'a>, u16, u8, Vec<IpAddr>, Vec<Read<'a>>, u32, u64),
    KafkaRequest(i16, i16, i32, Read<'a>, Vec<Read<'a>>),
    KafkaResponse(i16, i16, i32, Read<'a>, i16, u64),
    TlsHello(Option<Read<'a>>, bool),
    Anomaly(u8),
}

/// Reads what a worker wrote; `None` for anything else.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Message<'_>> {
    let (form, rest) = postcard::take_from_bytes::<Decoded<'_>>(bytes).ok()?;
    if !rest.is_empty() {
        return None;
    }
    Some(match form {
        Decoded::HttpRequest(version, method, host, path, headers) => Message::HttpRequest {
            version,
            method: method.0,
            host: host.0,
            path: path.0,
            headers: headers
                .into_iter()
                .map(|(index, value)| Some((*KEPT_HEADERS.get(usize::from(index))?, value.0)))
                .collect::<Option<_>>()?,
        },
        Decoded::HttpResponse(version, status, latency_ns, method, host, path, grpc_status) => {
            Message::HttpResponse {
                version,
                status,
                latency_ns,
                method: method.0,
                host: host.0,
                path: path.0,
                grpc_status,
            }
        }
        Decoded::DnsQuery(name, qtype) => Message::DnsQuery(Question { name: name.0, qtype }),
        Decoded::DnsAnswer(name, qtype, rcode, addresses, cnames, ttl, latency_ns) => Message::DnsAnswer {
            question: Question { name: name.0, qtype },
            rcode,
            addresses,
            cnames: texts(cnames),
            ttl,
            latency_ns,
        },
        Decoded::KafkaRequest(api_key, api_version, correlation_id, client_id, topics) => {
            let (client_id, topics) = (client_id.0, texts(topics));
            Message::KafkaRequest { api_key, api_version, correlation_id, client_id, topics }
        }
        Decoded::KafkaResponse(api_key, api_version, correlation_id, topic, error_code, latency_ns) => {
            let topic = topic.0;
            Message::KafkaResponse { api_key, api_version, correlation_id, topic, error_code, latency_ns }
        }
        Decoded::TlsHello(server_name, encrypted) => {
            Message::TlsHello { server_name: server_name.map(|name| name.0), encrypted }
        }
        Decoded::Anomaly(index) => Message::Anomaly(*Anomaly::ALL.get(usize::from(index))?),
    })
}

fn texts(list: Vec<Read<'_>>) -> Vec<Cow<'_, str>> {
    list.into_iter().map(|text| text.0).collect()
}
