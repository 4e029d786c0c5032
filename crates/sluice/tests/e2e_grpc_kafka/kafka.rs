//! Kafka between librdkafka's broker and clients of three makes.

use crate::kit::{self, ask};
use crate::support::{Lab, eventually};
use serde_json::{Value, json};
use sluice::testbed::exec;
use sluice::testbed::messages::{self, BROKER, Speaks};
use std::time::Duration;

/// Produce `orders`, consume `events`.
const PORT: u16 = 9092;
/// The same for one client by name, and what it takes to see more than that.
const NAMED: u16 = 9093;
/// No rules: to ask the broker what it holds.
const OPEN: u16 = 9094;

fn broker(test: &str, more: &[Speaks]) -> Option<Lab> {
    let speaks: Vec<Speaks> = [Speaks::Kafka].into_iter().chain(more.iter().copied()).collect();
    let mut lab = kit::pods(test, &speaks)?;
    messages::start(&mut lab, "lab/server", Speaks::Kafka, &[PORT, NAMED, OPEN]).expect("the broker");
    let ports = [
        (PORT, "kafka: [{role: produce, topic: orders}, {role: consume, topic: events}]"),
        (
            NAMED,
            "kafka: [{role: produce, topic: orders, clientID: payment-service}, {apiKey: apiversions}, {apiKey: metadata}, \
             {apiKey: initproducerid}]",
        ),
        (OPEN, ""),
    ];
    lab.write_policy("server", &kit::policy(&ports)).expect("written");
    lab.start();
    Some(lab)
}

fn server(port: u16) -> String {
    format!("{BROKER}:{port}")
}

/// Produces one message to each topic: what each ended with. An end that took long was not told but timed out.
#[track_caller]
fn produce(lab: &Lab, port: u16, words: &[&str]) -> Vec<String> {
    let address = server(port);
    let args: Vec<&str> = ["produce", &address].into_iter().chain(words.iter().copied()).collect();
    let said = ask(lab, Speaks::Kafka, &args);
    let ends = said["produced"].as_array().expect("a list");
    assert!(ends.iter().all(|one| one["seconds"].as_f64().is_some_and(|seconds| seconds < 3.0)), "{said}");
    ends.iter().map(|one| one["end"].as_str().unwrap_or_default().to_owned()).collect()
}

/// How many messages the broker holds of orders and payments.
#[track_caller]
fn held(lab: &Lab) -> (u64, u64) {
    let said = ask(lab, Speaks::Kafka, &["offsets", &server(OPEN), "orders", "payments"]);
    (said["orders"].as_u64().expect("a number"), said["payments"].as_u64().expect("a number"))
}

const REFUSED: &str = "TOPIC_AUTHORIZATION_FAILED";

#[test]
fn producing_and_consuming_by_topic_with_librdkafka() {
    let Some(lab) = broker("producing_and_consuming_by_topic_with_librdkafka", &[]) else { return };
    let ends = produce(&lab, PORT, &["orders", "payments", "orders", "payments", "events", "orders"]);
    assert_eq!(ends, ["ok", REFUSED, "ok", REFUSED, REFUSED, "ok"]);
    assert_eq!(held(&lab), (4, 1));

    let consume = |topic: &str| {
        ask(&lab, Speaks::Kafka, &["consume", &server(PORT), topic, &format!("billing-{topic}")])
    };
    let said = consume("events");
    assert_eq!(
        (&said["end"], &said["value"], &said["committed"]),
        (&json!("ok"), &json!("first of events"), &json!(1)),
        "{said}"
    );
    for topic in ["payments", "orders"] {
        assert_eq!(consume(topic)["end"], REFUSED, "{topic}");
    }
    kit::expect_logged(
        &lab,
        &["kafka-request FORWARDED (Kafka request produce correlation id", "topic 'orders'"],
    );
    kit::expect_logged(
        &lab,
        &["kafka-response FORWARDED (Kafka response produce", "topic 'orders' return code 0"],
    );
    kit::expect_logged(
        &lab,
        &["kafka-request DROPPED (Kafka request", "topic 'payments'", "by default deny"],
    );
    kit::expect_logged(&lab, &["kafka-response FORWARDED (Kafka response joingroup"]);
    kit::no_anomalies(&lab);
}

