//! By number of connections: frames with the ports of so many flows in an order without a pattern, all in the table.

use super::{Place, Plan, Setup};
use crate::entries;
use crate::frames::{self, Frames, How};
use anyhow::{Result, ensure};
use sluice_micro::scaling::Series;
use std::time::Duration;

/// How many. One pod may have 131,072 of the table's 524,288 entries.
const NUMBERS: [u32; 5] = [1, 100, 1_000, 10_000, 100_000];

/// Connections that are opened at a time, and how long: each of them gets some ten frames.
const PIECE: u32 = 50_000;
const OPEN: Duration = Duration::from_secs(1);
/// The generator's destination port of connections from the 50,001st on.
const SECOND: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: second, namespace: bench}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: \"10\", protocol: UDP}]}]
";

/// Measures them.
///
/// # Errors
/// A node cannot be built, or its table does not hold the connections.
pub fn run(setup: &Setup) -> Result<Vec<Series>> {
    let policies = entries::policies(1) + "---\n" + SECOND;
    let plan = Plan { policies, count: 2, ..Plan::default() };
    let mut places = Vec::new();
    for number in NUMBERS {
        places.push((number, Place::new(setup, &plan)?));
    }
    let mut frames = super::Frames::new("connections");
    frames.cost.at_most(100_000, 1.25);
    frames.cost.reason = "Frames of 100,000 connections in random order find neither the connection nor its place in the hash \
                          table in the caches; nothing else depends on the number."
        .to_owned();
    for _ in 0..setup.rounds {
        for (number, place) in &places {
            let cost = place.with(|place| {
                if place.status("/connections/current")? < u64::from(*number) {
                    establish(place, *number)?;
                }
                let cost = place.frames(*number, setup.time)?;
                let held = place.status("/connections/current")?;
                // The first ping, and neighbours', are connections too.
                let expected = u64::from(*number);
                ensure!(
                    (expected..=expected + 8).contains(&held),
                    "{number} connections were opened, the table holds {held}"
                );
                Ok(cost)
            })?;
            frames.add(*number, cost);
        }
    }
    Ok(vec![frames.cost, frames.rate])
}

/// Opens so many connections and answers each. In pieces, because the table holds fewer unanswered ones of a pod.
fn establish(place: &Place, number: u32) -> Result<()> {
    for first in (0..number).step_by(PIECE as usize) {
        for answers in [false, true] {
            let frames = Frames { how: How::Kernel, first, flows: PIECE.min(number - first), answers };
            let mut generator = frames::start(&place.bed, frames, 2 * OPEN)?;
            std::thread::sleep(OPEN);
            generator.stop();
        }
    }
    Ok(())
}
