//! What the appliance costs when nothing happens.

use anyhow::{Context, Result};
use sluice::testbed::{AgentOptions, PodSpec, Routing, TestBed};
use std::path::Path;
use std::time::Duration;

/// Pods that say nothing.
const PODS: usize = 20;
/// How long to look, after things have settled.
const WATCH: Duration = Duration::from_secs(5);

/// CPU time that an agent with `PODS` idle pods takes, in percent of one core.
///
/// # Errors
/// The agent does not start.
pub fn run(sluice: &Path) -> Result<String> {
    let mut bed = TestBed::new(Routing::Sluice)?;
    for i in 0..PODS {
        bed.add_pod(PodSpec::new("idle", &format!("p{i}"), "app=idle"))?;
    }
    let pid = bed.start_agent(AgentOptions::new(sluice))?.pid();
    std::thread::sleep(Duration::from_secs(3));
    let before = cpu_ticks(pid)?;
    std::thread::sleep(WATCH);
    let ticks = cpu_ticks(pid)? - before;
    // USER_HZ is 100 on every architecture Linux runs on with this ABI.
    let percent = ticks as f64 / WATCH.as_secs_f64();
    Ok(format!("{percent:.1} % of one core with {PODS} idle pods"))
}

/// User and system time of a process in ticks (`proc(5)`, fields 14 and 15 of `stat`).
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |i: usize| -> Result<u64> { Ok(fields.get(i).context("short stat")?.parse()?) };
    Ok(field(11)? + field(12)?)
}
