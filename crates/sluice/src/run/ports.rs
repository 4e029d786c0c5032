//! Which interfaces are ports: brings what is open in line with the inventory and with what exists.
//!
//! Slow work (attaching, binding, closing) happens here, on the control thread; the worker only gets finished sockets
//! and gives retired ones back, so the other ports notice nothing. A port is opened in the order program → sockets →
//! worker → snapshot → frames and closed in the reverse one: until every worker knows the port, its frames meet the
//! fallback, and so they do where anything fails in between.
//!
//! Where there are several workers, a port goes to the one that has fewest.

use super::worker::Link as WorkerLink;
use super::workers::Workers;
use crate::config::{OnFailure, XdpMode};
use crate::netlink::{Link, Netlink};
use afxdp::Opener;
use anyhow::{Context as _, Result, anyhow};
use datapath::fleet::PortOwners;
use datapath::ports::MIN_MTU;
use packet::{Addr, MacAddr, PortId};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xdp_redirect::{AttachMode, Fallback, Mode, Redirect};

/// The number of the host port.
pub const HOST_PORT: PortId = PortId(0);

/// Highest port number.
const LAST_PORT: u16 = 1023;

/// What shall be a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Interface on this side.
    pub interface: Arc<str>,
    /// Who is on the other side.
    pub pod: Pod,
}

/// The pod behind a port; for the host port all is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Hardware address, if the inventory says it.
    pub mac: Option<MacAddr>,
}

impl Wanted {
    /// Whether this is the host port.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.pod.name.is_empty()
    }
}

/// A port that is open.
#[derive(Clone, Debug)]
pub struct Open {
    /// Its number.
    pub id: PortId,
    /// What it was opened for.
    pub wanted: Wanted,
    /// Number of the interface.
    pub ifindex: u32,
    /// Our own hardware address on it.
    pub mac: MacAddr,
    /// Hardware address of the other side.
    pub peer_mac: MacAddr,
    /// Largest datagram that the other side takes.
    pub mtu: u32,
    /// Where the program runs.
    pub mode: AttachMode,
    /// Receive queues, each with a socket.
    pub queues: u32,
    /// The worker that has the sockets.
    pub worker: usize,
}

/// All ports, and what it takes to open and close them.
pub struct Ports {
    /// One for each worker: sockets share its memory.
    openers: Vec<Opener>,
    redirect: Arc<Mutex<Redirect>>,
    workers: Workers,
    owners: PortOwners,
    mode: XdpMode,
    fallback: Fallback,
    open: BTreeMap<PortId, Open>,
    /// Open ports whose frames still meet the fallback, with their sockets, one for each queue.
    waiting: Vec<(PortId, Vec<OwnedFd>)>,
    /// The number that was given out last. The next port gets one above it if there is: frames of a port that is gone may
    /// still be on their way between workers, and must not be taken for those of another.
    last: PortId,
    /// Why a wanted interface is no port, by interface.
    errors: BTreeMap<Arc<str>, String>,
}

impl Ports {
    /// No ports yet. `openers` has one for each of the workers; `owners` is where these look up whose a port is.
    #[must_use]
    pub fn new(
        openers: Vec<Opener>,
        redirect: Arc<Mutex<Redirect>>,
        workers: Workers,
        owners: PortOwners,
        mode: XdpMode,
        on_failure: OnFailure,
    ) -> Self {
        let fallback = match on_failure {
            OnFailure::Drop => Fallback::Drop,
            OnFailure::Pass => Fallback::Pass,
        };
        let (open, waiting, errors) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { openers, redirect, workers, owners, mode, fallback, open, waiting, last: HOST_PORT, errors }
    }

    /// The ports that are open.
    pub fn open(&self) -> impl Iterator<Item = &Open> {
        self.open.values()
    }

    /// Why wanted interfaces are no ports.
    #[must_use]
    pub fn errors(&self) -> &BTreeMap<Arc<str>, String> {
        &self.errors
    }

    /// Ports that must be closed: nobody wants them any more, or their interface is gone, down, or another one.
    #[must_use]
    pub fn stale(&self, wanted: &[Wanted], links: &[Link]) -> Vec<PortId> {
        let by_name: HashMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
        let stays = |open: &Open| {
            let link = by_name.get(&*open.wanted.interface);
            link.is_some_and(|link| link.index == open.ifindex && link.up)
                && wanted.iter().any(|other| same_port(other, &open.wanted))
        };
        self.open.values().filter(|open| !stays(open)).map(|open| open.id).collect()
    }

