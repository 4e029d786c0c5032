//! Hubble's gRPC Observer API over the flow log, so that the stock client works.
//!
//! ```text
//!   flowlog::Store ──▶ stream (a blocking thread per client) ──▶ few responses in flight ──▶ tonic ──▶ client
//!                        select · mask · convert
//! ```
//!
//! A client that is slow holds up nobody but itself: its thread waits, the ring goes on, and what was overwritten
//! meanwhile is told as lost. Everything a client can ask for is bounded: connections, streams, the size of a request,
//! filters in it. A filter that is not understood is an error; it never means "everything".
//!
//! Not here: threads that make records, files, and what a node is: that is a [`Node`].
#![forbid(unsafe_code)]

pub mod agent;
mod connection;
pub mod convert;
pub mod filter;
pub mod mask;
mod node;
mod observer;
pub mod proto;
mod rate;
mod request;
mod schema;
mod serve;
mod stream;
mod time;

pub use agent::{AgentEvent, AgentLog};
pub use node::Node;
pub use observer::Observer;
pub use rate::Rate;
pub use request::Range;
pub use serve::{Listener, ServeError, Server, Tls, start};
