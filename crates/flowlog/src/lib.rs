//! What happened: events made by workers, records made for people.
//!
//! A worker writes one small `Copy` [`FlowEvent`] to its bounded ring on a new connection, a verdict, a drop and a
//! close; it never waits for a reader. Readers resolve names off the hot path.
#![forbid(unsafe_code)]

pub mod drop_reason;
pub mod event;
pub mod ring;

pub use drop_reason::DropReason;
pub use event::{CloseReason, EventKind, FlowEvent, TraceReason, VerdictKind};
