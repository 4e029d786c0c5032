//! Kafka with a broker that is one: tansu, where it is installed (`scripts/install-tansu.sh`).

use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use serde_json::json;

use crate::kit::{self, ask};
use crate::support::Lab;
use crate::{rust, rust_kafka};
use sluice::testbed::messages::{self, BROKER, Speaks};

const PORT: u16 = 9092;

/// Produce `orders`, consume `events`, produce `invoices` by name, and what librdkafka wants beside those.
const RULES: &str = "kafka: [{role: produce, topic: orders}, {role: consume, topic: events}, \
                     {role: produce, topic: invoices, clientID: payment-service}, {apiKey: initproducerid}]";

const REFUSED: &str = "TOPIC_AUTHORIZATION_FAILED";

/// Makes the topics, with one message each, on the broker's own side.
fn fill(lab: &Lab) {
    let thread = lab.pod("lab/server").netns().spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client =
                ClientBuilder::new(vec![format!("{BROKER}:{PORT}")]).build().await.expect("a broker");
            let controller = client.controller_client().expect("a controller");
            for topic in ["orders", "payments", "events", "invoices"] {
                controller.create_topic(topic, 1, 1, 5_000).await.expect("made");
                let partition = client
                    .partition_client(topic, 0, UnknownTopicHandling::Retry)
                    .await
                    .expect("a partition");
                let record = Record {
                    key: None,
                    value: Some(format!("first of {topic}").into_bytes()),
                    headers: std::collections::BTreeMap::new(),
                    timestamp: rskafka::chrono::Utc::now(),
                };
                partition.produce(vec![record], Compression::NoCompression).await.expect("kept");
            }
        });
    });
    thread.join().expect("no panic").expect("in the pod");
}

/// The broker with its topics, behind the rules.
fn broker(test: &str) -> Option<Lab> {
    let Some(tansu) = messages::tansu() else {
        kit::skip(test, "tansu (scripts/install-tansu.sh compiles it, which scripts/setup.sh broker does)");
        return None;
    };
    let mut lab = kit::pods(test, &[Speaks::Kafka])?;
    messages::start_tansu(&mut lab, "lab/server", &tansu, PORT).expect("tansu listens");
    fill(&lab);
    lab.write_policy("server", &kit::policy(&[(PORT, RULES)])).expect("written");
    lab.start();
    Some(lab)
}

/// What each message that was produced ended with.
fn produce(lab: &Lab, words: &[&str]) -> Vec<String> {
    let address = format!("{BROKER}:{PORT}");
    let words: Vec<&str> = ["produce", &address].into_iter().chain(words.iter().copied()).collect();
    let said = ask(lab, Speaks::Kafka, &words);
    let ends = said["produced"].as_array().expect("a list").iter();
    ends.map(|one| one["end"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_broker_that_is_one_serves_groups_and_never_hears_of_the_rest() {
    let name = "a_broker_that_is_one_serves_groups_and_never_hears_of_the_rest";
    let Some(lab) = broker(name) else { return };
    assert_eq!(produce(&lab, &["orders", "payments", "orders"]), ["ok", REFUSED, "ok"]);
    assert_eq!(produce(&lab, &["client.id=payment-service", "invoices", "payments"]), ["ok", REFUSED]);
    assert_eq!(produce(&lab, &["client.id=somebody", "invoices", "orders"]), [REFUSED, "ok"]);

    let address = format!("{BROKER}:{PORT}");
    let said = ask(&lab, Speaks::Kafka, &["consume", &address, "events", "billing"]);
    assert_eq!(
        (&said["end"], &said["value"], &said["committed"]),
        (&json!("ok"), &json!("first of events"), &json!(1)),
        "{said}"
    );
    // This broker tells of all topics where only brokers are asked for. A client that believed it would join its group with
    // a topic that it may not read, and wait for ever.
    let said = ask(&lab, Speaks::Kafka, &["consume", &address, "payments", "billing-payments"]);
    assert_eq!(said["end"], REFUSED, "{said}\n{}", kit::logged(&lab).join("\n"));
    assert!(said["seconds"].as_f64().is_some_and(|seconds| seconds < 3.0), "told, not timed out: {said}");
    kit::expect_logged(&lab, &["kafka-response FORWARDED (Kafka response joingroup"]);
    kit::expect_logged(
        &lab,
        &["kafka-request DROPPED (Kafka request", "topic 'payments'", "by default deny"],
    );
    kit::no_anomalies(&lab);
}

#[test]
fn a_client_in_rust_against_a_broker_that_is_one() {
    let Some(lab) = broker("a_client_in_rust_against_a_broker_that_is_one") else { return };
    let refused = Err(rust_kafka::REFUSED.to_owned());
    rust::ask(&lab, || async move {
        let client = rust_kafka::connect(PORT).await;
        let orders = rust_kafka::partition(&client, "orders").await.expect("allowed");
        assert_eq!(rust_kafka::produce(&orders, b"one".to_vec()).await, Ok(1));
        for topic in ["payments", "invoices"] {
            assert_eq!(rust_kafka::partition(&client, topic).await.map(drop), refused.clone(), "{topic}");
        }
        assert_eq!(rust_kafka::produce(&orders, b"two".to_vec()).await, Ok(2), "the connection goes on");
        let events = rust_kafka::partition(&client, "events").await.expect("allowed");
        let (records, _) = events.fetch_records(0, 1..1_000_000, 1_000).await.expect("allowed");
        let values: Vec<_> = records.into_iter().map(|one| one.record.value).collect();
        assert_eq!(values, vec![Some(b"first of events".to_vec())]);
        // Neither way around.
        assert_eq!(rust_kafka::produce(&events, b"x".to_vec()).await.map(drop), refused.clone());
        let read = orders.fetch_records(0, 1..1_000_000, 1_000).await.map_err(rust_kafka::name);
        assert_eq!(read.map(drop), refused);
        assert_eq!(rust_kafka::produce(&orders, b"three".to_vec()).await, Ok(3));
    });
    kit::no_anomalies(&lab);
}
