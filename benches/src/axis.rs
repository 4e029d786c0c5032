//! What a packet costs by how many there are of something, between two pods through the appliance: a node for each number,
//! and rounds that measure each of them once.

pub mod connections;
pub mod identities;
pub mod pods;

use crate::contender::SPIN_CPU;
use crate::frames::{self, How};
use crate::peers;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sluice::testbed::{AgentOptions, PodSpec, Routing, TestBed};
use sluice_micro::scaling::Series;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Frames that may be lost or go another way: neighbours, and what is on its way when counters are read.
const STRAY: u64 = 64;
/// How long the generator may at most go on, beyond a sample.
const BEYOND: Duration = Duration::from_secs(4);

/// How to measure.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The sluice binary.
    pub sluice: PathBuf,
    /// Rounds.
    pub rounds: usize,
    /// Of each sample.
    pub time: Duration,
}

/// What a number consists of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Pods beside the two that talk.
    pub idle_pods: u32,
    /// More of the inventory, as a file.
    pub inventory: Option<String>,
    /// The policies of the server.
    pub policies: String,
    /// How many they are.
    pub count: u64,
}

/// One node: its agent spins on a CPU of its own, or stands still while others are measured.
pub struct Place {
    /// Its namespaces.
    pub bed: TestBed,
    pid: i32,
}

/// What the worker says about its frames.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Worked {
    forwarded: u64,
    /// Seconds of the polls that were timed, and their frames.
    seconds: f64,
    timed: f64,
}

/// Frames of one sample.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Cost {
    /// Forwarded frames a second.
    pub rate: f64,
    /// Nanoseconds that the worker took for a frame, from looking for it until the kernel had sent it on.
    pub nanos: f64,
}

impl Place {
    /// Builds it, and stops it.
    ///
    /// # Errors
    /// Something that it takes is missing, or the policies are not in force.
    pub fn new(setup: &Setup, plan: &Plan) -> Result<Self> {
        let mut bed = TestBed::new(Routing::Sluice)?;
        for name in ["client", "server"] {
            bed.add_pod(PodSpec::new("bench", name, &format!("app={name}")))?;
        }
        for at in 0..plan.idle_pods {
            bed.add_pod(PodSpec::new("bench", &format!("idle-{at}"), "app=idle"))?;
        }
        if let Some(inventory) = &plan.inventory {
            let folder = bed.config_dir().join("inventory");
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("others.yaml"), inventory)?;
        }
        bed.write_policy("server", &plan.policies)?;
        let agent = bed.start_agent(AgentOptions::new(&setup.sluice).spin_on(&[SPIN_CPU]))?;
        let pid = i32::try_from(agent.pid())?;
        let place = Self { bed, pid };
        let loaded = place.status("/policy/policies")?;
        ensure!(loaded == plan.count, "{} policies were written, {loaded} are in force", plan.count);
        let server = place.bed.pod("bench/server").ipv4().to_string();
        // The neighbours learn of each other; whether policy lets this through does not matter.
        place.bed.pod("bench/client").run(&["ping", "-c", "1", "-W", "1", &server], BEYOND)?;
        place.freeze(true);
        Ok(place)
    }

    /// One number of the agent's status.
    ///
    /// # Errors
    /// It does not answer, or says no such thing.
    pub fn status(&self, pointer: &str) -> Result<u64> {
        let status = self.bed.agent_ref().json(&["status"])?;
        let value = status.first().and_then(|status| status.pointer(pointer)?.as_u64());
        value.with_context(|| format!("no {pointer} in the status"))
    }

    /// Runs `measure` while the agent runs, on a quiet machine.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn with<T>(&self, measure: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        crate::cpu::wait_until_quiet()?;
        self.freeze(false);
        std::thread::sleep(Duration::from_millis(100));
        let result = measure(self);
        self.freeze(true);
        result
    }

    /// 60-byte frames of so many connections, as fast as they go.
    ///
    /// # Errors
    /// They went another way, or were lost on it.
    pub fn frames(&self, flows: u32, time: Duration) -> Result<Cost> {
        let routed = peers::routed(&self.bed)?;
        let frames = frames::Frames { how: How::Kernel, first: 0, flows, answers: false };
        let mut generator = frames::start(&self.bed, frames, time + BEYOND)?;
        let (before, start) = (self.worked()?, Instant::now());
        std::thread::sleep(time);
        let (after, took) = (self.worked()?, start.elapsed().as_secs_f64());
        generator.stop();
        let count = after.forwarded - before.forwarded;
        ensure!(count > 0, "nothing was forwarded: {}", generator.log());
        let routed = peers::routed(&self.bed)? - routed;
        ensure!(routed <= STRAY, "the kernel routed {routed} packets past it");
        let (seconds, timed) = (after.seconds - before.seconds, after.timed - before.timed);
        Ok(Cost { rate: count as f64 / took, nanos: seconds * 1e9 / timed })
    }

    fn worked(&self) -> Result<Worked> {
        let said = self.bed.agent_ref().cli(&["metrics"])?;
        ensure!(said.ok(), "sluice metrics: {}", said.text());
        let number = |name: &str| -> Result<f64> {
            let line = said.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("no {name} in the metrics"))?.trim().parse()?)
        };
        Ok(Worked {
            forwarded: self.status("/frames/forwarded")?,
            seconds: number("sluice_frame_duration_seconds_sum")?,
            timed: number("sluice_frame_duration_seconds_count")?,
        })
    }

    fn freeze(&self, on: bool) {
        let signal = if on { Signal::SIGSTOP } else { Signal::SIGCONT };
        // One that has died is found out by its counters.
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal);
    }
}

impl Drop for Place {
    /// Who stands still does not hear that it is to end.
    fn drop(&mut self) {
        self.freeze(false);
    }
}

/// The two series of small frames.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Nanoseconds of a frame.
    pub cost: Series,
    /// Frames a second.
    pub rate: Series,
}

impl Frames {
    /// Empty ones.
    #[must_use]
    pub fn new(axis: &str) -> Self {
        let cost = "between pods, 60-byte frames: worker's time from looking until sent, the kernel's transmission included";
        let rate = "between pods, 60-byte frames, one worker, generator on the other CPU";
        Self { cost: Series::new(axis, cost, "ns/frame"), rate: Series::new(axis, rate, "frame/s") }
    }

    /// Adds the sample of a round.
    pub fn add(&mut self, x: u32, cost: Cost) {
        self.cost.add(x, cost.nanos);
        self.rate.add(x, cost.rate);
    }
}
