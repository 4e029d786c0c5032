//! The payment service with tonic: what a code generator would write, by hand.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tonic::body::Body;
use tonic::client::Grpc as Caller;
use tonic::codegen::http::{self, uri::PathAndQuery};
use tonic::codegen::{Context, Poll, Service};
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The message of every method.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Payment {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint64, tag = "2")]
    pub(crate) number: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) data: Vec<u8>,
}

impl Payment {
    pub(crate) fn new(text: &str, number: u64) -> Self {
        Self { text: text.to_owned(), number, data: Vec::new() }
    }
}

type Codec = ProstCodec<Payment, Payment>;
type Answers = futures_util::stream::BoxStream<'static, Result<Payment, Status>>;

/// The service, and how often each method was called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payments(Arc<Mutex<BTreeMap<String, u32>>>);

impl Payments {
    /// How often each method was called, and `SlowEndedEarly` for calls that their client gave up.
    pub(crate) fn seen(&self) -> BTreeMap<String, u32> {
        self.0.lock().expect("no panic").clone()
    }

    fn count(&self, what: &str) {
        *self.0.lock().expect("no panic").entry(what.to_owned()).or_default() += 1;
    }

    /// Serves on a port of both families until it is told to stop.
    pub(crate) async fn serve(self, port: u16, stop: tokio::sync::oneshot::Receiver<()>) {
        let stopped = async { drop(stop.await) };
        tonic::transport::Server::builder()
            .max_concurrent_streams(Some(5_000))
            .add_service(self)
            .serve_with_shutdown(([0_u16; 8], port).into(), stopped)
            .await
            .expect("it serves");
    }
}

impl NamedService for Payments {
    const NAME: &'static str = "payments.PaymentService";
}

/// A method by a function.
struct Method<F>(F);

impl<F, M, R, Answer> Service<M> for Method<F>
where
    F: FnMut(M) -> Answer,
    Answer: Future<Output = Result<R, Status>>,
{
    type Response = R;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: M) -> Answer {
        (self.0)(message)
    }
}

impl Service<http::Request<Body>> for Payments {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            service.count(&method);
            let mut grpc = Grpc::new(Codec::default());
            Ok(match method.as_str() {
                "AuthorizePayment" => grpc.unary(Method(authorize), request).await,
                "Slow" => grpc.unary(Method(move |asked| slow(service.clone(), asked)), request).await,
                "List" => grpc.server_streaming(Method(list), request).await,
                "Collect" => grpc.client_streaming(Method(collect), request).await,
                "Chat" => grpc.streaming(Method(chat), request).await,
                _ => Status::unimplemented(method).into_http(),
            })
        })
    }
}

/// Says back in its trailers how much came as metadata, and sends as much.
async fn authorize(request: Request<Payment>) -> Result<Response<Payment>, Status> {
    let asked = request.metadata().get("x-long").cloned();
    let Payment { text, number, .. } = request.into_inner();
    let mut response = Response::new(Payment::new(&format!("authorized {text}"), number));
    if let Some(long) = asked {
        response.metadata_mut().insert("x-long-back", long);
    }
    Ok(response)
}

async fn slow(service: Payments, _request: Request<Payment>) -> Result<Response<Payment>, Status> {
    struct Early(Option<Payments>);
    impl Drop for Early {
        fn drop(&mut self) {
            if let Some(service) = self.0.take() {
                service.count("SlowEndedEarly");
            }
        }
    }
    let mut early = Early(Some(service));
    tokio::time::sleep(Duration::from_secs(30)).await;
    early.0 = None;
    Ok(Response::new(Payment::new("slow", 0)))
}

async fn list(request: Request<Payment>) -> Result<Response<Answers>, Status> {
    let count = request.into_inner().number;
    Ok(Response::new(stream::iter((0..count).map(|number| Ok(Payment::new("item", number)))).boxed()))
}

async fn collect(request: Request<Streaming<Payment>>) -> Result<Response<Payment>, Status> {
    let add = |sum: u64, one: Payment| async move { Ok::<u64, Status>(sum + one.data.len() as u64) };
    let sum = request.into_inner().try_fold(0, add).await?;
    Ok(Response::new(Payment::new("collected", sum)))
}

async fn chat(request: Request<Streaming<Payment>>) -> Result<Response<Answers>, Status> {
    let back = request.into_inner().map_ok(|one| Payment::new(&format!("re {}", one.text), one.number));
    Ok(Response::new(back.boxed()))
}

/// Calls the service over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Client(Caller<Channel>);

impl Client {
    pub(crate) async fn connect(url: String) -> Self {
        let endpoint = Endpoint::from_shared(url).expect("a URL").buffer_size(8_192);
        Self(Caller::new(endpoint.connect().await.expect("connected")))
    }

    async fn ready(&mut self) {
        self.0.ready().await.expect("the connection lives");
    }

    pub(crate) async fn unary(
        &mut self,
        method: &str,
        request: Request<Payment>,
    ) -> Result<Response<Payment>, Status> {
        self.ready().await;
        self.0.unary(request, path(method), Codec::default()).await
    }

    /// The answers to one message.
    pub(crate) async fn list(&mut self, method: &str, count: u64) -> Result<Vec<u64>, Status> {
        self.ready().await;
        let request = Request::new(Payment::new("all", count));
        let answers = self.0.server_streaming(request, path(method), Codec::default()).await?.into_inner();
        answers.map_ok(|one: Payment| one.number).try_collect().await
    }

    /// The answer to many messages.
    pub(crate) async fn collect(
        &mut self,
        method: &str,
        messages: impl Stream<Item = Payment> + Send + 'static,
    ) -> Result<u64, Status> {
        self.ready().await;
        let answer = self.0.client_streaming(Request::new(messages), path(method), Codec::default()).await?;
        Ok(answer.into_inner().number)
    }

    /// The answers to many messages, as they come.
    pub(crate) async fn chat(
        &mut self,
        method: &str,
        messages: impl Stream<Item = Payment> + Send + 'static,
    ) -> Result<Streaming<Payment>, Status> {
        self.ready().await;
        Ok(self.0.streaming(Request::new(messages), path(method), Codec::default()).await?.into_inner())
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/payments.PaymentService/{method}").parse().expect("a path")
}
