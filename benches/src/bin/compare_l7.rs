//! Messages between two pods through the appliance with and without L7 rules, through proxies (Envoy, nginx, HAProxy) with
//! the same rules, through the bare AF_XDP forwarder and through the kernel alone, in interleaved rounds: HTTP/1 (wrk, and a
//! download), HTTP/2 (h2load), gRPC (one connection, call by call), Kafka (produce). See `docs/measurements.md`.
//!
//! Pinning: the gate has CPU 1 to itself, client and server share CPU 0; without a gate the server has CPU 1. The harness
//! proves before each sample that the gate reads messages (one that no rule allows is refused, the flow log names an
//! allowed one) or does not, and after it by the gate's own counters that all requests went through it.

use anyhow::Result;
use clap::Parser;
use sluice::testbed::interrupt;
use sluice_benches::l7::aims::{self, Aims};
use sluice_benches::l7::gate::{Contender, Gate, Node, Nodes};
use sluice_benches::l7::proxy::Proxy;
use sluice_benches::l7::sample::{self, Load};
use sluice_benches::l7::speech::Speech;
use sluice_benches::report::{Run, Table};
use sluice_benches::sample::{Sample, undisturbed};
use std::path::PathBuf;
use std::process::ExitCode;

const DOWNLOAD: &str = "Download, one connection";

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
    /// Only the comparisons whose name contains this: HTTP requests, Download, HTTP/2, gRPC, Kafka.
    #[arg(long, default_value = "")]
    only: String,
    /// Only the contenders whose name contains one of these (A|B|C); the reference always takes part.
    #[arg(long, value_delimiter = '|')]
    contenders: Vec<String>,
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
        aims: Aims { rate: 0.95, p99: Some(1.2), envoy: Some(5.0), cpu: Some(6.0) },
    },
    Comparison {
        name: "HTTP/2 requests, 4 connections of 8 streams (h2load)",
        unit: "request",
        speech: Speech::Http2,
        connections: 4,
        streams: 8,
        aims: Aims { rate: 0.85, p99: None, envoy: Some(3.0), cpu: None },
    },
    Comparison {
        name: "gRPC calls, one after the other",
        unit: "call",
        speech: Speech::Grpc,
        connections: 1,
        streams: 1,
        aims: Aims { rate: 0.85, p99: None, envoy: Some(3.0), cpu: None },
    },
    Comparison {
        name: "gRPC calls, 16 streams",
        unit: "call",
        speech: Speech::Grpc,
        connections: 1,
        streams: 16,
        aims: Aims { rate: 0.85, p99: None, envoy: Some(3.0), cpu: None },
    },
    Comparison {
        name: "Kafka messages of 1,000 bytes (librdkafka)",
        unit: "message",
        speech: Speech::Kafka,
        connections: 1,
        streams: 1,
        aims: Aims { rate: 0.9, p99: None, envoy: None, cpu: None },
    },
];

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    interrupt::watch()?;
    let proxies = find_proxies(&args);
    let mut run = Run::new(args.rounds, args.seconds)?;
    for speech in [Speech::Http1, Speech::Http2, Speech::Grpc, Speech::Kafka] {
        let wanted: Vec<&Comparison> =
            COMPARISONS.iter().filter(|c| c.speech == speech && c.name.contains(&args.only)).collect();
        let download = speech == Speech::Http1 && DOWNLOAD.contains(&args.only);
        if !wanted.is_empty() || download {
            let proxies = if speech.proxies_read() { proxies.as_slice() } else { &[] };
            compare(&args, proxies, speech, &wanted, download, &mut run);
        }
    }
    if let Some(path) = &args.json {
        run.save(path)?;
    }
    Ok(if run.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The proxies that are here, with their programs.
fn find_proxies(args: &Args) -> Vec<(Proxy, PathBuf)> {
    let mut found = Vec::new();
    for proxy in Proxy::ALL {
        match proxy.find(args.envoy.as_deref()) {
            Some(program) => found.push((proxy, program)),
            None => println!(
                "SKIPPED {}: it is not installed (scripts/setup.sh bench does it where it can)",
                proxy.name()
            ),
        }
    }
    found
}

/// Builds the nodes that speak so, and runs the comparisons on them.
fn compare(
    args: &Args,
    proxies: &[(Proxy, PathBuf)],
    speech: Speech,
    wanted: &[&Comparison],
    download: bool,
    run: &mut Run,
) {
    let mut contenders = Contender::ALL.to_vec();
    contenders.retain(|contender| {
        let name = contender.name();
        let chosen = args.contenders.is_empty() || args.contenders.iter().any(|part| name.contains(part));
        let here = match contender {
            Contender::Proxy(wanted) => proxies.iter().any(|(proxy, _)| proxy == wanted),
            _ => true,
        };
        here && (chosen || *contender == Contender::REFERENCE)
    });
    let mut gates: Vec<(Gate, PathBuf)> = Vec::new();
    for gate in contenders.iter().map(|contender| contender.gate()) {
        let program = proxies.iter().find(|(proxy, _)| gate == Gate::Proxy(*proxy));
        let program = program.map_or(&args.sluice, |(_, program)| program);
        if gates.iter().all(|(known, _)| *known != gate) {
            gates.push((gate, program.clone()));
        }
    }
    let (mut nodes, missing) = Nodes::new(speech, &gates);
    for (gate, error) in missing {
        run.fail(&format!("{gate:?}"), &error);
        contenders.retain(|contender| contender.gate() != gate);
    }
    for Comparison { name, unit, connections, streams, aims, .. } in wanted {
        let load = Load { connections: *connections, streams: *streams, seconds: args.seconds };
        let warm = Load { seconds: 1, ..load };
        // Caches, neighbours and lazily built tables are nobody's figures.
        let mut table = rounds(&mut nodes, run, name, unit, &contenders, |node, contender, round| {
            sample::messages(node, contender, if round == 0 { warm } else { load })
        });
        table.aims = aims::of_messages(&table, *aims);
        run.finish(table);
    }
    if download {
        let mut table =
            rounds(&mut nodes, run, DOWNLOAD, "Mb", &contenders, |node, _, _| sample::download(node));
        table.aims = aims::of_download(&table);
        run.finish(table);
    }
}

/// The rounds of one comparison behind one, numbered 0, that does not count: each contender once in each. Who fails twice in
/// a round is left out from then on.
fn rounds(
    nodes: &mut Nodes,
    run: &mut Run,
    name: &str,
    unit: &str,
    contenders: &[Contender],
    measure: impl Fn(&Node, Contender, usize) -> Result<Sample>,
) -> Table {
    let mut table = Table::new(name, unit, Contender::REFERENCE.name());
    let mut able = contenders.to_vec();
    for round in 0..=run.rounds {
        able.retain(|contender| {
            let mut take = || nodes.with(*contender, |node| measure(node, *contender, round));
            let mut sample = if round == 0 { take() } else { undisturbed(&mut take) };
            if let Err(error) = &sample
                && !interrupt::requested()
            {
                eprintln!("{name}: once more: {error:#}");
                sample = take();
            }
            match sample {
                Ok(sample) if round > 0 => table.add(contender.name(), None, sample),
                Ok(_) => {}
                Err(error) => {
                    run.fail(name, &error);
                    table.remove(contender.name());
                    return false;
                }
            }
            true
        });
    }
    table
}
