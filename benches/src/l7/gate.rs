//! The gates: each a node with a client and a server of its own, one running at a time.

use super::proxy::{self, Proxy};
use super::rules::Enforced;
use super::speech::{Fate, Speech};
use crate::peers;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use sluice::testbed::messages::{self, Speaks};
use sluice::testbed::{AgentOptions, PodSpec, Routing, TestBed, exec, pod};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The CPU of the gate; clients and servers share the other one.
const GATE_CPU: usize = 1;
/// Bytes of the large file.
pub const LARGE_LEN: u64 = 256 << 20;
/// What the server says to small requests.
pub(super) const SMALL_BODY: &str = "an answer of sixty-four bytes, which is short, as answers go.\n\n\n";
/// Limit for programs that answer at once.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Who stands between client and server.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Gate {
    /// `sluice run` that spins on its CPU (`polling: busy`).
    Spinning,
    /// `sluice run` that sleeps when there is nothing to do (`polling: adaptive`, the default).
    Adaptive,
    /// A proxy in the node's namespace.
    Proxy(Proxy),
    /// `bare_forwarder`, which looks at nothing, spinning: what any forwarder through AF_XDP sockets pays here.
    Bare,
    /// Nobody: the kernel routes from veth to veth.
    Kernel,
}

/// A gate in one of its roles.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Contender {
    /// Sluice, spinning, with a policy that opens the port.
    L4,
    /// Sluice, spinning, with a policy that reads every message.
    Read,
    /// As [`L4`](Self::L4), with adaptive polling.
    AdaptiveL4,
    /// As [`Read`](Self::Read), with adaptive polling.
    AdaptiveRead,
    /// A proxy with the same rules.
    Proxy(Proxy),
    /// The bare forwarder.
    Bare,
    /// No gate.
    Kernel,
}

impl Contender {
    /// All, in the order of a round.
    pub const ALL: [Self; 9] = [
        Self::L4,
        Self::Read,
        Self::AdaptiveL4,
        Self::AdaptiveRead,
        Self::Proxy(Proxy::Envoy),
        Self::Proxy(Proxy::Nginx),
        Self::Proxy(Proxy::Haproxy),
        Self::Bare,
        Self::Kernel,
    ];
    /// Whom the others are compared with: what a user gets who changes nothing.
    pub const REFERENCE: Self = Self::AdaptiveRead;

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L4 => "Sluice, L4 policy, busy",
            Self::Read => "Sluice, L7 policy, busy",
            Self::AdaptiveL4 => "Sluice, L4 policy, adaptive",
            Self::AdaptiveRead => "Sluice, L7 policy, adaptive",
            Self::Proxy(proxy) => proxy.name(),
            Self::Bare => "bare AF_XDP forwarder",
            Self::Kernel => "kernel veth, no gate",
        }
    }

    /// Who plays it.
    #[must_use]
    pub const fn gate(self) -> Gate {
        match self {
            Self::L4 | Self::Read => Gate::Spinning,
            Self::AdaptiveL4 | Self::AdaptiveRead => Gate::Adaptive,
            Self::Proxy(proxy) => Gate::Proxy(proxy),
            Self::Bare => Gate::Bare,
            Self::Kernel => Gate::Kernel,
        }
    }

    /// What Sluice enforces in it.
    #[must_use]
    pub const fn enforced(self) -> Option<Enforced> {
        match self {
            Self::L4 | Self::AdaptiveL4 => Some(Enforced::L4),
            Self::Read | Self::AdaptiveRead => Some(Enforced::L7),
            Self::Proxy(_) | Self::Bare | Self::Kernel => None,
        }
    }

    /// Whether it reads messages.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::AdaptiveRead | Self::Proxy(_))
    }
}

/// A node with its gate.
pub struct Node {
    gate: Gate,
    speech: Speech,
    bed: TestBed,
    /// Process of a gate that is not ours.
    other: Option<u32>,
    enforced: Option<Enforced>,
    probes: u32,
}

