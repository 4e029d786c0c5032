//! Kafka with a client written in Rust (rskafka) between librdkafka's broker and itself.

use std::time::Duration;

use rskafka::chrono::{DateTime, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;

use crate::kit;
use crate::rust::sasl_broker::{self, Broker};
use crate::rust::{Server, ask};
use crate::support::{Lab, eventually};
use sluice::testbed::messages::{self, BROKER, Speaks};
use sluice::testbed::wait_for_port;

/// Produce `orders`, consume `events`.
const PORT: u16 = 9092;
/// Produce `orders`, and see every topic: what is refused is the produce request itself.
const SEEING: u16 = 9093;
/// No rules: to ask the broker what it holds.
const OPEN: u16 = 9094;

fn broker(test: &str) -> Option<Lab> {
    let mut lab = kit::pods(test, &[Speaks::Kafka])?;
    messages::start(&mut lab, "lab/server", Speaks::Kafka, &[PORT, SEEING, OPEN]).expect("the broker");
    let ports = [
        (PORT, "kafka: [{role: produce, topic: orders}, {role: consume, topic: events}]"),
        (SEEING, "kafka: [{role: produce, topic: orders}, {apiKey: metadata}]"),
        (OPEN, ""),
    ];
    lab.write_policy("server", &kit::policy(&ports)).expect("written");
    lab.start();
    Some(lab)
}

pub(crate) async fn connect(port: u16) -> Client {
    let builder = ClientBuilder::new(vec![format!("{BROKER}:{port}")]).client_id("rust");
    builder.build().await.expect("a broker that answers")
}

pub(crate) async fn partition(client: &Client, topic: &str) -> Result<PartitionClient, String> {
    client.partition_client(topic, 0, UnknownTopicHandling::Error).await.map_err(name)
}

/// What the client was told went wrong.
pub(crate) fn name(error: Error) -> String {
    match error {
        Error::ServerError { protocol_error: ProtocolError::TopicAuthorizationFailed, .. } => {
            REFUSED.to_owned()
        }
        other => other.to_string(),
    }
}

pub(crate) const REFUSED: &str = "TopicAuthorizationFailed";

fn record(value: Vec<u8>) -> Record {
    let timestamp = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).expect("a time");
    Record {
        key: None,
        value: Some(value),
        headers: [("origin".to_owned(), b"test".to_vec())].into(),
        timestamp,
    }
}

pub(crate) async fn produce(partition: &PartitionClient, value: Vec<u8>) -> Result<i64, String> {
    let offsets = partition.produce(vec![record(value)], Compression::NoCompression).await.map_err(name)?;
    Ok(offsets[0])
}

/// How many messages the broker holds of a topic.
async fn held(topic: &'static str) -> i64 {
    let client = connect(OPEN).await;
    let partition = partition(&client, topic).await.expect("an open port");
    partition.get_offset(OffsetAt::Latest).await.expect("an offset")
}

#[test]
fn rskafka_produces_and_consumes_what_is_allowed_and_is_told_of_the_rest() {
    let Some(lab) = broker("rskafka_produces_and_consumes_what_is_allowed_and_is_told_of_the_rest") else {
        return;
    };
    let held = ask(&lab, || async {
        let client = connect(PORT).await;
        let orders = partition(&client, "orders").await.expect("allowed");
        assert_eq!(produce(&orders, b"one".to_vec()).await, Ok(1));
        assert_eq!(partition(&client, "payments").await.map(drop), Err(REFUSED.to_owned()));
        assert_eq!(produce(&orders, b"two".to_vec()).await, Ok(2), "the connection goes on");

        let events = partition(&client, "events").await.expect("allowed");
        let (records, high) = events.fetch_records(0, 1..1_000_000, 1_000).await.expect("allowed");
        let values: Vec<_> = records.into_iter().map(|one| one.record.value).collect();
        assert_eq!((values, high), (vec![Some(b"first of events".to_vec())], 1));
        // Neither way around.
        assert_eq!(produce(&events, b"x".to_vec()).await, Err(REFUSED.to_owned()));
        let read = orders.fetch_records(0, 1..1_000_000, 1_000).await.map_err(name);
        assert_eq!(read.map(|(records, _)| records.len()), Err(REFUSED.to_owned()));
        assert_eq!(produce(&orders, b"three".to_vec()).await, Ok(3));
        [held("orders").await, held("payments").await, held("events").await]
    });
    assert_eq!(held, [4, 1, 1]);
    for topic in ["payments", "events", "orders"] {
        kit::expect_logged(
            &lab,
            &["kafka-request DROPPED (Kafka request", &format!("topic '{topic}'"), "by default deny"],
        );
    }
    kit::no_anomalies(&lab);
}

