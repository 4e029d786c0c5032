//! The gates: each a node with a client and a server of its own, one running at a time.

use super::envoy;
use super::rules::{ALLOWED, DENIED, Enforced, LARGE};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use sluice::testbed::{AgentOptions, PodSpec, Routing, TestBed, exec, pod, wait_for_port};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The CPU of the gate; clients and servers share the other one.
const GATE_CPU: usize = 1;
/// Bytes of the large file.
pub const LARGE_LEN: u64 = 256 << 20;
/// What the server says to small requests.
const SMALL_BODY: &str = "an answer of sixty-four bytes, which is short, as answers go.\n\n\n";
/// Limit for programs that answer at once.
const LIMIT: Duration = Duration::from_secs(10);

/// Who stands between client and server.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Gate {
    /// `sluice run` that spins on its CPU (`polling: busy`).
    Spinning,
    /// `sluice run` that sleeps when there is nothing to do (`polling: adaptive`, the default).
    Adaptive,
    /// Envoy in the node's namespace.
    Envoy,
    /// Nobody: the kernel routes from veth to veth.
    Kernel,
}

/// A gate in one of its roles.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Contender {
    /// Sluice, spinning, with a policy that opens the port.
    L4,
    /// Sluice, spinning, with a policy that reads every request.
    Http,
    /// As [`L4`](Self::L4), with adaptive polling.
    AdaptiveL4,
    /// As [`Http`](Self::Http), with adaptive polling.
    AdaptiveHttp,
    /// Envoy with the same rules.
    Envoy,
    /// No gate.
    Kernel,
}

impl Contender {
    /// All, in the order of a round.
    pub const ALL: [Self; 6] =
        [Self::L4, Self::Http, Self::AdaptiveL4, Self::AdaptiveHttp, Self::Envoy, Self::Kernel];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L4 => "sluice, L4 policy, busy",
            Self::Http => "sluice, HTTP policy, busy",
            Self::AdaptiveL4 => "sluice, L4 policy, adaptive",
            Self::AdaptiveHttp => "sluice, HTTP policy, adaptive",
            Self::Envoy => "Envoy, RBAC",
            Self::Kernel => "kernel veth, no gate",
        }
    }

    /// Who plays it.
    #[must_use]
    pub const fn gate(self) -> Gate {
        match self {
            Self::L4 | Self::Http => Gate::Spinning,
            Self::AdaptiveL4 | Self::AdaptiveHttp => Gate::Adaptive,
            Self::Envoy => Gate::Envoy,
            Self::Kernel => Gate::Kernel,
        }
    }

    /// What Sluice enforces in it.
    #[must_use]
    pub const fn enforced(self) -> Option<Enforced> {
        match self {
            Self::L4 | Self::AdaptiveL4 => Some(Enforced::L4),
            Self::Http | Self::AdaptiveHttp => Some(Enforced::Http),
            Self::Envoy | Self::Kernel => None,
        }
    }

    /// Whether it reads requests.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Http | Self::AdaptiveHttp | Self::Envoy)
    }
}

/// A node with its gate.
pub struct Node {
    gate: Gate,
    bed: TestBed,
    envoy: Option<u32>,
    enforced: Option<Enforced>,
    probes: u32,
}

impl Node {
    /// Builds it, with the gate stopped.
    ///
    /// # Errors
    /// Whatever the testbed needs is missing, or a program does not start.
    pub fn new(gate: Gate, sluice: &Path, envoy: Option<&Path>) -> Result<Self> {
        let ours = matches!(gate, Gate::Spinning | Gate::Adaptive);
        let mut bed = TestBed::new(if ours { Routing::Sluice } else { Routing::Kernel })?;
        for name in ["client", "server"] {
            bed.add_pod(PodSpec::new("bench", name, &format!("app={name}")))?;
        }
        let mut node = Self { gate, bed, envoy: None, enforced: None, probes: 0 };
        node.start_server()?;
        match gate {
            Gate::Spinning | Gate::Adaptive => node.start_agent(sluice)?,
            Gate::Envoy => node.start_envoy(envoy.context("no Envoy")?)?,
            Gate::Kernel => {}
        }
        node.freeze(true);
        Ok(node)
    }

    /// CPUs of client and server. Where a gate has a CPU to itself, they share the other.
    fn cpus(&self) -> (usize, usize) {
        if self.gate == Gate::Kernel { (0, 1) } else { (0, 0) }
    }

