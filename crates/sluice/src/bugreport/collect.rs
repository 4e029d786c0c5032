//! Gathers the files of a report, each on its own: one that cannot be had leaves its reason, not a hole.

use super::redact;
use crate::api::client::{ask, ask_lines};
use crate::api::request::Request;
use anyhow::{Context as _, Result, bail};
use flowlog::api::ObserveRequest;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Most bytes of one file; what is longer is cut, and says so.
const MAX_FILE: usize = 32 << 20;

/// Files of one folder.
const MAX_FILES: usize = 2_000;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections told.
const CONNECTIONS: usize = 100_000;

/// Commands about the machine: name of the file, program, arguments.
const COMMANDS: &[(&str, &str, &[&str])] = &[
    ("links.json", "ip", &["-j", "-d", "-s", "link"]),
    ("addresses.json", "ip", &["-j", "address"]),
    ("routes.json", "ip", &["-j", "route", "show", "table", "all"]),
    ("routes6.json", "ip", &["-6", "-j", "route", "show", "table", "all"]),
    ("rules.json", "ip", &["-j", "rule"]),
    ("neighbours.json", "ip", &["-j", "neigh"]),
    ("sockets.txt", "ss", &["--xdp", "-e", "-p"]),
    ("bpf-programs.json", "bpftool", &["-j", "prog"]),
    ("bpf-net.json", "bpftool", &["-j", "net"]),
    ("journal.txt", "journalctl", &["-u", "sluice", "-n", "5000", "--no-pager", "-o", "short-iso-precise"]),
];

/// Files of the machine.
const FILES: &[&str] = &[
    "/etc/os-release",
    "/proc/version",
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/interrupts",
    "/proc/softirqs",
    "/proc/net/dev",
    "/proc/net/softnet_stat",
    "/proc/net/snmp",
    "/proc/net/netstat",
    "/proc/sys/net/core/bpf_jit_enable",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
];

/// An archive in the making.
pub(super) struct Collector<W: Write> {
    tar: tar::Builder<W>,
    report: String,
    parts: usize,
    missing: usize,
    began: u64,
}

