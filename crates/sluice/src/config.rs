//! `sluice.yaml`: file → validated settings.
//!
//! Every key is optional and its default stands next to its type; an unknown key is an error that names the file, the
//! line, the column and the key that was probably meant. `configs/sluice.yaml` spells all defaults out and a test
//! keeps it equal to them.

mod datapath;
mod dns;
mod error;
mod history;
mod hubble;
mod l7;
mod metrics;
#[cfg(test)]
mod tests;
mod ui;
mod value;

pub use datapath::{Conntrack, Datapath, OnFailure, Polling, Timeouts, Xdp, XdpMode};
pub use dns::{Dns, Refusal};
pub use error::ConfigError;
pub use history::History;
pub use hubble::{Hubble, HubbleTls};
pub use l7::{L7, MidStream, Protocol, Visible, visibility};
pub use metrics::Metrics;
pub use ui::Ui;
pub use value::Span;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in the configuration folder.
pub const FILE: &str = "sluice.yaml";

/// Longest interface name: `IFNAMSIZ` less the terminating zero (`linux/if.h`).
const MAX_IFNAME: usize = 15;

/// Largest file that is read; far above what anybody writes by hand.
const MAX_BYTES: u64 = 1 << 20;

/// All settings of a node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// The default gateway that pods see.
    pub gateway: Gateway,
    /// The way between pods and the node's kernel.
    pub host_port: HostPort,
    /// How policy is read and enforced.
    pub policy: Policy,
    /// What DNS answers teach.
    pub dns: Dns,
    /// How messages are inspected.
    pub l7: L7,
    /// Ports whose messages are shown without a policy that asks for it. Nothing is refused there.
    pub visibility: Vec<Visible>,
    /// The packet path.
    pub datapath: Datapath,
    /// The kernel program.
    pub xdp: Xdp,
    /// The API socket.
    pub api: Api,
    /// The flow log in memory.
    pub flow_log: FlowLog,
    /// The history on disk.
    pub history: History,
    /// Hubble's gRPC API.
    pub hubble: Hubble,
    /// The Prometheus endpoint.
    pub metrics: Metrics,
    /// The web page.
    pub ui: Ui,
    /// What survives a restart.
    pub state: State,
    /// The process.
    pub process: Process,
    /// The log.
    pub log: Log,
}

/// Who this node is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Node {
    /// Name of this node in the inventory; empty: the host name.
    pub name: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Labels of this node in flow records, over those of the inventory.
    pub labels: BTreeMap<String, String>,
}

impl Default for Node {
    fn default() -> Self {
        Self { name: String::new(), cluster: "default".into(), labels: BTreeMap::new() }
    }
}

/// The default gateway that pods see.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Gateway {
    /// IPv4 gateway.
    pub v4: Ipv4Addr,
    /// IPv6 gateway.
    pub v6: Ipv6Addr,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { v4: Ipv4Addr::new(169, 254, 1, 1), v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1) }
    }
}

/// The veth pair between the appliance and the node's kernel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HostPort {
    /// Whether there is one. Without it, pods reach only pods of this node.
    pub enabled: bool,
    /// The appliance's end.
    pub name: String,
    /// The kernel's end.
    pub host_name: String,
    /// Addresses of the kernel's end, as `address/length`.
    pub addresses: Vec<Prefix>,
    /// MTU of both ends.
    pub mtu: u32,
    /// Address ranges of this node's pods; the kernel sends them to the appliance also where no pod has the address.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<Prefix>,
    /// Whether to switch the kernel's IP forwarding on, which pods need to reach anything beyond this node.
    pub forwarding: bool,
}

impl Default for HostPort {
    fn default() -> Self {
        Self {
            enabled: true,
            name: "sluice_net".into(),
            host_name: "sluice_host".into(),
            addresses: Vec::new(),
            mtu: 1500,
            pod_cidrs: Vec::new(),
            forwarding: true,
        }
    }
}

/// An address and the length of its prefix.
pub type Prefix = ipnet::IpNet;

/// How policy is read and enforced.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// When a direction of an endpoint is enforced.
    pub enforcement_mode: EnforcementMode,
    /// Whether to log denials and let them pass.
    pub audit_mode: bool,
    /// Namespaces in whose pods audit mode is on.
    pub audit_namespaces: Vec<String>,
    /// Endpoints (`namespace/pod`) in which it is on.
    pub audit_endpoints: Vec<String>,
    /// What `ingress: []` means.
    pub empty_list_means: EmptyListMeans,
    /// What the sender of a refused packet is told.
    pub deny_response: DenyResponse,
}

/// When a direction of an endpoint is enforced.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementMode {
    /// Once a policy selects it.
    #[default]
    Default,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What an explicit empty rule list means.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EmptyListMeans {
    /// Default deny in that direction.
    #[default]
    Deny,
    /// Nothing, as in Cilium.
    Nothing,
}

/// What the sender of a refused packet is told.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyResponse {
    /// Nothing.
    #[default]
    Drop,
    /// RST or ICMP.
    Reject,
}

