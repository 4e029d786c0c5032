//! One look at every part of the node, without names of metrics.

use super::process::Process;
use crate::run::shared::{PortView, Shared};
use afxdp::{PortStats as Losses, RingFill};
use anyhow::Result;
use datapath::stats::{Log2, PortStats, Stats};
use datapath::worker::InspectionLoad;
use packet::{IoStats, PortId};
use std::sync::atomic::Ordering;
use xdp_redirect::Counters;

/// Ports whose rings are looked at between two polls: each takes a system call.
const PORTS_AT_A_TIME: usize = 8;

/// The node at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Name of the node.
    pub node: String,
    /// Seconds since the start.
    pub uptime: f64,
    /// Version of the policy, and of everything the worker goes by.
    pub epochs: (u64, u64),
    /// Policies in force.
    pub policies: usize,
    /// Endpoints of this node.
    pub endpoints: usize,
    /// Pods with a number of this node only.
    pub pods_beyond_range: usize,
    /// Identities in use.
    pub identities: usize,
    /// Errors in force.
    pub errors: usize,
    /// Warnings about policies.
    pub warnings: usize,
    /// Names and addresses learnt from DNS.
    pub fqdn: (usize, usize),
    /// Builds of the policy.
    pub builds: Builds,
    /// Ports.
    pub ports: Vec<Port>,
    /// What the worker has done.
    pub stats: Stats,
    /// What its sockets have done.
    pub io: IoStats,
    /// Connections, and the most there may be.
    pub connections: (usize, usize),
    /// What inspection holds.
    pub inspection: InspectionLoad,
    /// The most connections and undecided bytes that it may hold.
    pub inspection_max: (usize, usize),
    /// Chunks of packet memory: free, never used again, all.
    pub chunks: (usize, usize, usize),
    /// Polls that found frames, polls that found none, sleeps, wakeups.
    pub polls: [u64; 4],
    /// Seconds slept.
    pub slept: f64,
    /// The kernel program.
    pub xdp: Option<Counters>,
    /// Events shed by the worker.
    pub events_shed: u64,
    /// Events waiting, and the most that may wait.
    pub events: (u64, usize),
    /// Records in memory, the most there may be, all there ever were.
    pub records: (usize, usize, u64),
    /// Whether the watched file of metrics is not in force.
    pub config_errors: bool,
    /// The process.
    pub process: Process,
}

/// Builds of the policy.
#[derive(Copy, Clone, Debug, Default)]
pub struct Builds {
    /// Microseconds from reading what changed until it was in force.
    pub micros: Log2<27>,
    /// Snapshots handed to the worker.
    pub snapshots: u64,
}

/// One port.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// Interface.
    pub interface: String,
    /// `namespace/name` of the pod, or `host`.
    pub owner: String,
    /// Whether it is up.
    pub up: bool,
    /// Frames and bytes.
    pub stats: PortStats,
    /// How full its rings are.
    pub rings: RingFill,
    /// What was lost on the way in.
    pub losses: Losses,
}

impl Sample {
    /// Looks.
    ///
    /// # Errors
    /// When the worker does not answer.
    pub fn take(shared: &Shared) -> Result<Self> {
        let worker = shared.worker.ask(|worker, _| {
            let (free, lost) = (worker.io().free_chunks(), worker.io().lost_chunks());
            let l7 = &worker.config().l7;
            Self {
                stats: worker.stats().clone(),
                io: packet::PacketIo::stats(worker.io()),
                connections: (worker.conntrack().len(), 0),
                inspection: worker.inspection(),
                inspection_max: (l7.max_connections, l7.max_bytes),
                chunks: (free, lost, worker.io().sizes().chunks as usize),
                ..Self::default()
            }
        })?;
        let view = shared.view();
        let snapshot = shared.snapshot.load_full();
        let policy = &snapshot.policy;
        let load = shared.worker.load();
        let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (events_shed, waiting) = shared.flows.shed_and_waiting();
        Ok(Self {
            node: shared.node.name.clone(),
            uptime: shared.clock.uptime().as_secs_f64(),
            epochs: (policy.epoch, snapshot.epoch),
            policies: view.policies.len(),
            endpoints: policy.endpoints.iter().flatten().count(),
            pods_beyond_range: policy.directory().pods_beyond_range(),
            identities: policy.directory().identities().len(),
            errors: view.errors.len(),
            warnings: view.warnings.len(),
            fqdn: (policy.fqdn.names().len(), policy.fqdn.addresses().len()),
            builds: shared.builds(),
            ports: ports(shared, &view.ports, &worker.stats)?,
            connections: (worker.connections.0, shared.max_connections as usize),
            polls: [&load.busy_polls, &load.idle_polls, &load.sleeps, &load.wakeups].map(number),
            slept: number(&load.slept_nanos) as f64 / 1e9,
            xdp: shared.kernel_counters(),
            events_shed,
            events: (waiting, crate::run::EVENT_RING),
            records: shared.flows.records(),
            config_errors: shared.metrics_config_errors(),
            process: Process::look(shared.clock.started_at),
            ..worker
        })
    }
}

/// Looks at the ports, a few at a time, so that frames do not wait for long.
fn ports(shared: &Shared, views: &[PortView], stats: &Stats) -> Result<Vec<Port>> {
    let mut ports = Vec::with_capacity(views.len());
    for some in views.chunks(PORTS_AT_A_TIME) {
        let ids: Vec<PortId> = some.iter().map(|view| PortId(view.id)).collect();
        let looked = shared.worker.ask(move |worker, _| {
            let look = |id: &PortId| {
                let rings = worker.io_mut().ring_fill(*id).unwrap_or_default();
                (rings, worker.io().port_stats(*id).unwrap_or_default())
            };
            ids.iter().map(look).collect::<Vec<_>>()
        })?;
        ports.extend(some.iter().zip(looked).map(|(view, (rings, losses))| Port {
            interface: view.interface.clone(),
            owner: view.owner.clone(),
            up: view.up,
            stats: stats.ports.get(usize::from(view.id)).copied().unwrap_or_default(),
            rings,
            losses,
        }));
    }
    Ok(ports)
}
