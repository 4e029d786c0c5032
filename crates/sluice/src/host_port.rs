//! The host port: a veth pair between the appliance and the node's kernel.
//!
//! ```text
//!   pods ── appliance ── sluice_net ═══ sluice_host ── kernel: host sockets, routing, masquerading
//! ```
//!
//! XDP sees only what enters an interface, so a packet that the kernel sent straight out of a pod's host-side veth
//! would reach the pod unjudged. Therefore every pod address is routed to `sluice_host`, with a permanent neighbour
//! entry so that the kernel never has to ask. With `onFailure: pass` a routing rule for what comes back out of
//! `sluice_net` leads to the pods directly; it applies only while no process serves the port.

use crate::config::{Config, OnFailure};
use crate::netlink::{Link, Netlink};
use anyhow::{Context as _, Result, anyhow};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// Routing table of the way around the appliance, used only with `onFailure: pass`.
const BYPASS_TABLE: u32 = 20_531;

/// Priority of the rule that leads to it: before the main table (32766).
const BYPASS_PRIORITY: u32 = 20_531;

/// A pod as the kernel must know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodRoute {
    /// Its address.
    pub ip: IpAddr,
    /// Its host-side veth.
    pub interface: u32,
}

/// The pair, and the routes that lead into it.
#[derive(Debug)]
pub struct HostPort {
    /// The appliance's end.
    pub inner: Link,
    /// The kernel's end.
    pub outer: Link,
    routes: BTreeMap<IpAddr, u32>,
    on_failure: OnFailure,
    gateways: [IpAddr; 2],
}

impl HostPort {
    /// Makes the pair, or takes over what an earlier process left.
    ///
    /// # Errors
    /// When the kernel refuses, or something else has one of the names.
    pub fn create(netlink: &Netlink, config: &Config) -> Result<Self> {
        let settings = &config.host_port;
        netlink.create_veth(&settings.name, &settings.host_name)?;
        let (inner, outer) = pair(netlink, &settings.name, &settings.host_name)?;
        // The appliance's end is a wire: the kernel must not speak on it.
        sysctl(&format!("net/ipv6/conf/{}/disable_ipv6", settings.name), "1");
        sysctl(&format!("net/ipv6/conf/{}/accept_ra", settings.host_name), "0");
        sysctl(&format!("net/ipv6/conf/{}/accept_dad", settings.host_name), "0");
        netlink.set_up(inner.index, settings.mtu)?;
        netlink.set_up(outer.index, settings.mtu)?;
        for address in &settings.addresses {
            netlink.add_address(outer.index, *address)?;
        }
        for prefix in &settings.pod_cidrs {
            netlink.add_route(prefix.trunc(), outer.index, None)?;
        }
        if settings.forwarding {
            sysctl("net/ipv4/ip_forward", "1");
            sysctl("net/ipv6/conf/all/forwarding", "1");
        }
        let on_failure = config.datapath.on_failure;
        if on_failure == OnFailure::Pass {
            for name in [&settings.name, &settings.host_name] {
                sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
            }
            // What the kernel sends to pods comes back out of this end with an address of the kernel's own.
            sysctl(&format!("net/ipv4/conf/{}/accept_local", settings.name), "1");
            sysctl(&format!("net/ipv6/conf/{}/disable_ipv6", settings.name), "0");
            netlink.add_rule(&settings.name, BYPASS_TABLE, BYPASS_PRIORITY)?;
        }
        let (inner, outer) = pair(netlink, &settings.name, &settings.host_name)?;
        let gateways = [config.gateway.v4.into(), config.gateway.v6.into()];
        Ok(Self { inner, outer, routes: BTreeMap::new(), on_failure, gateways })
    }

    /// Makes the kernel's routes those of `pods`. A pod that fails is reported and does not hinder the others.
    pub fn set_pods(&mut self, netlink: &Netlink, pods: &[PodRoute]) {
        let wanted: BTreeMap<IpAddr, u32> = pods.iter().map(|pod| (pod.ip, pod.interface)).collect();
        let gone: Vec<(IpAddr, u32)> = self
            .routes
            .iter()
            .filter(|(ip, interface)| wanted.get(ip) != Some(interface))
            .map(|(ip, interface)| (*ip, *interface))
            .collect();
        for (ip, interface) in gone {
            self.routes.remove(&ip);
            if let Err(error) = self.remove_pod(netlink, ip, interface) {
                tracing::warn!(%ip, "{error:#}");
            }
        }
        for (ip, interface) in wanted {
            if self.routes.contains_key(&ip) {
                continue;
            }
            match self.add_pod(netlink, ip, interface) {
                Ok(()) => {
                    self.routes.insert(ip, interface);
                }
                Err(error) => tracing::warn!(%ip, "no route from the host: {error:#}"),
            }
        }
    }

    fn add_pod(&self, netlink: &Netlink, ip: IpAddr, interface: u32) -> Result<()> {
        netlink.add_neighbour(self.outer.index, ip, self.inner.mac)?;
        netlink.add_route(IpNet::from(ip), self.outer.index, None)?;
        if self.on_failure == OnFailure::Pass {
            for gateway in self.gateways.iter().filter(|gateway| gateway.is_ipv4() == ip.is_ipv4()) {
                netlink.add_link_address(interface, IpNet::from(*gateway))?;
            }
            netlink.add_route(IpNet::from(ip), interface, Some(BYPASS_TABLE))?;
        }
        Ok(())
    }

    fn remove_pod(&self, netlink: &Netlink, ip: IpAddr, interface: u32) -> Result<()> {
        netlink.remove_route(IpNet::from(ip), self.outer.index, None)?;
        if self.on_failure == OnFailure::Pass {
            netlink.remove_route(IpNet::from(ip), interface, Some(BYPASS_TABLE))?;
            for gateway in self.gateways.iter().filter(|gateway| gateway.is_ipv4() == ip.is_ipv4()) {
                netlink.remove_address(interface, IpNet::from(*gateway))?;
            }
        }
        Ok(())
    }

    /// Removes the pair and with it its addresses, routes and neighbours.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(mut self, netlink: &Netlink) -> Result<()> {
        self.set_pods(netlink, &[]);
        remove(netlink, &self.inner.name)
    }
}

/// Removes the pair of which one end is called `name`, and the rule that belongs to it.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(netlink: &Netlink, name: &str) -> Result<()> {
    netlink.remove_rule(name, BYPASS_TABLE, BYPASS_PRIORITY)?;
    netlink.remove_link(name)
}

/// Both ends, checked to belong together.
fn pair(netlink: &Netlink, inner: &str, outer: &str) -> Result<(Link, Link)> {
    let find = |name: &str| netlink.link(name)?.with_context(|| format!("there is no interface {name}"));
    let (inner, outer) = (find(inner)?, find(outer)?);
    if inner.peer != Some((outer.index, None)) {
        return Err(anyhow!(
            "{} and {} exist and are not the two ends of one veth pair; remove them or change hostPort.name",
            inner.name,
            outer.name
        ));
    }
    Ok((inner, outer))
}

/// Sets a kernel parameter; a failure costs that convenience, not the start.
fn sysctl(key: &str, value: &str) {
    let path = Path::new("/proc/sys").join(key);
    let now = std::fs::read_to_string(&path).unwrap_or_default();
    if now.trim() == value {
        return;
    }
    if let Err(error) = std::fs::write(&path, value) {
        tracing::warn!(%error, "could not set {} to {value}", key.replace('/', "."));
    }
}
