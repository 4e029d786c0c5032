//! Peers written in Rust, on threads that have entered a pod's network.

pub(crate) mod payments;
pub(crate) mod sasl_broker;

use crate::support::Lab;

/// A server that ends with its handle.
pub(crate) struct Server {
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Server {
    /// Runs `serve` in a pod until the handle is gone: the sender's end is what `serve` is given the other end of.
    pub(crate) fn start<F>(
        lab: &Lab,
        pod: &str,
        serve: impl FnOnce(tokio::sync::oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()>,
    {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let _until_then = lab.pod(pod).netns().spawn(move || runtime().block_on(serve(stopped)));
        Self { _stop: stop }
    }
}

/// Runs a client in the pod of that name and answers what it answers.
#[track_caller]
pub(crate) fn ask<T: Send + 'static, F: Future<Output = T>>(
    lab: &Lab,
    client: impl FnOnce() -> F + Send + 'static,
) -> T {
    let thread = lab
        .pod("lab/client")
        .netns()
        .spawn(move || runtime().block_on(async { tokio::time::timeout(crate::kit::LIMIT, client()).await }));
    let entered = thread.join().expect("the client does not panic");
    entered.expect("in the pod").expect("the client is done in time")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
