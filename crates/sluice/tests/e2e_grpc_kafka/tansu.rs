//! Kafka with a broker that is one: tansu, where it is installed (`scripts/install-tansu.sh`).

use std::path::PathBuf;
use std::time::Duration;

use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use serde_json::json;

use crate::kit::{self, ask};
use crate::support::Lab;
use sluice::testbed::messages::{BROKER, Speaks};
use sluice::testbed::{exec, wait_for_port};

const PORT: u16 = 9092;

/// Produce `orders`, consume `events`, and what librdkafka wants beside those.
const RULES: &str =
    "kafka: [{role: produce, topic: orders}, {role: consume, topic: events}, {apiKey: initproducerid}]";

fn program() -> Option<PathBuf> {
    let folder =
        std::env::var_os("SLUICE_PEERS").map_or_else(|| PathBuf::from("/opt/sluice-peers"), PathBuf::from);
    exec::find_program("tansu").or_else(|| Some(folder.join("bin/tansu")).filter(|path| path.is_file()))
}

/// Makes the topics, with one message each, on the broker's own side.
fn fill(lab: &Lab) {
    let thread = lab.pod("lab/server").netns().spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client =
                ClientBuilder::new(vec![format!("{BROKER}:{PORT}")]).build().await.expect("a broker");
            let controller = client.controller_client().expect("a controller");
            for topic in ["orders", "payments", "events"] {
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

#[test]
fn a_broker_that_is_one_serves_groups_and_never_hears_of_the_rest() {
    let name = "a_broker_that_is_one_serves_groups_and_never_hears_of_the_rest";
    let Some(tansu) = program() else {
        return kit::skip(name, "tansu (scripts/install-tansu.sh builds it, which takes its time)");
    };
    let Some(mut lab) = kit::pods(name, &[Speaks::Kafka]) else { return };
    let hosts = format!("127.0.0.1 localhost\n{} {BROKER}\n", lab.pod("lab/server").ipv4());
    for pod in ["lab/client", "lab/server"] {
        lab.pod(pod).netns().set_hosts(&hosts).expect("written");
    }
    let mut command = lab.pod("lab/server").command(&tansu.to_string_lossy());
    command.args(["broker", "--storage-engine", "memory://tansu/"]);
    command.args(["--listener-url", &format!("tcp://0.0.0.0:{PORT}")]);
    command.args(["--advertised-listener-url", &format!("tcp://{BROKER}:{PORT}")]);
    lab.start_program("tansu", &mut command);
    wait_for_port(lab.pod("lab/server").netns(), PORT, Duration::from_secs(30)).expect("tansu listens");
    fill(&lab);
    lab.write_policy("server", &kit::policy(&[(PORT, RULES)])).expect("written");
    lab.start();

    let address = format!("{BROKER}:{PORT}");
    let said = ask(&lab, Speaks::Kafka, &["produce", &address, "orders", "payments", "orders"]);
    let ends: Vec<_> = said["produced"].as_array().expect("a list").iter().map(|one| &one["end"]).collect();
    assert_eq!(ends, ["ok", "TOPIC_AUTHORIZATION_FAILED", "ok"], "{said}");
    let said = ask(&lab, Speaks::Kafka, &["consume", &address, "events", "billing"]);
    assert_eq!(
        (&said["end"], &said["value"], &said["committed"]),
        (&json!("ok"), &json!("first of events"), &json!(1)),
        "{said}"
    );
    let said = ask(&lab, Speaks::Kafka, &["consume", &address, "payments", "billing-payments"]);
    assert_eq!(said["end"], "TOPIC_AUTHORIZATION_FAILED", "{said}");
    kit::expect_logged(&lab, &["kafka-response FORWARDED (Kafka response joingroup"]);
    kit::expect_logged(
        &lab,
        &["kafka-request DROPPED (Kafka request", "topic 'payments'", "by default deny"],
    );
    kit::no_anomalies(&lab);
}
