//! Small frames as fast as they go: a generator in one pod, a pod that throws them away at the other end.

use crate::bed::Bed;
use crate::contender::SPIN_CPU;
use crate::sample::{Sample, Watch};
use anyhow::{Context, Result, ensure};
use sluice::testbed::exec;
use std::time::{Duration, Instant};

/// Drops the generator's frames as they enter the receiving pod, before its IP stack looks: what is left is the
/// forwarder's work.
const SINK: &str = "table netdev bench { chain sink { type filter hook ingress device eth0 priority 0; udp dport 9 drop; }; };";

/// Forwarded frames per second while `bench/client` sends 60-byte UDP frames to `bench/server`, which throws them away.
/// Where the kernel forwards it has CPU 1 for that (receive packet steering), as a forwarder that spins has.
///
/// # Errors
/// The generator cannot run, nothing was forwarded, or the frames went another way.
pub fn run(bed: &Bed, seconds: u32) -> Result<Sample> {
    let (client, server) = (bed.bed.pod("bench/client"), bed.bed.pod("bench/server"));
    let limit = Duration::from_secs(5);
    let (own, target) = (client.ipv4().to_string(), server.ipv4().to_string());
    server.run(&["nft", "delete", "table", "netdev", "bench"], limit)?;
    let sink = server.run(&["nft", SINK], limit)?;
    ensure!(sink.ok(), "nft: {}", sink.text());
    if bed.contender.keeps_offloads() {
        let queue = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", client.interface());
        let steer = format!("echo {:x} > {queue}", 1 << SPIN_CPU);
        exec::check(bed.bed.node().command("sh").args(["-c", &steer]), limit)?;
    }
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
    let (before, start) = (bed.counts()?, Instant::now());
    let watch = Watch::start(bed.pid())?;
    std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    let (after, took) = (bed.counts()?, start.elapsed().as_secs_f64());
    let count = after.carried - before.carried;
    let sample = watch.stop()?.sample(count as f64 / took, count as f64);
    generator.stop();
    ensure!(count > 0, "nothing was forwarded: {}", generator.log());
    // The two counters are read one after the other while frames go on, and reading those of many rules takes its time.
    bed.prove(before, count / 2)?;
    Ok(sample)
}
