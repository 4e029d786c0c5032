//! The part of the demo that speaks gRPC and Kafka: a payment service with two callers, a broker with its topics.
//!
//! Their libraries are in no distribution; where one is missing the demo says so and leaves its conversations out.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::report::Report;
use crate::testbed::messages::{self, BROKER, Speaks};
use crate::testbed::{PodSpec, TestBed, exec};

/// Beyond any client's own limit.
const LIMIT: Duration = Duration::from_secs(40);
/// The server's ports.
const GRPC: u16 = 50051;
/// See [`GRPC`].
const KAFKA: u16 = 9092;

/// Policy files, with the name each is written under.
const POLICIES: &[(Speaks, &str, &str)] = &[
    (
        Speaks::Grpc,
        "payment-service",
        include_str!("../../../../configs/stacks/payment-service/policies/payment-service.yaml"),
    ),
    (
        Speaks::Kafka,
        "kafka-clients",
        include_str!("../../../../configs/stacks/edge-kafka/policies/kafka.yaml"),
    ),
];

/// What one client asks, and what comes of each.
struct Exchange {
    speaks: Speaks,
    from: &'static str,
    /// Arguments of the client between its server and the things asked for.
    verb: &'static str,
    options: &'static [&'static str],
    asks: &'static [&'static str],
    expect: &'static [&'static str],
}

const fn grpc(
    from: &'static str,
    asks: &'static [&'static str],
    expect: &'static [&'static str],
) -> Exchange {
    Exchange { speaks: Speaks::Grpc, from, verb: "call", options: &[], asks, expect }
}

const EXCHANGES: &[Exchange] = &[
    grpc(
        "shop/shop-api",
        &["AuthorizePayment", "IssueRefund", "AuthorizePayment"],
        &["OK", "PERMISSION_DENIED", "OK"],
    ),
    grpc("ops/finance-tool", &["AuthorizePayment", "IssueRefund"], &["PERMISSION_DENIED", "OK"]),
    grpc("web/stranger", &["AuthorizePayment"], &["silence"]),
    Exchange {
        speaks: Speaks::Kafka,
        from: "backend/backend-api",
        verb: "produce",
        options: &["client.id=payment-service"],
        asks: &["orders", "payments", "orders"],
        expect: &["ok", "TOPIC_AUTHORIZATION_FAILED", "ok"],
    },
    Exchange {
        speaks: Speaks::Kafka,
        from: "backend/backend-api",
        verb: "produce",
        options: &["client.id=reports"],
        asks: &["orders"],
        expect: &["TOPIC_AUTHORIZATION_FAILED"],
    },
    Exchange {
        speaks: Speaks::Kafka,
        from: "backend/backend-api",
        verb: "consume",
        options: &[],
        asks: &["events"],
        expect: &["ok"],
    },
    Exchange {
        speaks: Speaks::Kafka,
        from: "backend/batch",
        verb: "produce",
        options: &["message.timeout.ms=1500"],
        asks: &["orders"],
        expect: &["silence"],
    },
];

/// Adds the pods, before the agent starts.
pub(super) fn add_pods(bed: &mut TestBed) -> Result<()> {
    for (namespace, name, labels) in [
        ("payments", "payment-grpc", "app=payment-service"),
        ("shop", "shop-api", "app=api-service"),
        ("kafka", "kafka", "app=kafka"),
        ("backend", "backend-api", "role=backend-api,kafka-client=internal"),
        ("backend", "batch", "role=batch"),
    ] {
        bed.add_pod(PodSpec::new(namespace, name, labels))?;
    }
    Ok(())
}

/// Starts what can be started, and writes the policies.
pub(super) fn start(bed: &mut TestBed, report: &Report) -> Result<()> {
    for (speaks, name, text) in POLICIES {
        bed.write_policy(name, text)?;
        if speaks.python().is_none() {
            report.note(&format!("  left out: what needs {}", speaks.missing()));
            continue;
        }
        let (path, port) = server(*speaks);
        if *speaks == Speaks::Kafka {
            let broker = messages::start_broker(bed, path, port)?;
            report.note(&format!("  kafka: {broker}"));
        } else {
            messages::start(bed, path, *speaks, &[port])?;
        }
    }
    Ok(())
}

