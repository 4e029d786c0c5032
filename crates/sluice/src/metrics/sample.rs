//! One look at every part of the node, without names of metrics.

use super::process::Process;
use crate::api::report::{self, WorkerReport};
use crate::run::shared::{PortView, Shared};
use afxdp::{PortStats as Losses, RingFill};
use anyhow::Result;
use datapath::stats::{Log2, PortStats, Stats};
use datapath::worker::InspectionLoad;
use packet::{IoStats, PortId};
use std::collections::HashMap;
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
    /// Version of the policy, and of everything the workers go by.
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
    /// What the workers have done.
    pub stats: Stats,
    /// What their sockets have done.
    pub io: IoStats,
    /// Connections, and the most there may be.
    pub connections: (usize, usize),
    /// What inspection holds.
    pub inspection: InspectionLoad,
    /// The most connections and undecided bytes that it may hold.
    pub inspection_max: (usize, usize),
    /// Chunks of packet memory: free, never used again, all.
    pub chunks: (usize, usize, usize),
    /// Each worker.
    pub workers: Vec<WorkerReport>,
    /// The kernel program.
    pub xdp: Option<Counters>,
    /// Events shed by the workers.
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
    /// Snapshots handed to the workers.
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
    /// When a worker does not answer.
    pub fn take(shared: &Shared) -> Result<Self> {
        let report = report::report(shared)?;
        let view = shared.view();
        let snapshot = shared.snapshot.load_full();
        let policy = &snapshot.policy;
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
            ports: ports(shared, &view.ports, &report.stats)?,
            connections: (report.connections, shared.max_connections as usize),
            stats: report.stats,
            io: report.io,
            inspection: report.inspection,
            inspection_max: report.inspection_max,
            chunks: report.chunks,
            workers: report.workers,
            xdp: shared.kernel_counters(),
            events_shed,
            events: (waiting, crate::run::EVENT_RING * shared.workers.count()),
            records: shared.flows.records(),
            config_errors: shared.metrics_config_errors(),
            process: Process::look(shared.clock.started_at),
        })
    }
}

/// Looks at the ports of each worker, a few at a time, so that frames do not wait for long.
fn ports(shared: &Shared, views: &[PortView], stats: &Stats) -> Result<Vec<Port>> {
    let mut looked = HashMap::with_capacity(views.len());
    for (number, worker) in shared.workers.iter().enumerate() {
        let own = views.iter().filter(|view| view.worker == number).map(|view| PortId(view.id));
        for some in own.collect::<Vec<_>>().chunks(PORTS_AT_A_TIME) {
            let ids = some.to_vec();
            looked.extend(worker.ask(move |worker, _| {
                let io = worker.io().inner();
                let look =
                    |id| (id, (io.ring_fill(id).unwrap_or_default(), io.port_stats(id).unwrap_or_default()));
                ids.into_iter().map(look).collect::<Vec<_>>()
            })?);
        }
    }
    let port = |view: &PortView| {
        let (rings, losses) = looked.get(&PortId(view.id)).copied().unwrap_or_default();
        Port {
            interface: view.interface.clone(),
            owner: view.owner.clone(),
            up: view.up,
            stats: stats.ports.get(usize::from(view.id)).copied().unwrap_or_default(),
            rings,
            losses,
        }
    };
    Ok(views.iter().map(port).collect())
}
