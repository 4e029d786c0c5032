//! Messages between two pods through the appliance with and without L7 rules, through Envoy with the same rules, and
//! through the kernel alone, in interleaved rounds: HTTP/1 (wrk, and a download), HTTP/2 (h2load), gRPC (one connection,
//! call by call), Kafka (produce). See `docs/measurements.md`.
//!
//! Pinning: the gate has CPU 1 to itself, client and server share CPU 0; without a gate the server has CPU 1. The harness
//! proves before each sample that the gate reads messages (one that no rule allows is refused, the flow log names an
//! allowed one) or does not, and after it by the gate's own counters that all requests went through it.

use anyhow::Result;
use clap::Parser;
use serde_json::{Map, Value};
use sluice_benches::l7::envoy;
use sluice_benches::l7::gate::{Contender, Nodes};
use sluice_benches::l7::report::{Aims, Table, aims_of_download, aims_of_messages};
use sluice_benches::l7::sample::{self, Load};
use sluice_benches::l7::speech::Speech;
use std::path::{Path, PathBuf};

#[derive(Parser)]
struct Args {
    /// The sluice binary to measure.
    #[arg(long, default_value = "target/release/sluice")]
    sluice: PathBuf,
    /// The Envoy binary. Without it: what `scripts/setup.sh bench` installed, or what is in PATH.
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each sample of messages.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Only the comparisons whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Also write the numbers as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One table of the report.
struct Comparison {
    name: &'static str,
    /// What is counted.
    unit: &'static str,
    speech: Speech,
    connections: u32,
    streams: u32,
    aims: Aims,
}

const COMPARISONS: [Comparison; 5] = [
    Comparison {
        name: "HTTP requests, 16 connections (wrk)",
        unit: "request",
        speech: Speech::Http1,
        connections: 16,
        streams: 1,
        aims: Aims { rate: 0.9, p99: Some(1.1), envoy: Some(3.0) },
    },
    Comparison {
        name: "HTTP/2 requests, 4 connections of 8 streams (h2load)",
        unit: "request",
        speech: Speech::Http2,
        connections: 4,
        streams: 8,
        aims: Aims { rate: 0.85, p99: None, envoy: Some(3.0) },
    },
    Comparison {
        name: "gRPC calls, one after the other",
        unit: "call",
        speech: Speech::Grpc,
        connections: 1,
        streams: 1,
        aims: Aims { rate: 0.85, p99: None, envoy: Some(3.0) },
    },
    Comparison {
        name: "gRPC calls, 16 streams",
        unit: "call",
        speech: Speech::Grpc,
        connections: 1,
        streams: 16,
        aims: Aims { rate: 0.85, p99: None, envoy: Some(3.0) },
    },
    Comparison {
        name: "Kafka messages of 1,000 bytes (librdkafka)",
        unit: "message",
        speech: Speech::Kafka,
        connections: 1,
        streams: 1,
        aims: Aims { rate: 0.9, p99: None, envoy: None },
    },
];

fn main() -> Result<()> {
    let args = Args::parse();
    let envoy = envoy::find(args.envoy.as_deref());
    if envoy.is_none() {
        println!("SKIPPED Envoy: it is not installed (scripts/setup.sh bench does it where it can)");
    }
    let mut all = Map::new();
    for speech in [Speech::Http1, Speech::Http2, Speech::Grpc, Speech::Kafka] {
        let wanted: Vec<&Comparison> =
            COMPARISONS.iter().filter(|c| c.speech == speech && c.name.contains(&args.only)).collect();
        if !wanted.is_empty() {
            compare(&args, envoy.as_deref().filter(|_| speech.envoy_reads()), speech, &wanted, &mut all)?;
        }
    }
    if let Some(path) = args.json {
        std::fs::write(path, Value::Object(all).to_string())?;
    }
    Ok(())
}

/// Builds the nodes that speak so, and runs the comparisons on them.
fn compare(
    args: &Args,
    envoy: Option<&Path>,
    speech: Speech,
    wanted: &[&Comparison],
    all: &mut Map<String, Value>,
) -> Result<()> {
    let mut nodes = Nodes::new(speech, &args.sluice, envoy)?;
    let mut contenders = Contender::ALL.to_vec();
    contenders.retain(|contender| *contender != Contender::Envoy || envoy.is_some());
    for Comparison { name, unit, connections, streams, aims, .. } in wanted {
        let load = Load { connections: *connections, streams: *streams, seconds: args.seconds };
        // Caches, neighbours and lazily built tables are nobody's figures.
        for contender in &contenders {
            nodes.with(*contender, |node| sample::messages(node, *contender, Load { seconds: 1, ..load }))?;
        }
        let mut table = Table::default();
        for _ in 0..args.rounds {
            for contender in &contenders {
                let sample = nodes.with(*contender, |node| sample::messages(node, *contender, load))?;
                table.add(*contender, sample);
            }
        }
        print(name, &table, unit, aims_of_messages(&table, *aims));
        all.insert((*name).to_owned(), table.to_json());
    }
    if speech == Speech::Http1 {
        let mut download = Table::default();
        for _ in 0..args.rounds {
            for contender in &contenders {
                download.add(*contender, nodes.with(*contender, sample::download)?);
            }
        }
        print("Download, one connection", &download, "Mb", aims_of_download(&download));
        all.insert("download".to_owned(), download.to_json());
    }
    Ok(())
}

fn print(title: &str, table: &Table, unit: &str, aims: Vec<String>) {
    println!("\n### {title}\n\n{}", table.markdown(unit));
    for aim in aims {
        println!("- {aim}");
    }
}