/// Who may see every topic is refused by the answer to its produce request, among answers that it waits for.
#[test]
fn rskafka_is_refused_among_requests_in_flight() {
    let Some(lab) = broker("rskafka_is_refused_among_requests_in_flight") else { return };
    let (ends, held) = ask(&lab, || async {
        let client = connect(SEEING).await;
        let orders = partition(&client, "orders").await.expect("may be seen");
        let payments = partition(&client, "payments").await.expect("may be seen");
        let calls = (0..60_u8).map(|number| {
            let to = if number % 3 == 2 { &payments } else { &orders };
            async move { (number % 3 == 2, produce(to, vec![number; 2_000]).await.map(drop)) }
        });
        (futures_util::future::join_all(calls).await, [held("orders").await, held("payments").await])
    });
    for (number, (denied, end)) in ends.into_iter().enumerate() {
        assert_eq!(end, if denied { Err(REFUSED.to_owned()) } else { Ok(()) }, "{number}");
    }
    assert_eq!(held, [1 + 40, 1]);
    kit::expect_logged(&lab, &["kafka-request DROPPED (Kafka request produce", "topic 'payments'"]);
    kit::no_anomalies(&lab);
}

/// Kibibytes that the appliance holds in memory.
fn resident(lab: &Lab) -> u64 {
    let path = format!("/proc/{}/status", lab.agent_ref().pid());
    let status = std::fs::read_to_string(path).expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// 100 MiB in requests of nearly 1 MiB, which are larger than all that is held of a connection.
#[test]
fn a_hundred_mebibytes_pass_without_being_held() {
    let Some(lab) = broker("a_hundred_mebibytes_pass_without_being_held") else { return };
    let send = |requests: usize| {
        ask(&lab, move || async move {
            let client = connect(PORT).await;
            let orders = partition(&client, "orders").await.expect("allowed");
            for _ in 0..requests {
                produce(&orders, vec![b'o'; 990_000]).await.expect("allowed");
            }
            assert_eq!(partition(&client, "payments").await.map(drop), Err(REFUSED.to_owned()));
        });
    };
    // What one connection takes once is there before it is measured.
    send(3);
    let before = resident(&lab);
    send(106);
    let after = resident(&lab);
    println!("100 MiB of produce requests: {before} KiB resident before, {after} KiB after");
    assert!(after < before + 16 * 1024, "{before} KiB before, {after} KiB after");
    eventually("the last one is held", Duration::from_secs(10), || {
        let held = ask(&lab, || async { held("orders").await });
        held == 1 + 3 + 106
    });
    kit::no_anomalies(&lab);
}

/// Who a client is opens no topic: SASL passes without a rule, and what follows it is judged as ever.
#[test]
fn rskafka_says_who_it_is_and_is_judged_by_topic() {
    let name = "rskafka_says_who_it_is_and_is_judged_by_topic";
    let Some(mut lab) = kit::pods(name, &[]) else { return };
    let broker = Broker::default();
    let serving = broker.clone();
    let _server = Server::start(&lab, "lab/server", move |stop| serving.serve(BROKER, SEEING, stop));
    wait_for_port(lab.pod("lab/server").netns(), SEEING, Duration::from_secs(20))
        .expect("the broker listens");
    let hosts = format!("127.0.0.1 localhost\n{} {BROKER}\n", lab.pod("lab/server").ipv4());
    lab.pod("lab/client").netns().set_hosts(&hosts).expect("written");
    let rules = "kafka: [{role: produce, topic: orders}, {apiKey: metadata}]";
    lab.write_policy("server", &kit::policy(&[(SEEING, rules)])).expect("written");
    lab.start();
    let build = |password: &str| {
        let who = SaslConfig::Plain(Credentials::new(sasl_broker::USER.to_owned(), password.to_owned()));
        ClientBuilder::new(vec![format!("{BROKER}:{SEEING}")]).sasl_config(who)
    };
    let known = build(sasl_broker::PASSWORD);
    ask(&lab, move || async move {
        let client = known.build().await.expect("the broker knows it");
        let orders = partition(&client, "orders").await.expect("may be seen");
        let payments = partition(&client, "payments").await.expect("may be seen");
        for _ in 0..3 {
            assert_eq!(produce(&orders, b"one".to_vec()).await, Ok(0));
            assert_eq!(produce(&payments, b"one".to_vec()).await, Err(REFUSED.to_owned()));
        }
    });
    let seen = broker.seen();
    assert_eq!((seen.get("Produce orders"), seen.get("Produce payments")), (Some(&3), None), "{seen:?}");
    assert!(seen.get("SaslAuthenticate").is_some_and(|times| *times > 0), "{seen:?}");
    kit::expect_logged(&lab, &["kafka-request FORWARDED (Kafka request produce", "topic 'orders'"]);
    kit::expect_logged(&lab, &["kafka-request DROPPED (Kafka request produce", "topic 'payments'"]);
    kit::no_anomalies(&lab);
}
