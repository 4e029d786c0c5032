//! The web page: service map, flow table, explanations. Knows the flow log, not the node service.
//!
//! ```text
//!   flowlog::Store ──▶ feed (own thread) ──▶ map: who talks to whom, bounded
//!                                        └─▶ recent: the last records, resolved once
//!   browser ──▶ server (own thread, one tokio runtime) ──▶ guard ──▶ api, stream, assets
//!                                                            └──▶ Node: explain, suggest, status
//! ```
//!
//! What the page cannot compute from records it asks of a [`Node`], which the node service implements. Everything that
//! comes from a browser or a packet is hostile: tables, connections, streams and requests have limits, every request is
//! checked in `guard`, and the page itself loads nothing from elsewhere and runs no inline script.

#![forbid(unsafe_code)]

mod api;
mod assets;
mod error;
mod explain;
mod feed;
mod guard;
mod io;
pub mod map;
mod names;
mod node;
mod past;
mod query;
mod recent;
mod row;
mod server;
mod stream;

pub use error::UiError;
pub use feed::{Feed, FeedStatus};
pub use guard::Token;
pub use names::{Group, NodeKind};
pub use node::{Considered, Node, SideExplanation};
pub use row::{FlowRow, Peer};
pub use server::{Options, Running, start};
