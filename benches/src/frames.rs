//! Small frames as fast as they go: a generator in one pod, a pod that throws them away at the other end.

use crate::bed::{Bed, Contender};
use crate::report::Sample;
use anyhow::{Context, Result, ensure};
use sluice::testbed::exec;
use std::time::{Duration, Instant};

/// Forwarded frames per second while `bench/client` sends 60-byte UDP frames to an address that its receiver throws
/// away at the IP layer.
///
/// # Errors
/// The generator cannot run, or nothing was forwarded.
pub fn run(bed: &Bed, seconds: u32) -> Result<Sample> {
    let client = bed.bed.pod("bench/client");
    // The bare forwarder has two ports only; its sink is the server, with an address nobody has.
    let sink = match bed.contender {
        Contender::Bare => bed.bed.pod("bench/server"),
        _ => bed.bed.pod("bench/sink"),
    };
    let address = |path: &str, argv: &[&str]| -> Result<String> {
        let out = bed.bed.pod(path).run(argv, Duration::from_secs(5))?;
        Ok(out.stdout.trim().to_owned())
    };
    let gateway = sluice::testbed::pod::GATEWAY_V4.to_string();
    client.run(&["ping", "-c", "1", "-W", "1", &bed.bed.pod("bench/server").ipv4().to_string()], Duration::from_secs(5))?;
    let neighbour = address("bench/client", &["ip", "neigh", "show", &gateway, "dev", "eth0"])?;
    let mac = neighbour.split_whitespace().skip_while(|w| *w != "lladdr").nth(1).context("no gateway address")?;
    let target = match bed.contender {
        Contender::Bare => "10.244.1.250".to_owned(),
        _ => {
            let ip = sink.ipv4().to_string();
            // Without its address the pod's kernel throws the frames away before any socket is looked for.
            sink.run(&["ip", "addr", "del", &format!("{ip}/32"), "dev", "eth0"], Duration::from_secs(5))?;
            ip
        }
    };
    let generator = std::env::current_exe()?.with_file_name("frame_generator");
    let mut command = client.command(&generator.to_string_lossy());
    let seconds_text = (seconds + 3).to_string();
    command.args(["--cpu", "0", "--seconds", &seconds_text, "eth0", mac, &client.ipv4().to_string(), &target]);
    let mut generator = exec::Proc::spawn("generator", &mut command, &bed.bed.file("generator.log"))?;
    std::thread::sleep(Duration::from_millis(500));
    let (before, start) = (bed.forwarded()?.context("the contender counts")?, Instant::now());
    std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    let (after, took) = (bed.forwarded()?.context("the contender counts")?, start.elapsed());
    generator.stop();
    ensure!(after > before, "nothing was forwarded: {}", generator.log());
    Ok(Sample { rate: (after - before) as f64 / took.as_secs_f64(), p50: None, p99: None })
}
