//! The HTTP endpoint: `GET /metrics`, and nothing else.
//!
//! A thread of its own, one page at a time. Whoever connects gets one answer and has only so long to ask for it and
//! to take it; how many may be connected and how much they may say is limited.

use super::plugins::Watched;
use crate::run::shared::Shared;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use flowlog::metrics::Format;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Connections at a time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 16;

/// Bytes of a request, which is the least that the library takes; and fields in it.
const MAX_REQUEST: usize = 8 << 10;
const MAX_HEADERS: usize = 32;

/// How long a connection may take from its beginning to its end.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked whether `metrics.yaml` changed.
const LOOK: Duration = Duration::from_secs(1);

/// Pause after the listener failed, for example because files are used up.
const PAUSE: Duration = Duration::from_millis(100);

/// The endpoint; dropping it stops it.
#[derive(Debug)]
pub struct Endpoint {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes metrics up as configured, serves them at `listen` (unless that is empty), and looks after `metrics.yaml`.
///
/// # Errors
/// When the configuration is wrong or the address cannot be listened on.
pub fn start(shared: &Arc<Shared>, config: &crate::config::Metrics) -> Result<Endpoint> {
    let (watched, plugins) = Watched::open(&shared.dir, config)?;
    shared.flows.set_metrics(&plugins, config.max_series);
    let listener = match config.address() {
        Some(address) => Some(bind(address)?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.context("start the metrics endpoint")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (shared, max_series) = (Arc::clone(shared), config.max_series);
    let serve = move || {
        runtime.block_on(async {
            let listener = listener.and_then(|listener| {
                let listener = tokio::net::TcpListener::from_std(listener);
                listener.inspect_err(|error| tracing::error!(%error, "metrics endpoint")).ok()
            });
            tokio::select! {
                _ = stopped => {}
                () = accept(listener, &shared) => {}
                () = look_after(watched, &shared, max_series) => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name("metrics".into()).spawn(serve);
    let thread = thread.context("start the metrics endpoint")?;
    Ok(Endpoint { stop: Some(stop), thread: Some(thread) })
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("metrics.listen: listen on {address}"))?;
    listener.set_nonblocking(true).context("metrics.listen")?;
    tracing::info!(%address, "metrics endpoint");
    Ok(listener)
}

async fn accept(listener: Option<tokio::net::TcpListener>, shared: &Arc<Shared>) {
    let Some(listener) = listener else { return std::future::pending().await };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = tokio::task::LocalSet::new();
    let taking = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "metrics endpoint");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let shared = Arc::clone(shared);
            tokio::task::spawn_local(async move {
                let _place = place;
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { Ok::<_, Infallible>(answer(&request, |format| super::text(&shared, format))) }
                });
                let talk = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .max_buf_size(MAX_REQUEST)
                    .max_headers(MAX_HEADERS)
                    .serve_connection(TokioIo::new(stream), service);
                match tokio::time::timeout(PATIENCE, talk).await {
                    Ok(Err(error)) => tracing::debug!(%error, "metrics client"),
                    Err(_) => tracing::debug!("metrics client takes too long"),
                    Ok(Ok(())) => {}
                }
            });
        }
    };
    tasks.run_until(taking).await;
}

/// What a request is answered.
fn answer<B>(request: &Request<B>, text: impl FnOnce(Format) -> Result<String>) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "only /metrics is served here\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
        return response;
    }
    let accept: Vec<&str> =
        request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    match text(format) {
        Ok(text) => {
            let mut response = Response::new(Full::new(Bytes::from(text)));
            let kind = header::HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => {
            tracing::warn!("metrics: {error:#}");
            plain(StatusCode::SERVICE_UNAVAILABLE, "the worker does not answer\n")
        }
    }
}

async fn look_after(mut watched: Watched, shared: &Shared, max_series: usize) {
    loop {
        tokio::time::sleep(LOOK).await;
        match watched.changed() {
            None => continue,
            Some(Ok(plugins)) => {
                shared.flows.set_metrics(&plugins, max_series);
                shared.set_metrics_config_errors(false);
                tracing::info!("metrics.yaml is in force");
            }
            Some(Err(error)) => {
                shared.set_metrics_config_errors(true);
                tracing::warn!("{error}; what it said before stays in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, target: &str, accept: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let request = request.body(()).expect("a request");
        let response = answer(&request, |format| match format {
            Format::Text => Ok("text".to_owned()),
            Format::OpenMetrics => anyhow::bail!("the worker hangs"),
        });
        let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        (response.status().as_u16(), kind)
    }

    #[test]
    fn only_get_metrics_is_served() {
        let page = "text/plain; version=0.0.4; charset=utf-8".to_owned();
        assert_eq!(asked("GET", "/metrics", None), (200, page.clone()));
        assert_eq!(asked("GET", "/metrics?x=y", Some("text/plain")), (200, page));
        assert_eq!(asked("GET", "/metrics", Some("application/openmetrics-text")).0, 503);
        assert_eq!(asked("HEAD", "/metrics", None).0, 405);
        assert_eq!(asked("POST", "/metrics", None).0, 405);
        for target in ["/", "/metrics/", "/metricsx", "/debug/pprof", "/%6detrics"] {
            assert_eq!(asked("GET", target, None).0, 404, "{target}");
        }
    }
}
