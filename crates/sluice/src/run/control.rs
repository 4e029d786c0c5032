//! The control thread: brings ports, routes and policy in line with files and interfaces, and swaps snapshots.
//!
//! ```text
//!   files ─┐
//!   links ─┼─▶ wanted ports ─▶ close stale · open missing ─▶ snapshot ─▶ worker
//!   time  ─┘
//! ```
//!
//! Nothing here is on the path of a packet. A step that fails is reported, retried, and never undoes what works.

use super::balance::Balancer;
use super::bell::{Reason, Waiter};
use super::clock::Clock;
use super::files::{Changed, Changes, Sources};
use super::fqdn::{self, Learning};
use super::heartbeat;
use super::ports::{Pod, Ports, Wanted};
use super::rules::Rules;
use super::settings::Settings;
use super::shared::{PortView, Shared, View};
use crate::config::Config;
use crate::host_port::{HostPort, PodRoute};
use crate::netlink::{Link, Netlink};
use crate::service::Service;
use anyhow::{Result, bail};
use datapath::ports::PortTable;
use datapath::{Gateway, Snapshot};
use ipnet::IpNet;
use packet::{Addr, MacAddr, PortId};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait between two looks at the clock.
const TICK: Duration = Duration::from_millis(250);

/// Quiet time after a file event before files are read: editors and volume updates touch several.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Ports are compared with what exists at least this often, for what nobody announces: a pod that changes its own
/// MTU or hardware address, a bind to try again.
const RECONCILE: Duration = Duration::from_secs(2);

/// Quiet time after an interface event: creating a pod's veth makes several.
const SETTLE: Duration = Duration::from_millis(10);

/// Batches of DNS answers put in force before anything else is looked at.
const BATCHES: usize = 16;

/// Silence of a worker after which it counts as hung.
const HUNG: Duration = Duration::from_secs(3);

/// All that the control thread owns.
pub struct Control {
    /// Settings.
    pub config: Config,
    /// What of them changes while the service runs.
    pub settings: Settings,
    /// The configuration folder.
    pub dir: PathBuf,
    /// Name of this node.
    pub node: String,
    /// The kernel.
    pub netlink: Netlink,
    /// Ports.
    pub ports: Ports,
    /// The host port, if there is one.
    pub host_port: Option<HostPort>,
    /// Policy.
    pub rules: Rules,
    /// What other threads see.
    pub shared: Arc<Shared>,
    /// The service manager.
    pub service: Service,
    /// The clock.
    pub clock: Clock,
    /// The files as they were last read.
    pub sources: Sources,
    /// What changed since.
    pub changes: Changes,
    /// What the worker sees of DNS.
    pub learning: Learning,
    /// Moves flows from busy workers to others.
    pub balancer: Balancer,
}

impl Control {
    /// Works until asked to stop.
    ///
    /// # Errors
    /// When a worker ends by itself.
    pub fn run(&mut self, waiter: &Waiter) -> Result<()> {
        let mut reconciled = Instant::now();
        loop {
            if !self.learning.is_behind() {
                waiter.wait(self.balancer.pause().unwrap_or(TICK));
            }
            self.learn(waiter);
            if waiter.take(Reason::Stop) {
                self.shared.set_identities(self.rules.engine().export_identities());
                return Ok(());
            }
            if waiter.take(Reason::WorkerEnded) {
                bail!("a worker ended by itself");
            }
            let forced = waiter.take(Reason::Reload);
            if forced {
                self.shared.flows.archive().into_iter().for_each(crate::export::Archive::reload);
            }
            if waiter.take(Reason::Files) || forced {
                self.settle(waiter, Reason::Files, DEBOUNCE);
                self.change_settings();
                if self.reload(forced) {
                    reconciled = Instant::now();
                }
            }
            let links = waiter.take(Reason::Links);
            if links {
                self.settle(waiter, Reason::Links, SETTLE);
            }
            if links || reconciled.elapsed() >= RECONCILE {
                self.reconcile(false);
                reconciled = Instant::now();
            }
            self.forget();
            self.balancer.tick();
            if heartbeat::is_alive(&self.shared.workers, &self.clock, HUNG) {
                self.service.alive();
            }
        }
    }

    /// Reads the settings again, and puts in force what can change while the service runs.
    fn change_settings(&mut self) {
        let before = (self.settings.error().map(str::to_owned), self.settings.waiting().clone());
        if let Some(now) = self.settings.reload() {
            crate::logging::set_level(now.log.level);
            let visible = now.visibility != self.config.visibility;
            self.config.visibility.clone_from(&now.visibility);
            self.config.log.level = now.log.level;
            if visible {
                self.publish(&[]);
            }
        }
        if (self.settings.error(), self.settings.waiting()) != (before.0.as_deref(), &before.1) {
            // For the status.
            self.reconcile(false);
        }
    }

