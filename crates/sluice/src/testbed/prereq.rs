//! What a testbed needs from the machine, checked before anything is made, and said in words that can be acted on.

use std::path::Path;

use super::exec::find_program;

/// One missing thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything missing for namespaces and AF_XDP; empty means that the real thing can run.
pub fn missing() -> Vec<Missing> {
    let mut found = Vec::new();
    let mut say = |what: &str, remedy: &str| {
        found.push(Missing { what: what.to_owned(), remedy: remedy.to_owned() });
    };
    if !nix::unistd::geteuid().is_root() {
        say("root", "network namespaces, XDP and AF_XDP need it: run this with sudo");
    }
    if !kernel_has_af_xdp() {
        say(
            "AF_XDP",
            "this kernel has no XDP sockets: use one built with CONFIG_XDP_SOCKETS=y (5.10 or later)",
        );
    }
    for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux"), ("ethtool", "ethtool")] {
        if find_program(program).is_none() {
            say(program, &format!("install the package {package} (scripts/setup.sh demo does)"));
        }
    }
    found
}

/// True where the kernel lists XDP among its socket protocols (the option cannot be a module).
pub fn kernel_has_af_xdp() -> bool {
    std::fs::read_to_string("/proc/net/protocols")
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().next() == Some("XDP")))
}

/// Mounts the bpf file system at its usual place where no one has yet; true when it is there afterwards.
pub fn ensure_bpffs() -> bool {
    let at = Path::new("/sys/fs/bpf");
    if is_bpffs(at) {
        return true;
    }
    nix::mount::mount(
        Some("bpf"),
        at,
        Some("bpf"),
        nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .is_ok()
}

fn is_bpffs(at: &Path) -> bool {
    std::fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|line| {
            let mut words = line.split(' ');
            words.nth(1).map(Path::new) == Some(at) && words.next() == Some("bpf")
        })
    })
}
