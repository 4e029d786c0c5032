//! HTTP requests between two pods through the appliance with and without HTTP rules, through Envoy with the same rules,
//! and through the kernel alone, in interleaved rounds. See `docs/measurements.md`.
//!
//! Pinning: the gate has CPU 1 to itself, client and server share CPU 0; without a gate the server has CPU 1. The harness
//! proves before each sample that the gate reads requests (a refused one is answered 403, the flow log names an allowed
//! one) or does not, and after it by the gate's own counters that all requests went through it.

use anyhow::Result;
use clap::Parser;
use sluice_benches::l7::gate::{Contender, Nodes};
use sluice_benches::l7::report::{Table, aims_of_download, aims_of_requests};
use sluice_benches::l7::{envoy, sample};
use std::path::PathBuf;

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
    /// Seconds of each sample of requests.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Connections of the client.
    #[arg(long, default_value_t = 16)]
    connections: u32,
    /// Also write the numbers as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let envoy = envoy::find(args.envoy.as_deref());
    if envoy.is_none() {
        println!("SKIPPED Envoy: it is not installed (scripts/setup.sh bench does it where it can)");
    }
    let mut nodes = Nodes::new(&args.sluice, envoy.as_deref())?;
    let mut contenders = Contender::ALL.to_vec();
    contenders.retain(|contender| *contender != Contender::Envoy || envoy.is_some());

    // Caches, neighbours and lazily built tables are nobody's figures.
    for contender in &contenders {
        nodes.with(*contender, |node| sample::requests(node, *contender, args.connections, 1))?;
    }
    let mut requests = Table::default();
    for _ in 0..args.rounds {
        for contender in &contenders {
            let sample = nodes.with(*contender, |node| {
                sample::requests(node, *contender, args.connections, args.seconds)
            })?;
            requests.add(*contender, sample);
        }
    }
    let connections = args.connections;
    print(
        &format!("HTTP requests, {connections} connections"),
        &requests,
        "request",
        aims_of_requests(&requests),
    );

    let mut download = Table::default();
    for _ in 0..args.rounds {
        for contender in &contenders {
            download.add(*contender, nodes.with(*contender, sample::download)?);
        }
    }
    print("Download, one connection", &download, "Mb", aims_of_download(&download));

    if let Some(path) = args.json {
        let all = serde_json::json!({"requests": requests.to_json(), "download": download.to_json()});
        std::fs::write(path, all.to_string())?;
    }
    Ok(())
}

fn print(title: &str, table: &Table, unit: &str, aims: Vec<String>) {
    println!("\n### {title}\n\n{}", table.markdown(unit));
    for aim in aims {
        println!("- {aim}");
    }
}
