//! Hubble's API in the node service: who it speaks for, where it listens, and what the control thread did.

mod events;

pub use events::Events;

use crate::api;
use crate::config::{self, HubbleTls};
use crate::history::Kept;
use crate::run::shared::Shared;
use ::hubble::{Listener, Node, Observer, Server, Tls};
use anyhow::{Context as _, Result};
use flowlog::api::Past;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Largest file of certificates or of a key that is read.
const MAX_PEM: u64 = 1 << 20;

/// What is served; dropping it ends all streams and removes the socket.
#[derive(Debug)]
pub struct Endpoint {
    _server: Option<Server>,
    socket: Option<PathBuf>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// Serves where it is configured, if anywhere.
///
/// # Errors
/// When a socket or address cannot be listened on, or a certificate cannot be used.
pub fn start(shared: &Arc<Shared>, config: &config::Hubble) -> Result<Endpoint> {
    let mut endpoint = Endpoint { _server: None, socket: None };
    let mut listeners = Vec::new();
    if !config.socket.as_os_str().is_empty() {
        listeners.push(Listener::Unix(api::bind(&config.socket).context("hubble.socket")?));
        endpoint.socket = Some(config.socket.clone());
    }
    if let Some(address) = config.address() {
        let tls = certificates(&config.tls)?;
        let listener =
            TcpListener::bind(address).with_context(|| format!("hubble.listen: listen on {address}"))?;
        listeners.push(Listener::Tcp(listener, tls));
    }
    if listeners.is_empty() {
        return Ok(endpoint);
    }
    let store = Arc::clone(shared.flows.store());
    let observer = Observer::new(store, Arc::new(ThisNode::new(shared)), shared.events.log());
    endpoint._server = Some(::hubble::start(listeners, &observer).context("hubble")?);
    let (socket, listen) = (config.socket.display(), &config.listen);
    tracing::info!(%socket, listen, mutual_tls = config.tls.is_mutual(), "Hubble API");
    Ok(endpoint)
}

fn certificates(tls: &HubbleTls) -> Result<Option<Tls>> {
    if !tls.is_on() {
        return Ok(None);
    }
    let client_ca = tls.is_mutual().then(|| pem("hubble.tls.clientCA", &tls.client_ca)).transpose()?;
    Ok(Some(Tls {
        cert: pem("hubble.tls.cert", &tls.cert)?,
        key: pem("hubble.tls.key", &tls.key)?,
        client_ca,
    }))
}

fn pem(key: &str, path: &Path) -> Result<String> {
    use std::io::Read as _;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(MAX_PEM).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    read().with_context(|| format!("{key}: read {}", path.display()))
}

/// The node as clients see it.
struct ThisNode {
    shared: Arc<Shared>,
    past: Option<Kept>,
}

impl ThisNode {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), past: Kept::of(&shared.flows) }
    }
}

impl Node for ThisNode {
    fn name(&self) -> &str {
        &self.shared.node.name
    }

    fn cluster(&self) -> &str {
        &self.shared.node.cluster
    }

    fn version(&self) -> &str {
        concat!("sluice ", env!("CARGO_PKG_VERSION"))
    }

    fn uptime(&self) -> Duration {
        self.shared.clock.uptime()
    }

    fn namespaces(&self) -> Vec<String> {
        let snapshot = self.shared.snapshot.load();
        let names: BTreeSet<&str> =
            snapshot.policy.endpoints.iter().flatten().map(|endpoint| &*endpoint.namespace).collect();
        names.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn past(&self) -> Option<&dyn Past> {
        self.past.as_ref().map(|past| past as _)
    }
}