/// Who serves it, and on which port.
fn server(speaks: Speaks) -> (&'static str, u16) {
    if speaks == Speaks::Grpc { ("payments/payment-grpc", GRPC) } else { ("kafka/kafka", KAFKA) }
}

/// Has the conversations and shows what the flow log says of them.
pub(super) fn run(bed: &TestBed, report: &mut Report) -> Result<()> {
    let possible = || EXCHANGES.iter().filter(|one| one.speaks.python().is_some());
    if possible().next().is_none() {
        return Ok(());
    }
    report.heading("gRPC and Kafka: what each client asks goes over one connection");
    for one in possible() {
        let started = Instant::now();
        let seen = hold(bed, one)?;
        let (path, port) = server(one.speaks);
        let columns = [
            one.from.rsplit('/').next().unwrap_or(one.from),
            &format!("{}:{port}/TCP", path.rsplit('/').next().unwrap_or(path)),
            &format!("{}{}", verb(one), one.asks.join(", ")),
            &one.expect.join(", "),
        ];
        let happened = format!("{} in {} ms", seen.join(", "), started.elapsed().as_millis());
        report.exchange(columns, &happened, seen == one.expect);
    }
    std::thread::sleep(Duration::from_millis(200));
    for (pod, protocol) in [("shop/shop-api", "http"), ("backend/backend-api", "kafka")] {
        let argv = [
            "observe",
            "--type",
            "l7",
            "--pod",
            pod,
            "--protocol",
            protocol,
            "--verdict",
            "DROPPED",
            "--last",
            "3",
        ];
        for line in bed.agent_ref().cli(&argv)?.stdout.lines() {
            report.line(&format!("  {line}"));
        }
    }
    Ok(())
}

/// What the client does, with the name that it does it under.
fn verb(one: &Exchange) -> String {
    if one.speaks == Speaks::Grpc {
        return String::new();
    }
    let name = one.options.iter().find_map(|option| option.strip_prefix("client.id="));
    name.map_or_else(|| format!("{} ", one.verb), |name| format!("as {name} {} ", one.verb))
}

/// One client; how each of the things it asked for ended.
fn hold(bed: &TestBed, one: &Exchange) -> Result<Vec<String>> {
    let (path, port) = server(one.speaks);
    let target = match one.speaks {
        Speaks::Grpc => format!("{}:{port}", bed.pod(path).ipv4()),
        Speaks::Kafka | Speaks::KafkaInPython => format!("{BROKER}:{port}"),
    };
    let mut args = vec![one.verb, target.as_str()];
    args.extend(one.options);
    args.extend(one.asks);
    if one.verb == "consume" {
        args.push("demo");
    }
    let output = exec::run(&mut messages::peer(bed, bed.pod(one.from), one.speaks, &args)?, LIMIT)?;
    let line = output.stdout.lines().last().unwrap_or_default();
    let said: Value = serde_json::from_str(line).unwrap_or_default();
    let ends: Vec<String> = if let Some(calls) = said["calls"].as_array() {
        calls.iter().map(|call| status(call.as_str().unwrap_or_default())).collect()
    } else if let Some(produced) = said["produced"].as_array() {
        produced.iter().map(|one| status(one["end"].as_str().unwrap_or_default())).collect()
    } else {
        said["end"].as_str().map(status).into_iter().collect()
    };
    Ok(if ends.is_empty() { vec![format!("failed: {}", output.text().trim())] } else { ends })
}

/// The name of a status in what the client said.
fn status(said: &str) -> String {
    match said.split_once(": ").map_or(said, |(code, _)| code) {
        "DEADLINE_EXCEEDED" | "UNAVAILABLE" | "_MSG_TIMED_OUT" | "timeout" => "silence".to_owned(),
        text if text.starts_with("authorized") || text.starts_with("refunded") => "OK".to_owned(),
        text => text.to_owned(),
    }
}
