//! A real HTTP/2 client and a real server (the `h2` crate), with the inspector between them over pipes in memory:
//! many streams, every third refused, bodies both ways, trailers, gRPC. What is checked is what the two ends see; that
//! they go on at all shows that compression, flow control and stream numbers stayed right for both.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, client, server};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;

use l7::http2::Http2;
use l7::testing::Recorder;
use l7::{Context, End, Inspector, Settings, Side, Step};

/// Room of each pipe, more than the windows below let anybody send.
const PIPE: usize = 8 << 20;

/// Streams that the client keeps open at once.
const AT_ONCE: u32 = 50;

/// One stream between the ends.
#[derive(Default)]
struct Half {
    at_hand: Vec<u8>,
    decided: VecDeque<Decided>,
    out: Vec<u8>,
    asleep: bool,
}

enum Decided {
    Pass(u64),
    Swallow(u64),
    Inject(Vec<u8>),
}

impl Half {
    fn drain(&mut self) {
        while let Some(next) = self.decided.front_mut() {
            let (left, keep) = match next {
                Decided::Inject(bytes) => {
                    self.out.append(bytes);
                    self.decided.pop_front();
                    continue;
                }
                Decided::Pass(left) => (left, true),
                Decided::Swallow(left) => (left, false),
            };
            let len = usize::try_from(*left).unwrap_or(usize::MAX).min(self.at_hand.len());
            *left -= len as u64;
            let done = *left == 0;
            let taken = self.at_hand.drain(..len);
            if keep {
                self.out.extend(taken);
            }
            if !done {
                return;
            }
            self.decided.pop_front();
        }
    }
}

/// The splicer, without packets.
struct Splice {
    inspector: Http2,
    judge: Recorder,
    settings: Settings,
    client: Half,
    server: Half,
    end: Option<End>,
    /// Octets are shown in pieces of at most this size.
    piece: usize,
}

impl Splice {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn send(&mut self, side: Side, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            let half = self.half(side);
            half.at_hand.extend_from_slice(piece);
            half.asleep = false;
            while self.end.is_none() && (self.feed(Side::Client) | self.feed(Side::Server)) {}
        }
    }

    /// One step of a side; whether it made one.
    fn feed(&mut self, side: Side) -> bool {
        let half = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        half.drain();
        if half.asleep || self.end.is_some() {
            return false;
        }
        let shown = if half.decided.is_empty() { half.at_hand.as_slice() } else { &[] };
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        let mut cx = Context {
            judge: &mut self.judge,
            now: 1,
            settings: &self.settings,
            to_client: &mut to_client,
            to_server: &mut to_server,
        };
        let step = self.inspector.feed(side, shown, &mut cx);
        if !to_client.is_empty() {
            self.server.decided.push_back(Decided::Inject(to_client));
        }
        if !to_server.is_empty() {
            self.client.decided.push_back(Decided::Inject(to_server));
        }
        match step {
            Step::NeedMore | Step::Wait => self.half(side).asleep = true,
            Step::Pass { counted, free } => {
                self.half(side).decided.push_back(Decided::Pass(counted as u64 + free));
                self.half(side.opposite()).asleep = false;
            }
            Step::Swallow { len } => {
                self.half(side).decided.push_back(Decided::Swallow(len));
                self.half(side.opposite()).asleep = false;
            }
            Step::End(end) => self.end = Some(end),
        }
        self.client.drain();
        self.server.drain();
        !self.half(side).asleep
    }
}

/// Moves octets between the two ends until both are gone.
async fn relay(mut client: DuplexStream, mut server: DuplexStream, mut splice: Splice) -> Splice {
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => splice.send(Side::Client, &from_client[..len]),
            },
            read = server.read(&mut from_server) => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => splice.send(Side::Server, &from_server[..len]),
            },
        }
        let (to_server, to_client) =
            (std::mem::take(&mut splice.client.out), std::mem::take(&mut splice.server.out));
        if server.write_all(&to_server).await.is_err() | client.write_all(&to_client).await.is_err()
            || splice.end.is_some()
        {
            break;
        }
    }
    splice
}

