//! `sluice run` as a child: its configuration, its start up to readiness, its command line, its ends.
//!
//! Readiness is what systemd would see: the agent is given a notification socket and waited for until `READY=1`.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::Value;

use super::exec::{self, Output, Proc};
use super::inventory::{HOST_V4, HOST_V6, NODE_NAME};
use super::{TestBed, interrupt, node};

/// Most time from start to readiness; attaching a program takes milliseconds a pod.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Limit for one command to the agent.
const COMMAND_LIMIT: Duration = Duration::from_secs(15);

/// How the agent is to be run.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The sluice binary.
    pub binary: PathBuf,
    /// `drop` or `pass`: what happens to frames while no agent runs.
    pub on_failure: &'static str,
    /// Whether pins, and so the attached program, outlive the process.
    pub pinned: bool,
    /// The CPUs to spin on, one for each worker, for measurements; otherwise the agent sleeps when idle.
    pub spin_on: Vec<usize>,
    /// How many workers there are.
    pub workers: usize,
    /// Whether connections and identities are saved for the next start.
    pub saves_state: bool,
    /// More sections for `sluice.yaml`, as they stand there.
    pub more_settings: String,
}

impl AgentOptions {
    /// The given binary with fail-closed pins.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            on_failure: "drop",
            pinned: true,
            spin_on: Vec::new(),
            workers: 1,
            saves_state: true,
            more_settings: String::new(),
        }
    }

    /// The same with another `onFailure`.
    #[must_use]
    pub fn on_failure(mut self, what: &'static str) -> Self {
        self.on_failure = what;
        self
    }

    /// The same with more sections in `sluice.yaml`.
    #[must_use]
    pub fn with_settings(mut self, yaml: &str) -> Self {
        self.more_settings.push_str(yaml);
        self
    }

    /// The same without saved state.
    #[must_use]
    pub fn without_state(mut self) -> Self {
        self.saves_state = false;
        self
    }

    /// The same with so many workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The same with a worker for each of these CPUs, which spins on it.
    #[must_use]
    pub fn spin_on(mut self, cpus: &[usize]) -> Self {
        (self.spin_on, self.workers) = (cpus.to_vec(), cpus.len());
        self
    }
}

/// A running agent; asked to end when dropped.
#[derive(Debug)]
pub struct Agent {
    proc: Proc,
    binary: PathBuf,
    config_dir: PathBuf,
    socket: PathBuf,
}

impl Agent {
    pub(super) fn start(bed: &TestBed, options: AgentOptions) -> Result<Self> {
        let config_dir = bed.config_dir();
        let socket = bed.file("api.sock");
        fs::create_dir_all(config_dir.join("policies"))?;
        bed.write_inventory()?;
        fs::write(config_dir.join("sluice.yaml"), settings(bed, &options, &socket)?)?;

        let notify_path = bed.file("notify.sock");
        if notify_path.exists() {
            fs::remove_file(&notify_path)?;
        }
        let notify = UnixDatagram::bind(&notify_path).context("cannot make the readiness socket")?;
        notify.set_read_timeout(Some(Duration::from_millis(50)))?;

        let mut command = bed.node().command_with_host_mounts(&options.binary);
        command.arg("run").arg("--config").arg(&config_dir).env("NOTIFY_SOCKET", &notify_path);
        let log = bed.file("agent.log");
        let from = fs::metadata(&log).map_or(0, |meta| meta.len());
        let proc = Proc::spawn("sluice run", &mut command, &log)?;
        let mut agent = Self { proc, binary: options.binary, config_dir, socket };
        agent.wait_ready(&notify, from)?;
        Ok(agent)
    }

