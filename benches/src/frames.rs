//! Small frames as fast as they go: a generator in one pod, a pod that throws them away at the other end.

use crate::bed::Bed;
use crate::contender::SPIN_CPU;
use crate::sample::{Sample, Watch};
use anyhow::{Context, Result, ensure};
use sluice::testbed::{TestBed, exec};
use std::time::{Duration, Instant};

/// Drops the generator's frames as they enter the receiving pod, before its IP stack looks: what is left is the
/// forwarder's work.
const SINK: &str = "table netdev bench { chain sink { type filter hook ingress device eth0 priority 0; udp dport 9-10 drop; udp sport 9-10 drop; }; };";
/// Limit for programs that answer at once.
const LIMIT: Duration = Duration::from_secs(5);
/// Connections of the comparisons.
const FLOWS: u32 = 1_024;

/// Who makes the frames.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum How {
    /// The kernel, by a program; only for who attaches XDP.
    Kernel,
    /// An AF_XDP socket.
    Socket,
}

/// Which frames.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Frames {
    /// Who makes them.
    pub how: How,
    /// The first connection.
    pub first: u32,
    /// How many connections.
    pub flows: u32,
    /// From `bench/server` to `bench/client`, as answers of these connections, instead of the other way.
    pub answers: bool,
}

/// Starts 60-byte UDP frames from `bench/client` to `bench/server`, which throws them away, and waits until they flow.
///
/// # Errors
/// The generator cannot run.
pub fn start(bed: &TestBed, frames: Frames, lasting: Duration) -> Result<exec::Proc> {
    let Frames { how, first, flows, answers } = frames;
    let (mut client, mut server) = (bed.pod("bench/client"), bed.pod("bench/server"));
    if answers {
        (client, server) = (server, client);
    }
    let (own, target) = (client.ipv4().to_string(), server.ipv4().to_string());
    server.run(&["nft", "delete", "table", "netdev", "bench"], LIMIT)?;
    let sink = server.run(&["nft", SINK], LIMIT)?;
    ensure!(sink.ok(), "nft: {}", sink.text());
    let gateway = sluice::testbed::pod::GATEWAY_V4.to_string();
    // An entry that nobody uses goes away.
    let next_hop = || {
        let neighbour = client.run(&["ip", "neigh", "show", &gateway, "dev", "eth0"], LIMIT)?.stdout;
        let mut words = neighbour.split_whitespace().skip_while(|word| *word != "lladdr");
        anyhow::Ok(words.nth(1).map(str::to_owned))
    };
    if next_hop()?.is_none() {
        client.run(&["ping", "-c", "1", "-W", "1", &target], LIMIT)?;
    }
    let mac = next_hop()?.context("no gateway address")?;
    let program = std::env::current_exe()?.with_file_name("frame_generator");
    ensure!(program.is_file(), "{} is not built", program.display());
    let mut command = client.command(&program.to_string_lossy());
    let how = if how == How::Kernel { "kernel" } else { "socket" };
    command.args(["--cpu", "0", "--seconds", &lasting.as_secs().to_string(), "--how", how]);
    command.args(["--first", &first.to_string(), "--flows", &flows.to_string()]);
    if answers {
        command.arg("--answers");
    }
    command.args(["eth0", &mac, &own, &target]);
    let generator = exec::Proc::spawn("generator", &mut command, &bed.file("generator.log"))?;
    std::thread::sleep(Duration::from_millis(500));
    Ok(generator)
}

/// Forwarded frames per second. Where the kernel forwards it has CPU 1 for that (receive packet steering), as a forwarder that
/// spins has.
///
/// # Errors
/// The generator cannot run, nothing was forwarded, or the frames went another way.
pub fn run(bed: &Bed, how: How, seconds: u32) -> Result<Sample> {
    if bed.contender.keeps_offloads() {
        let queue =
            format!("/sys/class/net/{}/queues/rx-0/rps_cpus", bed.bed.pod("bench/client").interface());
        let steer = format!("echo {:x} > {queue}", 1 << SPIN_CPU);
        exec::check(bed.bed.node().command("sh").args(["-c", &steer]), LIMIT)?;
    }
    let time = Duration::from_secs(u64::from(seconds));
    let frames = Frames { how, first: 0, flows: FLOWS, answers: false };
    let mut generator = start(&bed.bed, frames, time + Duration::from_secs(4))?;
    let (before, start) = (bed.counts()?, Instant::now());
    let watch = Watch::start(bed.pid())?;
    std::thread::sleep(time);
    let (after, took) = (bed.counts()?, start.elapsed().as_secs_f64());
    let count = after.carried - before.carried;
    ensure!(count > 0, "nothing was forwarded: {}", generator.log());
    let sample = watch.stop()?.sample(count as f64 / took, count as f64);
    generator.stop();
    // The two counters are read one after the other while frames go on, and reading those of many rules takes its time.
    bed.prove(before, count / 2)?;
    Ok(sample)
}
