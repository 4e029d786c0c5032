//! The gRPC client and server of the comparisons: unary calls of 64 bytes, on plain HTTP/2.
//!
//! ```text
//! rpc_peer serve ADDRESS
//! rpc_peer call ADDRESS METHOD                    prints the grpc-status
//! rpc_peer ping ADDRESS METHOD SECONDS STREAMS    one connection; prints requests, time, latencies as JSON
//! ```

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, Response};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// A message of 64 bytes behind its prefix: not compressed, length (the gRPC wire format, "Length-Prefixed-Message").
const MESSAGE: &[u8; 69] = &{
    let mut message = [b'x'; 69];
    message[0] = 0;
    message[1] = 0;
    message[2] = 0;
    message[3] = 0;
    message[4] = 64;
    message
};

/// What a call ends with where policy refuses it.
const PERMISSION_DENIED: u32 = 7;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match words[..] {
            ["serve", address] => serve(address).await,
            ["call", address, method] => {
                println!("{}", call(&mut connect(address).await?, address, method).await?);
                Ok(())
            }
            ["ping", address, method, seconds, streams] => {
                ping(address, method, Duration::from_secs(seconds.parse()?), streams.parse()?).await
            }
            _ => bail!("rpc_peer serve ADDRESS | call ADDRESS METHOD | ping ADDRESS METHOD SECONDS STREAMS"),
        }
    })
}

async fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn_local(async move {
            // A client that goes away ends its own connection only.
            let _gone = converse(stream).await;
        });
    }
}

async fn converse(stream: TcpStream) -> Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        spawn_local(async move {
            let mut body = request.into_body();
            while let Some(piece) = body.data().await {
                body.flow_control().release_capacity(piece?.len())?;
            }
            let response = Response::builder().header("content-type", "application/grpc").body(())?;
            let mut stream = respond.send_response(response, false)?;
            stream.send_data(Bytes::from_static(MESSAGE), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers)?;
            anyhow::Ok(())
        });
    }
    Ok(())
}

async fn connect(address: &str) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = h2::client::handshake(stream).await?;
    spawn_local(async move {
        let _ended = connection.await;
    });
    Ok(client)
}

/// One call; its `grpc-status`.
async fn call(client: &mut SendRequest<Bytes>, address: &str, method: &str) -> Result<u32> {
    let request = Request::post(format!("http://{address}{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "rpc-peer/1")
        .body(())?;
    let mut ready = client.clone().ready().await?;
    let (response, mut body) = ready.send_request(request, false)?;
    body.send_data(Bytes::from_static(MESSAGE), true)?;
    let response = response.await?;
    ensure!(response.status() == 200, "status {}", response.status());
    let first = response.headers().get("grpc-status").cloned();
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        body.flow_control().release_capacity(piece?.len())?;
    }
    let last = body.trailers().await?.and_then(|trailers| trailers.get("grpc-status").cloned());
    let status = last.or(first).context("no grpc-status")?;
    Ok(status.to_str()?.parse()?)
}

async fn ping(address: &str, method: &str, time: Duration, streams: usize) -> Result<()> {
    let client = connect(address).await?;
    let taken = Rc::new(RefCell::new(Vec::<u32>::new()));
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let (mut client, taken) = (client.clone(), Rc::clone(&taken));
        let (address, method) = (address.to_owned(), method.to_owned());
        tasks.push(spawn_local(async move {
            while began.elapsed() < time {
                let sent = Instant::now();
                let status = call(&mut client, &address, &method).await?;
                ensure!(status != PERMISSION_DENIED, "refused");
                ensure!(status == 0, "grpc-status {status}");
                taken.borrow_mut().push(u32::try_from(sent.elapsed().as_nanos() / 100)?);
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let micros = began.elapsed().as_micros();
    let mut taken = taken.take();
    taken.sort_unstable();
    let at = |part: f64| f64::from(taken[((taken.len() - 1) as f64 * part) as usize]) / 10.0;
    ensure!(!taken.is_empty(), "no call ended");
    println!(
        "{{\"requests\":{},\"micros\":{micros},\"errors\":0,\"p50\":{:.1},\"p99\":{:.1}}}",
        taken.len(),
        at(0.5),
        at(0.99)
    );
    Ok(())
}
