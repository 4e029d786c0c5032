//! Small frames as fast as they go: a generator in one pod, a pod that throws them away at the other end.

use crate::bed::Bed;
use crate::report::Sample;
use anyhow::{Context, Result, ensure};
use sluice::testbed::exec;
use std::time::{Duration, Instant};

/// Drops the generator's frames as they enter the receiving pod, before its IP stack looks: what is left is the
/// forwarder's work.
const SINK: &str = "table netdev bench { chain sink { type filter hook ingress device eth0 priority 0; udp dport 9 drop; }; };";

/// Forwarded frames per second while `bench/client` sends 60-byte UDP frames to `bench/server`, which throws them away.
///
/// # Errors
/// The generator cannot run, or nothing was forwarded.
pub fn run(bed: &Bed, seconds: u32) -> Result<Sample> {
    let (client, server) = (bed.bed.pod("bench/client"), bed.bed.pod("bench/server"));
    let limit = Duration::from_secs(5);
    let (own, target) = (client.ipv4().to_string(), server.ipv4().to_string());
    server.run(&["nft", "delete", "table", "netdev", "bench"], limit)?;
    let sink = server.run(&["nft", SINK], limit)?;
    ensure!(sink.ok(), "nft: {}", sink.text());
    let gateway = sluice::testbed::pod::GATEWAY_V4.to_string();
    let neighbour = client.run(&["ip", "neigh", "show", &gateway, "dev", "eth0"], limit)?.stdout;
    let mac =
        neighbour.split_whitespace().skip_while(|w| *w != "lladdr").nth(1).context("no gateway address")?;
    let program = std::env::current_exe()?.with_file_name("frame_generator");
    let mut command = client.command(&program.to_string_lossy());
    let lasting = (seconds + 4).to_string();
    command.args(["--cpu", "0", "--seconds", &lasting, "eth0", mac, &own, &target]);
    let mut generator = exec::Proc::spawn("generator", &mut command, &bed.bed.file("generator.log"))?;
    std::thread::sleep(Duration::from_millis(500));
    let (before, start) = (bed.forwarded()?.context("the contender counts")?, Instant::now());
    std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    let (after, took) = (bed.forwarded()?.context("the contender counts")?, start.elapsed());
    generator.stop();
    ensure!(after > before, "nothing was forwarded: {}", generator.log());
    Ok(Sample { rate: (after - before) as f64 / took.as_secs_f64(), p50: None, p99: None })
}
