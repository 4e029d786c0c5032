//! A small Kafka broker that wants a user and a password (SASL PLAIN) before anything else, and keeps what is produced.
//! Two topics of one partition each: `orders` and `payments`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to say to be let in.
pub(crate) const USER: &str = "billing";
pub(crate) const PASSWORD: &str = "a password";

const TOPICS: [&str; 2] = ["orders", "payments"];

/// SASL_AUTHENTICATION_FAILED.
const NOT_YOU: i16 = 58;

/// The versions that it speaks.
const SPOKEN: [(ApiKey, i16, i16); 5] = [
    (ApiKey::Produce, 3, 7),
    (ApiKey::Metadata, 1, 4),
    (ApiKey::SaslHandshake, 1, 1),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::SaslAuthenticate, 0, 1),
];

/// The broker, and how many requests of each kind it has answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broker {
    seen: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Broker {
    /// How often it was asked what, produce requests by topic.
    pub(crate) fn seen(&self) -> BTreeMap<String, u32> {
        self.seen.lock().expect("no panic").clone()
    }

    fn count(&self, what: String) {
        *self.seen.lock().expect("no panic").entry(what).or_default() += 1;
    }

    /// Serves on a port, under a name, until it is told to stop.
    pub(crate) async fn serve(self, name: &'static str, port: u16, stop: tokio::sync::oneshot::Receiver<()>) {
        let listener = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)).await.expect("a free port");
        let accept = async {
            while let Ok((stream, _)) = listener.accept().await {
                let session = Session { broker: self.clone(), name, port, trusted: false };
                tokio::spawn(session.talk(stream));
            }
        };
        tokio::select! { _ = stop => {}, () = accept => {} }
    }
}

struct Session {
    broker: Broker,
    name: &'static str,
    port: u16,
    trusted: bool,
}

impl Session {
    async fn talk(mut self, mut stream: TcpStream) {
        while let Ok(len) = stream.read_u32().await {
            let mut frame = vec![0; len as usize];
            if stream.read_exact(&mut frame).await.is_err() {
                return;
            }
            let Some(answer) = self.answer(frame.into()) else { return };
            let len = u32::try_from(answer.len()).expect("a small answer");
            if stream.write_u32(len).await.is_err() || stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    /// The answer to a request; `None` where a broker would hang up.
    fn answer(&mut self, mut request: Bytes) -> Option<BytesMut> {
        let number = |at: usize| request.get(at..at + 2).map(|two| i16::from_be_bytes([two[0], two[1]]));
        let (key, version) = (ApiKey::try_from(number(0)?).ok()?, number(2)?);
        let header = RequestHeader::decode(&mut request, key.request_header_version(version)).ok()?;
        let mut out = BytesMut::new();
        let head = ResponseHeader::default().with_correlation_id(header.correlation_id);
        head.encode(&mut out, key.response_header_version(version)).ok()?;
        let first = matches!(key, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        if !first && !self.trusted {
            return None;
        }
        if key != ApiKey::Produce {
            self.broker.count(format!("{key:?}"));
        }
        match key {
            ApiKey::ApiVersions => {
                let spoken = SPOKEN.map(|(key, min, max)| {
                    ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
                });
                ApiVersionsResponse::default().with_api_keys(spoken.to_vec()).encode(&mut out, version.min(3))
            }
            ApiKey::SaslHandshake => {
                let asked = SaslHandshakeRequest::decode(&mut request, version).ok()?;
                assert_eq!(asked.mechanism.as_str(), "PLAIN");
                SaslHandshakeResponse::default()
                    .with_mechanisms(vec![text("PLAIN")])
                    .encode(&mut out, version)
            }
            ApiKey::SaslAuthenticate => {
                let said = SaslAuthenticateRequest::decode(&mut request, version).ok()?;
                self.trusted = said.auth_bytes == format!("\0{USER}\0{PASSWORD}").as_bytes();
                let code = if self.trusted { 0 } else { NOT_YOU };
                SaslAuthenticateResponse::default().with_error_code(code).encode(&mut out, version)
            }
            ApiKey::Metadata => self.metadata(&mut request, version)?.encode(&mut out, version),
            ApiKey::Produce => self.produce(&mut request, version)?.encode(&mut out, version),
            _ => return None,
        }
        .ok()?;
        Some(out)
    }

    fn metadata(&self, request: &mut Bytes, version: i16) -> Option<MetadataResponse> {
        let asked = MetadataRequest::decode(request, version).ok()?.topics;
        let wanted = |topic: &&'static str| match &asked {
            None => true,
            Some(list) => {
                list.iter().any(|one| one.name.as_ref().is_some_and(|name| name.as_str() == *topic))
            }
        };
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(1))
            .with_host(text(self.name))
            .with_port(i32::from(self.port));
        let topic = |name: &'static str| {
            let partition = MetadataResponsePartition::default()
                .with_leader_id(BrokerId(1))
                .with_replica_nodes(vec![BrokerId(1)])
                .with_isr_nodes(vec![BrokerId(1)]);
            MetadataResponseTopic::default()
                .with_name(Some(TopicName(text(name))))
                .with_partitions(vec![partition])
        };
        let topics = TOPICS.into_iter().filter(wanted).map(topic).collect();
        let response = MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BrokerId(1));
        Some(response.with_topics(topics))
    }

    fn produce(&self, request: &mut Bytes, version: i16) -> Option<ProduceResponse> {
        let asked = ProduceRequest::decode(request, version).ok()?;
        let responses = asked.topic_data.into_iter().map(|topic| {
            self.broker.count(format!("Produce {}", topic.name.as_str()));
            let partitions = topic
                .partition_data
                .iter()
                .map(|one| PartitionProduceResponse::default().with_index(one.index));
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_partition_responses(partitions.collect())
        });
        Some(ProduceResponse::default().with_responses(responses.collect()))
    }
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}
