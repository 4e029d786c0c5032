//! What was typed.

use crate::config::{DEFAULT_SOCKET, EmptyListMeans};
use crate::{capture, demo, observe, replay};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Userspace packet processing for Kubernetes nodes.
///
/// Exit codes: 0 yes, 1 no (invalid, denied, failed), 2 usage or cannot run.
#[derive(Parser, Debug)]
#[command(name = "sluice", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the node service.
    Run(RunArgs),
    /// Build a whole cluster in network namespaces and talk across it.
    Demo(demo::DemoArgs),
    /// Show flows, as `hubble observe` does.
    Observe(observe::ObserveArgs),
    /// Capture frames with the decision on each, as pcapng.
    Capture(capture::CaptureArgs),
    /// Put a capture through the same pipeline offline, and tell what it would have decided.
    Replay(replay::ReplayArgs),
    /// Show the state of the running node.
    Status(StatusArgs),
    /// Show what the running node does right now: busiest flows, drops, requests.
    Top(crate::top::TopArgs),
    /// Write everything needed to understand this node into one archive, without secrets.
    Bugreport(crate::bugreport::BugreportArgs),
    /// Endpoints of the running node.
    #[command(subcommand)]
    Endpoint(ListOnly),
    /// Identities known to the running node.
    #[command(subcommand)]
    Identity(ListOnly),
    /// Addresses and their identities.
    #[command(subcommand)]
    Ip(ListOnly),
    /// Names from DNS answers and their addresses.
    #[command(subcommand)]
    Fqdn(FqdnCommand),
    /// Tracked connections.
    #[command(subcommand)]
    Ct(CtCommand),
    /// Check, try out and look at policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Counters of the running node in Prometheus' text format.
    Metrics(SocketArgs),
    /// Print the address of the web page, with its token.
    Ui(UiArgs),
    /// Remove everything that was attached, pinned or created by a node service that is gone.
    Cleanup(CleanupArgs),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
}

/// `sluice run`.
#[derive(ClapArgs, Debug)]
pub struct RunArgs {
    /// Folder with `sluice.yaml`, `inventory/` and `policies/`.
    #[arg(long, value_name = "DIR", env = "SLUICE_CONFIG", default_value = "/etc/sluice")]
    pub config: PathBuf,
    /// Check the configuration, print it with all defaults, and exit.
    #[arg(long)]
    pub check: bool,
    /// Listen on this API socket instead of the configured one.
    #[arg(long, value_name = "PATH", env = "SLUICE_SOCKET")]
    pub socket: Option<PathBuf>,
}

/// How to find the running node.
#[derive(ClapArgs, Debug, Clone)]
pub struct SocketArgs {
    /// API socket of the node service.
    #[arg(long, value_name = "PATH", env = "SLUICE_SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// How to show what was found.
#[derive(ClapArgs, Debug, Clone)]
pub struct ShowArgs {
    /// Where to ask.
    #[command(flatten)]
    pub server: SocketArgs,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `sluice status`.
#[derive(ClapArgs, Debug)]
pub struct StatusArgs {
    /// How and where.
    #[command(flatten)]
    pub show: ShowArgs,
    /// Show it again every so many seconds (2 if none are given), until stopped.
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub watch: Option<u16>,
}

/// Output formats.
#[derive(ValueEnum, Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs; keys are stable.
    Json,
    /// The same as YAML.
    Yaml,
}

/// A noun that can only be listed.
#[derive(Subcommand, Debug)]
pub enum ListOnly {
    /// List them.
    List(ShowArgs),
}

/// `sluice fqdn`.
#[derive(Subcommand, Debug)]
pub enum FqdnCommand {
    /// List names, their addresses, and the rules that are about them.
    List {
        /// Only names of this shape: a name, or a pattern as in `matchPattern` (`*.example.com`).
        #[arg(long, value_name = "PATTERN")]
        name: Option<String>,
        /// Only names that this endpoint asked for first.
        #[arg(long, value_name = "NAMESPACE/POD")]
        endpoint: Option<String>,
        /// How to show them.
        #[command(flatten)]
        show: ShowArgs,
    },
}

/// `sluice ct`.
#[derive(Subcommand, Debug)]
pub enum CtCommand {
    /// List tracked connections.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 10_000, value_name = "N")]
        limit: usize,
        /// How and where.
        #[command(flatten)]
        show: ShowArgs,
    },
}

/// `sluice ui`.
#[derive(ClapArgs, Debug)]
pub struct UiArgs {
    /// Folder with `sluice.yaml`, which says where the page is.
    #[arg(long, value_name = "DIR", env = "SLUICE_CONFIG", default_value = "/etc/sluice")]
    pub config: PathBuf,
}

/// `sluice cleanup`.
#[derive(ClapArgs, Debug)]
pub struct CleanupArgs {
    /// Folder with `sluice.yaml`, for the names of what to remove.
    #[arg(long, value_name = "DIR", env = "SLUICE_CONFIG", default_value = "/etc/sluice")]
    pub config: PathBuf,
    /// Also remove the saved connections and identities.
    #[arg(long)]
    pub state: bool,
}

