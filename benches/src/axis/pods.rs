//! By number of pods: idle ones with veth pairs and sockets of their own beside the two that talk, what they cost when
//! nobody talks, and what a look at all of their sockets takes.

use super::{Frames, Place, Plan, Setup};
use crate::contender::SPIN_CPU;
use crate::netperf::data_port;
use crate::{entries, idle};
use anyhow::{Context, Result, ensure};
use sluice::testbed::{PodSpec, Routing, TestBed, exec};
use sluice_micro::scaling::Series;
use std::time::Duration;

/// How many, the two that talk among them.
const NUMBERS: [u32; 4] = [2, 10, 50, 110];
/// Those that are idle.
const IDLE: [u32; 3] = [1, 20, 110];
/// Connections of the frames.
const FLOWS: u32 = 1_024;
/// How long to look at idle agents.
const WATCH: Duration = Duration::from_secs(10);
/// Limit for the program that polls, and for netperf.
const LIMIT: Duration = Duration::from_secs(60);

/// Measures traffic between two of them.
///
/// # Errors
/// A node cannot be built.
pub fn talking(setup: &Setup) -> Result<Vec<Series>> {
    let mut places = Vec::new();
    for number in NUMBERS {
        let plan =
            Plan { idle_pods: number - 2, policies: entries::policies(1), count: 1, ..Plan::default() };
        let mut place = Place::new(setup, &plan).with_context(|| format!("{number} pods"))?;
        let mut server = place.bed.pod("bench/server").command("taskset");
        server.args(["-c", "0", "netserver", "-D", "-4"]);
        place.bed.start("netserver", &mut server)?;
        places.push((number, place));
    }
    let mut frames = Frames::new("pods");
    frames.cost.at_most(110, 1.25);
    frames.cost.reason = "Each poll looks at every socket, which is a cache line of the kernel's for each; a burst of 64 shares \
                          that. The more pods, the shorter the rings, and the fewer cache lines do the frames in flight take: \
                          that is why they may cost less."
        .to_owned();
    let mut trips = Series::new("pods", "between pods, TCP_RR: a byte there and back", "transaction/s");
    trips.at_least(110, 0.95);
    for _ in 0..setup.rounds {
        for (number, place) in &places {
            frames.add(*number, place.with(|place| place.frames(FLOWS, setup.time))?);
            trips.add(*number, place.with(|place| round_trips(place, setup.time))?);
        }
    }
    Ok(vec![frames.cost, frames.rate, trips])
}

fn round_trips(place: &Place, time: Duration) -> Result<f64> {
    let server = place.bed.pod("bench/server").ipv4().to_string();
    let mut netperf = place.bed.pod("bench/client").command("taskset");
    netperf.args(["-c", "0", "netperf", "-P", "0", "-H", &server, "-t", "TCP_RR"]);
    netperf.args(["-l", &time.as_secs().to_string(), "--", "-P", &data_port(), "-o", "THROUGHPUT"]);
    let out = exec::check(&mut netperf, time + LIMIT)?;
    out.stdout.trim().parse().with_context(|| out.text())
}

/// Measures what an agent takes whose pods say nothing, in the adaptive mode.
///
/// # Errors
/// An agent does not start.
pub fn idle(setup: &Setup) -> Result<Vec<Series>> {
    let what = "agent with idle pods, polling: adaptive, all of its threads";
    let mut series = Series::new("pods", what, "% of a core");
    series.value_at_most(110, 2.0);
    series.reason =
        "No thread's work depends on the number of pods but what their kernels say by themselves (router solicitations, \
                     multicast reports)."
            .to_owned();
    for number in IDLE {
        let bed = idle::node(&setup.sluice, number)?;
        for _ in 0..setup.rounds.min(2) {
            series.add(number, idle::percent(&bed, WATCH)?);
        }
    }
    Ok(vec![series])
}

/// Measures one poll over so many sockets on which nothing arrives, and the flush behind it.
///
/// # Errors
/// The pods or their sockets cannot be made.
pub fn polls(setup: &Setup) -> Result<Vec<Series>> {
    let mut bed = TestBed::new(Routing::Sluice)?;
    for at in 0..NUMBERS[NUMBERS.len() - 1] {
        bed.add_pod(PodSpec::new("bench", &format!("p{at}"), "app=idle"))?;
    }
    let program = std::env::current_exe()?.with_file_name("poll_round");
    ensure!(program.is_file(), "{} is not built", program.display());
    let mut series =
        Series::new("pods", "one poll that finds nothing: recv and flush over all sockets", "ns/poll");
    series.value_at_most(110, 1_000.0);
    series.reason = "The sockets' rings lie in memory of their own each, so a look is a cache line and a page for each of them; \
                     nothing is asked of the kernel."
        .to_owned();
    for _ in 0..setup.rounds {
        for number in NUMBERS {
            let mut command = bed.node().command(&program);
            command.args(["--cpu", &SPIN_CPU.to_string()]);
            command.args(bed.pods().iter().take(number as usize).map(|pod| pod.interface()));
            crate::cpu::wait_until_quiet()?;
            let out = exec::check(&mut command, LIMIT)?;
            series.add(number, out.stdout.trim().parse().with_context(|| out.text())?);
        }
    }
    Ok(vec![series])
}
