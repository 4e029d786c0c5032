//! The nodes, with two pods each, built when they are first needed, one running at a time. Each contender has one of its own;
//! Sluice with other policies is the same one with its policies swapped, so that nothing else differs between them.

use crate::contender::Contender;
use crate::peers::{self, Player};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sluice::testbed::{PodSpec, Routing, TestBed, exec};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Packets of other kinds (neighbours, the harness's own) that may pass beside what is measured.
const STRAY: u64 = 64;

/// A node: pods `bench/client` and `bench/server`.
pub struct Bed {
    /// Who it is now.
    pub contender: Contender,
    /// Its namespaces.
    pub bed: TestBed,
    player: Option<Player>,
}

/// All of them; whoever is not being measured is frozen, so that spinning contenders do not share their CPU.
pub struct Beds {
    sluice: PathBuf,
    beds: Vec<Bed>,
}

/// What has gone through a node.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// By the contender's own counters.
    pub carried: u64,
    /// By the kernel's routing.
    pub routed: u64,
}

impl Beds {
    /// None yet. `sluice` is the binary to measure.
    #[must_use]
    pub fn new(sluice: &Path) -> Self {
        Self { sluice: sluice.to_owned(), beds: Vec::new() }
    }

    /// Runs `measure` on one contender while the others stand still.
    ///
    /// # Errors
    /// Those of `measure`; the contender cannot be built, or does not carry packets the way it claims.
    pub fn with<T>(&mut self, contender: Contender, measure: impl FnOnce(&Bed) -> Result<T>) -> Result<T> {
        let at = match self.beds.iter().position(|bed| bed.contender.shares_node_with(contender)) {
            Some(at) => at,
            None => {
                let bed = Bed::new(contender, &self.sluice).with_context(|| contender.name())?;
                bed.freeze(true);
                self.beds.push(bed);
                self.beds.len() - 1
            }
        };
        let bed = &mut self.beds[at];
        crate::cpu::wait_until_quiet()?;
        bed.freeze(false);
        std::thread::sleep(Duration::from_millis(100));
        let result = bed.become_contender(contender).and_then(|()| measure(bed));
        bed.freeze(true);
        result.with_context(|| contender.name())
    }
}

impl Bed {
    /// Builds one contender and checks that it carries packets the way it claims.
    ///
    /// # Errors
    /// Whatever the testbed needs is missing, or packets go another way.
    fn new(contender: Contender, sluice: &Path) -> Result<Self> {
        let by_kernel = contender.is_routed() || contender == Contender::TcEbpf;
        let mut bed = TestBed::new(if by_kernel { Routing::Kernel } else { Routing::Sluice })?;
        for name in ["client", "server"] {
            let spec = PodSpec::new("bench", name, &format!("app={name}"))
                .mtu(contender.mtu())
                .checksum_offload(!contender.pods_sum());
            bed.add_pod(spec)?;
        }
        let player = peers::start(&mut bed, contender, sluice)?;
        let mut this = Self { contender, bed, player };
        let (_, server_cpu) = contender.cpus();
        let mut server = this.bed.pod("bench/server").command("taskset");
        server.args(["-c", server_cpu, "netserver", "-D", "-4"]);
        this.bed.start("netserver", &mut server)?;
        this.warm_up()?;
        Ok(this)
    }

    /// Has other policies enforced, where that is what makes the contender.
    fn become_contender(&mut self, contender: Contender) -> Result<()> {
        if let Contender::Sluice(policies) = contender
            && self.contender != contender
        {
            peers::swap_policies(&self.bed, policies)?;
            self.contender = contender;
            self.warm_up()?;
        }
        Ok(())
    }

    /// Neighbours, caches and lazily built tables are nobody's figures.
    fn warm_up(&self) -> Result<()> {
        let before = self.counts()?;
        let argv = ["netperf", "-H", &self.server(), "-t", "TCP_RR", "-l", "1"];
        let data = crate::netperf::data_port();
        let argv: Vec<&str> = argv.into_iter().chain(["--", "-P", &data]).collect();
        exec::wait_for("the first conversation", Duration::from_secs(10), || {
            self.bed.pod("bench/client").run(&argv, Duration::from_secs(5)).is_ok_and(|out| out.ok())
        })?;
        self.prove(before, 100)
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> String {
        self.bed.pod("bench/server").ipv4().to_string()
    }

    /// Process of the contender, where it has one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.player.map(|player| player.pid)
    }

    /// What has gone through so far.
    ///
    /// # Errors
    /// The contender does not answer.
    pub fn counts(&self) -> Result<Counts> {
        Ok(Counts { carried: peers::carried(&self.bed, self.contender)?, routed: peers::routed(&self.bed)? })
    }

    /// Proves that at least so many packets went the way that the contender claims since `before`, and none past it.
    ///
    /// # Errors
    /// They went another way.
    pub fn prove(&self, before: Counts, least: u64) -> Result<()> {
        let after = self.counts()?;
        let carried = after.carried.saturating_sub(before.carried);
        ensure!(carried >= least, "{least} packets at least, but its counters say {carried}");
        let routed = after.routed.saturating_sub(before.routed);
        if self.contender.is_routed() {
            ensure!(routed >= least, "{least} packets at least, but the kernel routed {routed}");
        } else {
            ensure!(routed <= STRAY, "the kernel routed {routed} packets past it");
        }
        Ok(())
    }

    fn freeze(&self, on: bool) {
        let signal = if on { Signal::SIGSTOP } else { Signal::SIGCONT };
        let spinner = self.player.filter(|player| player.spins);
        if let Some(pid) = spinner.and_then(|player| i32::try_from(player.pid).ok()) {
            // One that has died is found out by its counters.
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Bed {
    /// Who stands still does not hear that it is to end.
    fn drop(&mut self) {
        self.freeze(false);
    }
}
