//! Counters in Prometheus' text exposition format.

use super::answer::{self, drops};
use crate::run::shared::Shared;
use anyhow::Result;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// All counters of the node.
///
/// # Errors
/// When the worker does not answer.
pub fn text(shared: &Shared) -> Result<String> {
    let mut report = answer::report(shared)?;
    let view = shared.view();
    let mut page = Page::default();
    let snapshot = shared.snapshot.load_full();
    page.one("sluice_uptime_seconds", "gauge", "Seconds since the start", shared.clock.uptime().as_secs());
    page.one("sluice_policy_epoch", "gauge", "Version of the policy in force", snapshot.policy.epoch);
    page.one("sluice_policies", "gauge", "Policies in force", shared.policies().len() as u64);
    page.one(
        "sluice_endpoints",
        "gauge",
        "Endpoints of this node",
        snapshot.policy.endpoints.iter().flatten().count() as u64,
    );
    page.one(
        "sluice_pods_beyond_identity_range",
        "gauge",
        "Pods whose labels have a number of this node only, because those of the cluster are used up",
        snapshot.policy.directory().pods_beyond_range() as u64,
    );
    page.one("sluice_errors", "gauge", "Errors in force", view.errors.len() as u64);
    page.head("sluice_port_frames_total", "counter", "Frames by port and direction");
    for port in &view.ports {
        let stats = *report.stats.port(packet::PortId(port.id));
        for (direction, frames) in [("rx", stats.rx_frames), ("tx", stats.tx_frames)] {
            page.line(
                "sluice_port_frames_total",
                &port_labels(&port.interface, &port.owner, direction),
                frames,
            );
        }
    }
    page.head("sluice_port_bytes_total", "counter", "Bytes by port and direction");
    for port in &view.ports {
        let stats = *report.stats.port(packet::PortId(port.id));
        for (direction, bytes) in [("rx", stats.rx_bytes), ("tx", stats.tx_bytes)] {
            page.line(
                "sluice_port_bytes_total",
                &port_labels(&port.interface, &port.owner, direction),
                bytes,
            );
        }
    }
    let stats = &report.stats;
    page.head("sluice_frames_total", "counter", "Frames by what became of them");
    for (outcome, frames) in [
        ("received", stats.received),
        ("forwarded", stats.forwarded),
        ("answered", stats.answered),
        ("generated", stats.generated),
    ] {
        page.line("sluice_frames_total", &format!("outcome=\"{outcome}\""), frames);
    }
    page.head("sluice_drop_count_total", "counter", "Dropped frames by reason");
    for (reason, count) in drops(stats) {
        page.line("sluice_drop_count_total", &format!("reason=\"{reason}\""), count);
    }
    page.one("sluice_connections", "gauge", "Connections tracked", report.connections as u64);
    page.one(
        "sluice_connections_max",
        "gauge",
        "Most connections that are tracked",
        shared.max_connections.into(),
    );
    let held = report.inspection;
    page.one(
        "sluice_inspected_connections",
        "gauge",
        "Connections whose messages are read",
        held.connections as u64,
    );
    page.one(
        "sluice_inspection_waiting_frames",
        "gauge",
        "Frames that wait for a decision about a message",
        held.frames as u64,
    );
    page.one(
        "sluice_inspection_undecided_bytes",
        "gauge",
        "Bytes of messages that are not whole yet",
        held.bytes as u64,
    );
    page.one("sluice_connections_opened_total", "counter", "Connections created", stats.connections_opened);
    page.one("sluice_connections_closed_total", "counter", "Connections ended", stats.connections_closed);
    page.one("sluice_connections_rejudged_total", "counter", "Connections judged again", stats.rejudged);
    let io = report.io;
    page.head("sluice_afxdp_total", "counter", "Frames at the sockets");
    for (event, count) in [
        ("rx", io.rx_frames),
        ("tx", io.tx_frames),
        ("tx_refused", io.tx_refused),
        ("tx_lost", io.tx_lost),
        ("rx_lost", io.rx_lost),
        ("alloc_failed", io.alloc_failed),
        ("wakeup", io.wakeups),
    ] {
        page.line("sluice_afxdp_total", &format!("event=\"{event}\""), count);
    }
    if let Some(xdp) = shared.kernel_counters() {
        page.head("sluice_xdp_total", "counter", "Frames in the kernel program");
        for (action, count) in [
            ("redirected", xdp.redirected),
            ("passed_not_ours", xdp.passed_not_ours),
            ("fallback_dropped", xdp.fallback_dropped),
            ("fallback_passed", xdp.fallback_passed),
            ("stale_heartbeat", xdp.stale_heartbeat),
            ("no_socket", xdp.no_socket),
            ("unknown_port", xdp.unknown_port),
        ] {
            page.line("sluice_xdp_total", &format!("action=\"{action}\""), count);
        }
    }
    let load = shared.worker.load();
    page.head("sluice_polls_total", "counter", "Polls of the worker");
    for (kind, counter) in [("busy", &load.busy_polls), ("idle", &load.idle_polls), ("sleep", &load.sleeps)] {
        page.line("sluice_polls_total", &format!("kind=\"{kind}\""), counter.load(Ordering::Relaxed));
    }
    let mut flows = shared.flows.metrics();
    flows.set_packet_drops(&stats.dropped);
    page.0.push_str(&flows.to_text());
    Ok(page.0)
}

fn port_labels(interface: &str, owner: &str, direction: &str) -> String {
    // Interface and pod names cannot hold a quote or a backslash; escaping keeps that from mattering.
    format!("interface=\"{}\",owner=\"{}\",direction=\"{direction}\"", escape(interface), escape(owner))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A page under construction.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Introduces a metric.
    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One labelled value.
    pub fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    /// A metric with one value.
    pub fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}
