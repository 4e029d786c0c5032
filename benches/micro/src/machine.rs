//! Where and when something was measured.

use serde::{Deserialize, Serialize};
use std::io;

/// Where and when.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// What the processors call themselves.
    pub cpu: String,
    /// Number of CPUs.
    pub cores: usize,
    /// Memory, GiB.
    pub memory_gib: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Commit of the tree, where it is one.
    pub commit: String,
    /// When (RFC 3339, UTC).
    pub time: String,
}

impl Machine {
    /// This one, now.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn here() -> io::Result<Self> {
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = field(&std::fs::read_to_string("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kib: u64 = memory.trim_end_matches(" kB").parse().map_err(io::Error::other)?;
        let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        Ok(Self {
            cpu: field(&cpus, "model name").unwrap_or_default(),
            cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            commit: git.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default(),
            time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%MZ").to_string(),
        })
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { cpu, cores, memory_gib, kernel, commit, time } = self;
        format!("{time}: {cores} CPUs ({cpu}), {memory_gib} GiB, Linux {kernel}; commit {commit}")
    }
}
