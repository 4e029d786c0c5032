//! What the appliance costs when nothing happens.

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use sluice::testbed::{AgentOptions, PodSpec, Routing, TestBed};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long things take to settle.
const SETTLE: Duration = Duration::from_secs(3);

/// An agent with so many pods that say nothing, adaptive as by default, once it has settled.
///
/// # Errors
/// The agent does not start.
pub fn node(sluice: &Path, pods: u32) -> Result<TestBed> {
    let mut bed = TestBed::new(Routing::Sluice)?;
    for at in 0..pods {
        bed.add_pod(PodSpec::new("idle", &format!("p{at}"), "app=idle"))?;
    }
    bed.start_agent(AgentOptions::new(sluice))?;
    std::thread::sleep(SETTLE);
    Ok(bed)
}

/// CPU time of the agent in that time, in percent of one core.
///
/// # Errors
/// It has ended.
pub fn percent(bed: &TestBed, watch: Duration) -> Result<f64> {
    let pid = bed.agent_ref().pid();
    let (before, start) = (run_time(pid)?, Instant::now());
    std::thread::sleep(watch);
    let ran = run_time(pid)?.saturating_sub(before);
    Ok(100.0 * ran.as_secs_f64() / start.elapsed().as_secs_f64())
}

/// Time that all threads of a process have run, also those that have ended, to the nanosecond
/// (`clock_getcpuclockid(3)`: the process keeps the sum, so no thread can end between two looks at it).
fn run_time(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?)).context("the process has ended")?;
    Ok(clock.now()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_millis(50);

    /// Runs on a CPU for that long.
    fn work() {
        let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
        let now = || Duration::from(clock.now().expect("own clock"));
        let start = now();
        while now() - start < WORK {}
    }

    #[test]
    fn work_of_other_threads_counts_also_once_they_have_ended() {
        let before = run_time(std::process::id()).expect("own time");
        std::thread::spawn(work).join().expect("it ended");
        let ran = run_time(std::process::id()).expect("own time") - before;
        assert!(ran >= WORK, "{ran:?}");
    }

    #[test]
    fn a_process_that_has_ended_has_no_time() {
        let mut child = std::process::Command::new("true").spawn().expect("started");
        child.wait().expect("it ended");
        assert!(run_time(child.id()).is_err());
    }
}
