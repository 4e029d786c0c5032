//! The contenders: who carries the packets, each with two pods of its own, one running at a time.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sluice::testbed::{AgentOptions, PodSpec, Routing, TestBed, exec};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The CPU of whoever spins.
pub const SPIN_CPU: usize = 1;

/// Who carries the packets.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Contender {
    /// `sluice run` with a policy on the server, pods summing their own checksums.
    Sluice,
    /// The same with an MTU of 9,000.
    SluiceJumbo,
    /// AF_XDP that swaps ports and looks at nothing.
    Bare,
    /// The kernel's routing between veths, no policy, all offloads.
    Kernel,
    /// The same without segmentation offload: like for like per packet.
    KernelNoOffload,
}

impl Contender {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sluice => "sluice",
            Self::SluiceJumbo => "sluice, MTU 9000",
            Self::Bare => "bare AF_XDP forwarder",
            Self::Kernel => "kernel veth routing",
            Self::KernelNoOffload => "kernel veth routing, no TSO/GSO",
        }
    }

    /// CPUs of client and server.
    #[must_use]
    pub const fn cpus(self) -> (&'static str, &'static str) {
        match self {
            Self::Sluice | Self::SluiceJumbo | Self::Bare => ("0", "0"),
            Self::Kernel | Self::KernelNoOffload => ("0", "1"),
        }
    }
}

/// One contender's node: pods `bench/client` and `bench/server`.
pub struct Bed {
    /// Who it is.
    pub contender: Contender,
    /// Its namespaces.
    pub bed: TestBed,
}

/// All of them; whoever is not being measured is frozen, so that spinning contenders do not share their CPU.
pub struct Beds {
    beds: Vec<Bed>,
}

const POLICY: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: bench}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: \"1\", endPort: 65535, protocol: TCP}, {port: \"1\", endPort: 65535, protocol: UDP}]}]
";

impl Beds {
    /// Builds all contenders and checks that each carries packets the way it claims.
    ///
    /// # Errors
    /// Whatever the testbed needs is missing, or a contender does not carry packets.
    pub fn new(sluice: &Path) -> Result<Self> {
        let mut beds = Vec::new();
        for contender in [
            Contender::Sluice,
            Contender::SluiceJumbo,
            Contender::Bare,
            Contender::Kernel,
            Contender::KernelNoOffload,
        ] {
            let bed = Bed::new(contender, sluice).with_context(|| contender.name())?;
            bed.freeze(true);
            beds.push(bed);
        }
        Ok(Self { beds })
    }

    /// Runs `measure` on one contender while the others stand still.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn with<T>(&mut self, contender: Contender, measure: impl FnOnce(&Bed) -> Result<T>) -> Result<T> {
        let bed = self.beds.iter().find(|b| b.contender == contender).context("every contender was built")?;
        bed.freeze(false);
        std::thread::sleep(Duration::from_millis(100));
        let result = measure(bed);
        bed.freeze(true);
        result.with_context(|| contender.name())
    }
}

impl Bed {
    /// Builds one contender.
    ///
    /// # Errors
    /// As [`Beds::new`].
    pub fn new(contender: Contender, sluice: &Path) -> Result<Self> {
        let kernel = matches!(contender, Contender::Kernel | Contender::KernelNoOffload);
        let mut bed = TestBed::new(if kernel { Routing::Kernel } else { Routing::Sluice })?;
        let mtu = if contender == Contender::SluiceJumbo { 9000 } else { 1500 };
        for name in ["client", "server"] {
            let spec = PodSpec::new("bench", name, &format!("app={name}")).mtu(mtu).checksum_offload(kernel);
            bed.add_pod(spec)?;
        }
        let mut this = Self { contender, bed };
        match contender {
            Contender::Sluice | Contender::SluiceJumbo => {
                this.bed.write_policy("server", POLICY)?;
                this.bed.start_agent(AgentOptions::new(sluice).spin_on(SPIN_CPU))?;
            }
            Contender::Bare => this.start_bare()?,
            Contender::KernelNoOffload => {
                for pod in this.bed.pods() {
                    let mut ethtool = pod.command("ethtool");
                    exec::check(
                        ethtool.args(["-K", "eth0", "tso", "off", "gso", "off"]),
                        Duration::from_secs(5),
                    )?;
                }
            }
            Contender::Kernel => {}
        }
        let (_, server_cpu) = contender.cpus();
        let mut server = this.bed.pod("bench/server").command("taskset");
        server.args(["-c", server_cpu, "netserver", "-D", "-4"]);
        this.bed.start("netserver", &mut server)?;
        this.check()?;
        Ok(this)
    }

