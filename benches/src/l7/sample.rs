//! One sample: many small requests on a few connections, or one large answer.

use super::gate::{Contender, LARGE_LEN, Node};
use super::rules::{ALLOWED, LARGE};
use super::speech::{METHOD, Speech, TOPIC, broker, rpc_peer};
use crate::sample::{Sample, Watch};
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

/// What a load generator said at its end.
struct Said {
    requests: f64,
    seconds: f64,
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Said {
    /// From a line of JSON: `requests`, `micros`, `errors`, and `p50` and `p99` in microseconds.
    fn from_json(line: &str) -> Result<Self> {
        let said: Value = serde_json::from_str(line)?;
        let number = |name: &str| said[name].as_f64().with_context(|| format!("no {name}: {line}"));
        ensure!(number("errors")? == 0.0, "{line}");
        let (requests, seconds) = (number("requests")?, number("micros")? / 1e6);
        Ok(Self { requests, seconds, p50: Some(number("p50")?), p99: Some(number("p99")?) })
    }

    /// From what h2load prints: `finished in 2.00s, 6172.50 req/s, …` and `requests: 12345 total, … 12345 succeeded, …`.
    fn from_h2load(text: &str) -> Result<Self> {
        let line =
            |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).context("h2load's words");
        let seconds = line("finished in ")?.split_once("s,").context("a time")?.0.parse()?;
        let counts = line("requests: ")?;
        let count = |what: &str| -> Result<f64> {
            let found = counts.split(", ").find_map(|part| part.trim().strip_suffix(what));
            Ok(found.with_context(|| format!("no{what}: {counts}"))?.trim().parse()?)
        };
        ensure!(count(" failed")? == 0.0 && count(" errored")? == 0.0, "{counts}");
        Ok(Self { requests: count(" succeeded")?, seconds, p50: None, p99: None })
    }
}

/// How many messages at a time, and for how long.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// Connections that stay open.
    pub connections: u32,
    /// Streams on each, where the protocol has them.
    pub streams: u32,
    /// Seconds.
    pub seconds: u32,
}

/// Small messages in the protocol of the node.
///
/// # Errors
/// The load generator failed, a message was answered other than by success, or the gate did not handle them all.
pub fn messages(node: &Node, contender: Contender, load: Load) -> Result<Sample> {
    let (handled, frames) = (node.handled(contender)?, node.frames(contender)?);
    let watch = Watch::start(node.pid())?;
    let said = match node.speech() {
        Speech::Http1 => wrk(node, load)?,
        Speech::Http2 => h2load(node, load)?,
        Speech::Grpc => ping(node, load)?,
        Speech::Kafka => produce(node, load)?,
    };
    let Said { requests, seconds, p50, p99 } = said;
    ensure!(requests > 0.0, "nothing was answered");
    let sample = watch.stop()?.sample(requests / seconds, requests);
    // Kafka's clients put many messages into one request.
    if node.speech() != Speech::Kafka
        && let least = requests * each(contender, load.streams)
        && let (Some(before), Some(after)) = (handled, settled(node, contender, handled, least)?)
    {
        ensure!(
            (after - before) as f64 >= least,
            "{requests} requests went past: the gate counted {}",
            after - before
        );
    }
    let frames =
        frames.zip(node.frames(contender)?).map(|(before, after)| (after - before) as f64 / requests);
    Ok(Sample { p50_us: p50, p99_us: p99, frames, ..sample })
}

fn limit(load: Load) -> Duration {
    Duration::from_secs(u64::from(load.seconds) + 20)
}

fn wrk(node: &Node, load: Load) -> Result<Said> {
    let script = node.file("report.lua");
    std::fs::write(&script, REPORT)?;
    let mut wrk = node.client("wrk");
    wrk.args(["-t", "1", "-c", &load.connections.to_string(), "-d", &format!("{}s", load.seconds), "-s"]);
    wrk.arg(&script).arg(node.url(ALLOWED));
    let out = exec::check(&mut wrk, limit(load))?;
    Said::from_json(out.stdout.lines().find(|line| line.starts_with('{')).with_context(|| out.text())?)
}

fn h2load(node: &Node, load: Load) -> Result<Said> {
    let mut h2load = node.client("h2load");
    h2load.args(["-t", "1", "-c", &load.connections.to_string(), "-m", &load.streams.to_string()]);
    h2load.args(["-D", &load.seconds.to_string(), &node.url(ALLOWED)]);
    let out = exec::check(&mut h2load, limit(load))?;
    Said::from_h2load(&out.stdout).with_context(|| out.text())
}

fn ping(node: &Node, load: Load) -> Result<Said> {
    let mut ping = node.client(&rpc_peer()?.to_string_lossy());
    ping.args(["ping", &node.authority(), METHOD, &load.seconds.to_string(), &load.streams.to_string()]);
    let out = exec::check(&mut ping, limit(load))?;
    Said::from_json(out.stdout.trim()).with_context(|| out.text())
}

/// A stated number of messages of a kilobyte, as librdkafka batches them.
fn produce(node: &Node, load: Load) -> Result<Said> {
    let count = load.seconds * 50_000;
    let said = node.kafka(&["bulk", &broker(), TOPIC, &count.to_string(), "1000"])?;
    ensure!(said["ok"] == count, "{said}");
    let seconds = said["seconds"].as_f64().context("no seconds")?;
    Ok(Said { requests: f64::from(count), seconds, p50: None, p99: None })
}

/// What a gate counts for each request, at least: without L7 rules it counts frames, and one may hold what all streams
/// of a connection say at a time.
fn each(contender: Contender, streams: u32) -> f64 {
    match contender {
        Contender::Proxy(_) => 1.0,
        Contender::L4 | Contender::AdaptiveL4 | Contender::Bare => 2.0 / f64::from(streams),
        _ => 2.0,
    }
}

/// The gate's count once it has grown by `least`, or as it is after a while: logs are filled behind the traffic.
fn settled(node: &Node, contender: Contender, before: Option<u64>, least: f64) -> Result<Option<u64>> {
    let Some(before) = before else { return Ok(None) };
    let wanted = before as f64 + least;
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
    let watch = Watch::start(node.pid())?;
    let out = exec::check(&mut curl, Duration::from_secs(70))?;
    let spent = watch.stop()?;
    let words: Vec<&str> = out.stdout.split_whitespace().collect();
    let [code, size, took] = words[..] else { anyhow::bail!("curl: {}", out.text()) };
    ensure!(code == "200" && size.parse() == Ok(LARGE_LEN), "curl: {}", out.text());
    let (megabits, took) = (LARGE_LEN as f64 * 8.0 / 1e6, took.parse::<f64>()?);
    Ok(spent.sample(megabits / took, megabits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2load_is_read_and_its_failures_count() {
        let text = "finished in 2.01s, 6172.50 req/s, 1.2MB/s\nrequests: 12345 total, 12400 started, 12345 done, \
                    12345 succeeded, 0 failed, 0 errored, 0 timeout\n";
        let said = Said::from_h2load(text).expect("both lines");
        assert_eq!((said.requests, said.seconds), (12_345.0, 2.01));
        assert!(Said::from_h2load(&text.replace("0 failed", "1 failed")).is_err());
        assert!(Said::from_h2load("").is_err());
    }
}
