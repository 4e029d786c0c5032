//! Proxies as gates: programs in the node's namespace that the client connects to, with the same rules, one worker, no logs.

use super::gate::LIMIT;
use super::speech::Speech;
use super::{envoy, haproxy, nginx};
use anyhow::{Context, Result};
use sluice::testbed::{TestBed, exec, wait_for_port};
use std::path::{Path, PathBuf};

/// Where it listens, in the node.
pub const PORT: u16 = 8080;
/// Where it tells its counters, on the node's loopback.
pub const ADMIN_PORT: u16 = 9901;

/// Which.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Proxy {
    /// RBAC filter and router.
    Envoy,
    /// A map of regular expressions, `proxy_pass` or `grpc_pass`.
    Nginx,
    /// Access lists.
    Haproxy,
}

impl Proxy {
    /// All.
    pub const ALL: [Self; 3] = [Self::Envoy, Self::Nginx, Self::Haproxy];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Its program: for Envoy the given one, that of `scripts/setup.sh bench`, or the one in `PATH`.
    #[must_use]
    pub fn find(self, envoy: Option<&Path>) -> Option<PathBuf> {
        match (self, envoy) {
            (Self::Envoy, Some(given)) => given.is_file().then(|| given.to_owned()),
            (Self::Envoy, None) => {
                let installed = PathBuf::from("target/envoy/envoy/_bin/envoy");
                if installed.is_file() { Some(installed) } else { exec::find_program("envoy") }
            }
            (Self::Nginx, _) => exec::find_program("nginx"),
            (Self::Haproxy, _) => exec::find_program("haproxy"),
        }
    }

    /// Starts it on that CPU; its process.
    ///
    /// # Errors
    /// It does not listen in time.
    pub fn start(self, bed: &mut TestBed, program: &Path, speech: Speech, cpu: usize) -> Result<u32> {
        let server = bed.pod("bench/server").ipv4();
        let (name, folder) = (self.name(), bed.file("gate"));
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("config");
        let text = match self {
            Self::Envoy => envoy::config(server, speech),
            Self::Nginx => nginx::config(&folder, server, speech),
            Self::Haproxy => haproxy::config(server, speech),
        };
        std::fs::write(&config, text)?;
        let mut command = bed.node().command("taskset");
        command.args(["-c", &cpu.to_string()]).arg(program.canonicalize()?);
        match self {
            Self::Envoy => {
                command.args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart", "-c"])
            }
            Self::Nginx => command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c"),
            Self::Haproxy => command.args(["-db", "-f"]),
        };
        let pid = bed.start(name, command.arg(&config))?.pid();
        wait_for_port(bed.node(), PORT, LIMIT)
            .with_context(|| std::fs::read_to_string(bed.file(&format!("{name}.log"))).unwrap_or_default())?;
        Ok(pid)
    }

    /// Requests that it says it has let pass (nginx: has seen).
    ///
    /// # Errors
    /// It does not answer.
    pub fn handled(self, bed: &TestBed) -> Result<u64> {
        let path = match self {
            Self::Envoy => envoy::COUNTERS,
            Self::Nginx => nginx::COUNTERS,
            Self::Haproxy => haproxy::COUNTERS,
        };
        let url = format!("http://127.0.0.1:{ADMIN_PORT}{path}");
        let mut curl = bed.node().command("curl");
        let said = exec::check(curl.args(["-sS", "-m", "3", &url]), LIMIT)?.stdout;
        let count = match self {
            Self::Envoy => envoy::count(&said),
            Self::Nginx => nginx::count(&said),
            Self::Haproxy => haproxy::count(&said),
        };
        count.with_context(|| format!("no count of requests: {said}"))
    }
}
