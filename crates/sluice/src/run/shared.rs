//! What the threads that answer questions see of the ones that work.

use super::clock::Clock;
use super::ports::{Open, lock};
use super::workers::Workers;
use crate::api::flows::Flows;
use crate::api::names::NodeFacts;
use crate::metrics::sample::Builds;
use crate::netlink::Link;
use datapath::SharedSnapshot;
use policy::IdentityState;
use policy::rule::Policy;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use xdp_redirect::{AttachMode, Counters, Redirect};

/// One open port as people see it.
#[derive(Clone, Debug)]
pub struct PortView {
    /// Number.
    pub id: u16,
    /// Interface.
    pub interface: String,
    /// `namespace/name` of the pod, or `host`.
    pub owner: String,
    /// Hardware address of the other side.
    pub peer_mac: String,
    /// Largest datagram that the other side takes.
    pub mtu: u32,
    /// `native` or `generic`.
    pub mode: &'static str,
    /// Receive queues.
    pub queues: u32,
    /// Number of the worker that has its sockets.
    pub worker: usize,
    /// Whether the interface is up.
    pub up: bool,
}

impl PortView {
    /// From an open port and the interfaces there are.
    #[must_use]
    pub fn new(open: &Open, links: &[Link]) -> Self {
        let pod = &open.wanted.pod;
        Self {
            id: open.id.0,
            interface: open.wanted.interface.to_string(),
            owner: if open.wanted.is_host() {
                "host".into()
            } else {
                format!("{}/{}", pod.namespace, pod.name)
            },
            peer_mac: open.peer_mac.to_string(),
            mtu: open.mtu,
            mode: match open.mode {
                AttachMode::Native => "native",
                AttachMode::Generic => "generic",
            },
            queues: open.queues,
            worker: open.worker,
            up: links.iter().any(|link| link.index == open.ifindex && link.up),
        }
    }
}

/// What the control thread last said.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Open ports.
    pub ports: Vec<PortView>,
    /// Errors in force: what is not as configured.
    pub errors: Vec<String>,
    /// Warnings about policies.
    pub warnings: Vec<String>,
    /// Policies in force.
    pub policies: Vec<Arc<Policy>>,
}

/// Shared by all threads; every part of it may be read at any time without holding a worker up.
pub struct Shared {
    /// This node.
    pub node: Arc<NodeFacts>,
    /// The configuration folder.
    pub dir: PathBuf,
    /// The clock.
    pub clock: Clock,
    /// Policy and ports in force.
    pub snapshot: SharedSnapshot,
    /// The workers.
    pub workers: Workers,
    /// Most connections that they may track, all together.
    pub max_connections: u32,
    /// The flow log.
    pub flows: Flows,
    /// What the control thread did, for Hubble's clients.
    pub events: crate::hubble::Events,
    redirect: Weak<Mutex<Redirect>>,
    view: RwLock<View>,
    identities: RwLock<Arc<IdentityState>>,
    builds: Mutex<Builds>,
    metrics_config_errors: AtomicBool,
}

impl Shared {
    /// Nothing shown yet.
    #[must_use]
    pub fn new(
        node: Arc<NodeFacts>,
        dir: PathBuf,
        clock: Clock,
        snapshot: SharedSnapshot,
        workers: Workers,
        max_connections: u32,
        flows: Flows,
        redirect: Weak<Mutex<Redirect>>,
    ) -> Self {
        let (view, identities) = (RwLock::default(), RwLock::default());
        Self {
            node,
            dir,
            clock,
            snapshot,
            workers,
            max_connections,
            flows,
            events: crate::hubble::Events::default(),
            redirect,
            view,
            identities,
            builds: Mutex::default(),
            metrics_config_errors: AtomicBool::new(false),
        }
    }

    /// What the control thread last said.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says it.
    pub fn show(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// Identity numbers to be saved.
    #[must_use]
    pub fn identities(&self) -> Arc<IdentityState> {
        Arc::clone(&self.identities.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes them.
    pub fn set_identities(&self, identities: IdentityState) {
        *self.identities.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identities);
    }

    /// Policies in force.
    #[must_use]
    pub fn policies(&self) -> Vec<Arc<Policy>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).policies.clone()
    }

    /// How policy was built since the start.
    #[must_use]
    pub fn builds(&self) -> Builds {
        *self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Policy was built and is in force.
    pub fn built(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.builds.lock().unwrap_or_else(PoisonError::into_inner).micros.observe(micros, 1);
    }

    /// A snapshot was handed to the workers.
    pub fn published(&self) {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner).snapshots += 1;
    }

    /// Whether the watched file of metrics is wrong.
    #[must_use]
    pub fn metrics_config_errors(&self) -> bool {
        self.metrics_config_errors.load(Ordering::Relaxed)
    }

    /// Says so.
    pub fn set_metrics_config_errors(&self, wrong: bool) {
        self.metrics_config_errors.store(wrong, Ordering::Relaxed);
    }

    /// Counters of the kernel program, while it is attached.
    #[must_use]
    pub fn kernel_counters(&self) -> Option<Counters> {
        let redirect = self.redirect.upgrade()?;
        let counters = lock(&redirect).counters();
        counters.ok()
    }
}
