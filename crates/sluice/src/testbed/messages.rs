//! Servers and clients that speak gRPC and Kafka, for pods. They are Python programs with libraries that no Linux
//! distribution has in a version of today: `scripts/setup.sh` puts them into a folder of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};

use super::exec::{self, find_program};
use super::{Pod, TestBed, wait_for_port};

/// Where `scripts/setup.sh` puts Python with the libraries.
const FOLDER: &str = "/opt/sluice-peers";
/// The name that clients know the broker by: as long as the address that it has of itself, see `kafka_peer.py`.
pub const BROKER: &str = "kafka.svc";
/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// gRPC, over grpcio.
    Grpc,
    /// Kafka, over librdkafka.
    Kafka,
    /// Kafka, over aiokafka.
    KafkaInPython,
}

impl Speaks {
    /// The Python module that it takes.
    pub const fn module(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Kafka => "confluent_kafka",
            Self::KafkaInPython => "aiokafka",
        }
    }

    const fn script(self) -> (&'static str, &'static str) {
        match self {
            Self::Grpc => ("grpc_peer.py", include_str!("grpc_peer.py")),
            Self::Kafka | Self::KafkaInPython => ("kafka_peer.py", include_str!("kafka_peer.py")),
        }
    }

    /// The interpreter that has the module, if there is one. Looked for once.
    pub fn python(self) -> Option<PathBuf> {
        static FOUND: [OnceLock<Option<PathBuf>>; 3] = [const { OnceLock::new() }; 3];
        FOUND[self as usize].get_or_init(|| self.find_python()).clone()
    }

    fn find_python(self) -> Option<PathBuf> {
        let folder = std::env::var_os("SLUICE_PEERS").map_or_else(|| PathBuf::from(FOLDER), PathBuf::from);
        [Some(folder.join("bin/python3")), find_program("python3"), Some(PathBuf::from("/usr/bin/python3"))]
            .into_iter()
            .flatten()
            .filter(|python| python.is_file())
            .find(|python| {
                let mut command = Command::new(python);
                command.args(["-c", &format!("import {}", self.module())]);
                exec::run(&mut command, Duration::from_secs(20)).is_ok_and(|output| output.ok())
            })
    }

    /// What to say where it is missing.
    pub fn missing(self) -> String {
        format!("the Python module {} (scripts/setup.sh demo installs it into {FOLDER})", self.module())
    }
}

/// A command that runs the peer with `args` in the pod.
///
/// # Errors
/// The script could not be written, or no Python has the library.
pub fn peer(bed: &TestBed, pod: &Pod, speaks: Speaks, args: &[&str]) -> Result<Command> {
    let (name, text) = speaks.script();
    let script = bed.file(name);
    if !script.exists() {
        fs::write(&script, text)?;
    }
    let python = speaks.python().with_context(|| speaks.missing())?;
    let mut command = pod.command(&python.to_string_lossy());
    command.arg(script).args(args);
    Ok(command)
}

/// Starts the server of that protocol in a pod on each of the ports, and waits for the last one.
///
/// # Errors
/// As [`peer`], or it does not listen in time.
pub fn start(bed: &mut TestBed, path: &str, speaks: Speaks, ports: &[u16]) -> Result<()> {
    let words: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut args = vec!["serve"];
    args.extend(words.iter().map(String::as_str));
    let mut command = peer(bed, bed.pod(path), speaks, &args)?;
    bed.start(&format!("{}-{}", bed.pod(path).spec().name, speaks.module()), &mut command)?;
    for port in ports {
        wait_for_port(bed.pod(path).netns(), *port, START_LIMIT)?;
    }
    if speaks != Speaks::Grpc {
        name_broker(bed, path)?;
    }
    Ok(())
}

/// Has all pods know the broker in that pod by its name.
///
/// # Errors
/// `/etc/netns` is not writable.
pub fn name_broker(bed: &TestBed, path: &str) -> Result<()> {
    let hosts = format!("127.0.0.1 localhost\n{} {BROKER}\n", bed.pod(path).ipv4());
    bed.pods().iter().try_for_each(|pod| pod.netns().set_hosts(&hosts))
}

/// The broker tansu, where `scripts/install-tansu.sh` has put it.
pub fn tansu() -> Option<PathBuf> {
    let folder = std::env::var_os("SLUICE_PEERS").map_or_else(|| PathBuf::from(FOLDER), PathBuf::from);
    find_program("tansu").or_else(|| Some(folder.join("bin/tansu")).filter(|path| path.is_file()))
}

/// Starts that broker in a pod, and waits until it listens. It has no topics yet.
///
/// # Errors
/// It does not listen in time.
pub fn start_tansu(bed: &mut TestBed, path: &str, program: &Path, port: u16) -> Result<()> {
    name_broker(bed, path)?;
    let mut command = bed.pod(path).command(&program.to_string_lossy());
    command.args(["broker", "--storage-engine", "memory://tansu/"]);
    command.args(["--listener-url", &format!("tcp://0.0.0.0:{port}")]);
    command.args(["--advertised-listener-url", &format!("tcp://{BROKER}:{port}")]);
    bed.start("tansu", &mut command)?;
    wait_for_port(bed.pod(path).netns(), port, START_LIMIT)
}

/// Starts a broker that has the topics of `kafka_peer.py`: tansu where it is installed, else that of librdkafka. Answers
/// its name.
///
/// # Errors
/// As [`start`].
pub fn start_broker(bed: &mut TestBed, path: &str, port: u16) -> Result<&'static str> {
    let Some(program) = tansu() else {
        start(bed, path, Speaks::Kafka, &[port])?;
        return Ok("the broker of librdkafka");
    };
    start_tansu(bed, path, &program, port)?;
    let fill = ["fill", &format!("{BROKER}:{port}")];
    exec::check(&mut peer(bed, bed.pod(path), Speaks::Kafka, &fill)?, START_LIMIT)?;
    Ok("tansu")
}