    /// nginx in one process: a short answer without a file, and one large file.
    fn start_server(&mut self) -> Result<()> {
        let folder = self.bed.file("nginx");
        std::fs::create_dir_all(folder.join("www/allowed"))?;
        let large = std::fs::File::create(folder.join(format!("www{LARGE}")))?;
        // A hole is read like any page in memory.
        large.set_len(LARGE_LEN)?;
        let dir = folder.display();
        let text = format!(
            "user root; daemon off; master_process off; pid {dir}/pid; error_log stderr warn;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600;\n  \
             client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; \
             scgi_temp_path {dir};\n  \
             server {{ listen 80; default_type text/plain; root {dir}/www;\n    \
             location / {{ return 200 \"{SMALL_BODY}\"; }}\n    location = {LARGE} {{ }}\n  }}\n}}\n"
        );
        std::fs::write(folder.join("nginx.conf"), text)?;
        let cpu = self.cpus().1.to_string();
        let mut command = self.bed.pod("bench/server").command("taskset");
        command.args(["-c", &cpu, "nginx", "-e", "stderr", "-p"]).arg(&folder);
        command.arg("-c").arg(folder.join("nginx.conf"));
        self.bed.start("nginx", &mut command)?;
        wait_for_port(self.bed.pod("bench/server").netns(), 80, LIMIT)
    }

    fn start_agent(&mut self, sluice: &Path) -> Result<()> {
        self.bed.write_policy("server", &Enforced::L4.policy())?;
        self.enforced = Some(Enforced::L4);
        let options = AgentOptions::new(sluice);
        let pid = match self.gate {
            Gate::Spinning => self.bed.start_agent(options.spin_on(GATE_CPU))?.pid(),
            _ => self.bed.start_agent(options)?.pid(),
        };
        if self.gate == Gate::Adaptive {
            let (cpu, pid) = (GATE_CPU.to_string(), pid.to_string());
            exec::check(std::process::Command::new("taskset").args(["-a", "-c", "-p", &cpu, &pid]), LIMIT)?;
        }
        Ok(())
    }