/// What a run is like.
#[derive(Copy, Clone)]
struct Run {
    streams: u32,
    piece: usize,
    /// Octets of a request's body, on every second request.
    body: usize,
    /// The client's header table, as it tells the server.
    client_table: u32,
    /// The server's header table, as it tells the client.
    server_table: u32,
}

fn denied(number: u32) -> bool {
    number % 3 == 2
}

/// Request `number`: fields that repeat, some that nearly do, some that never do.
fn request(number: u32) -> Request<()> {
    let path = format!("/{}/{}?n={number}", if denied(number) { "denied" } else { "allowed" }, number % 7);
    let mut request = Request::builder()
        .method(if number.is_multiple_of(2) { "POST" } else { "GET" })
        .uri(format!("http://orders.default:8080{path}"))
        .header("user-agent", "peers/1.0")
        .header("x-request", number.to_string())
        .header("x-shard", format!("{:032}", number % 13))
        .header("authorization", if number.is_multiple_of(5) { "one" } else { "two" });
    if number.is_multiple_of(4) {
        request = request.header("content-type", "application/grpc+proto").header("te", "trailers");
    }
    if number.is_multiple_of(11) {
        request = request.header("x-long", "long ".repeat(200 + number as usize % 400).trim_end());
    }
    request.body(()).expect("a request")
}

/// Some are larger than a window. None is empty: the client calls many of those a flood.
fn response_len(number: u32) -> usize {
    if number.is_multiple_of(997) { 100_000 } else { 1 + number as usize % 50 }
}

async fn serve(io: DuplexStream, run: Run) -> u32 {
    let mut connection = server::Builder::new()
        .header_table_size(run.server_table)
        .max_concurrent_streams(1_000)
        .handshake::<_, Bytes>(io)
        .await
        .expect("handshake");
    let mut served = 0;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.expect("the client goes on");
        served += 1;
        tokio::spawn(async move {
            let path = request.uri().path_and_query().expect("path").as_str().to_owned();
            assert!(path.starts_with("/allowed/"), "{path} came through");
            let number: u32 = request.headers()["x-request"].to_str().expect("text").parse().expect("number");
            let (expected, ()) = self::request(number).into_parts();
            for (name, value) in &expected.headers {
                assert_eq!(request.headers().get(name), Some(value), "request {number}");
            }
            let received = drain(request.into_body()).await;
            let head = Response::builder().header("x-path", path).header("x-received", received).body(());
            let mut body = respond.send_response(head.expect("a response"), false).expect("sent");
            let len = response_len(number);
            let grpc = number.is_multiple_of(4);
            let _ = body.send_data(Bytes::from(vec![b'd'; len]), !grpc);
            if grpc {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().expect("value"));
                let _ = body.send_trailers(trailers);
            }
        });
    }
    served
}

async fn drain(mut body: RecvStream) -> usize {
    let mut len = 0;
    while let Some(data) = body.data().await {
        let Ok(data) = data else { break };
        len += data.len();
        let _ = body.flow_control().release_capacity(data.len());
    }
    len
}

/// Makes request `number` and checks what comes back.
async fn ask(mut sender: client::SendRequest<Bytes>, number: u32, run: Run) {
    let grpc = number.is_multiple_of(4);
    let with_body = number.is_multiple_of(2);
    let (response, mut body) = sender.send_request(request(number), !with_body).expect("sent");
    if with_body {
        let _ = body.send_data(Bytes::from(vec![b'u'; run.body]), !number.is_multiple_of(8));
        if number.is_multiple_of(8) {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", number.to_string().parse().expect("value"));
            let _ = body.send_trailers(trailers);
        }
    }
    let response = response.await.unwrap_or_else(|error| panic!("request {number}: {error}"));
    let status = response.status();
    let headers = response.headers().clone();
    let mut response = response.into_body();
    let mut received = 0;
    while let Some(data) = response.data().await {
        let data = data.unwrap_or_else(|error| panic!("request {number}: {error}"));
        received += data.len();
        response.flow_control().release_capacity(data.len()).expect("credit");
    }
    if !denied(number) {
        assert_eq!(status, StatusCode::OK, "request {number}");
        assert_eq!(headers["x-received"], (if with_body { run.body } else { 0 }).to_string().as_str());
        assert_eq!(received, response_len(number), "request {number}");
        let trailers = response.trailers().await.expect("trailers");
        assert_eq!(trailers.is_some(), grpc, "request {number}");
    } else if grpc {
        assert_eq!((status, received), (StatusCode::OK, 0), "request {number}");
        assert_eq!(headers["grpc-status"], "7");
        assert_eq!(headers["grpc-message"], "Access denied");
        assert_eq!(headers["content-type"], "application/grpc");
    } else {
        assert_eq!(status, StatusCode::FORBIDDEN, "request {number}");
        assert!(received == 15 || received == 0, "request {number}: {received}");
    }
}

