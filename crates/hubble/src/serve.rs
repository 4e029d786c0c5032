//! Listeners, and the thread that serves them.

use crate::connection::{MAX_CONNECTIONS, incoming};
use crate::observer::{MAX_STREAMS, Observer};
use crate::proto::DESCRIPTORS;
use crate::proto::observer::observer_server::ObserverServer;
use crate::rate;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tonic::transport::server::Router;
use tonic::transport::{Certificate, Identity, Server as Transport, ServerTlsConfig};

/// The service as health checks name it.
const SERVICE: &str = "observer.Observer";

/// Largest request: filters are short.
const MAX_REQUEST: usize = 1 << 20;

/// Requests at a time on one connection.
const MAX_REQUESTS: u32 = 16;

/// Largest head of a request.
const MAX_HEAD: u32 = 16 << 10;

/// How often a client must show that it is there, and how long it may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long the end waits for streams to notice.
const FAREWELL: Duration = Duration::from_secs(2);

/// Certificates, as PEM.
#[derive(Clone)]
pub struct Tls {
    /// Our certificate, with those between it and its authority.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// Authority that clients' certificates must come from; `None`: clients need no certificate.
    pub client_ca: Option<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("client_ca", &self.client_ca.is_some()).finish_non_exhaustive()
    }
}

/// Where to serve.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// TCP, in the clear or not.
    Tcp(TcpListener, Option<Tls>),
}

/// What keeps the API from being served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A certificate or key that is none.
    #[error("TLS: {0}")]
    Tls(String),
}

/// The thread that serves; dropping it ends all streams.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves `observer` on all listeners.
///
/// # Errors
///
/// When a certificate cannot be used or the system refuses a thread.
pub fn start(listeners: Vec<Listener>, observer: &Observer) -> Result<Server, ServeError> {
    // One provider of cryptography for the process, whatever else is linked; the first to say so wins.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_STREAMS)
        .thread_name("hubble-stream")
        .build()?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut serving = JoinSet::new();
    {
        let _inside = runtime.enter();
        for listener in listeners {
            serve(listener, observer, &places, &mut serving)?;
        }
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let observer = observer.clone();
    let work = move || {
        runtime.block_on(async {
            let mut interval = tokio::time::interval(rate::INTERVAL);
            let counting = async {
                loop {
                    interval.tick().await;
                    observer.note();
                }
            };
            tokio::select! {
                _ = stopped => {}
                () = counting => {}
            }
            serving.abort_all();
        });
        runtime.shutdown_timeout(FAREWELL);
    };
    let thread = std::thread::Builder::new().name("hubble".into()).spawn(work)?;
    Ok(Server { stop: Some(stop), thread: Some(thread) })
}

fn serve(
    listener: Listener,
    observer: &Observer,
    places: &Arc<Semaphore>,
    serving: &mut JoinSet<()>,
) -> Result<(), ServeError> {
    let places = Arc::clone(places);
    match listener {
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let path = listener.local_addr()?.as_pathname().map(|path| path.display().to_string());
            let router =
                Setup::new(observer.at(format!("unix://{}", path.unwrap_or_default()), false), None)?;
            let listener = Arc::new(tokio::net::UnixListener::from_std(listener)?);
            let accept = move || {
                let listener = Arc::clone(&listener);
                async move { listener.accept().await.map(|(stream, _)| stream) }
            };
            serving.spawn(async move {
                end(router.finish().await.serve_with_incoming(incoming(accept, places)).await);
            });
        }
        Listener::Tcp(listener, tls) => {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?.to_string();
            let router = Setup::new(observer.at(address, tls.is_some()), tls.as_ref())?;
            let listener = Arc::new(tokio::net::TcpListener::from_std(listener)?);
            let accept = move || {
                let listener = Arc::clone(&listener);
                async move {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    Ok(stream)
                }
            };
            serving.spawn(async move {
                end(router.finish().await.serve_with_incoming(incoming(accept, places)).await);
            });
        }
    }
    Ok(())
}

fn end(result: Result<(), tonic::transport::Error>) {
    if let Err(error) = result {
        tracing::error!(%error, "Hubble API ended");
    }
}

/// A server without its services.
struct Setup {
    transport: Transport,
    observer: Observer,
}

impl Setup {
    fn new(observer: Observer, tls: Option<&Tls>) -> Result<Self, ServeError> {
        let (interval, patience) = KEEPALIVE;
        let mut transport = Transport::builder()
            .max_concurrent_streams(MAX_REQUESTS)
            .http2_max_header_list_size(MAX_HEAD)
            .http2_keepalive_interval(Some(interval))
            .http2_keepalive_timeout(Some(patience));
        if let Some(tls) = tls {
            let mut config =
                ServerTlsConfig::new().identity(Identity::from_pem(&tls.cert, &tls.key)).timeout(HANDSHAKE);
            if let Some(authority) = &tls.client_ca {
                config = config.client_ca_root(Certificate::from_pem(authority));
            }
            let wrong = |error: tonic::transport::Error| {
                // The cause says what is wrong with which file.
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                ServeError::Tls(cause.unwrap_or_else(|| error.to_string()))
            };
            transport = transport.tls_config(config).map_err(wrong)?;
        }
        Ok(Self { transport, observer })
    }

    /// With the service, health checks of it, and its description.
    async fn finish(mut self) -> Router {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status(SERVICE, tonic_health::ServingStatus::Serving).await;
        let describe = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let service = ObserverServer::new(self.observer).max_decoding_message_size(MAX_REQUEST);
        // The descriptors are our own and were read by the build; without them the API still works.
        self.transport
            .add_service(service)
            .add_service(health_service)
            .add_optional_service(describe().build_v1().ok())
            .add_optional_service(describe().build_v1alpha().ok())
    }
}
