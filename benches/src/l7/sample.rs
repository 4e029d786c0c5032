//! One sample: many small requests on a few connections, or one large answer.

use super::cpu::CpuTime;
use super::gate::{Contender, LARGE_LEN, Node};
use super::rules::{ALLOWED, LARGE};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice::testbed::exec;
use std::time::Duration;

/// What wrk prints at its end. There is nothing in it for single requests, so it costs nothing while wrk runs.
const REPORT: &str = "\
function done(summary, latency)
  local e = summary.errors
  print(string.format('{\"requests\":%d,\"micros\":%d,\"errors\":%d,\"p50\":%.1f,\"p99\":%.1f}', summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
";

/// What was measured.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Sample {
    /// Requests per second, or 10^6 bits per second.
    pub rate: f64,
    /// Median latency in microseconds, where there is one.
    pub p50: Option<f64>,
    /// 99th percentile of it.
    pub p99: Option<f64>,
    /// CPU microseconds of the machine for each unit: a request, or 10^6 bits.
    pub machine: f64,
    /// CPU microseconds of the gate's process for each.
    pub gate: f64,
    /// Part of the time that the hypervisor took, of one CPU.
    pub stolen: f64,
}

/// Small requests from wrk on `connections` that stay open, for `seconds`.
///
/// # Errors
/// wrk failed, a request was answered other than by success, or the gate did not handle them all.
pub fn requests(node: &Node, contender: Contender, connections: u32, seconds: u32) -> Result<Sample> {
    let script = node.file("report.lua");
    std::fs::write(&script, REPORT)?;
    let mut wrk = node.client("wrk");
    wrk.args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "-s"]);
    wrk.arg(&script).arg(node.url(ALLOWED));
    let handled = node.handled(contender)?;
    let before = CpuTime::now(node.pid())?;
    let out = exec::check(&mut wrk, Duration::from_secs(u64::from(seconds) + 20))?;
    let cpu = CpuTime::now(node.pid())? - before;
    let line = out.stdout.lines().find(|line| line.starts_with('{')).with_context(|| out.text())?;
    let said: Value = serde_json::from_str(line)?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("no {name}: {line}"));
    let (requests, took) = (number("requests")?, number("micros")? / 1e6);
    ensure!(requests > 0.0 && number("errors")? == 0.0, "wrk: {}", out.text());
    if let (Some(before), Some(after)) = (handled, settled(node, contender, handled, requests)?) {
        ensure!(
            (after - before) as f64 >= requests * each(contender),
            "{requests} requests went past: the gate counted {}",
            after - before
        );
    }
    Ok(Sample {
        rate: requests / took,
        p50: Some(number("p50")?),
        p99: Some(number("p99")?),
        machine: cpu.machine * 1e6 / requests,
        gate: cpu.gate * 1e6 / requests,
        stolen: cpu.stolen / took,
    })
}

/// What a gate counts for each request.
fn each(contender: Contender) -> f64 {
    if contender == Contender::Envoy { 1.0 } else { 2.0 }
}

/// The gate's count once it has all requests, or as it is after a while: logs are filled behind the traffic.
fn settled(node: &Node, contender: Contender, before: Option<u64>, requests: f64) -> Result<Option<u64>> {
    let Some(before) = before else { return Ok(None) };
    let wanted = before as f64 + requests * each(contender);
    let mut count = None;
    for _ in 0..50 {
        count = node.handled(contender)?;
        if count.is_some_and(|count| count as f64 >= wanted) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(count)
}

/// One large answer.
///
/// # Errors
/// It does not arrive whole.
pub fn download(node: &Node) -> Result<Sample> {
    let mut curl = node.client("curl");
    curl.args(["-sS", "-m", "60", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{time_total}"]);
    curl.arg(node.url(LARGE));
    let before = CpuTime::now(node.pid())?;
    let out = exec::check(&mut curl, Duration::from_secs(70))?;
    let cpu = CpuTime::now(node.pid())? - before;
    let words: Vec<&str> = out.stdout.split_whitespace().collect();
    let [code, size, took] = words[..] else { anyhow::bail!("curl: {}", out.text()) };
    ensure!(code == "200" && size.parse() == Ok(LARGE_LEN), "curl: {}", out.text());
    let took: f64 = took.parse()?;
    let megabits = LARGE_LEN as f64 * 8.0 / 1e6;
    Ok(Sample {
        rate: megabits / took,
        p50: None,
        p99: None,
        machine: cpu.machine * 1e6 / megabits,
        gate: cpu.gate * 1e6 / megabits,
        stolen: cpu.stolen / took,
    })
}
