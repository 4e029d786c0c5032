//! What client and server say to each other: the server of it, the policy that reads it, and one message of each fate.

use super::gate::{LARGE_LEN, LIMIT, Node, SMALL_BODY};
use super::rules::{ALLOWED, DENIED, LARGE, PATHS};
use anyhow::{Context, Result, bail};
use sluice::testbed::messages::{self, BROKER, Speaks};
use sluice::testbed::{TestBed, exec, wait_for_port};
use std::path::PathBuf;
use std::process::Command;

/// The port of every server.
const PORT: u16 = 80;
/// The gRPC method that rules allow.
pub const METHOD: &str = "/bench.Echo/Say";
/// One that they do not.
const OTHER_METHOD: &str = "/bench.Echo/Shout";
/// The Kafka topic that rules allow to produce to.
pub const TOPIC: &str = "orders";
/// One that they do not.
const OTHER_TOPIC: &str = "payments";

/// A protocol between client and server.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Speech {
    /// HTTP/1.1, nginx.
    Http1,
    /// HTTP/2 without TLS, nginx.
    Http2,
    /// gRPC, `rpc_peer` of this package.
    Grpc,
    /// Kafka, librdkafka's broker.
    Kafka,
}

/// What became of a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The server answered it.
    Answered,
    /// It was refused as policy refuses.
    Refused,
}

impl Speech {
    /// What the policy says of the server's port, beyond that it is open.
    #[must_use]
    pub fn rules(self) -> String {
        let http = |method: &str, path: &str| format!("{{method: {method}, path: '{path}'}}");
        let list: Vec<String> = match self {
            // Single quotes: a backslash is a backslash.
            Self::Http1 | Self::Http2 => PATHS.iter().map(|path| http("GET", path)).collect(),
            Self::Grpc => {
                [METHOD, "/bench.Echo/Probe[0-9]+", "/bench.Other/.*", "/grpc.health.v1.Health/Check"]
                    .iter()
                    .map(|path| http("POST", path))
                    .collect()
            }
            Self::Kafka => {
                let topic = |topic: &str| format!("{{role: produce, topic: {topic}}}");
                [TOPIC, "invoices", "returns"].into_iter().map(topic).collect()
            }
        };
        let kind = if self == Self::Kafka { "kafka" } else { "http" };
        format!("rules: {{{kind}: [{}]}}", list.join(", "))
    }

    /// Whether Envoy as it is packaged reads it. Its Kafka filter is not part of that build.
    #[must_use]
    pub const fn envoy_reads(self) -> bool {
        !matches!(self, Self::Kafka)
    }

    /// Starts the server in its pod, on that CPU.
    ///
    /// # Errors
    /// It does not listen in time.
    pub fn serve(self, bed: &mut TestBed, cpu: usize) -> Result<()> {
        let cpu = cpu.to_string();
        match self {
            Self::Http1 | Self::Http2 => {
                let folder = nginx(bed, if self == Self::Http2 { " http2" } else { "" })?;
                let mut command = bed.pod("bench/server").command("taskset");
                command.args(["-c", &cpu, "nginx", "-e", "stderr", "-p"]).arg(&folder);
                command.arg("-c").arg(folder.join("nginx.conf"));
                bed.start("nginx", &mut command)?;
            }
            Self::Grpc => {
                let mut command = bed.pod("bench/server").command("taskset");
                command.args(["-c", &cpu]).arg(rpc_peer()?).args(["serve", &format!("0.0.0.0:{PORT}")]);
                bed.start("rpc_peer", &mut command)?;
            }
            Self::Kafka => {
                messages::start(bed, "bench/server", Speaks::Kafka, &[PORT])?;
                let pids = exec::check(Command::new("pgrep").args(["-f", "kafka_peer.py serve"]), LIMIT)?;
                for pid in pids.stdout.split_whitespace() {
                    exec::check(Command::new("taskset").args(["-a", "-c", "-p", &cpu, pid]), LIMIT)?;
                }
            }
        }
        wait_for_port(bed.pod("bench/server").netns(), PORT, LIMIT)
    }

    /// Sends one message that the rules allow, recognisable by `mark`, or one that they do not.
    ///
    /// # Errors
    /// There was neither answer nor refusal.
    pub fn try_one(self, node: &Node, mark: Option<u32>) -> Result<Fate> {
        match self {
            Self::Http1 | Self::Http2 => {
                let path = mark.map_or(DENIED.to_owned(), |mark| format!("{ALLOWED}/probe-{mark}"));
                let mut curl = node.client("curl");
                if self == Self::Http2 {
                    curl.arg("--http2-prior-knowledge");
                }
                curl.args(["-sS", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", &node.url(&path)]);
                match exec::check(&mut curl, LIMIT)?.stdout.trim() {
                    "200" => Ok(Fate::Answered),
                    "403" => Ok(Fate::Refused),
                    code => bail!("GET {path} was answered {code}"),
                }
            }
            Self::Grpc => {
                let method = mark.map_or(OTHER_METHOD.to_owned(), |mark| format!("/bench.Echo/Probe{mark}"));
                let mut call = node.client(&rpc_peer()?.to_string_lossy());
                call.args(["call", &node.authority(), &method]);
                match exec::check(&mut call, LIMIT)?.stdout.trim() {
                    "0" => Ok(Fate::Answered),
                    "7" => Ok(Fate::Refused),
                    status => bail!("{method} ended with status {status}"),
                }
            }
            Self::Kafka => {
                let topic = if mark.is_some() { TOPIC } else { OTHER_TOPIC };
                let name = format!("client.id=probe-{}", mark.unwrap_or_default());
                let said = node.kafka(&["produce", &format!("{BROKER}:{PORT}"), &name, topic])?;
                match said["produced"][0]["end"].as_str() {
                    Some("ok") => Ok(Fate::Answered),
                    Some("TOPIC_AUTHORIZATION_FAILED") => Ok(Fate::Refused),
                    _ => bail!("producing to {topic}: {said}"),
                }
            }
        }
    }

    /// What a record of the message with that mark has in it, and no other.
    #[must_use]
    pub fn trace_of(self, mark: u32) -> String {
        match self {
            Self::Http1 | Self::Http2 => format!("{ALLOWED}/probe-{mark}\""),
            Self::Grpc => format!("/bench.Echo/Probe{mark}\""),
            Self::Kafka => format!("\"probe-{mark}\""),
        }
    }
}

/// This package's gRPC client and server, built beside the running program.
///
/// # Errors
/// It is not there.
pub fn rpc_peer() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("rpc_peer");
    if path.is_file() { Ok(path) } else { bail!("{} is not built", path.display()) }
}

/// Where Kafka's clients find the broker.
#[must_use]
pub fn broker() -> String {
    format!("{BROKER}:{PORT}")
}

/// nginx in one process: a short answer without a file, and one large file. Answers its folder.
fn nginx(bed: &TestBed, protocol: &str) -> Result<PathBuf> {
    let folder = bed.file("nginx");
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
         server {{ listen {PORT}{protocol}; default_type text/plain; root {dir}/www;\n    \
         location / {{ return 200 \"{SMALL_BODY}\"; }}\n    location = {LARGE} {{ }}\n  }}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), text).context("write nginx.conf")?;
    Ok(folder)
}
