//! The threads behind the page, and how a connection is treated.

use crate::api::{self, App};
use crate::error::UiError;
use crate::feed::Feed;
use crate::guard::{Guard, Token};
use crate::io::Patient;
use crate::node::Node;
use axum::Router;
use flowlog::Store;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

/// How long a client may take to send the head of a request, and how long a connection may idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take no byte of its answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);

/// Life of a connection; streams begin again by themselves.
const LIFE: Duration = Duration::from_secs(3600);

/// Largest head of a request.
const MAX_HEAD: usize = 16 << 10;

/// Most header fields of a request.
const MAX_HEADERS: usize = 64;

/// Threads for calls that may block.
const BLOCKING: usize = 2;

/// How the page is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The secret.
    pub token: Token,
    /// Host names that browsers may use besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Connections at a time; others wait.
    pub max_connections: usize,
    /// Streams at a time; others are refused.
    pub max_streams: usize,
    /// Name of this node, for people.
    pub node_name: String,
}

impl Options {
    /// With the usual limits.
    #[must_use]
    pub fn new(listen: SocketAddr, token: Token) -> Self {
        let hosts = Vec::new();
        Self { listen, token, hosts, max_connections: 64, max_streams: 16, node_name: String::new() }
    }
}

/// The page while it is served; dropping it ends that.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    feed: Arc<Feed>,
    stop: Arc<AtomicBool>,
    end: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The map and the recent records.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Nobody listens any more if the thread has ended already.
        let _ = self.end.take().map(|end| end.send(()));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Serves the page over `store`.
///
/// # Errors
/// When the address cannot be used or a thread cannot be made.
pub fn start(options: Options, store: Arc<Store>, node: Arc<dyn Node>) -> Result<Running, UiError> {
    let listen = |source| UiError::Listen { address: options.listen, source };
    let listener = std::net::TcpListener::bind(options.listen).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING)
        .thread_name("ui-work")
        .build()
        .map_err(UiError::Start)?;

    let feed = Arc::new(Feed::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (end, ended) = oneshot::channel();
    let app = App {
        feed: Arc::clone(&feed),
        guard: Arc::new(Guard::new(options.token, &options.hosts)),
        node,
        node_name: options.node_name.into(),
        streams: Arc::new(Semaphore::new(options.max_streams)),
        work: Arc::new(Semaphore::new(BLOCKING)),
    };
    let router = api::router(app);
    let places = Arc::new(Semaphore::new(options.max_connections));
    let (reader, stopped) = (Arc::clone(&feed), Arc::clone(&stop));
    let read = move || reader.run(&store, &stopped);
    let serve = move || {
        runtime.block_on(async move {
            tokio::select! {
                () = accept(listener, router, places) => {}
                _ = ended => {}
            }
        });
        runtime.shutdown_timeout(Duration::from_millis(200));
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    let mut running = Running { address, feed, stop, end: Some(end), threads: Vec::new() };
    running.threads.push(thread("ui-feed").spawn(read).map_err(UiError::Start)?);
    running.threads.push(thread("ui").spawn(serve).map_err(UiError::Start)?);
    Ok(running)
}

async fn accept(listener: std::net::TcpListener, router: Router, places: Arc<Semaphore>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "web page");
            return;
        }
    };
    loop {
        // Without a place nobody is let in; who waits, waits in the kernel.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(LIFE, converse(stream, router)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "web page");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router) {
    // Small events must not wait for more of them.
    let _ = stream.set_nodelay(true);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(
            TokioIo::new(Patient::new(stream, WRITE_PATIENCE)),
            TowerToHyperService::new(router),
        );
    if let Err(error) = served.await {
        tracing::debug!(%error, "web page");
    }
}