    /// Reads the files again and, if anything in them is new, puts it in force. Answers whether it did.
    fn reload(&mut self, forced: bool) -> bool {
        let begun = Instant::now();
        match self.changes.take() {
            Changed::Files(paths) if !forced => {
                let touched = self.sources.refresh(&self.dir, &paths);
                if touched.is_empty() {
                    return false;
                }
                self.service.reloading();
                if self.rules.update(&self.sources, &touched) {
                    // No port comes or goes for this, so what the kernel has to say can wait.
                    self.publish(&[]);
                    tracing::debug!(micros = begun.elapsed().as_micros(), "policy in force");
                }
            }
            _ => {
                let sources = Sources::read(&self.dir);
                if sources == self.sources && !forced {
                    return false;
                }
                self.service.reloading();
                self.sources = sources;
                self.rules.load(&self.sources);
            }
        }
        self.reconcile(true);
        self.shared.built(begun.elapsed());
        let epoch = self.rules.snapshot().epoch;
        let errors = self.rules.errors().len();
        tracing::info!(epoch, errors, millis = begun.elapsed().as_millis(), "configuration reloaded");
        self.service.ready(&self.status_line());
        true
    }

    /// Compares what shall be with what is, and changes the latter.
    pub fn reconcile(&mut self, policy_changed: bool) {
        if policy_changed {
            self.shared.set_identities(self.rules.engine().export_identities());
        }
        let links = match self.netlink.links() {
            Ok(links) => links,
            Err(error) => {
                tracing::error!("interfaces cannot be listed: {error:#}");
                if policy_changed {
                    self.publish(&[]);
                }
                return;
            }
        };
        let wanted = self.wanted();
        let stale = self.ports.stale(&wanted, &links);
        // First out of the snapshot, so that nothing is sent there any more.
        if policy_changed || !stale.is_empty() {
            self.publish(&stale);
        }
        if !stale.is_empty() {
            // Connections on their way would not end with their port.
            self.balancer.settle();
        }
        for id in &stale {
            self.ports.close(*id);
        }
        if self.ports.update(&self.netlink, &wanted, &links) {
            self.publish(&[]);
        }
        let refused = self.ports.steer();
        if !refused.is_empty() {
            self.publish(&refused);
            for id in refused {
                self.ports.withdraw(id);
            }
        }
        self.route_pods();
        self.show(&links);
    }

    /// Interfaces that shall be ports: the host port and the pods of this node.
    fn wanted(&self) -> Vec<Wanted> {
        let host = self
            .host_port
            .iter()
            .map(|host| Wanted { interface: host.inner.name.as_str().into(), pod: Pod::default() });
        let local =
            self.rules.inventory().pods.iter().filter(|pod| pod.node.is_empty() || *pod.node == *self.node);
        let pods = local.filter_map(|pod| {
            Some(Wanted {
                interface: Arc::clone(pod.interface.as_ref()?),
                pod: Pod {
                    namespace: Arc::clone(&pod.namespace),
                    name: Arc::clone(&pod.name),
                    ips: pod.ips.clone(),
                    mac: pod.mac.map(MacAddr),
                },
            })
        });
        host.chain(pods).collect()
    }

    /// Builds a snapshot of policy and ports, without `leaving`, and swaps it in.
    fn publish(&self, leaving: &[PortId]) {
        let policy = self.rules.snapshot();
        let endpoint_of = |pod: &Pod| {
            policy
                .endpoints
                .iter()
                .flatten()
                .find(|endpoint| endpoint.namespace == pod.namespace && endpoint.name == pod.name)
                .map(|endpoint| endpoint.id)
        };
        let ports = self
            .ports
            .open()
            .filter(|open| !leaving.contains(&open.id))
            .map(|open| open.to_port(endpoint_of(&open.wanted.pod)))
            .collect();
        let prefixes = self.config.host_port.pod_cidrs.iter().map(prefix_of).collect();
        let ports = Arc::new(PortTable::new(ports, self.host_addresses(), prefixes));
        let gateway = Gateway {
            v4: Addr::v4(self.config.gateway.v4.octets()),
            v6: Addr::v6(self.config.gateway.v6.octets()),
        };
        let epoch = self.shared.snapshot.load().epoch + 1;
        let learnt = self.learning.learnt();
        self.shared.snapshot.store(Arc::new(Snapshot {
            epoch,
            policy,
            ports,
            gateway,
            visibility: Arc::new(crate::config::visibility(&self.config.visibility)),
            learnt,
        }));
        self.shared.published();
    }