/// `sluice policy`.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Check policy files; exit code 1 if any is wrong.
    Check(CheckArgs),
    /// Answer which flows policies allow.
    Verdict(VerdictArgs),
    /// Explain the verdict on one flow, rule by rule.
    Explain(ExplainArgs),
    /// Tell which flows would change verdict between two sets of policies; exit code 1 if any.
    Diff(DiffArgs),
    /// Write the least policies that allow what the flow log shows.
    Suggest(crate::policy_cmd::SuggestArgs),
    /// List the policies in force on the running node.
    List(ShowArgs),
    /// Show one policy in force on the running node.
    Get {
        /// `NAMESPACE/NAME`, or `NAME` of a clusterwide policy.
        name: String,
        /// How and where.
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Show the compiled policy of one endpoint of the running node.
    Map {
        /// `NAMESPACE/POD` or the number of the endpoint.
        endpoint: String,
        /// How and where.
        #[command(flatten)]
        show: ShowArgs,
    },
}

/// The reading of an explicit empty list.
#[derive(ClapArgs, Debug, Clone, Copy)]
pub struct EmptyListArgs {
    /// What `ingress: []` and `egress: []` mean: default deny, or nothing (as in Cilium).
    #[arg(long, value_enum, default_value = "deny", value_name = "MEANING")]
    pub empty_list_means: EmptyListMeans,
}

/// `sluice policy check`.
#[derive(ClapArgs, Debug)]
pub struct CheckArgs {
    /// Policy files, or folders of them.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Also warn of what only shows against these workloads (selectors that match nothing).
    #[arg(long, value_name = "FILE")]
    pub inventory: Vec<PathBuf>,
    /// See `--empty-list-means`.
    #[command(flatten)]
    pub empty: EmptyListArgs,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `sluice policy verdict`.
#[derive(ClapArgs, Debug)]
pub struct VerdictArgs {
    /// Workloads.
    #[arg(long, required = true, value_name = "FILE")]
    pub inventory: Vec<PathBuf>,
    /// Policies: a file or a folder.
    #[arg(long, required = true, value_name = "PATH")]
    pub policies: Vec<PathBuf>,
    /// Flows to judge.
    #[arg(long, value_name = "FILE")]
    pub flows: PathBuf,
    /// See `--empty-list-means`.
    #[command(flatten)]
    pub empty: EmptyListArgs,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `sluice policy explain`.
#[derive(ClapArgs, Debug)]
pub struct ExplainArgs {
    /// Who speaks first: `NAMESPACE/POD`, `node/NAME`, `ext/NAME`, or an address.
    #[arg(long, value_name = "PEER")]
    pub from: String,
    /// Whom to.
    #[arg(long, value_name = "PEER")]
    pub to: String,
    /// Destination port and protocol, as in `8080/TCP`; for ICMP the type.
    #[arg(long, value_name = "PORT/PROTO")]
    pub port: String,
    /// An HTTP request: method and path.
    #[arg(long, value_name = "METHOD PATH")]
    pub http: Option<String>,
    /// Its authority.
    #[arg(long, value_name = "NAME", requires = "http")]
    pub host: Option<String>,
    /// One of its header fields; may be repeated.
    #[arg(long, value_name = "NAME: VALUE", requires = "http", value_parser = header)]
    pub header: Vec<(String, String)>,
    /// A DNS name asked for.
    #[arg(long, value_name = "NAME")]
    pub dns: Option<String>,
    /// A Kafka request: role or API key, and topic.
    #[arg(long, value_name = "ROLE:TOPIC")]
    pub kafka: Option<String>,
    /// The server name in a TLS hello; empty for a hello without one.
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// Configuration folder to take inventory and policies from.
    #[arg(long, value_name = "DIR", env = "SLUICE_CONFIG", default_value = "/etc/sluice")]
    pub config: PathBuf,
    /// Workloads, instead of the folder's.
    #[arg(long, value_name = "FILE")]
    pub inventory: Vec<PathBuf>,
    /// Policies, instead of the folder's.
    #[arg(long, value_name = "PATH")]
    pub policies: Vec<PathBuf>,
    /// See `--empty-list-means`.
    #[command(flatten)]
    pub empty: EmptyListArgs,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `sluice policy diff`.
#[derive(ClapArgs, Debug)]
pub struct DiffArgs {
    /// Policies before: a file or a folder.
    pub old: PathBuf,
    /// Policies after.
    pub new: PathBuf,
    /// Flows to judge.
    #[arg(long, value_name = "FILE")]
    pub flows: PathBuf,
    /// Configuration folder to take the inventory from.
    #[arg(long, value_name = "DIR", env = "SLUICE_CONFIG", default_value = "/etc/sluice")]
    pub config: PathBuf,
    /// Workloads, instead of the folder's.
    #[arg(long, value_name = "FILE")]
    pub inventory: Vec<PathBuf>,
    /// See `--empty-list-means`.
    #[command(flatten)]
    pub empty: EmptyListArgs,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `Name: value` of a header field.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
