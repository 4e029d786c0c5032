//! The node's own metrics: names, kinds, labels and what they mean.

use super::process::Process;
use super::sample::{Port, Sample};
use crate::api::answer::drops;
use datapath::stats::{Log2, Stats};
use flowlog::DropReason;
use flowlog::metrics::{Kind, Page};

use Kind::{Counter, Gauge, Histogram};

/// The shortest time that is told apart: 2^7 ns.
const FIRST_NANOS: usize = 7;

/// The same of builds: 2^6 µs.
const FIRST_MICROS: usize = 6;

/// Writes everything but what is made of events.
pub fn write(sample: &Sample, page: &mut Page) {
    node(sample, page);
    ports(&sample.ports, page);
    frames(&sample.stats, page);
    tables(sample, page);
    worker(sample, page);
    sockets(sample, page);
    flow_log(sample, page);
    process(&sample.process, page);
}

fn node(sample: &Sample, page: &mut Page) {
    page.head("sluice_build_info", Gauge, "Version that runs; always 1.");
    page.value(&[("node", &sample.node), ("version", env!("CARGO_PKG_VERSION"))], 1);
    page.one("sluice_uptime_seconds", Gauge, "Seconds since the start.", sample.uptime);
    page.one("sluice_policy_epoch", Gauge, "Version of the policy in force.", sample.epochs.0);
    page.one("sluice_snapshot_epoch", Gauge, "Version of policy and ports in force.", sample.epochs.1);
    let builds = &sample.builds;
    page.one("sluice_snapshots_total", Counter, "Snapshots handed to the worker.", builds.snapshots);
    let help = "From reading what changed in files until it was in force.";
    page.head("sluice_policy_build_duration_seconds", Histogram, help);
    log2(page, &builds.micros, FIRST_MICROS, 1e-6);
    page.one("sluice_policies", Gauge, "Policies in force.", sample.policies);
    page.one("sluice_policy_errors", Gauge, "Errors in force: what is not as configured.", sample.errors);
    page.one("sluice_policy_warnings", Gauge, "Warnings about policies.", sample.warnings);
    page.one("sluice_endpoints", Gauge, "Endpoints of this node.", sample.endpoints);
    page.one("sluice_identities", Gauge, "Identities in use.", sample.identities);
    let help = "Pods whose labels have a number of this node only, because those of the cluster are used up.";
    page.one("sluice_pods_beyond_identity_range", Gauge, help, sample.pods_beyond_range);
    page.one("sluice_fqdn_names", Gauge, "Names learnt from DNS.", sample.fqdn.0);
    page.one("sluice_fqdn_addresses", Gauge, "Addresses learnt from DNS.", sample.fqdn.1);
    let help = "Whether metrics.yaml is wrong and what it said before is in force.";
    page.one("sluice_metrics_config_errors", Gauge, help, u8::from(sample.config_errors));
}

fn ports(ports: &[Port], page: &mut Page) {
    let labels = |port: &'_ Port, name, value| -> [(&'static str, String); 3] {
        [("interface", port.interface.clone()), ("owner", port.owner.clone()), (name, value)]
    };
    let mut family = |name: &str,
                      kind,
                      help: &str,
                      label: &'static str,
                      values: &dyn Fn(&Port) -> Vec<(&'static str, u64)>| {
        page.head(name, kind, help);
        for port in ports {
            for (what, value) in values(port) {
                let labels = labels(port, label, what.to_owned());
                let labels: Vec<(&str, &str)> = labels
                    .iter()
                    .filter(|(name, _)| !name.is_empty())
                    .map(|(n, v)| (*n, v.as_str()))
                    .collect();
                page.value(&labels, value);
            }
        }
    };
    family("sluice_port_up", Gauge, "Whether the interface is up.", "", &|port| {
        vec![("", u64::from(port.up))]
    });
    family("sluice_port_frames_total", Counter, "Frames by port and direction.", "direction", &|port| {
        vec![("rx", port.stats.rx_frames), ("tx", port.stats.tx_frames)]
    });
    family("sluice_port_bytes_total", Counter, "Bytes by port and direction.", "direction", &|port| {
        vec![("rx", port.stats.rx_bytes), ("tx", port.stats.tx_bytes)]
    });
    let help = "Frames from this port that were dropped.";
    family("sluice_port_dropped_frames_total", Counter, help, "", &|port| vec![("", port.stats.dropped)]);
    let help = "Frames that were lost before they reached the worker.";
    family("sluice_port_lost_frames_total", Counter, help, "reason", &|port| {
        let losses = &port.losses;
        vec![("no_buffer", losses.rx_dropped), ("ring_full", losses.rx_ring_full)]
    });
    let help = "Times that a FILL ring was found empty.";
    family("sluice_port_fill_ring_empty_total", Counter, help, "", &|port| {
        vec![("", port.losses.fill_ring_empty)]
    });
    family("sluice_ring_entries", Gauge, "Entries in use of a port's rings.", "ring", &|port| {
        let rings = &port.rings;
        let counts =
            [("fill", rings.fill), ("rx", rings.rx), ("tx", rings.tx), ("completion", rings.completion)];
        counts.map(|(ring, count)| (ring, u64::from(count))).to_vec()
    });
    family("sluice_ring_size", Gauge, "Entries that each ring of a port has.", "", &|port| {
        vec![("", u64::from(port.rings.entries))]
    });
    family("sluice_port_chunks", Gauge, "Chunks of packet memory that a port holds.", "use", &|port| {
        vec![("receive", port.losses.receiving.into()), ("transmit", port.losses.in_flight.into())]
    });
}

