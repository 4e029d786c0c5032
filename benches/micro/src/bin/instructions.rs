//! Instructions per frame, counted by callgrind: unlike times they are the same on every run of a build, so that a change of
//! three in a hundred shows on any machine.
//!
//! ```text
//! instructions            counts, and fails where a workload takes 3 % more than `benches/micro/instructions.json` says
//! instructions update     counts, and writes them there
//! instructions play WORKLOAD ROUNDS   what is counted
//! ```
//!
//! Only polls are counted, not the making of frames; each workload is played for two lengths, and the difference is its
//! steady state. Another compiler makes other instructions: its counts are shown and not judged.

use packet::{BURST_LEN, PacketIo};
use serde::{Deserialize, Serialize};
use sluice_micro::node::{self, Node};
use sluice_micro::web::calls::Calls;
use sluice_micro::web::{Rules, Web};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The two lengths, in rounds of a burst.
const ROUNDS: [u64; 2] = [256, 1024];

/// A count may grow by this part.
const MORE: f64 = 0.03;

/// Web connections of the exchanges.
const CONNECTIONS: u16 = 16;

/// Calls at a time on one gRPC connection.
const STREAMS: u32 = 16;

/// What is played, and how many units a round has.
const WORKLOADS: [(&str, u64); 10] = [
    ("established, 1 flow", node::BURST as u64),
    ("established, 1000 flows", node::BURST as u64),
    ("new flow", node::BURST as u64),
    ("refused", node::BURST as u64),
    ("exchange, L4 policy", CONNECTIONS as u64),
    ("exchange, HTTP policy", CONNECTIONS as u64),
    ("traced exchange, HTTP policy", CONNECTIONS as u64),
    ("call of 16, L4 policy", STREAMS as u64),
    ("call of 16, HTTP policy", STREAMS as u64),
    ("traced call of 16, HTTP policy", STREAMS as u64),
];

/// The file.
#[derive(Serialize, Deserialize, Default)]
struct Counts {
    /// `rustc --version` of the build that was counted.
    compiler: String,
    /// Instructions for a frame, or for a request and its response.
    instructions: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["play", workload, rounds] => {
            rounds.parse().map_err(|e| format!("{rounds}: {e}")).and_then(|rounds| {
                play(workload, rounds)?;
                Ok(true)
            })
        }
        [] => count().and_then(|counts| judge(&counts)),
        ["update"] => count().and_then(|counts| write(&counts)),
        _ => Err("instructions [update | play WORKLOAD ROUNDS]".to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::from(2)
        }
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

fn play(workload: &str, rounds: u64) -> Result<(), String> {
    match workload {
        "established, 1 flow" => frames(Node::with_established(1), rounds, Node::data),
        "established, 1000 flows" => frames(Node::with_established(1_000), rounds, Node::data),
        "new flow" => frames(Node::with_new_flows(), rounds, Node::fresh),
        "refused" => frames(Node::with_new_flows(), rounds, Node::refused),
        "exchange, L4 policy" => exchanges(Web::new(Rules::L4, CONNECTIONS), rounds),
        "exchange, HTTP policy" => exchanges(Web::new(Rules::Http, CONNECTIONS), rounds),
        "traced exchange, HTTP policy" => exchanges(Web::new(Rules::Http, CONNECTIONS).traced(), rounds),
        "call of 16, L4 policy" => calls(Rules::L4, Calls::new(Rules::L4, STREAMS), rounds),
        "call of 16, HTTP policy" => calls(Rules::Grpc, Calls::new(Rules::Grpc, STREAMS), rounds),
        "traced call of 16, HTTP policy" => {
            calls(Rules::Grpc, Calls::new(Rules::Grpc, STREAMS).traced(), rounds);
        }
        _ => return Err(format!("no workload `{workload}`")),
    }
    Ok(())
}

fn frames(mut node: Node, rounds: u64, supply: impl Fn(&mut Node)) {
    for _ in 0..rounds {
        supply(&mut node);
        counted(|| node.poll());
        node.drain_events();
    }
}

fn exchanges(mut web: Web, rounds: u64) {
    let batch = usize::from(CONNECTIONS).min(BURST_LEN);
    for round in 0..2 * rounds {
        if round % 2 == 0 {
            web.requests(batch);
        } else {
            web.responses(batch);
        }
        counted(|| web.poll());
        web.drain_events();
    }
}

fn calls(rules: Rules, mut calls: Calls, rounds: u64) {
    for round in 0..2 * rounds {
        if round % 2 == 0 {
            calls.requests();
        } else {
            calls.responses();
        }
        counted(|| calls.web.poll());
        calls.web.drain_events();
    }
    let messages = if rules == Rules::L4 { 0 } else { 2 * rounds * u64::from(STREAMS) };
    assert_eq!(
        calls.web.messages, messages,
        "each call and each answer is one message of the log, or none is"
    );
    assert_eq!(calls.web.worker.io().outstanding(), 0, "no frame waits");
}

/// What callgrind counts: see `--toggle-collect` below.
#[inline(never)]
fn counted(mut poll: impl FnMut() -> usize) {
    black_box(poll());
}

fn count() -> Result<Counts, String> {
    let mut counts = Counts { compiler: compiler()?, ..Counts::default() };
    for (workload, units) in WORKLOADS {
        let [few, many] = ROUNDS.map(|rounds| under_callgrind(workload, rounds));
        let per_unit = (many? - few?) as f64 / ((ROUNDS[1] - ROUNDS[0]) * units) as f64;
        counts.instructions.insert(workload.to_owned(), (per_unit * 10.0).round() / 10.0);
    }
    Ok(counts)
}

fn compiler() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().map_err(|e| format!("rustc: {e}"))?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

fn under_callgrind(workload: &str, rounds: u64) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let said = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*instructions::counted*",
        ])
        .arg(own)
        .args(["play", workload, &rounds.to_string()])
        .output()
        .map_err(|e| format!("valgrind: {e}; install it (scripts/setup.sh bench does)"))?;
    let text = String::from_utf8_lossy(&said.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    let total = collected.and_then(|(_, count)| count.trim().parse().ok()).filter(|count| *count > 0);
    match total {
        Some(total) if said.status.success() => Ok(total),
        _ => Err(format!("{workload}: callgrind counted nothing:\n{text}")),
    }
}

/// Shows them beside those of the file. `false`: one has grown by too much.
fn judge(counts: &Counts) -> Result<bool, String> {
    let path = file();
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let known: Counts = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let judged = known.compiler == counts.compiler;
    let mut good = true;
    println!("| instructions for a frame, or for a request and its response | now | before | ratio | |");
    println!("|---|---|---|---|---|");
    for (workload, now) in &counts.instructions {
        let before = known.instructions.get(workload).copied().unwrap_or(f64::NAN);
        let ratio = now / before;
        let word = match ratio {
            _ if !judged || ratio.is_nan() => "not judged",
            _ if ratio > 1.0 + MORE => {
                good = false;
                "MORE"
            }
            _ if ratio < 1.0 - MORE => "less: `instructions update` keeps it so",
            _ => "",
        };
        println!("| {workload} | {now:.1} | {before:.1} | {ratio:.3} | {word} |");
    }
    if !judged {
        println!("\nCounted with {}, before with {}: not judged.", counts.compiler, known.compiler);
    }
    Ok(good)
}

fn write(counts: &Counts) -> Result<bool, String> {
    let text = serde_json::to_string_pretty(counts).map_err(|e| e.to_string())?;
    std::fs::write(file(), format!("{text}\n")).map_err(|e| format!("{}: {e}", file().display()))?;
    println!("{text}");
    Ok(true)
}
