//! What happened: events made by workers, records made for people.
//!
//! A worker writes one small `Copy` [`FlowEvent`] to its bounded ring on a new connection, a verdict, a drop and a
//! close; it never waits for a reader. Readers resolve names off the hot path: a [`Record`] is an event with names, in
//! the shape of Hubble's `flow.Flow`. Records go to a [`Store`], from which [`api::serve_observe`] answers clients.
#![forbid(unsafe_code)]

pub mod api;
pub mod detail;
mod drained;
pub mod drop_reason;
pub mod event;
pub mod filter;
pub mod format;
pub mod mask;
pub mod metrics;
pub mod record;
pub mod ring;
pub mod schema;
pub mod store;
mod summary;
#[cfg(test)]
mod testing;

pub use detail::{Detail, Message};
pub use drained::Drained;
pub use drop_reason::DropReason;
pub use event::{CloseReason, EventKind, FlowEvent, MessageVerdict, TraceReason, VerdictKind};
pub use filter::{Filters, FlowFilter};
pub use record::{Record, Resolver, Workload};
pub use ring::{EventReader, EventRing, EventWriter};
pub use store::Store;
pub use summary::drop_text;