fn frames(stats: &Stats, page: &mut Page) {
    page.head("sluice_frames_total", Counter, "Frames by what became of them.");
    for (outcome, frames) in [
        ("received", stats.received),
        ("forwarded", stats.forwarded),
        ("answered", stats.answered),
        ("generated", stats.generated),
        ("dropped", stats.dropped_total()),
    ] {
        page.value(&[("outcome", outcome)], frames);
    }
    page.head("sluice_dropped_frames_total", Counter, "Frames that were dropped, by reason.");
    let happened = drops(stats);
    // The usual ones stand there before they happen, so that an increase from nothing is seen.
    let usual = ["POLICY_DENIED", "POLICY_DENY", "INVALID_SOURCE_IP"];
    let never = usual.into_iter().filter(|name| !happened.contains_key(name)).map(|name| (name, 0));
    let mut all: Vec<_> = never.chain(happened.iter().map(|(name, n)| (*name, *n))).collect();
    all.sort_unstable();
    debug_assert!(
        all.iter().all(|(name, _)| DropReason::ALL.iter().any(|reason| reason.hubble().0 == *name))
    );
    for (reason, frames) in all {
        page.value(&[("reason", reason)], frames);
    }
}

fn tables(sample: &Sample, page: &mut Page) {
    let (stats, held) = (&sample.stats, sample.inspection);
    page.one("sluice_connections", Gauge, "Connections tracked.", sample.connections.0);
    page.one("sluice_connections_max", Gauge, "Most connections that are tracked.", sample.connections.1);
    page.one("sluice_connections_opened_total", Counter, "Connections created.", stats.connections_opened);
    page.one("sluice_connections_closed_total", Counter, "Connections ended.", stats.connections_closed);
    page.one("sluice_connections_rejudged_total", Counter, "Connections judged again.", stats.rejudged);
    page.one("sluice_inspected_connections", Gauge, "Connections whose messages are read.", held.connections);
    let help = "Most connections whose messages are read.";
    page.one("sluice_inspected_connections_max", Gauge, help, sample.inspection_max.0);
    let help = "Frames held until a message is decided, or behind a gap.";
    page.one("sluice_inspection_held_frames", Gauge, help, held.frames);
    let help = "Bytes of messages that are not whole yet.";
    page.one("sluice_inspection_undecided_bytes", Gauge, help, held.bytes);
    let help = "Most bytes of messages that are not whole yet.";
    page.one("sluice_inspection_undecided_bytes_max", Gauge, help, sample.inspection_max.1);
    let help = "DNS answers held until their addresses are in force.";
    page.one("sluice_inspection_held_answers", Gauge, help, held.answers);
    let (free, lost, all) = sample.chunks;
    page.head("sluice_umem_chunks", Gauge, "Chunks of packet memory by use.");
    for (state, chunks) in [("free", free), ("in_use", all.saturating_sub(free + lost)), ("lost", lost)] {
        page.value(&[("state", state)], chunks);
    }
}

