//! Network namespaces by name: made, configured through `ip -batch`, entered, emptied and removed.
//!
//! Pod programs enter with `ip netns exec`, which also gives them the pod's own `/etc/resolv.conf` and `/sys`; the
//! agent enters with `nsenter --net`, because it needs the bpf file system of the host.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::exec;

/// Limit for one `ip` call; it takes milliseconds unless the machine is badly overloaded.
const IP_LIMIT: Duration = Duration::from_secs(20);

/// One network namespace; removed, with every process in it, when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    keep: bool,
}

impl Netns {
    /// Makes the namespace `name` with its loopback up and IPv6 duplicate address detection off.
    ///
    /// # Errors
    /// It exists already, or the caller may not make namespaces.
    pub fn create(name: &str) -> Result<Self> {
        exec::check(Command::new("ip").args(["netns", "add", name]), IP_LIMIT)?;
        let netns = Self { name: name.to_owned(), keep: false };
        netns.ip("link set lo up\n")?;
        netns.sysctl(&[
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_ra", "0"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
        ])?;
        // A new namespace has the host's; figures taken with different ones do not compare. A kernel without this one keeps its own.
        if let Err(error) = netns.sysctl(&[("net.ipv4.tcp_congestion_control", "cubic")]) {
            tracing::warn!(
                "congestion control stays the host's, so figures of bulk do not compare: {error:#}"
            );
        }
        Ok(netns)
    }

    /// Its name as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside, with the pod's own resolver file and `/sys`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// A command that will run inside this network but with the host's own mounts.
    pub fn command_with_host_mounts(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread of its own inside, with the files that [`Netns::command`] gives to programs. What it opens
    /// is opened there, and so is what threads open that it starts. A thread that goes on keeps the network in place.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<Result<T>> {
        let name = self.name.clone();
        std::thread::spawn(move || {
            enter(&name).with_context(|| format!("entering {name}"))?;
            Ok(work())
        })
    }

    /// Feeds `script` to `ip -batch` in this namespace; one line is one `ip` command without the word `ip`.
    ///
    /// # Errors
    /// `ip` refused a line; the message carries its words.
    pub fn ip(&self, script: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ip")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ip in {}: {}\n{script}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Sets kernel parameters of this namespace.
    ///
    /// # Errors
    /// A parameter is unknown or refused.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        let mut script = String::new();
        for (key, value) in settings {
            script.push_str(&format!("echo '{value}' > /proc/sys/{} || exit 1\n", key.replace('.', "/")));
        }
        exec::check(self.command("sh").args(["-c", &script]), IP_LIMIT).map(drop)
    }

    /// Gives programs started by [`Netns::command`] this `/etc/resolv.conf`.
    ///
    /// # Errors
    /// `/etc/netns` is not writable.
    pub fn set_resolver(&self, text: &str) -> Result<()> {
        self.set_file("resolv.conf", text)
    }

    /// The same for `/etc/hosts`.
    ///
    /// # Errors
    /// As [`Netns::set_resolver`].
    pub fn set_hosts(&self, text: &str) -> Result<()> {
        self.set_file("hosts", text)
    }

    fn set_file(&self, name: &str, text: &str) -> Result<()> {
        let folder = resolver_folder(&self.name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), text).with_context(|| folder.display().to_string())
    }

    /// Leaves the namespace in place when this handle goes away.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.name);
        }
    }
}

/// Kills every process in the namespace `name` and removes it; a namespace that does not exist is no error.
pub fn remove(name: &str) {
    for pid in pids(name) {
        let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    // Nothing useful can be done about a failure here; a later clean-up will find it again.
    let _output = exec_quietly(&["netns", "del", name]);
    let _absent = fs::remove_dir_all(resolver_folder(name));
}

/// Names of all namespaces that begin with `prefix`.
pub fn list(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/run/netns") else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

/// Moves the calling thread, and no other, into the namespace `name`.
fn enter(name: &str) -> Result<()> {
    setns(fs::File::open(format!("/run/netns/{name}"))?, CloneFlags::CLONE_NEWNET)?;
    let Ok(files) = fs::read_dir(resolver_folder(name)) else { return Ok(()) };
    // Mounts of the thread's own, which nobody else sees.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for file in files {
        let file = file?;
        let target = Path::new("/etc").join(file.file_name());
        mount(Some(&file.path()), &target, none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}

fn pids(name: &str) -> Vec<i32> {
    exec_quietly(&["netns", "pids", name])
        .map(|text| text.lines().filter_map(|line| line.trim().parse().ok()).collect())
        .unwrap_or_default()
}

/// Runs `ip` also while an interrupt is pending, which [`exec::run`] would refuse to wait for.
fn exec_quietly(args: &[&str]) -> Option<String> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn resolver_folder(name: &str) -> PathBuf {
    Path::new("/etc/netns").join(name)
}
