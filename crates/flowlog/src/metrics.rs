//! Counters with Hubble's names, fed from events and from snapshots of the workers' statistics.

use crate::drop_reason::DropReason;
use crate::event::{CloseReason, EventKind, FlowEvent, MessageVerdict, VerdictKind};
use crate::record::Verdict;
use packet::packet::proto;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The flow log's counters. Label values come from fixed sets, so the number of series is bounded.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    flows: BTreeMap<[&'static str; 3], u64>,
    drops: BTreeMap<[&'static str; 2], u64>,
    lost: BTreeMap<&'static str, u64>,
    ports: BTreeMap<String, PortCounters>,
    packet_drops: BTreeMap<&'static str, u64>,
}

/// Packets of one port.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct PortCounters {
    /// Received from it.
    pub received: u64,
    /// Sent to it.
    pub sent: u64,
    /// Received from it and dropped.
    pub dropped: u64,
}

impl Metrics {
    /// Counts one event, under the names that its record will show.
    pub fn event(&mut self, event: &FlowEvent) {
        let protocol = match event.key.proto {
            proto::TCP => "TCP",
            proto::UDP => "UDP",
            proto::SCTP => "SCTP",
            proto::ICMP => "ICMPv4",
            proto::ICMPV6 => "ICMPv6",
            _ => "Unknown flow",
        };
        let (kind, verdict) = match event.kind {
            EventKind::Drop { reason, .. } => {
                *self.drops.entry([reason.hubble().0, protocol]).or_default() += 1;
                ("Drop", Verdict::Dropped)
            }
            EventKind::Trace { .. } => ("Trace", Verdict::Forwarded),
            EventKind::Message { verdict, .. } => (
                "L7",
                match verdict {
                    MessageVerdict::Forwarded => Verdict::Forwarded,
                    MessageVerdict::Dropped(_) => Verdict::Dropped,
                    MessageVerdict::Audited => Verdict::Audit,
                    MessageVerdict::Error => Verdict::Error,
                },
            ),
            EventKind::Close { reason: CloseReason::Revoked, .. } => ("Close", Verdict::Dropped),
            EventKind::Close { .. } => ("Close", Verdict::Traced),
            EventKind::Verdict { verdict, .. } => (
                "PolicyVerdict",
                match verdict {
                    VerdictKind::Allowed => Verdict::Forwarded,
                    VerdictKind::Redirected => Verdict::Redirected,
                    VerdictKind::Audited => Verdict::Audit,
                    VerdictKind::Denied(_) => Verdict::Dropped,
                },
            ),
        };
        *self.flows.entry([kind, verdict.name(), protocol]).or_default() += 1;
    }

    /// Sets the packets dropped for each reason, in the order of [`DropReason::ALL`], summed over workers.
    pub fn set_packet_drops(&mut self, totals: &[u64; DropReason::COUNT]) {
        self.packet_drops.clear();
        for (reason, total) in DropReason::ALL.iter().zip(totals) {
            *self.packet_drops.entry(reason.hubble().0).or_default() += total;
        }
    }

    /// Sets the counters of a port; `None` removes it.
    pub fn set_port(&mut self, name: &str, counters: Option<PortCounters>) {
        match counters {
            Some(counters) => self.ports.insert(name.to_owned(), counters),
            None => self.ports.remove(name),
        };
    }

    /// Sets how many events were lost at `source`.
    pub fn set_lost(&mut self, source: &'static str, events: u64) {
        self.lost.insert(source, events);
    }

    /// All counters in Prometheus' text format.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        head(&mut out, "hubble_flows_processed_total", "Flow records made.");
        for ([kind, verdict, protocol], n) in &self.flows {
            line(
                &mut out,
                "hubble_flows_processed_total",
                &[("protocol", protocol), ("type", kind), ("verdict", verdict)],
                *n,
            );
        }
        head(&mut out, "hubble_drop_total", "Drop records made.");
        for ([reason, protocol], n) in &self.drops {
            line(&mut out, "hubble_drop_total", &[("protocol", protocol), ("reason", reason)], *n);
        }
        head(&mut out, "hubble_lost_events_total", "Events that never became records.");
        for (source, n) in &self.lost {
            line(&mut out, "hubble_lost_events_total", &[("source", source)], *n);
        }
        head(&mut out, "sluice_dropped_packets_total", "Packets dropped by the workers.");
        for (reason, n) in &self.packet_drops {
            line(&mut out, "sluice_dropped_packets_total", &[("reason", reason)], *n);
        }
        head(&mut out, "sluice_port_packets_total", "Packets by port.");
        for (port, counters) in &self.ports {
            for (way, n) in
                [("dropped", counters.dropped), ("received", counters.received), ("sent", counters.sent)]
            {
                line(&mut out, "sluice_port_packets_total", &[("port", port), ("way", way)], n);
            }
        }
        out
    }
}

fn head(out: &mut String, name: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<_> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escape(text))).collect();
    let _ = writeln!(out, "{name}{{{}}} {value}", labels.join(","));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    #[test]
    fn counts_under_hubbles_names() {
        let mut metrics = Metrics::default();
        metrics.event(&event());
        let mut totals = [0; DropReason::COUNT];
        totals[0] = 2;
        totals[3] = 3;
        metrics.set_packet_drops(&totals);
        metrics.set_port("a\"b", Some(PortCounters { received: 1, sent: 2, dropped: 3 }));
        let text = metrics.to_text();
        for expected in [
            "hubble_flows_processed_total{protocol=\"TCP\",type=\"Trace\",verdict=\"FORWARDED\"} 1\n",
            "sluice_dropped_packets_total{reason=\"INVALID_PACKET_DROPPED\"} 5\n",
            "sluice_port_packets_total{port=\"a\\\"b\",way=\"sent\"} 2\n",
        ] {
            assert!(text.contains(expected), "{expected} not in\n{text}");
        }
    }
}