impl<W: Write> Collector<W> {
    pub(super) fn new(out: W) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let began = now.map_or(0, |time| time.as_secs());
        let report =
            format!("sluice {} bugreport, {began} seconds since 1970\n\n", env!("CARGO_PKG_VERSION"));
        Self { tar: tar::Builder::new(out), report, parts: 0, missing: 0, began }
    }

    pub(super) fn parts(&self) -> usize {
        self.parts + 1
    }

    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// What the node service says of itself, and its configuration.
    pub(super) fn node(&mut self, socket: &Path, config: &Path, flows: Option<u64>) -> Result<()> {
        let questions = [
            ("status", Request::Status),
            ("endpoints", Request::Endpoints),
            ("identities", Request::Identities),
            ("addresses", Request::Ips),
            ("policies", Request::Policies),
        ];
        let mut endpoints = Vec::new();
        let mut pid = None;
        for (name, question) in questions {
            let answer = ask(socket, &question);
            if let ("endpoints", Ok(Value::Array(list))) = (name, &answer) {
                endpoints = list.iter().map(|one| one["id"].to_string()).collect();
            }
            if let ("status", Ok(status)) = (name, &answer) {
                pid = status["pid"].as_u64();
            }
            self.json(&format!("node/{name}.json"), answer)?;
        }
        for endpoint in endpoints.into_iter().take(MAX_FILES) {
            let answer = ask(socket, &Request::PolicyMap { endpoint: endpoint.clone() });
            self.json(&format!("node/policy-maps/{endpoint}.json"), answer)?;
        }
        let metrics = ask(socket, &Request::Metrics).map(|text| text.as_str().unwrap_or_default().to_owned());
        self.text("node/metrics.txt", metrics)?;
        if let Some(flows) = flows {
            self.json("node/names.json", ask(socket, &Request::Fqdns { name: None, endpoint: None }))?;
            self.lines("node/connections.jsonl", socket, &Request::Conntrack { limit: CONNECTIONS })?;
            let newest = ObserveRequest { last: Some(flows), ..ObserveRequest::default() };
            self.lines("node/flows.jsonl", socket, &Request::Observe(newest))?;
        }
        if let Some(pid) = pid {
            for file in ["status", "limits", "smaps_rollup", "sched", "io"] {
                self.file(&format!("process/{file}"), Path::new(&format!("/proc/{pid}/{file}")))?;
            }
        }
        self.folder("config", config)
    }

    /// The machine around it.
    pub(super) fn machine(&mut self) -> Result<()> {
        for path in FILES {
            self.file(&format!("machine{}", path), Path::new(path))?;
        }
        for (name, program, args) in COMMANDS {
            self.text(&format!("machine/{name}"), output(program, args))?;
        }
        Ok(())
    }

    /// The end: the report on the report.
    pub(super) fn finish(mut self) -> Result<W> {
        let report = std::mem::take(&mut self.report);
        self.put("report.txt", report.as_bytes())?;
        self.tar.into_inner().context("write the archive")
    }

    fn json(&mut self, name: &str, answer: Result<Value>) -> Result<()> {
        let text = answer.and_then(|mut value| {
            redact::value(&mut value);
            Ok(serde_json::to_string_pretty(&value)? + "\n")
        });
        self.text(name, text)
    }

    fn lines(&mut self, name: &str, socket: &Path, question: &Request) -> Result<()> {
        let mut text = String::new();
        let asked = ask_lines(socket, question, |mut value| {
            if text.len() < MAX_FILE {
                redact::value(&mut value);
                writeln!(text, "{value}")?;
            }
            Ok(())
        });
        self.text(name, asked.map(|()| text))
    }

    /// A folder of configuration: its YAML, two levels deep, without secrets.
    fn folder(&mut self, name: &str, folder: &Path) -> Result<()> {
        let mut files = Vec::new();
        if let Err(error) = yaml_files(folder, 1, &mut files) {
            self.without(name, &format!("{}: {error}", folder.display()));
        }
        files.sort();
        for path in files {
            let inside = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            let text = read(&path).map(|text| redact::text(&text));
            self.text(&format!("{name}/{inside}"), text)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path) -> Result<()> {
        let text = read(path).map(|text| redact::text(&text));
        self.text(name, text)
    }

    fn text(&mut self, name: &str, text: Result<String>) -> Result<()> {
        match text {
            Ok(mut text) => {
                if text.len() > MAX_FILE {
                    let at = (0..=MAX_FILE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                    text.truncate(at);
                    text.push_str("\n… cut here\n");
                }
                self.parts += 1;
                writeln!(self.report, "{name}: {} bytes", text.len())?;
                self.put(name, text.as_bytes())
            }
            Err(error) => {
                self.without(name, &format!("{error:#}"));
                Ok(())
            }
        }
    }

    fn without(&mut self, name: &str, why: &str) {
        self.missing += 1;
        let _ =
            writeln!(self.report, "{name}: MISSING, {}", redact::url(why).unwrap_or_else(|| why.to_owned()));
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.began);
        self.tar
            .append_data(&mut header, format!("sluice-bugreport/{name}"), bytes)
            .context("write the archive")
    }
}

fn yaml_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if path.is_dir() && depth > 0 {
            yaml_files(&path, depth - 1, found)?;
        } else if yaml && found.len() < MAX_FILES {
            found.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a program prints, within [`PATIENCE`].
fn output(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| program.to_owned())?;
    let Some(out) = child.stdout.take() else { bail!("{program}: no output") };
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = out.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes);
        read.map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let until = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => break,
            Some(status) => bail!("{program} {}: {status}", args.join(" ")),
            None if Instant::now() > until => {
                let _gone = child.kill();
                let _status = child.wait();
                bail!("{program} {}: no answer in {PATIENCE:?}", args.join(" "));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let text = reader.join().map_err(|_| anyhow::anyhow!("{program}: its output could not be read"))??;
    Ok(redact::text(&text))
}