    /// The other program's path, built beside this one.
    fn sibling(name: &str) -> Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name(name))
    }

    /// The forwarder swaps ports, so each pod's gateway is simply the other pod.
    fn start_bare(&mut self) -> Result<()> {
        let (left, right) = (self.bed.pod("bench/client"), self.bed.pod("bench/server"));
        for (pod, other) in [(left, right), (right, left)] {
            let mac = other.run(&["cat", "/sys/class/net/eth0/address"], Duration::from_secs(5))?;
            let gateway = sluice::testbed::pod::GATEWAY_V4.to_string();
            let argv = ["ip", "neigh", "replace", &gateway, "lladdr", mac.stdout.trim(), "dev", "eth0"];
            ensure!(pod.run(&argv, Duration::from_secs(5))?.ok(), "cannot set the gateway's address");
        }
        let cpu = SPIN_CPU.to_string();
        let mut command = self.bed.node().command(Self::sibling("bare_forwarder")?);
        command.args(["--cpu", &cpu, left.interface(), right.interface()]);
        let forwarder = self.bed.start("bare", &mut command)?;
        exec::wait_for("the bare forwarder", Duration::from_secs(10), || forwarder.log().contains("ready"))
    }

    fn check(&self) -> Result<()> {
        let server = self.bed.pod("bench/server").ipv4().to_string();
        let client = self.bed.pod("bench/client");
        let argv = ["netperf", "-H", &server, "-t", "TCP_RR", "-l", "1"];
        exec::wait_for("the first conversation", Duration::from_secs(10), || {
            client.run(&argv, Duration::from_secs(5)).is_ok_and(|out| out.ok())
        })?;
        ensure!(self.forwarded()? != Some(0), "the packets went another way");
        Ok(())
    }

    /// Frames the contender says it has forwarded; `None` for the kernel, which does not count.
    ///
    /// # Errors
    /// It does not answer.
    pub fn forwarded(&self) -> Result<Option<u64>> {
        match self.contender {
            Contender::Kernel | Contender::KernelNoOffload => Ok(None),
            Contender::Bare => {
                std::thread::sleep(Duration::from_millis(50));
                let log = std::fs::read_to_string(self.bed.file("bare.log"))?;
                let last = log.lines().rev().find_map(|line| line.parse().ok());
                Ok(Some(last.context("no count in the forwarder's log")?))
            }
            Contender::Sluice | Contender::SluiceJumbo => {
                let status = self.bed.agent_ref().json(&["status"])?;
                let count =
                    status.first().and_then(|s| s.pointer("/frames/forwarded")).and_then(|n| n.as_u64());
                Ok(Some(count.context("no frames.forwarded in the status")?))
            }
        }
    }

    fn freeze(&self, on: bool) {
        let signal = if on { Signal::SIGSTOP } else { Signal::SIGCONT };
        let pid = match self.contender {
            Contender::Sluice | Contender::SluiceJumbo => Some(self.bed.agent_ref().pid()),
            Contender::Bare => self.bare_pid(),
            Contender::Kernel | Contender::KernelNoOffload => None,
        };
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    fn bare_pid(&self) -> Option<u32> {
        let out = Command::new("ip").args(["netns", "pids", self.bed.node().name()]).output().ok()?;
        String::from_utf8_lossy(&out.stdout).lines().find_map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            name.trim().starts_with("bare_forwarder").then(|| pid.parse().ok()).flatten()
        })
    }
}
