//! An HTTP/1 server in Rust (hyper) on a thread that has entered a pod's network. It reads every request's body, answers
//! 200, and writes down what it was asked, one a line: `METHOD TARGET`.

use std::fs::{File, OpenOptions};
use std::future::poll_fn;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::Lab;

/// The server; it ends with its handle.
pub(crate) struct Hyper {
    _stop: oneshot::Sender<()>,
}

/// Starts it in a pod on each of the ports.
pub(crate) fn start(lab: &Lab, pod: &str, ports: [u16; 2], log: &Path) -> Hyper {
    let log = Arc::new(OpenOptions::new().create(true).append(true).open(log).expect("a log"));
    let (stop, stopped) = oneshot::channel::<()>();
    let _until_then = lab.pod(pod).netns().spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for port in ports {
                tokio::spawn(serve(port, Arc::clone(&log)));
            }
            drop(stopped.await);
        });
    });
    Hyper { _stop: stop }
}

async fn serve(port: u16, log: Arc<File>) {
    let listener = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)).await.expect("a free port");
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(talk(stream, Arc::clone(&log)));
    }
}

async fn talk(stream: TcpStream, log: Arc<File>) {
    let answer = service_fn(|request| answer(request, Arc::clone(&log)));
    // What ends a connection is the client's affair: most of them send what is no HTTP.
    let _ended =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, log: Arc<File>) -> Result<Response<String>, hyper::Error> {
    let line = format!("{} {}\n", request.method(), request.uri());
    log.as_ref().write_all(line.as_bytes()).expect("a log that can be written");
    let mut body = request.into_body();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        frame?;
    }
    Ok(Response::new("served\n".to_owned()))
}
