//! What the appliance costs when nothing happens.

use anyhow::{Context, Result};
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

/// Time that all threads of a process have run, to the nanosecond (first field of `schedstat`).
fn run_time(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += stat.split_whitespace().next().context("empty schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_other_threads_counts() {
        let own = std::process::id();
        let before = run_time(own).expect("own threads");
        let work = Duration::from_millis(50);
        let spun = std::thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < work {}
            // Looked at while the thread is still there.
            run_time(own).expect("own threads")
        });
        let after = spun.join().expect("it ended");
        assert!(after > before, "{before:?}, {after:?}");
    }
}