#[test]
fn fifty_mebibytes_go_through_as_they_come() {
    let Some(lab) = broker("fifty_mebibytes_go_through_as_they_come", &[]) else { return };
    let said = ask(&lab, Speaks::Kafka, &["bulk", &server(PORT), "orders", "53", "990000"]);
    assert_eq!((&said["ok"], said.as_object().map(serde_json::Map::len)), (&json!(53), Some(2)), "{said}");
    let said = ask(&lab, Speaks::Kafka, &["bulk", &server(PORT), "orders", "20000", "100"]);
    assert_eq!(said["ok"], 20_000, "{said}");
    assert_eq!(held(&lab), (1 + 53 + 20_000, 1));
    kit::no_anomalies(&lab);
}

/// Who may see every topic is refused by the answer to its produce request, or, with acks=0, by nothing at all.
#[test]
fn a_client_by_name_and_refusals_of_produce_requests_themselves() {
    let Some(lab) = broker("a_client_by_name_and_refusals_of_produce_requests_themselves", &[]) else {
        return;
    };
    let named = "client.id=payment-service";
    assert_eq!(produce(&lab, NAMED, &[named, "orders", "payments", "orders"]), ["ok", REFUSED, "ok"]);
    assert_eq!(produce(&lab, NAMED, &["client.id=other", "orders"]), [REFUSED]);
    assert_eq!(held(&lab), (3, 1));
    kit::expect_logged(
        &lab,
        &["kafka-request DROPPED (Kafka request produce correlation id", "topic 'payments'"],
    );

    // The client thinks all is well, as it does of any loss with acks=0; its connection goes on.
    assert_eq!(produce(&lab, NAMED, &[named, "acks=0", "orders", "payments", "orders"]), ["ok"; 3]);
    eventually("what was allowed arrives", Duration::from_secs(5), || held(&lab).0 == 5);
    assert_eq!(held(&lab), (5, 1));
    kit::no_anomalies(&lab);
}

/// What Cilium calls produce does not include InitProducerId.
#[test]
fn an_idempotent_producer_needs_a_rule_for_its_id() {
    let Some(lab) = broker("an_idempotent_producer_needs_a_rule_for_its_id", &[]) else { return };
    let idempotent = "enable.idempotence=true";
    assert_eq!(produce(&lab, NAMED, &["client.id=payment-service", idempotent, "orders"]), ["ok"]);
    let ends = produce(&lab, PORT, &[idempotent, "orders"]);
    assert!(["_FATAL", "CLUSTER_AUTHORIZATION_FAILED"].contains(&ends[0].as_str()), "{ends:?}");
    kit::expect_logged(&lab, &["kafka-request DROPPED (Kafka request initproducerid", "by default deny"]);
}

#[test]
fn kcat_and_aiokafka_see_the_same() {
    let name = "kcat_and_aiokafka_see_the_same";
    let Some(lab) = broker(name, &[Speaks::KafkaInPython]) else { return };
    let said = ask(&lab, Speaks::KafkaInPython, &["aio", &server(PORT)]);
    assert_eq!(
        said,
        json!({"produced": ["ok", "TopicAuthorizationFailedError", "ok"], "consumed": "first of events"})
    );
    if exec::find_program("kcat").is_none() {
        return kit::skip(name, "kcat (scripts/setup.sh test installs it); the rest of the test ran");
    }
    let address = server(PORT);
    let kcat = |args: &str, input: &str| -> (bool, String) {
        let mut command = lab.pod("lab/client").command("sh");
        command.args(["-c", &format!("printf '{input}' | timeout 20 kcat -b {address} {args}")]);
        let output = exec::run(&mut command, kit::LIMIT).expect("kcat runs");
        (output.ok(), output.text())
    };
    let (ok, said) = kcat("-P -t orders", "one\\ntwo\\n");
    assert!(ok, "{said}");
    let (ok, said) = kcat("-P -t payments", "one\\n");
    assert!(!ok && said.contains("Topic authorization failed"), "{said}");
    let (ok, said) = kcat("-C -t events -e -q", "");
    assert!(ok && said.contains("first of events"), "{said}");
    let (ok, said) = kcat("-C -t payments -e -q", "");
    assert!(!ok && said.contains("Topic authorization failed"), "{said}");
    assert_eq!(held(&lab), (1 + 2 + 2, 1));
    kit::no_anomalies(&lab);
}

#[test]
fn tls_where_kafka_is_to_be_read_ends_with_a_reason() {
    let Some(lab) = broker("tls_where_kafka_is_to_be_read_ends_with_a_reason", &[]) else { return };
    let said: Value = ask(&lab, Speaks::Kafka, &["raw", BROKER, &PORT.to_string()]);
    assert_eq!(said["end"], "ConnectionResetError", "{said}");
    eventually("the anomaly is logged", Duration::from_secs(3), || {
        kit::logged(&lab).iter().any(|line| line.starts_with("anomaly ERROR") && line.contains("kafka"))
    });
}