impl Node {
    /// Builds it, with the gate stopped. `program` is that of the gate.
    ///
    /// # Errors
    /// Whatever the testbed needs is missing, or a program does not start.
    pub fn new(gate: Gate, speech: Speech, program: &Path) -> Result<Self> {
        let sockets = matches!(gate, Gate::Spinning | Gate::Adaptive | Gate::Bare);
        let mut bed = TestBed::new(if sockets { Routing::Sluice } else { Routing::Kernel })?;
        for name in ["client", "server"] {
            let spec = PodSpec::new("bench", name, &format!("app={name}"));
            // Nobody completes sums behind the bare forwarder.
            bed.add_pod(spec.checksum_offload(gate != Gate::Bare))?;
        }
        let mut node = Self { gate, speech, bed, other: None, enforced: None, probes: 0 };
        let cpu = node.cpus().1;
        speech.serve(&mut node.bed, cpu)?;
        match gate {
            Gate::Spinning | Gate::Adaptive => node.start_agent(program)?,
            Gate::Proxy(proxy) => {
                node.other = Some(proxy.start(&mut node.bed, program, speech, GATE_CPU)?);
            }
            Gate::Bare => node.other = Some(peers::start_bare(&mut node.bed, GATE_CPU)?),
            Gate::Kernel => {}
        }
        node.freeze(true);
        Ok(node)
    }

    /// CPUs of client and server. Where a gate has a CPU to itself, they share the other.
    fn cpus(&self) -> (usize, usize) {
        if self.gate == Gate::Kernel { (0, 1) } else { (0, 0) }
    }

    fn start_agent(&mut self, sluice: &Path) -> Result<()> {
        self.bed.write_policy("server", &Enforced::L4.policy(self.speech))?;
        self.enforced = Some(Enforced::L4);
        let options = AgentOptions::new(sluice);
        let pid = match self.gate {
            Gate::Spinning => self.bed.start_agent(options.spin_on(&[GATE_CPU]))?.pid(),
            _ => self.bed.start_agent(options)?.pid(),
        };
        if self.gate == Gate::Adaptive {
            let (cpu, pid) = (GATE_CPU.to_string(), pid.to_string());
            exec::check(std::process::Command::new("taskset").args(["-a", "-c", "-p", &cpu, &pid]), LIMIT)?;
        }
        Ok(())
    }

    /// Process id of the gate.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.gate {
            Gate::Spinning | Gate::Adaptive => Some(self.bed.agent_ref().pid()),
            Gate::Proxy(_) | Gate::Bare => self.other,
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

    /// What is spoken.
    #[must_use]
    pub fn speech(&self) -> Speech {
        self.speech
    }

