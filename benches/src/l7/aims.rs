//! What messages through L7 rules are to reach, as ratios of the same run.

use super::gate::Contender;
use super::proxy::Proxy;
use crate::report::{Aim, Table};
use crate::sample::{Sample, Spread, spread};

/// What is aimed at in a comparison of small messages.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Aims {
    /// Least rate, by that under an L4 policy.
    pub rate: f64,
    /// Most of the 99th percentile, by that under an L4 policy, where it is an aim.
    pub p99: Option<f64>,
    /// Least rate per busy core, by Envoy's, where proxies read the protocol.
    pub envoy: Option<f64>,
    /// Most CPU microseconds of the gate for each message, where it is an aim.
    pub cpu: Option<f64>,
}

/// The two ways to poll: name, with L7 rules, with an L4 policy.
const WAYS: [(&str, Contender, Contender); 2] =
    [("busy", Contender::Read, Contender::L4), ("adaptive", Contender::AdaptiveRead, Contender::AdaptiveL4)];

fn ratio(
    table: &Table,
    first: Contender,
    second: Contender,
    of: impl Fn(&Sample) -> Option<f64>,
) -> Option<Spread> {
    table.ratio(first.name(), second.name(), of)
}

/// The ratios of a comparison of small messages.
#[must_use]
pub fn of_messages(table: &Table, aims: Aims) -> Vec<Aim> {
    let mut found = Vec::new();
    for (way, read, l4) in WAYS {
        let by = ratio(table, read, l4, |s| Some(s.rate));
        found.push(Aim::at_least(format!("rate, L7 policy by L4 policy, {way}"), by, aims.rate));
        if let Some(most) = aims.p99 {
            let by = ratio(table, read, l4, |s| s.p99_us);
            found.push(Aim::at_most(format!("p99, L7 policy by L4 policy, {way}"), by, most));
        }
        if let Some(most) = aims.cpu {
            let cost = |of: Contender| spread(table.of(of.name()).iter().filter_map(|s| s.gate_us));
            let ours = Aim::at_most(format!("CPU µs of the gate a message, {way}"), cost(read), most);
            found.push(ours.beside(cost(Contender::Bare)));
        }
    }
    let Some(least) = aims.envoy else { return found };
    for proxy in Proxy::ALL {
        // Envoy is what Sluice replaces; of the others it is enough not to be slower.
        let (least, name) = (if proxy == Proxy::Envoy { least } else { 1.0 }, proxy.name());
        for (way, read, _) in WAYS {
            let mut by = |what: String, figure: fn(&Sample) -> Option<f64>, least| {
                let of = |first| ratio(table, first, Contender::Proxy(proxy), figure);
                found.push(Aim::at_least(what, of(read), least).beside(of(Contender::Bare)));
            };
            let per_gate = |s: &Sample| s.gate_us.map(|cost| 1.0 / cost);
            by(format!("rate per busy core by {name}, the gate's process, {way}"), per_gate, least);
            let per_machine = |s: &Sample| Some(1.0 / s.machine_us);
            by(format!("rate per busy core by {name}, whole machine, {way}"), per_machine, least);
            by(format!("rate by {name}, {way}"), |s| Some(s.rate), 1.0);
        }
    }
    if aims.p99.is_some() {
        let by = |gate| added_p99(table, gate);
        found.push(
            Aim::at_most("added p99 by Envoy's, busy", by(Contender::Read), 0.5).beside(by(Contender::Bare)),
        );
    }
    found
}

/// What the gate adds to the 99th percentile of no gate, by what Envoy adds, round for round.
fn added_p99(table: &Table, gate: Contender) -> Option<Spread> {
    let of = |contender: Contender| table.of(contender.name());
    let ours = of(gate).iter().zip(of(Contender::Kernel));
    let theirs = of(Contender::Proxy(Proxy::Envoy)).iter().zip(of(Contender::Kernel));
    let added = |(gate, none): (&Sample, &Sample)| Some(gate.p99_us? - none.p99_us?);
    spread(ours.zip(theirs).filter_map(|(ours, theirs)| {
        let (ours, theirs) = (added(ours)?, added(theirs)?);
        (theirs > 0.0).then_some(ours / theirs)
    }))
}

/// The ratios of the download.
#[must_use]
pub fn of_download(table: &Table) -> Vec<Aim> {
    WAYS.map(|(way, read, l4)| {
        let by = ratio(table, read, l4, |s| Some(s.rate));
        Aim::at_least(format!("download, L7 policy by L4 policy, {way}"), by, 0.9)
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64, gate: f64, p99: f64) -> Sample {
        Sample {
            rate,
            p50_us: Some(1.0),
            p99_us: Some(p99),
            machine_us: 10.0,
            gate_us: Some(gate),
            ..Sample::default()
        }
    }

    #[test]
    fn ratios_are_medians_of_rounds_and_compared_with_their_aims() {
        let mut table = Table::new("messages", "request", Contender::Read.name());
        for (http, l4) in [(90.0, 100.0), (60.0, 100.0), (190.0, 200.0)] {
            table.add(Contender::L4.name(), None, sample(l4, 5.0, 100.0));
            table.add(Contender::Read.name(), None, sample(http, 5.0, 120.0));
            table.add(Contender::Proxy(Proxy::Envoy).name(), None, sample(50.0, 20.0, 180.0));
            table.add(Contender::Kernel.name(), None, sample(50.0, 20.0, 80.0));
            table.add(Contender::Bare.name(), None, sample(110.0, 4.0, 90.0));
        }
        let aims = Aims { rate: 0.9, p99: Some(1.1), envoy: Some(3.0), cpu: Some(6.0) };
        let lines: Vec<String> = of_messages(&table, aims).iter().map(Aim::line).collect();
        for expected in [
            "rate, L7 policy by L4 policy, busy: 0.90 (0.60–0.95); aim: at least 0.9; met",
            "p99, L7 policy by L4 policy, busy: 1.20 (1.20–1.20); aim: at most 1.1; MISSED",
            "CPU µs of the gate a message, busy: 5.00 (5.00–5.00); aim: at most 6; met; the bare forwarder: 4.00 (4.00–4.00)",
            "rate, L7 policy by L4 policy, adaptive: not measured",
            "rate per busy core by Envoy, the gate's process, busy: 4.00 (4.00–4.00); aim: at least 3; met; the bare forwarder: 5.00 (5.00–5.00)",
            "rate per busy core by Envoy, whole machine, busy: 1.00 (1.00–1.00); aim: at least 3; MISSED; the bare forwarder: 1.00 (1.00–1.00)",
            "rate per busy core by nginx, whole machine, busy: not measured",
            "added p99 by Envoy's, busy: 0.40 (0.40–0.40); aim: at most 0.5; met; the bare forwarder: 0.10 (0.10–0.10)",
        ] {
            assert!(lines.iter().any(|line| line == expected), "no line {expected}:\n{}", lines.join("\n"));
        }
    }
}