    /// Lets frames come to the ports that were opened since the last call. The snapshot with them must be in force.
    /// Answers the ports that get none because the kernel refused, to be [withdrawn](Self::withdraw).
    pub fn steer(&mut self) -> Vec<PortId> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        // A worker answers between polls, so none goes by an older snapshot after this.
        if let Err(error) = self.workers.ask_each(|_, _| ()) {
            tracing::error!("a worker may not know the new ports yet: {error:#}");
        }
        let mut refused = Vec::new();
        for (id, sockets) in std::mem::take(&mut self.waiting) {
            let Some(open) = self.open.get(&id) else { continue };
            let mut redirect = lock(&self.redirect);
            let outcome = (0..)
                .zip(sockets)
                .try_for_each(|(queue, socket)| redirect.set_socket(open.ifindex, queue, socket));
            if let Err(error) = outcome {
                let interface = &open.wanted.interface;
                tracing::warn!(port = %interface, "no frames can be steered: {error}");
                self.errors.insert(Arc::clone(interface), error.to_string());
                refused.push(id);
            }
        }
        refused
    }

    /// Closes one port. The snapshot without it should be in force already.
    pub fn close(&mut self, id: PortId) {
        let Some(open) = self.withdraw(id) else { return };
        // An interface that is gone took its attachment along; what was pinned for it goes here.
        if let Err(error) = lock(&self.redirect).detach(open.ifindex) {
            tracing::debug!(port = %open.wanted.interface, %error, "detach");
        }
        tracing::info!(port = %open.wanted.interface, "port closed");
    }

    /// Takes one port from the workers; the program stays attached, so that its frames meet the fallback. The snapshot
    /// without it should be in force already.
    pub fn withdraw(&mut self, id: PortId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.waiting.retain(|(port, _)| *port != id);
        let mut redirect = lock(&self.redirect);
        for queue in 0..open.queues {
            let _ = redirect.clear_socket(open.ifindex, queue);
        }
        drop(redirect);
        // Each has connections of it, one has its sockets.
        let ended = self.workers.ask_each(move |worker, now| worker.remove_port(id, now));
        if let Err(error) = ended.and_then(|_| retire(self.workers.one(open.worker), id)) {
            tracing::error!(port = %open.wanted.interface, "not taken out of service: {error:#}");
        }
        Some(open)
    }

    /// Takes note of what changed about open ports (addresses, MTU, hardware address) and opens the missing ones.
    /// Answers whether any port differs from before.
    pub fn update(&mut self, netlink: &Netlink, wanted: &[Wanted], links: &[Link]) -> bool {
        let mut changed = false;
        let mut errors = BTreeMap::new();
        for want in wanted {
            let Some(link) = links.iter().find(|link| *link.name == *want.interface) else {
                errors.insert(Arc::clone(&want.interface), "no such interface (yet)".to_owned());
                continue;
            };
            let known =
                self.open.values().find(|open| open.wanted.interface == want.interface).map(|open| open.id);
            let outcome = match known {
                Some(id) => self.refresh(netlink, id, want, link),
                None if !link.up => Err(anyhow!("the interface is down")),
                None => self.open_port(netlink, want, link).map(|()| true),
            };
            match outcome {
                Ok(different) => changed |= different,
                Err(error) => {
                    let text = format!("{error:#}");
                    if self.errors.get(&want.interface) != Some(&text) {
                        tracing::warn!(port = %want.interface, "{text}");
                    }
                    errors.insert(Arc::clone(&want.interface), text);
                }
            }
        }
        self.errors = errors;
        changed
    }

    fn refresh(&mut self, netlink: &Netlink, id: PortId, want: &Wanted, link: &Link) -> Result<bool> {
        let (peer_mac, mtu) = other_side(netlink, want, link)?;
        let Some(open) = self.open.get_mut(&id) else { return Ok(false) };
        let before = (open.wanted.clone(), open.mac, open.peer_mac, open.mtu);
        open.wanted = want.clone();
        (open.mac, open.peer_mac, open.mtu) = (link.mac, peer_mac, mtu);
        Ok(before != (open.wanted.clone(), open.mac, open.peer_mac, open.mtu))
    }

    fn open_port(&mut self, netlink: &Netlink, want: &Wanted, link: &Link) -> Result<()> {
        let (peer_mac, mtu) = other_side(netlink, want, link)?;
        let id = self.free_id(want)?;
        let kind = if want.is_host() { Mode::Host } else { Mode::Pod };
        let attached = lock(&self.redirect).attach(link.index, kind, self.fallback)?;
        match attached.mode {
            AttachMode::Generic if self.mode == XdpMode::Native => {
                lock(&self.redirect).detach(link.index)?;
                return Err(anyhow!(
                    "native mode was refused: {}",
                    attached.native_refused.unwrap_or_default()
                ));
            }
            AttachMode::Generic if self.mode == XdpMode::Generic => {}
            AttachMode::Generic => {
                let reason = attached.native_refused.unwrap_or_default();
                tracing::warn!(port = %link.name, reason, "the program runs in generic mode, which is slower");
            }
            AttachMode::Native => {}
        }
        let worker = self.least_laden();
        let sockets = self.bind(id, worker, link, attached.queues)?;
        let queues = sockets.len() as u32;
        self.owners.assign(id, worker);
        self.waiting.push((id, sockets));
        tracing::info!(port = %link.name, number = id.0, mode = ?attached.mode, queues, %peer_mac, mtu, "port open");
        let open = Open {
            id,
            wanted: want.clone(),
            ifindex: link.index,
            mac: link.mac,
            peer_mac,
            mtu,
            mode: attached.mode,
            queues,
            worker,
        };
        self.open.insert(id, open);
        self.last = id;
        Ok(())
    }

    /// The worker with the fewest ports.
    fn least_laden(&self) -> usize {
        let ports = |worker: &usize| self.open.values().filter(|open| open.worker == *worker).count();
        (0..self.openers.len()).min_by_key(ports).unwrap_or(0)
    }

    /// Makes a socket for every receive queue and gives the worker all of them. Answers a duplicate of each.
    fn bind(&self, id: PortId, worker: usize, link: &Link, most: u32) -> Result<Vec<OwnedFd>> {
        let (home, mut bound) = (self.workers.one(worker), Vec::new());
        let opener = self.openers.get(worker).context("a worker without memory")?;
        for queue in 0..most {
            let socket = match opener.open(id, &link.name, link.index, queue) {
                Ok(socket) => socket,
                // The kernel tells how many queues may exist, not how many do; beyond those a bind is invalid.
                Err(afxdp::OpenError::Bind { source, .. }) if queue > 0 && is_invalid(&source) => break,
                Err(error) => {
                    drop(bound);
                    give_up(home, id, link);
                    return Err(error.into());
                }
            };
            let outcome = socket.as_fd().try_clone_to_owned().map_err(anyhow::Error::from);
            let outcome = outcome.and_then(|duplicate| {
                let added =
                    home.ask(move |worker, _| worker.io_mut().inner_mut().add_port(socket).is_ok())?;
                added.then_some(duplicate).context("the worker has no place for another socket")
            });
            match outcome {
                Ok(duplicate) => bound.push(duplicate),
                Err(error) => {
                    // A socket lives as long as its duplicates, and memory is taken back from dead ones only.
                    drop(bound);
                    give_up(home, id, link);
                    return Err(error);
                }
            }
        }
        Ok(bound)
    }

    fn free_id(&self, want: &Wanted) -> Result<PortId> {
        if want.is_host() {
            return Ok(HOST_PORT);
        }
        let mut numbers = (self.last.0 + 1..=LAST_PORT).chain(HOST_PORT.0 + 1..=self.last.0).map(PortId);
        numbers.find(|id| !self.open.contains_key(id)).context("more ports than the appliance can have")
    }
}