    /// Address and port of what the client connects to.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.gate {
            // A proxy listens where the client's packets come through anyway.
            Gate::Proxy(_) => format!("{}:{}", pod::GATEWAY_V4, proxy::PORT),
            _ => format!("{}:80", self.bed.pod("bench/server").ipv4()),
        }
    }

    /// The address of what the client asks for.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority())
    }

    /// Runs the Kafka client on the client's CPU; its answer.
    ///
    /// # Errors
    /// It fails, or says something else than JSON.
    pub fn kafka(&self, args: &[&str]) -> Result<serde_json::Value> {
        // It is the library's threads that work: the affinity of the interpreter is theirs.
        let peer = messages::peer(&self.bed, self.bed.pod("bench/client"), Speaks::Kafka, args)?;
        let mut command = self.client(&peer.get_program().to_string_lossy());
        command.args(peer.get_args());
        let said = exec::check(&mut command, Duration::from_secs(120))?;
        let line = said.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| said.text())
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
            self.bed.write_policy("server", &wanted.policy(self.speech))?;
            exec::wait_for("the policy in force", LIMIT, || {
                self.status("/policy/epoch").is_ok_and(|epoch| epoch > before)
            })?;
            self.enforced = Some(wanted);
        }
        self.probes += 1;
        let mark = Some(self.probes);
        exec::wait_for("an allowed message", LIMIT, || {
            self.speech.try_one(self, mark).is_ok_and(|fate| fate == Fate::Answered)
        })?;
        let expected = if contender.reads() { Fate::Refused } else { Fate::Answered };
        // What no rule allows need not exist at the server: then it is at least not refused.
        let fate = self.speech.try_one(self, None);
        ensure!(fate.as_ref().is_ok_and(|fate| *fate == expected), "{fate:?} instead of {expected:?}");
        if contender.enforced().is_some() {
            self.check_log(&self.speech.trace_of(self.probes), contender.reads())?;
        }
        Ok(())
    }

    /// The flow log knows the probe if, and only if, requests are read.
    fn check_log(&self, probe: &str, expected: bool) -> Result<()> {
        let known = || {
            let argv = ["observe", "--type", "l7", "--verdict", "FORWARDED", "--last", "200", "-o", "json"];
            self.bed.agent_ref().cli(&argv).is_ok_and(|out| out.stdout.contains(probe))
        };
        if expected {
            return exec::wait_for("the request in the flow log", LIMIT, known);
        }
        ensure!(!known(), "a request was read under the L4 policy");
        Ok(())
    }

    fn status(&self, pointer: &str) -> Result<u64> {
        let status = self.bed.agent_ref().json(&["status"])?;
        let value =
            status.first().and_then(|status| status.pointer(pointer)).and_then(|value| value.as_u64());
        value.with_context(|| format!("no {pointer} in the status"))
    }

    /// What the gate itself says it has handled: frames without and messages with HTTP rules (a request and a response
    /// are two), requests for proxies, frames for the bare forwarder; `None` for the kernel.
    ///
    /// # Errors
    /// It does not answer.
    pub fn handled(&self, contender: Contender) -> Result<Option<u64>> {
        match contender {
            Contender::L4 | Contender::AdaptiveL4 => Ok(Some(self.status("/frames/forwarded")?)),
            Contender::Read | Contender::AdaptiveRead => {
                Ok(Some(self.status("/flowLog/seen")? + self.status("/flowLog/shed")?))
            }
            Contender::Proxy(proxy) => Ok(Some(proxy.handled(&self.bed)?)),
            Contender::Bare => peers::bare_carried(&self.bed).map(Some),
            Contender::Kernel => Ok(None),
        }
    }

    /// Frames that passed the gate, where it is one that counts them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn frames(&self, contender: Contender) -> Result<Option<u64>> {
        match contender {
            Contender::Proxy(_) | Contender::Kernel => Ok(None),
            Contender::Bare => peers::bare_carried(&self.bed).map(Some),
            _ => self.status("/frames/forwarded").map(Some),
        }
    }
}

impl Drop for Node {
    /// Who stands still does not hear that it is to end.
    fn drop(&mut self) {
        self.freeze(false);
    }
}

/// All nodes of a comparison; whoever is not being measured stands still.
pub struct Nodes(Vec<Node>);

impl Nodes {
    /// Builds them: one for each of these gates, with its program. Also who could not be built, and why.
    #[must_use]
    pub fn new(speech: Speech, gates: &[(Gate, PathBuf)]) -> (Self, Vec<(Gate, anyhow::Error)>) {
        let (mut nodes, mut missing) = (Vec::new(), Vec::new());
        for (gate, program) in gates {
            match Node::new(*gate, speech, program) {
                Ok(node) => nodes.push(node),
                Err(error) => missing.push((*gate, error)),
            }
        }
        (Self(nodes), missing)
    }

    /// Runs `measure` on one contender while the others stand still, once the contender has proved what it is.
    ///
    /// # Errors
    /// Those of `measure`, and as [`Node::become_contender`].
    pub fn with<T>(&mut self, contender: Contender, measure: impl FnOnce(&Node) -> Result<T>) -> Result<T> {
        let Some(node) = self.0.iter_mut().find(|node| node.gate == contender.gate()) else {
            bail!("{} was not built", contender.name());
        };
        crate::cpu::wait_until_quiet()?;
        node.freeze(false);
        std::thread::sleep(Duration::from_millis(100));
        let result = node.become_contender(contender).and_then(|()| measure(node));
        node.freeze(true);
        result.with_context(|| contender.name())
    }
}
