//! What client and server say to each other: the server of it, the policy that reads it, and one message of each fate.

use super::gate::{LIMIT, Node};
use super::nginx;
use super::rules::{ALLOWED, DENIED, PATHS};
use anyhow::{Result, bail};
use sluice::testbed::messages::{self, BROKER, Speaks};
use sluice::testbed::{TestBed, exec, wait_for_port};
use std::path::PathBuf;
use std::process::Command;

/// The port of every server.
pub const PORT: u16 = 80;
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
    /// Methods and path patterns that the rules allow, each for the whole path with its query. What is measured matches the
    /// first. Kafka has none.
    #[must_use]
    pub fn patterns(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Http1 | Self::Http2 => PATHS.iter().map(|path| ("GET", *path)).collect(),
            Self::Grpc => {
                [METHOD, "/bench.Echo/Probe[0-9]+", "/bench.Other/.*", "/grpc.health.v1.Health/Check"]
                    .map(|path| ("POST", path))
                    .to_vec()
            }
            Self::Kafka => Vec::new(),
        }
    }

    /// What the policy says of the server's port, beyond that it is open.
    #[must_use]
    pub fn rules(self) -> String {
        // Single quotes: a backslash is a backslash.
        let http =
            self.patterns().into_iter().map(|(method, path)| format!("{{method: {method}, path: '{path}'}}"));
        let kafka = [TOPIC, "invoices", "returns"];
        let kafka = kafka.into_iter().map(|topic| format!("{{role: produce, topic: {topic}}}"));
        let (kind, list): (_, Vec<String>) = match self {
            Self::Kafka => ("kafka", kafka.collect()),
            _ => ("http", http.collect()),
        };
        format!("rules: {{{kind}: [{}]}}", list.join(", "))
    }

    /// Whether proxies read it. Envoy's Kafka filter is not part of its packaged build.
    #[must_use]
    pub const fn proxies_read(self) -> bool {
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
                let folder = nginx::server(bed, self)?;
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
