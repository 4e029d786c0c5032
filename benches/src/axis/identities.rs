//! By number of identities: pods of another node, each with labels of its own and a policy of the server's that allows it,
//! the pod that speaks last.

use super::{Frames, Place, Plan, Setup};
use crate::netperf::data_port;
use anyhow::{Context, Result, ensure};
use sluice::testbed::exec;
use sluice_micro::scaling::Series;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How many, the one that speaks among them.
const NUMBERS: [u32; 4] = [1, 100, 1_000, 10_000];
/// Connections of the frames.
const FLOWS: u32 = 1_024;
/// Netperf sleeps after some tests.
const LIMIT: Duration = Duration::from_secs(20);

/// Measures them.
///
/// # Errors
/// A node cannot be built, or does not know all identities.
pub fn run(setup: &Setup) -> Result<Vec<Series>> {
    let mut places = Vec::new();
    for number in NUMBERS {
        let plan = Plan {
            inventory: Some(inventory(number - 1)),
            policies: policies(number),
            count: u64::from(number),
            ..Plan::default()
        };
        let mut place = Place::new(setup, &plan).with_context(|| format!("{number} identities"))?;
        let known = place.with(|place| place.bed.agent_ref().json(&["identity", "list"]))?;
        let known = known.first().and_then(|list| list.as_array()).map_or(known.len(), Vec::len);
        ensure!(known >= number as usize, "{number} identities were written, {known} are known");
        let mut server = place.bed.pod("bench/server").command("taskset");
        server.args(["-c", "0", "netserver", "-D", "-4"]);
        place.bed.start("netserver", &mut server)?;
        places.push((number, place));
    }
    let mut frames = Frames::new("identities");
    frames.cost.at_most(10_000, 1.05);
    let what = "between pods, TCP_CRR: a connection, a byte there and back, its end";
    let mut opened = Series::new("identities", what, "transaction/s");
    opened.at_least(10_000, 0.95);
    for _ in 0..setup.rounds {
        for (number, place) in &places {
            let cost = place.with(|place| place.frames(FLOWS, setup.time))?;
            frames.add(*number, cost);
            opened.add(*number, place.with(|place| transactions(place, setup.time))?);
        }
    }
    Ok(vec![frames.cost, frames.rate, opened])
}

/// Connections a second, each with one byte there and back.
fn transactions(place: &Place, time: Duration) -> Result<f64> {
    let server = place.bed.pod("bench/server").ipv4().to_string();
    let mut netperf = place.bed.pod("bench/client").command("taskset");
    netperf.args(["-c", "0", "netperf", "-P", "0", "-H", &server, "-t", "TCP_CRR"]);
    netperf.args(["-l", &time.as_secs().to_string(), "--", "-P", &data_port(), "-o", "THROUGHPUT"]);
    let out = exec::check(&mut netperf, time + LIMIT)?;
    out.stdout.trim().parse().with_context(|| out.text())
}

/// So many pods of a node elsewhere.
fn inventory(count: u32) -> String {
    let mut text = "nodes: [{name: elsewhere, ips: [172.31.0.2]}]\npods:\n".to_owned();
    if count == 0 {
        text = text.replace("pods:\n", "pods: []\n");
    }
    for number in 0..count {
        let address = Ipv4Addr::from(0x0af5_0002 + number);
        // Formatting into a string cannot fail.
        let _ok = writeln!(
            text,
            "- {{name: far-{number}, namespace: bench, labels: {{number: \"{number}\"}}, node: elsewhere, ips: [{address}]}}"
        );
    }
    text
}

/// One policy for each of them, and the client's at the end.
fn policies(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count - 1 {
        let port = 1_024 + number % 50_000;
        let _ok = write!(
            text,
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
             metadata: {{name: far-{number}, namespace: bench}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n  \
             - fromEndpoints: [{{matchLabels: {{number: \"{number}\"}}}}]\n    \
             toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]\n---\n"
        );
    }
    text + &crate::entries::policies(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identity_has_a_pod_and_a_policy() {
        for count in [1, 2, 100] {
            assert_eq!(inventory(count - 1).matches("node: elsewhere,").count(), count as usize - 1);
            assert_eq!(policies(count).matches("kind: CiliumNetworkPolicy").count(), count as usize);
        }
        assert!(policies(100).ends_with(&crate::entries::policies(1)), "the client stands last");
    }
}
