//! A cluster node in network namespaces: pods, servers, clients, and the agent under test.
//!
//! Used by `sluice demo`, by the end-to-end tests and by `sluice connectivity test`. Everything one [`TestBed`] makes
//! carries the tag of its run, so that several can run side by side, and goes away with it; what a crashed run left
//! is removed by [`cleanup`]. Nothing is ever made in the namespace of the caller.
//!
//! ```text
//!   pod eth0 ── lxc1 ┐                          ┌ eth0 outside
//!   pod eth0 ── lxc2 ┤  node (agent or kernel)  ├ uplink0, masqueraded
//!   pod eth0 ── lxc3 ┘  sluice_net/sluice_host  ┘
//! ```

pub mod agent;
pub mod exec;
pub mod interrupt;
pub mod inventory;
pub mod messages;
pub mod netns;
pub mod node;
pub mod pod;
pub mod prereq;
pub mod run_dir;
pub mod servers;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use agent::{Agent, AgentOptions};
pub use exec::{Output, Proc};
pub use netns::Netns;
pub use node::Routing;
pub use pod::{Pod, PodSpec};
pub use run_dir::{Leftovers, cleanup};

/// A node with its pods. Fields drop in this order: agent, programs, namespaces, folder.
#[derive(Debug)]
pub struct TestBed {
    agent: Option<Agent>,
    programs: Vec<Proc>,
    pods: Vec<Pod>,
    outside: Option<Netns>,
    node: Netns,
    run_dir: run_dir::RunDir,
    routing: Routing,
    next_host: u8,
}

impl TestBed {
    /// Makes an empty node.
    ///
    /// # Errors
    /// Something [`prereq::missing`] names is missing, or the kernel refused a step.
    pub fn new(routing: Routing) -> Result<Self> {
        let run_dir = run_dir::RunDir::create()?;
        let node = node::create_node(&run_dir.netns_name("node"))?;
        if routing == Routing::Sluice && !prereq::ensure_bpffs() {
            bail!("there is no bpf file system at /sys/fs/bpf, and it could not be mounted");
        }
        Ok(Self {
            agent: None,
            programs: Vec::new(),
            pods: Vec::new(),
            outside: None,
            node,
            run_dir,
            routing,
            next_host: 10,
        })
    }

    /// Adds the machine outside, reached through the node's kernel with masquerading.
    ///
    /// # Errors
    /// The kernel refused a step, or neither nft nor iptables is installed.
    pub fn add_outside(&mut self) -> Result<()> {
        self.outside = Some(node::create_outside(&self.run_dir.netns_name("outside"), &self.node)?);
        Ok(())
    }