    fn start_envoy(&mut self, envoy: &Path) -> Result<()> {
        let config: PathBuf = self.bed.file("envoy.json");
        std::fs::write(&config, envoy::config(self.bed.pod("bench/server").ipv4()))?;
        let cpu = GATE_CPU.to_string();
        let mut command = self.bed.node().command("taskset");
        command.args(["-c", &cpu]).arg(envoy.canonicalize()?).arg("-c").arg(&config);
        command.args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]);
        let running = self.bed.start("envoy", &mut command)?;
        self.envoy = Some(running.pid());
        let listens = wait_for_port(self.bed.node(), envoy::PORT, LIMIT);
        listens.with_context(|| std::fs::read_to_string(self.bed.file("envoy.log")).unwrap_or_default())
    }

    /// Process id of the gate.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.gate {
            Gate::Spinning | Gate::Adaptive => Some(self.bed.agent_ref().pid()),
            Gate::Envoy => self.envoy,
            Gate::Kernel => None,
        }
    }

    /// Stops the gate while others are measured, or lets it go on.
    pub fn freeze(&self, on: bool) {
        let signal = if on { Signal::SIGSTOP } else { Signal::SIGCONT };
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) {
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    /// The address of what the client asks for.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        match self.gate {
            // Envoy listens where the client's packets come through anyway.
            Gate::Envoy => format!("http://{}:{}{path}", pod::GATEWAY_V4, envoy::PORT),
            _ => format!("http://{}{path}", self.bed.pod("bench/server").ipv4()),
        }
    }

    /// A command in the client, on its CPU.
    #[must_use]
    pub fn client(&self, program: &str) -> std::process::Command {
        let mut command = self.bed.pod("bench/client").command("taskset");
        command.args(["-c", &self.cpus().0.to_string(), program]);
        command
    }

    /// The path of one more file of this node.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.bed.file(name)
    }

    /// Has the gate enforce what this contender does, and proves that it does.
    ///
    /// # Errors
    /// The policy does not come into force, or requests have other answers than they should.
    pub fn become_contender(&mut self, contender: Contender) -> Result<()> {
        ensure!(contender.gate() == self.gate, "{contender:?} is played by another gate");
        if let Some(wanted) = contender.enforced().filter(|wanted| self.enforced != Some(*wanted)) {
            let before = self.status("/policy/epoch")?;
            self.bed.write_policy("server", &wanted.policy())?;
            exec::wait_for("the policy in force", LIMIT, || {
                self.status("/policy/epoch").is_ok_and(|epoch| epoch > before)
            })?;
            self.enforced = Some(wanted);
        }
        self.probes += 1;
        let probe = format!("{ALLOWED}/probe-{}", self.probes);
        exec::wait_for("an allowed request", LIMIT, || self.code(&probe).is_ok_and(|code| code == 200))?;
        let (code, expected) = (self.code(DENIED)?, if contender.reads() { 403 } else { 200 });
        ensure!(code == expected, "GET {DENIED} was answered {code} instead of {expected}");
        if contender.enforced().is_some() {
            self.check_log(&probe, contender.reads())?;
        }
        Ok(())
    }

    /// The flow log knows the probe if, and only if, requests are read.
    fn check_log(&self, probe: &str, expected: bool) -> Result<()> {
        let known = || {
            let argv = ["observe", "--type", "l7", "--last", "50"];
            self.bed.agent_ref().cli(&argv).is_ok_and(|out| {
                out.stdout.lines().any(|line| line.contains("http-request FORWARDED") && line.contains(probe))
            })
        };
        if expected {
            return exec::wait_for("the request in the flow log", LIMIT, known);
        }
        ensure!(!known(), "a request was read under the L4 policy");
        Ok(())
    }

    fn code(&self, path: &str) -> Result<u16> {
        let mut command = self.client("curl");
        command.args(["-sS", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", &self.url(path)]);
        Ok(exec::check(&mut command, LIMIT)?.stdout.trim().parse()?)
    }

    fn status(&self, pointer: &str) -> Result<u64> {
        let status = self.bed.agent_ref().json(&["status"])?;
        let value =
            status.first().and_then(|status| status.pointer(pointer)).and_then(|value| value.as_u64());
        value.with_context(|| format!("no {pointer} in the status"))
    }

    /// What the gate itself says it has handled: frames without and messages with HTTP rules (a request and a response
    /// are two), requests for Envoy; `None` for the kernel.
    ///
    /// # Errors
    /// It does not answer.
    pub fn handled(&self, contender: Contender) -> Result<Option<u64>> {
        match contender {
            Contender::L4 | Contender::AdaptiveL4 => Ok(Some(self.status("/frames/forwarded")?)),
            Contender::Http | Contender::AdaptiveHttp => {
                Ok(Some(self.status("/flowLog/seen")? + self.status("/flowLog/shed")?))
            }
            Contender::Envoy => {
                let url = format!("http://127.0.0.1:{}/stats?filter=rbac.allowed$", envoy::ADMIN_PORT);
                let mut curl = self.bed.node().command("curl");
                let said = exec::check(curl.args(["-sS", "-m", "3", &url]), LIMIT)?.stdout;
                let line = said.lines().find_map(|line| line.strip_prefix(envoy::ALLOWED_COUNTER));
                let count = line.and_then(|rest| rest.trim_start_matches(':').trim().parse().ok());
                Ok(Some(count.with_context(|| format!("no count of allowed requests: {said}"))?))
            }
            Contender::Kernel => Ok(None),
        }
    }
}

/// All nodes of a comparison; whoever is not being measured stands still.
pub struct Nodes(Vec<Node>);

impl Nodes {
    /// Builds them; without Envoy where it is not installed.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn new(sluice: &Path, envoy: Option<&Path>) -> Result<Self> {
        let mut nodes = Vec::new();
        for gate in [Gate::Spinning, Gate::Adaptive, Gate::Envoy, Gate::Kernel] {
            if gate == Gate::Envoy && envoy.is_none() {
                continue;
            }
            nodes.push(Node::new(gate, sluice, envoy).with_context(|| format!("{gate:?}"))?);
        }
        Ok(Self(nodes))
    }

    /// Runs `measure` on one contender while the others stand still, once the contender has proved what it is.
    ///
    /// # Errors
    /// Those of `measure`, and as [`Node::become_contender`].
    pub fn with<T>(&mut self, contender: Contender, measure: impl FnOnce(&Node) -> Result<T>) -> Result<T> {
        let Some(node) = self.0.iter_mut().find(|node| node.gate == contender.gate()) else {
            bail!("{} was not built", contender.name());
        };
        node.freeze(false);
        std::thread::sleep(Duration::from_millis(100));
        let result = node.become_contender(contender).and_then(|()| measure(node));
        node.freeze(true);
        result.with_context(|| contender.name())
    }
}
