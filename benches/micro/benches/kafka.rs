//! Nanoseconds from the bytes of a Kafka request to its verdict, and with its response, beside kafka-protocol decoding
//! the same request.
//!
//! `cargo bench -p sluice-micro --bench kafka`

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, criterion_group, criterion_main};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, ProduceRequest, RequestHeader, RequestKind, TopicName, fetch_request,
    produce_request,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use l7::http::{HttpRequest, HttpResponse};
use l7::kafka::{Kafka, KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, Context, Inspector, Judge, Learning, Settings, Side, Step, dns};
use sluice_micro::ratio;
use std::hint::black_box;

/// A judge with the one rule that a rule set of this size comes down to: is it this topic?
struct OneTopic(u64);

impl Judge for OneTopic {
    fn http_request(&mut self, _: &HttpRequest<'_>) -> bool {
        false
    }
    fn http_response(&mut self, _: &HttpResponse<'_>) {}
    fn dns_query(&mut self, _: &dns::Query<'_>) -> bool {
        false
    }
    fn dns_answer(&mut self, _: &dns::Answer<'_>) -> Learning {
        Learning::Done
    }
    fn kafka_request(&mut self, request: &KafkaRequest<'_>) -> bool {
        self.0 += 1;
        request.topics.iter().all(|topic| *topic == "orders")
    }
    fn kafka_response(&mut self, response: &KafkaResponse<'_>) {
        self.0 += u64::from(response.error_code == 0);
    }
    fn tls_hello(&mut self, _: &TlsHello<'_>) -> bool {
        false
    }
    fn oddity(&mut self, _: Anomaly) {}
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

fn frame(key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("backend-api")))
        .encode(&mut bytes, key.request_header_version(version))
        .expect("a header");
    bytes.extend_from_slice(body);
    [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], &bytes].concat()
}

fn produce(acks: i16) -> Vec<u8> {
    let partition = produce_request::PartitionProduceData::default()
        .with_index(3)
        .with_records(Some(Bytes::from(vec![7; 1000])));
    let topic =
        produce_request::TopicProduceData::default().with_name(name()).with_partition_data(vec![partition]);
    let mut body = BytesMut::new();
    ProduceRequest::default()
        .with_acks(acks)
        .with_topic_data(vec![topic])
        .encode(&mut body, 9)
        .expect("a body");
    frame(ApiKey::Produce, 9, &body)
}

fn fetch() -> Vec<u8> {
    let partition = |index| fetch_request::FetchPartition::default().with_partition(index);
    let topic = fetch_request::FetchTopic::default()
        .with_topic(name())
        .with_partitions((0..8).map(partition).collect());
    let mut body = BytesMut::new();
    FetchRequest::default().with_topics(vec![topic]).encode(&mut body, 12).expect("a body");
    frame(ApiKey::Fetch, 12, &body)
}

/// A response that is long enough for its error code.
fn response() -> Vec<u8> {
    [&300u32.to_be_bytes()[..], &1u32.to_be_bytes(), &[0; 296]].concat()
}

fn feed(kafka: &mut Kafka, side: Side, bytes: &[u8], judge: &mut OneTopic, said: &mut [Vec<u8>; 2]) -> Step {
    let [to_client, to_server] = said;
    let settings = Settings::default();
    kafka.feed(side, bytes, &mut Context { judge, now: 1, settings: &settings, to_client, to_server })
}

fn kafka(c: &mut Criterion) {
    let mut group = c.benchmark_group("kafka");
    let response = response();
    let cases = [
        ("produce", ApiKey::Produce, 9, produce(0), false),
        ("produce and response", ApiKey::Produce, 9, produce(-1), true),
        ("fetch of 8 partitions and response", ApiKey::Fetch, 12, fetch(), true),
    ];
    for (name, key, version, request, answered) in cases {
        let mut inspector = Kafka::new(&Settings::default());
        let (mut judge, mut said) = (OneTopic(0), [Vec::new(), Vec::new()]);
        let mut once = || {
            let step = feed(&mut inspector, Side::Client, black_box(&request), &mut judge, &mut said);
            assert!(matches!(step, Step::Pass { .. }));
            if answered {
                let step = feed(&mut inspector, Side::Server, black_box(&response), &mut judge, &mut said);
                assert!(matches!(step, Step::Pass { .. }));
            }
        };
        group.bench_function(name, |b| b.iter(&mut once));
        let ns = ratio::median_ns(20_000, &mut once);
        let bytes = Bytes::from(request[4..].to_vec());
        let baseline = ratio::median_ns(20_000, || {
            let mut bytes = black_box(&bytes).clone();
            let header = RequestHeader::decode(&mut bytes, key.request_header_version(version));
            let _ = black_box((header.is_ok(), RequestKind::decode(key, &mut bytes, version).is_ok()));
        });
        ratio::print(name, ns, "kafka-protocol decoding the request", baseline);
    }
    group.finish();
}

criterion_group!(benches, kafka);
criterion_main!(benches);