    /// Puts DNS answers in force that the worker has handed over; each waits for it.
    fn learn(&mut self, waiter: &Waiter) {
        if !waiter.take(Reason::Learnt) && !self.learning.is_behind() {
            return;
        }
        // Not until there are none: who floods with answers must not keep files and interfaces waiting.
        for _ in 0..BATCHES {
            if !self.learning.learn(self.rules.engine_mut(), fqdn::seconds(&self.clock)) {
                return;
            }
            self.publish_names();
            self.shared.workers.wake();
            self.shared.events.note_learnt(&self.rules.snapshot().fqdn);
        }
    }

    /// Lets names expire.
    fn forget(&mut self) {
        self.learning.sweep(self.rules.engine_mut(), fqdn::seconds(&self.clock));
        self.publish_names();
        self.shared.events.note_learnt(&self.rules.snapshot().fqdn);
    }

    /// Swaps in what DNS changed. Ports stay as they are, and connections are judged again only if a verdict may have
    /// changed.
    fn publish_names(&self) {
        let old = self.shared.snapshot.load();
        let (policy, learnt) = (self.rules.snapshot(), self.learning.learnt());
        if Arc::ptr_eq(&policy, &old.policy) && learnt == old.learnt {
            return;
        }
        let epoch = old.epoch + u64::from(policy.epoch != old.policy.epoch);
        self.shared.snapshot.store(Arc::new(Snapshot { epoch, policy, learnt, ..Snapshot::clone(&old) }));
        self.shared.published();
    }

    /// Waits until `reason` has not been rung for `quiet`, but not for ever. DNS answers do not wait meanwhile.
    fn settle(&mut self, waiter: &Waiter, reason: Reason, quiet: Duration) {
        for _ in 0..20 {
            let begun = Instant::now();
            while let Some(rest) = quiet.checked_sub(begun.elapsed()).filter(|rest| !rest.is_zero()) {
                waiter.pause(rest);
                self.learn(waiter);
            }
            if !waiter.take(reason) {
                return;
            }
        }
    }

    /// The node's own addresses: what the inventory says and what the kernel has.
    fn host_addresses(&self) -> Vec<Addr> {
        let listed = self.rules.inventory().nodes.iter().filter(|node| *node.name == *self.node);
        let mut addresses: Vec<Addr> =
            listed.flat_map(|node| node.ips.iter().map(|ip| Addr::from(*ip))).collect();
        match self.netlink.host_addresses() {
            Ok(kernel) => addresses.extend(kernel.into_iter().map(Addr::from)),
            Err(error) => tracing::warn!("{error:#}"),
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    fn route_pods(&mut self) {
        let Some(host_port) = &mut self.host_port else { return };
        let pods: Vec<PodRoute> = self
            .ports
            .open()
            .flat_map(|open| {
                open.wanted.pod.ips.iter().map(|ip| PodRoute { ip: *ip, interface: open.ifindex })
            })
            .collect();
        host_port.set_pods(&self.netlink, &pods);
    }

    /// Puts what people may ask about where they find it.
    fn show(&self, links: &[Link]) {
        let ports = self.ports.open().map(|open| PortView::new(open, links)).collect();
        let errors = self
            .rules
            .errors()
            .iter()
            .cloned()
            .chain(self.ports.errors().iter().map(|(interface, error)| format!("port {interface}: {error}")))
            .chain(self.settings.error().map(str::to_owned))
            .chain(self.shared.flows.archive().into_iter().flat_map(crate::export::Archive::errors))
            .collect();
        let waiting = self.settings.waiting().iter();
        let waiting = waiting.map(|key| format!("sluice.yaml: changed {key} needs a restart"));
        let warnings = self.rules.warnings().iter().cloned().chain(waiting).collect();
        let policies = self.rules.engine().policies();
        self.shared.events.note(&policies, &self.rules.snapshot());
        self.shared.show(View { ports, errors, warnings, policies });
    }

    /// One line for the service manager and the log.
    #[must_use]
    pub fn status_line(&self) -> String {
        let ports = self.ports.open().count();
        format!("{ports} ports, policy epoch {}", self.rules.snapshot().epoch)
    }
}

/// A prefix as the port table counts it, on the 128-bit form.
fn prefix_of(prefix: &IpNet) -> (Addr, u8) {
    let offset = if prefix.network().is_ipv4() { 96 } else { 0 };
    (Addr::from(prefix.network()), prefix.prefix_len() + offset)
}