/// The API socket.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Api {
    /// Path of the Unix socket.
    pub socket: PathBuf,
}

/// Where `sluice run` listens unless told otherwise, and where the commands look for it.
pub const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";

impl Default for Api {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into() }
    }
}

/// The flow log in memory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FlowLog {
    /// Whether there is one. Without it nobody learns what was forwarded or dropped, other than by counters of frames.
    pub enabled: bool,
    /// Records kept.
    pub capacity: usize,
}

impl Default for FlowLog {
    fn default() -> Self {
        Self { enabled: true, capacity: flowlog::store::DEFAULT_CAPACITY }
    }
}

/// What survives a restart.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct State {
    /// Folder of the state file; empty: nothing is kept.
    pub dir: PathBuf,
    /// How often it is written.
    pub interval: Span,
}

impl Default for State {
    fn default() -> Self {
        Self { dir: "/var/lib/sluice".into(), interval: Span::secs(1) }
    }
}

/// The process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Process {
    /// Whether to give up capabilities after start.
    pub drop_capabilities: bool,
    /// Whether to install the system call filter after start.
    pub seccomp: bool,
}

impl Default for Process {
    fn default() -> Self {
        Self { drop_capabilities: true, seccomp: true }
    }
}

/// The log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Log {
    /// Least severe level written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// Least severe level written.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line looks.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads `DIR/sluice.yaml`; a folder without that file means all defaults.
    ///
    /// # Errors
    /// When the folder does not exist, or the file cannot be read or is wrong.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let file = dir.join(FILE);
        let unreadable = |path: &Path, source| ConfigError::Read { path: path.to_owned(), source };
        std::fs::read_dir(dir).map_err(|source| unreadable(dir, source))?;
        match std::fs::metadata(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(&file, error)),
            Ok(meta) if meta.len() > MAX_BYTES => {
                return Err(ConfigError::at(&file, None, format!("larger than {MAX_BYTES} bytes")));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&file).map_err(|source| unreadable(&file, source))?;
        Self::parse(&text, &file)
    }

    /// Reads the text of `file` (which is only named in errors).
    ///
    /// # Errors
    /// When the text is not what this module describes.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let config: Self = serde_yaml::from_str(text).map_err(|error| ConfigError::yaml(file, &error))?;
        config.check().map_err(|(key, message)| {
            ConfigError::at(file, error::find_key(text, key), format!("{key}: {message}"))
        })?;
        Ok(config)
    }

    /// The name of this node, from the file or the system.
    #[must_use]
    pub fn node_name(&self) -> String {
        if !self.node.name.is_empty() {
            return self.node.name.clone();
        }
        nix::sys::utsname::uname()
            .map_or_else(|_| "node".into(), |uts| uts.nodename().to_string_lossy().into_owned())
    }

    /// What types alone do not say: the offending key and what is wrong with it.
    fn check(&self) -> Result<(), (&'static str, String)> {
        self.datapath.check()?;
        if !(64..=16_000_000).contains(&self.flow_log.capacity) {
            return Err(("flowLog.capacity", "must be from 64 to 16000000".into()));
        }
        for (key, name) in
            [("hostPort.name", &self.host_port.name), ("hostPort.hostName", &self.host_port.host_name)]
        {
            check_interface(name).map_err(|message| (key, message))?;
        }
        if self.host_port.name == self.host_port.host_name {
            return Err(("hostPort.hostName", "both ends have the same name".into()));
        }
        if !(1280..=65_535).contains(&self.host_port.mtu) {
            return Err(("hostPort.mtu", "must be from 1280 (what IPv6 needs) to 65535".into()));
        }
        if self.node.cluster.is_empty() {
            return Err(("node.cluster", "must not be empty".into()));
        }
        let odd = |c: char| c == '=' || c.is_control() || c.is_whitespace();
        if let Some((key, value)) = self
            .node
            .labels
            .iter()
            .find(|(key, value)| key.is_empty() || key.contains(odd) || value.contains(odd))
        {
            return Err(("node.labels", format!("`{key}: {value}` is no label; write one as in zone: eu-1")));
        }
        self.dns.check()?;
        self.l7.check()?;
        self.history.check()?;
        self.hubble.check()?;
        self.metrics.check()?;
        self.ui.check()?;
        self.xdp.check()?;
        if self.api.socket.as_os_str().len() > 107 || !self.api.socket.is_absolute() {
            return Err(("api.socket", "must be an absolute path of at most 107 bytes".into()));
        }
        if self.state.interval.get() < Duration::from_millis(100) {
            return Err(("state.interval", "must be at least 100ms".into()));
        }
        Ok(())
    }
}

fn check_interface(name: &str) -> Result<(), String> {
    let fits = (1..=MAX_IFNAME).contains(&name.len());
    if !fits
        || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
        || name == "."
        || name == ".."
    {
        return Err(format!(
            "`{name}` cannot be an interface name (1 to {MAX_IFNAME} bytes, no `/`, `:` or space)"
        ));
    }
    Ok(())
}
