//! One pod: a namespace, a veth pair into the node, addresses and the route through the link-local gateway.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::exec::{self, Output};
use super::netns::Netns;

/// The next hop every pod uses for IPv4; the appliance answers ARP for it.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The next hop every pod uses for IPv6; the appliance answers neighbour solicitations for it.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Limit for programs that change a pod's set-up.
const SETUP_LIMIT: Duration = Duration::from_secs(20);

/// What a pod should be like.
#[derive(Debug, Clone)]
pub struct PodSpec {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Labels without a source prefix.
    pub labels: Vec<(String, String)>,
    /// MTU of both ends of the veth pair (bytes).
    pub mtu: u32,
    /// Whether the pod leaves TCP and UDP checksums to its interface, as an untouched veth does.
    pub checksum_offload: bool,
}

impl PodSpec {
    /// A pod with MTU 1,500, checksum offload on and the given labels (`key=value`, comma-separated).
    pub fn new(namespace: &str, name: &str, labels: &str) -> Self {
        let labels = labels
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels,
            mtu: 1500,
            checksum_offload: true,
        }
    }

    /// The same pod with another MTU.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// The same pod with transmit checksum offload on or off.
    #[must_use]
    pub fn checksum_offload(mut self, on: bool) -> Self {
        self.checksum_offload = on;
        self
    }
}

/// A pod that exists.
#[derive(Debug)]
pub struct Pod {
    spec: PodSpec,
    netns: Netns,
    interface: String,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
}

impl Pod {
    /// Makes the namespace, the veth pair (its host end called `interface`, in `node`), addresses and routes.
    ///
    /// # Errors
    /// One of the steps was refused; what was made until then is removed.
    pub(super) fn create(
        spec: PodSpec,
        node: &Netns,
        netns_name: &str,
        interface: &str,
        (ipv4, ipv6): (Ipv4Addr, Ipv6Addr),
    ) -> Result<Self> {
        let netns = Netns::create(netns_name)?;
        let mtu = spec.mtu;
        // One queue each way: a second one would need a second socket (and a pod must not choose).
        node.ip(&format!(
            "link add {interface} mtu {mtu} numrxqueues 1 numtxqueues 1 type veth \
             peer name eth0 mtu {mtu} numrxqueues 1 numtxqueues 1 netns {netns_name}\n\
             link set {interface} addrgenmode none\n\
             link set {interface} up\n"
        ))?;
        netns.ip(&format!(
            "addr add {ipv4}/32 dev eth0\n\
             addr add {ipv6}/128 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {GATEWAY_V4} dev eth0 onlink\n\
             route add ::/0 via {GATEWAY_V6} dev eth0\n"
        ))?;
        if !spec.checksum_offload {
            exec::check(netns.command("ethtool").args(["-K", "eth0", "tx", "off"]), SETUP_LIMIT)?;
        }
        Ok(Self { spec, netns, interface: interface.to_owned(), ipv4, ipv6 })
    }

    /// `namespace/name`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.spec.namespace, self.spec.name)
    }

    /// What it was asked to be.
    pub fn spec(&self) -> &PodSpec {
        &self.spec
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its namespace, to keep it.
    pub(super) fn netns_mut(&mut self) -> &mut Netns {
        &mut self.netns
    }

    /// Name of the host end of its veth pair, in the node's namespace.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its IPv4 address.
    pub fn ipv4(&self) -> Ipv4Addr {
        self.ipv4
    }

    /// Its IPv6 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    /// A command that will run in the pod.
    pub fn command(&self, program: &str) -> Command {
        self.netns.command(program)
    }

    /// Runs a program in the pod, at most `limit` long.
    ///
    /// # Errors
    /// The program could not be started, or the user interrupted.
    pub fn run(&self, argv: &[&str], limit: Duration) -> Result<Output> {
        let (program, args) = argv.split_first().unwrap_or((&"true", &[]));
        exec::run(self.command(program).args(args), limit)
    }
}