fn worker(sample: &Sample, page: &mut Page) {
    let numbers: Vec<String> = (0..sample.workers.len()).map(|number| number.to_string()).collect();
    let workers = || numbers.iter().map(String::as_str).zip(&sample.workers);
    page.head("sluice_worker_polls_total", Counter, "Polls of a worker, by whether they found frames.");
    for (worker, report) in workers() {
        page.value(&[("worker", worker), ("kind", "busy")], report.polls[0]);
        page.value(&[("worker", worker), ("kind", "idle")], report.polls[1]);
    }
    page.head("sluice_worker_sleeps_total", Counter, "Times a worker went to sleep.");
    workers().for_each(|(worker, report)| page.value(&[("worker", worker)], report.polls[2]));
    page.head("sluice_worker_wakeups_total", Counter, "Times that something ended its sleep.");
    workers().for_each(|(worker, report)| page.value(&[("worker", worker)], report.polls[3]));
    page.head("sluice_worker_sleep_seconds_total", Counter, "Seconds that a worker slept.");
    workers().for_each(|(worker, report)| page.value(&[("worker", worker)], report.slept as f64 / 1e9));
    page.head("sluice_worker_connections", Gauge, "Connections that a worker tracks.");
    workers().for_each(|(worker, report)| page.value(&[("worker", worker)], report.connections));
    page.head("sluice_worker_buckets", Gauge, "Parts of all flows, of 256, that are a worker's.");
    workers().for_each(|(worker, report)| page.value(&[("worker", worker)], report.buckets));
    let help =
        "Moves of such parts to a worker: those that came, and those that an inspected connection forbade.";
    page.head("sluice_bucket_moves_total", Counter, help);
    for (worker, report) in workers() {
        page.value(&[("worker", worker), ("outcome", "came")], report.handover.buckets);
        page.value(&[("worker", worker), ("outcome", "refused")], report.handover.refused);
    }
    let help = "Frames between workers: handed to another, taken from another, lost for want of room.";
    page.head("sluice_handover_frames_total", Counter, help);
    for (worker, report) in workers() {
        let of = report.handover;
        for (kind, count) in [("handed", of.handed), ("taken", of.taken), ("lost", of.lost)] {
            page.value(&[("worker", worker), ("kind", kind)], count);
        }
    }
    let bursts = &sample.stats.bursts;
    page.head("sluice_burst_frames", Histogram, "Frames that a poll found.");
    log2(page, &bursts.frames, 0, 1.0);
    let help = "From looking for frames until all of them were on their way, of the polls that were timed.";
    page.head("sluice_burst_duration_seconds", Histogram, help);
    log2(page, &bursts.nanos, FIRST_NANOS, 1e-9);
    page.head("sluice_frame_duration_seconds", Histogram, "The same, shared by the frames of the poll.");
    log2(page, &bursts.frame_nanos, FIRST_NANOS, 1e-9);
}

fn sockets(sample: &Sample, page: &mut Page) {
    let io = &sample.io;
    page.head(
        "sluice_afxdp_total",
        Counter,
        "What happened at the sockets, in frames; wakeups in system calls.",
    );
    for (event, count) in [
        ("rx", io.rx_frames),
        ("tx", io.tx_frames),
        ("tx_refused", io.tx_refused),
        ("tx_lost", io.tx_lost),
        ("rx_lost", io.rx_lost),
        ("alloc_failed", io.alloc_failed),
        ("wakeup", io.wakeups),
        ("tx_joined", io.tx_joined),
    ] {
        page.value(&[("event", event)], count);
    }
    let Some(xdp) = &sample.xdp else { return };
    page.head("sluice_xdp_total", Counter, "Frames in the kernel program, by what it did with them.");
    for (action, count) in [
        ("redirected", xdp.redirected),
        ("passed_not_ours", xdp.passed_not_ours),
        ("fallback_dropped", xdp.fallback_dropped),
        ("fallback_passed", xdp.fallback_passed),
        ("stale_heartbeat", xdp.stale_heartbeat),
        ("no_socket", xdp.no_socket),
        ("unknown_port", xdp.unknown_port),
    ] {
        page.value(&[("action", action)], count);
    }
}

fn flow_log(sample: &Sample, page: &mut Page) {
    let (records, most, all) = sample.records;
    let (waiting, ring) = sample.events;
    page.one(
        "sluice_events_shed_total",
        Counter,
        "Events that found no room on their way.",
        sample.events_shed,
    );
    page.one("sluice_event_ring_entries", Gauge, "Events that waited at the last look.", waiting);
    page.one("sluice_event_ring_size", Gauge, "Events that may wait.", ring);
    page.one("sluice_flow_records_total", Counter, "Flow records taken.", all);
    page.one("sluice_flow_records_held", Gauge, "Flow records in memory.", records);
    page.one("sluice_flow_records_max", Gauge, "Most flow records in memory.", most);
}

fn process(process: &Process, page: &mut Page) {
    page.one("process_cpu_seconds_total", Counter, "Processor time, user and system.", process.cpu);
    page.one("process_resident_memory_bytes", Gauge, "Resident memory.", process.resident);
    page.one("process_virtual_memory_bytes", Gauge, "Address space.", process.virtual_memory);
    page.one("process_open_fds", Gauge, "Open file descriptors.", process.files.0);
    page.one("process_max_fds", Gauge, "Most open file descriptors.", process.files.1);
    page.one("process_threads", Gauge, "Threads.", process.threads);
    page.one("process_start_time_seconds", Gauge, "When it started, in seconds since 1970.", process.started);
}

/// A histogram by powers of two; slots before `first` count in it. `unit` is what one of its numbers is.
fn log2<const N: usize>(page: &mut Page, log: &Log2<N>, first: usize, unit: f64) {
    let counts = log.counts();
    let mut upto: u64 = counts.iter().take(first).sum();
    // The last slot also has what is larger than its bound.
    let buckets = counts.iter().enumerate().take(N.saturating_sub(1)).skip(first).map(|(slot, count)| {
        upto += count;
        ((1_u64 << slot.min(63)) as f64 * unit, upto, None)
    });
    let buckets: Vec<_> = buckets.collect();
    page.histogram(&[], buckets, (counts.iter().sum(), None), log.sum() as f64 * unit);
}