    /// Adds a pod with the next free addresses. A running agent learns of it by [`TestBed::write_inventory`].
    ///
    /// # Errors
    /// A pod of that name exists, all addresses are taken, or the kernel refused a step.
    pub fn add_pod(&mut self, spec: PodSpec) -> Result<&Pod> {
        if self.find_pod(&spec.namespace, &spec.name).is_some() {
            bail!("pod {}/{} exists already", spec.namespace, spec.name);
        }
        let host = self.next_host;
        self.next_host = host.checked_add(1).context("the pod network is full")?;
        let addresses = (
            Ipv4Addr::new(10, 244, 1, host),
            Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, u16::from(host)),
        );
        let interface = format!("lxc{host}");
        let netns_name = self.run_dir.netns_name(&spec.name);
        let pod = Pod::create(spec, &self.node, &netns_name, &interface, addresses)?;
        if self.routing == Routing::Kernel {
            node::route_by_kernel(&self.node, &pod)?;
        }
        self.pods.push(pod);
        self.pods.last().context("a pod was just added")
    }

    /// Removes a pod with everything that runs in it.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn remove_pod(&mut self, path: &str) -> Result<()> {
        let index = self.pods.iter().position(|pod| pod.path() == path).context("no such pod")?;
        drop(self.pods.remove(index));
        Ok(())
    }

    /// The pod `namespace/name`.
    ///
    /// # Panics
    /// When there is none: the caller names pods it has added itself.
    pub fn pod(&self, path: &str) -> &Pod {
        match self.pods.iter().find(|pod| pod.path() == path) {
            Some(pod) => pod,
            None => panic!("the testbed has no pod {path}"),
        }
    }

    /// All pods in the order they were added.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The namespace of the node.
    pub fn node(&self) -> &Netns {
        &self.node
    }

    /// The namespace of the machine outside, where there is one.
    pub fn outside(&self) -> Option<&Netns> {
        self.outside.as_ref()
    }

    /// The folder of this run: logs, data and configuration.
    pub fn dir(&self) -> &Path {
        self.run_dir.path()
    }

    /// The name all namespaces of this run have in common.
    pub fn tag(&self) -> &str {
        self.run_dir.tag()
    }

    /// The path of one more file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.run_dir.path().join(name)
    }

    /// Starts a program that runs until the testbed goes away; its output goes to `NAME.log`.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(&mut self, name: &str, command: &mut Command) -> Result<&mut Proc> {
        let log = self.file(&format!("{name}.log"));
        self.programs.push(Proc::spawn(name, command, &log)?);
        self.programs.last_mut().context("a program was just added")
    }

    /// Hands a program that is already running over to the testbed.
    pub fn adopt(&mut self, program: Proc) {
        self.programs.push(program);
    }

    /// Starts the agent in the node and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ended, or was not ready in time; the message carries its log.
    pub fn start_agent(&mut self, options: AgentOptions) -> Result<&mut Agent> {
        if self.routing != Routing::Sluice {
            bail!("this testbed routes by kernel");
        }
        self.agent = None;
        let agent = Agent::start(self, options)?;
        Ok(self.agent.insert(agent))
    }

    /// The agent.
    ///
    /// # Panics
    /// When it was never started.
    pub fn agent(&mut self) -> &mut Agent {
        match self.agent.as_mut() {
            Some(agent) => agent,
            None => panic!("the testbed has no agent"),
        }
    }

    /// The agent, to be asked only.
    ///
    /// # Panics
    /// When it was never started.
    pub fn agent_ref(&self) -> &Agent {
        match self.agent.as_ref() {
            Some(agent) => agent,
            None => panic!("the testbed has no agent"),
        }
    }

    /// Writes the inventory of the present pods where the agent reads it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_inventory(&self) -> Result<()> {
        let folder = self.config_dir().join("inventory");
        std::fs::create_dir_all(&folder)?;
        replace_file(&folder.join("cluster.yaml"), &inventory::to_yaml(self)?)
    }

    /// Writes (or replaces) one policy file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<()> {
        let folder = self.config_dir().join("policies");
        std::fs::create_dir_all(&folder)?;
        replace_file(&folder.join(format!("{name}.yaml")), text)
    }

    /// Removes one policy file.
    ///
    /// # Errors
    /// It is not there.
    pub fn remove_policy(&self, name: &str) -> Result<()> {
        let file = self.config_dir().join("policies").join(format!("{name}.yaml"));
        std::fs::remove_file(&file).with_context(|| file.display().to_string())
    }

    /// The configuration folder the agent is started with.
    pub fn config_dir(&self) -> PathBuf {
        self.file("config")
    }

    /// Leaves everything running when this handle goes away.
    ///
    /// # Errors
    /// The mark that protects it from the clean-up of crashed runs could not be written.
    pub fn keep(mut self) -> Result<()> {
        self.run_dir.keep()?;
        self.node.keep();
        if let Some(outside) = &mut self.outside {
            outside.keep();
        }
        for pod in &mut self.pods {
            pod.netns_mut().keep();
        }
        for program in &mut self.programs {
            program.detach();
        }
        if let Some(agent) = &mut self.agent {
            agent.detach();
        }
        Ok(())
    }

    fn find_pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.spec().namespace == namespace && pod.spec().name == name)
    }

    pub(crate) fn pin_dir(&self) -> PathBuf {
        self.run_dir.pin_dir()
    }
}

/// Writes by renaming, so that a watcher never reads half a file.
fn replace_file(path: &Path, text: &str) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    std::fs::write(&temporary, text).with_context(|| path.display().to_string())?;
    std::fs::rename(&temporary, path).with_context(|| path.display().to_string())
}

/// Waits until a TCP port in a namespace accepts connections (seen from inside, so policy does not matter).
///
/// # Errors
/// It does not within `limit`.
pub fn wait_for_port(netns: &Netns, port: u16, limit: Duration) -> Result<()> {
    let filter = format!("sport = :{port}");
    exec::wait_for(&format!("a server on port {port} in {}", netns.name()), limit, || {
        let mut command = netns.command("ss");
        exec::run(command.args(["-Hln", "-t", "-u", &filter]), limit)
            .is_ok_and(|out| !out.stdout.trim().is_empty())
    })
}