/// Takes the sockets of a port from its worker, closes them, and gives their memory back.
fn retire(home: &WorkerLink, id: PortId) -> Result<()> {
    if let Some(retired) = home.ask(move |worker, _| worker.io_mut().inner_mut().remove_port(id))? {
        let token = retired.close();
        let reclaimed = home.ask(move |worker, _| worker.io_mut().inner_mut().reclaim(token));
        reclaimed.context("its memory was not taken back")?;
    }
    Ok(())
}

/// Takes back what was bound of a port that could not be opened. The program stays attached: fallback in force.
fn give_up(home: &WorkerLink, id: PortId, link: &Link) {
    if let Err(error) = retire(home, id) {
        tracing::error!(port = %link.name, "not taken out of service: {error:#}");
    }
    tracing::debug!(port = %link.name, "not opened; its frames meet the fallback");
}

/// Hardware address and MTU of the other side.
fn other_side(netlink: &Netlink, want: &Wanted, link: &Link) -> Result<(MacAddr, u32)> {
    let peer = netlink.peer(link);
    let mac = match (want.pod.mac, &peer) {
        (Some(mac), _) => mac,
        (None, Ok(peer)) => peer.mac,
        (None, Err(error)) => return Err(anyhow!("{error:#}; write its `mac` into the inventory")),
    };
    let mtu = peer.map_or(link.mtu, |peer| peer.mtu);
    anyhow::ensure!(mtu >= MIN_MTU, "an MTU of {mtu} is below the {MIN_MTU} that IPv6 needs");
    Ok((mac, mtu))
}

/// Whether both mean the same pod behind the same interface; addresses may differ.
fn same_port(a: &Wanted, b: &Wanted) -> bool {
    a.interface == b.interface && a.pod.namespace == b.pod.namespace && a.pod.name == b.pod.name
}

fn is_invalid(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// The loader; a thread that panicked while it held it left it usable (every call is one system call).
pub fn lock(redirect: &Mutex<Redirect>) -> MutexGuard<'_, Redirect> {
    redirect.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    /// As the packet path knows it.
    #[must_use]
    pub fn to_port(&self, endpoint: Option<policy::EndpointId>) -> datapath::ports::Port {
        let kind = if self.wanted.is_host() {
            datapath::ports::PortKind::Host
        } else {
            let addrs = self.wanted.pod.ips.iter().map(|ip| Addr::from(*ip)).collect();
            datapath::ports::PortKind::Pod { endpoint, addrs }
        };
        datapath::ports::Port {
            id: self.id,
            name: self.wanted.interface.to_string(),
            kind,
            mac: self.mac,
            peer_mac: self.peer_mac,
            mtu: self.mtu,
            partial_checksums: true,
        }
    }
}