async fn talk(io: DuplexStream, run: Run) {
    let (mut sender, connection) = client::Builder::new()
        .header_table_size(run.client_table)
        .handshake::<_, Bytes>(io)
        .await
        .expect("handshake");
    let connection = tokio::spawn(connection);
    let mut asking = JoinSet::new();
    for number in 0..run.streams {
        if asking.len() >= AT_ONCE as usize {
            asking.join_next().await.expect("some").expect("answered");
        }
        sender = sender.ready().await.unwrap_or_else(|error| panic!("before {number}: {error}"));
        asking.spawn(ask(sender.clone(), number, run));
    }
    while let Some(asked) = asking.join_next().await {
        asked.expect("answered");
    }
    drop(sender);
    connection.await.expect("no panic").expect("an orderly end");
}

fn play(run: Run) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let played = tokio::task::LocalSet::new().block_on(&runtime, async {
        let (client_end, client) = duplex(PIPE);
        let (server_end, server) = duplex(PIPE);
        let splice = Splice {
            inspector: Http2::new(&Settings::default()),
            judge: Recorder::http(|request| !request.path.starts_with(b"/denied/")),
            settings: Settings::default(),
            client: Half::default(),
            server: Half::default(),
            end: None,
            piece: run.piece,
        };
        let relay = tokio::task::spawn_local(relay(client, server, splice));
        let serve = tokio::spawn(serve(server_end, run));
        tokio::time::timeout(Duration::from_secs(300), talk(client_end, run))
            .await
            .expect("nobody waits for ever");
        let splice = relay.await.expect("no panic");
        serve.abort();
        splice
    });
    assert_eq!(played.end, None);
    let told = |what: &str| played.judge.told.iter().filter(|line| line.starts_with(what)).count() as u32;
    let refused = (0..run.streams).filter(|&number| denied(number)).count() as u32;
    assert_eq!(told("deny HTTP/2"), refused);
    assert_eq!(told("allow HTTP/2"), run.streams - refused);
    assert_eq!(told("response HTTP/2 200"), run.streams - refused);
    let grpc = (0..run.streams).filter(|&number| !denied(number) && number.is_multiple_of(4)).count();
    assert_eq!(played.judge.told.iter().filter(|line| line.contains("grpc-status=0")).count(), grpc);
}

const USUAL: Run =
    Run { streams: 2_000, piece: 1_448, body: 3_000, client_table: 4_096, server_table: 4_096 };

#[test]
fn every_third_stream_refused() {
    play(USUAL);
}

#[test]
fn in_small_pieces() {
    play(Run { streams: 200, piece: 7, ..USUAL });
    play(Run { streams: 60, piece: 1, ..USUAL });
}

#[test]
fn header_tables_of_many_sizes() {
    for (client_table, server_table) in [(0, 0), (100, 8_192), (65_536, 200), (1 << 20, 1 << 20)] {
        play(Run { streams: 500, client_table, server_table, ..USUAL });
    }
}

/// Stream numbers of hours. Bodies of refused streams come to thousands of connection windows, and so do bodies of
/// refusals.
#[test]
fn a_hundred_thousand_streams() {
    play(Run { streams: 100_000, piece: 16_384, body: 1_000, ..USUAL });
}