    fn wait_ready(&mut self, notify: &UnixDatagram, from: u64) -> Result<()> {
        let started = Instant::now();
        let mut message = [0_u8; 4096];
        loop {
            if let Ok(length) = notify.recv(&mut message)
                && String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1")
            {
                return Ok(());
            }
            let fail = if interrupt::requested() {
                "interrupted"
            } else if !self.proc.is_running() {
                "sluice run ended before it was ready"
            } else if started.elapsed() > READY_LIMIT {
                "sluice run was not ready in time"
            } else {
                continue;
            };
            let log = self.proc.log();
            bail!("{fail}:\n{}", log.get(usize::try_from(from)?..).unwrap_or(&log).trim_end());
        }
    }

    /// A command of the same binary against this agent: `argv` is what a user types after `sluice`.
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(argv).env("SLUICE_SOCKET", &self.socket);
        command
    }

    /// Runs such a command.
    ///
    /// # Errors
    /// It could not be started, or the user interrupted.
    pub fn cli(&self, argv: &[&str]) -> Result<Output> {
        exec::run(&mut self.command(argv), COMMAND_LIMIT)
    }

    /// Runs such a command with `-o json`; one value for each line, or for the whole output where it is one document.
    ///
    /// # Errors
    /// It failed or did not print JSON.
    pub fn json(&self, argv: &[&str]) -> Result<Vec<Value>> {
        let mut argv = argv.to_vec();
        argv.extend(["-o", "json"]);
        let output = exec::check(&mut self.command(&argv), COMMAND_LIMIT)?;
        serde_json::Deserializer::from_str(&output.stdout)
            .into_iter()
            .collect::<Result<_, _>>()
            .with_context(|| format!("sluice {} did not print JSON: {}", argv.join(" "), output.stdout))
    }

    /// The configuration folder it was started with.
    pub fn config_dir(&self) -> &Path {
        &self.config_dir
    }

    /// The path of its API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The binary it runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.proc.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.proc.log()
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.proc.is_running()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.proc.signal(Signal::SIGKILL);
        self.proc.wait(Duration::from_secs(5));
    }

    /// Freezes it (SIGSTOP) or lets it go on.
    pub fn freeze(&mut self, on: bool) {
        self.proc.signal(if on { Signal::SIGSTOP } else { Signal::SIGCONT });
    }

    /// Ends it in order; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.proc.stop()
    }

    pub(super) fn detach(&mut self) {
        self.proc.detach();
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    node: BTree<'a>,
    host_port: HostPort,
    datapath: std::collections::BTreeMap<&'static str, serde_yaml::Value>,
    xdp: BTree<'a>,
    api: BTree<'a>,
    state: BTree<'a>,
}

type BTree<'a> = std::collections::BTreeMap<&'static str, &'a str>;

#[derive(Serialize)]
struct HostPort {
    addresses: [String; 2],
    #[serde(rename = "podCIDRs")]
    pod_cidrs: [&'static str; 2],
}

/// The `sluice.yaml` of one run: only what must differ from the defaults.
fn settings(bed: &TestBed, options: &AgentOptions, socket: &Path) -> Result<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let pin_dir = if options.pinned { text(&bed.pin_dir()) } else { String::new() };
    let mut datapath = std::collections::BTreeMap::from([("onFailure", options.on_failure.into())]);
    if options.workers != 1 {
        datapath.insert("workers", options.workers.into());
    }
    if !options.spin_on.is_empty() {
        datapath.insert("polling", "busy".into());
        datapath.insert("cpu", options.spin_on.clone().into());
    }
    let state = if options.saves_state { text(&bed.file("state")) } else { String::new() };
    let socket = text(socket);
    let settings = Settings {
        node: BTree::from([("name", NODE_NAME)]),
        host_port: HostPort {
            addresses: [format!("{HOST_V4}/32"), format!("{HOST_V6}/128")],
            pod_cidrs: [node::POD_CIDR_V4, node::POD_CIDR_V6],
        },
        datapath,
        xdp: BTree::from([("pinDir", pin_dir.as_str())]),
        api: BTree::from([("socket", socket.as_str())]),
        state: BTree::from([("dir", state.as_str())]),
    };
    Ok(serde_yaml::to_string(&settings)? + &options.more_settings)
}
