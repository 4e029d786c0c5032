//! Counters with Hubble's names, fed from events and from snapshots of the workers' statistics.

mod message;

use crate::detail::Message;
use crate::drop_reason::DropReason;
use crate::event::{CloseReason, EventKind, FlowEvent, MessageVerdict, VerdictKind};
use crate::record::{PolicyMatch, Verdict};
use message::MessageMetrics;
use packet::packet::proto;
use policy::Direction;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The flow log's counters. Label values come from fixed sets, so the number of series is bounded.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    flows: BTreeMap<[&'static str; 3], u64>,
    drops: BTreeMap<[&'static str; 2], u64>,
    verdicts: BTreeMap<[&'static str; 3], u64>,
    messages: MessageMetrics,
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
        self.message(event, None);
    }

    /// Counts one event, and what its message says if it is one.
    pub fn message(&mut self, event: &FlowEvent, message: Option<&Message>) {
        let transport = match event.key.proto {
            proto::TCP => "TCP",
            proto::UDP => "UDP",
            proto::SCTP => "SCTP",
            proto::ICMP => "ICMPv4",
            proto::ICMPV6 => "ICMPv6",
            _ => "Unknown flow",
        };
        let protocol = match event.kind {
            EventKind::Message { .. } => message::protocol(message),
            _ => transport,
        };
        let (kind, verdict) = match event.kind {
            EventKind::Drop { reason, .. } => {
                self.drop(reason, protocol);
                ("Drop", Verdict::Dropped)
            }
            EventKind::Trace { .. } => ("Trace", Verdict::Forwarded),
            EventKind::Message { verdict, direction, .. } => {
                if let Some(message) = message {
                    self.messages.count(event, message);
                }
                if let MessageVerdict::Dropped(reason) = verdict {
                    self.drop(DropReason::Denied(reason), protocol);
                }
                let shown = Verdict::from(verdict);
                if let (Some(direction), Some(matched)) = (direction, message::policy_match(message)) {
                    self.verdict(direction, matched, shown);
                }
                ("L7", shown)
            }
            EventKind::Close { reason: CloseReason::Revoked, .. } => ("Close", Verdict::Dropped),
            EventKind::Close { .. } => ("Close", Verdict::Traced),
            EventKind::Verdict { verdict, direction, rule, .. } => {
                let shown = match verdict {
                    VerdictKind::Allowed => Verdict::Forwarded,
                    VerdictKind::Redirected => Verdict::Redirected,
                    VerdictKind::Audited => Verdict::Audit,
                    VerdictKind::Denied(_) => Verdict::Dropped,
                };
                let matched = match PolicyMatch::of(verdict, rule) {
                    PolicyMatch::None => "none",
                    PolicyMatch::All => "all",
                    _ => "l3-l4",
                };
                self.verdict(direction, matched, shown);
                ("PolicyVerdict", shown)
            }
        };
        *self.flows.entry([kind, verdict.name(), protocol]).or_default() += 1;
    }

    fn drop(&mut self, reason: DropReason, protocol: &'static str) {
        *self.drops.entry([reason.hubble().0, protocol]).or_default() += 1;
    }

    fn verdict(&mut self, direction: Direction, matched: &'static str, verdict: Verdict) {
        let direction = match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let action = match verdict {
            Verdict::Forwarded => "forwarded",
            Verdict::Redirected => "redirected",
            Verdict::Audit => "audit",
            Verdict::Error => "error",
            _ => "dropped",
        };
        *self.verdicts.entry([action, direction, matched]).or_default() += 1;
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
        head(&mut out, "hubble_flows_processed_total", "counter", "Flow records made.");
        for ([kind, verdict, protocol], n) in &self.flows {
            line(
                &mut out,
                "hubble_flows_processed_total",
                &[("protocol", protocol), ("type", kind), ("verdict", verdict)],
                *n,
            );
        }
        head(&mut out, "hubble_drop_total", "counter", "Drop records made.");
        for ([reason, protocol], n) in &self.drops {
            line(&mut out, "hubble_drop_total", &[("protocol", protocol), ("reason", reason)], *n);
        }
        head(
            &mut out,
            "hubble_policy_verdicts_total",
            "counter",
            "Policy's answers about connections and messages.",
        );
        for ([action, direction, matched], n) in &self.verdicts {
            let labels = [("action", *action), ("direction", *direction), ("match", *matched)];
            line(&mut out, "hubble_policy_verdicts_total", &labels, *n);
        }
        self.messages.write(&mut out);
        head(&mut out, "hubble_lost_events_total", "counter", "Events that never became records.");
        for (source, n) in &self.lost {
            line(&mut out, "hubble_lost_events_total", &[("source", source)], *n);
        }
        head(&mut out, "sluice_dropped_packets_total", "counter", "Packets dropped by the workers.");
        for (reason, n) in &self.packet_drops {
            line(&mut out, "sluice_dropped_packets_total", &[("reason", reason)], *n);
        }
        head(&mut out, "sluice_port_packets_total", "counter", "Packets by port.");
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

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn label_text(labels: &[(&str, &str)]) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<_> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escape(text))).collect();
    labels.join(",")
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let _ = writeln!(out, "{name}{{{}}} {value}", label_text(labels));
}

#[cfg(test)]
mod tests;
