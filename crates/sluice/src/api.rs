//! The API socket: one JSON object in a line in, JSON lines out.
//!
//! A thread for each client, a few at most, with a limit on what a client may send and on how long it may be silent.
//! Nothing here holds the worker up: what is asked of it is asked in small pieces.

pub mod answer;
pub mod capture;
pub mod client;
pub mod events;
pub mod flows;
pub mod fqdns;
pub mod metrics;
pub mod names;
pub mod report;
pub mod request;

use crate::run::shared::Shared;
use anyhow::{Context as _, Result, bail};
use request::Request;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients served at once; others are told to come back.
const MAX_CLIENTS: usize = 32;

/// Longest request.
const MAX_REQUEST: u64 = 64 << 10;

/// How long a client may take to ask, and to take each part of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an earlier process may take to be gone.
const DYING: Duration = Duration::from_secs(2);

/// Mode of the socket: root and its group.
const MODE: u32 = 0o660;

/// Opens the socket, taking the place of one that nobody listens on.
///
/// # Errors
/// When somebody listens there, or the system refuses.
pub fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    // A process that was killed listens until the kernel has taken its AF_XDP sockets down.
    let until = Instant::now() + DYING;
    while UnixStream::connect(path).is_ok() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    if UnixStream::connect(path).is_ok() {
        bail!("another node service listens on {}", path.display());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove the old {}", path.display()));
        }
        _ => {}
    }
    let listener = listen(path).with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).context("set the socket's mode")?;
    Ok(listener)
}

/// A socket that has its mode before it has a name, so that nobody else can connect in between. The umask would do
/// that too, but it is every thread's.
fn listen(path: &Path) -> nix::Result<UnixListener> {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::stat::fchmod(&socket, nix::sys::stat::Mode::from_bits_truncate(MODE))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(UnixListener::from(socket))
}

/// Serves the socket until the process ends; dropping what is returned removes the socket's file.
///
/// # Errors
/// When the thread cannot be made.
pub fn serve(listener: UnixListener, shared: Arc<Shared>) -> Result<Bound> {
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    let clients = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => admit(stream, &shared, &clients),
                Err(error) => {
                    tracing::warn!(%error, "API socket");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    };
    std::thread::Builder::new().name("api".into()).spawn(accept).context("start the API")?;
    Ok(Bound(path))
}

/// The socket's file.
#[derive(Debug)]
pub struct Bound(Option<std::path::PathBuf>);

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// One client's place.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn admit(stream: UnixStream, shared: &Arc<Shared>, clients: &Arc<AtomicUsize>) {
    let place = Place(Arc::clone(clients));
    if clients.fetch_add(1, Ordering::AcqRel) >= MAX_CLIENTS {
        let _ = write_line(&mut &stream, &error_value("too many clients; try again"));
        return;
    }
    let shared = Arc::clone(shared);
    let work = move || {
        let _place = place;
        if let Err(error) = converse(&stream, &shared) {
            tracing::debug!("API client: {error:#}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("api-client".into()).spawn(work) {
        tracing::warn!(%error, "API client is not served");
    }
}

fn converse(stream: &UnixStream, shared: &Shared) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.take(MAX_REQUEST));
    let mut line = String::new();
    reader.read_line(&mut line).context("read the request")?;
    let mut writer = BufWriter::new(stream);
    match serde_json::from_str(&line) {
        Err(error) => write_line(&mut writer, &error_value(&format!("request: {error}")))?,
        Ok(Request::Observe(_)) if !shared.flows.is_enabled() => {
            let what = "the flow log is off: flowLog.enabled is false in sluice.yaml";
            write_line(&mut writer, &error_value(what))?;
        }
        Ok(Request::Observe(request)) => shared.flows.observe(&request, &mut writer)?,
        Ok(Request::AgentEvents(request)) => events::serve(shared, &request, &mut writer)?,
        Ok(Request::Capture(request)) => capture::serve(shared, &request, stream, &mut writer)?,
        Ok(Request::Conntrack { limit }) => answer::connections(shared, limit, &mut writer)?,
        Ok(request) => match answer::answer(shared, &request) {
            Ok(value) => write_line(&mut writer, &value)?,
            Err(error) => write_line(&mut writer, &error_value(&format!("{error:#}")))?,
        },
    }
    writer.flush().context("write the answer")
}

/// What a failed request is answered.
fn error_value(message: &str) -> Value {
    serde_json::json!({ "error": message })
}

fn write_line(writer: &mut impl Write, value: &Value) -> Result<()> {
    serde_json::to_writer(&mut *writer, value)?;
    writer.write_all(b"\n").context("write")
}
