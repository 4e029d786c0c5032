//! Connections, forwarding and the pipeline: all the logic of the appliance, generic over where frames come from.
//!
//! The journey of a frame, one file a stage:
//!
//! | stage | file | answers |
//! |---|---|---|
//! | parse | [`packet::parse()`] | what it is, or why it is nothing |
//! | classify | [`classify`] | answer, ignore, refuse, or track |
//! | verify | [`verify`] | is the L4 checksum right |
//! | track | [`track`], [`conntrack`], [`fragments`] | which connection, in which state |
//! | judge | [`judge`] | may it exist, by which rule |
//! | inspect | `inspect`, `splice` | may this message pass; where do its bytes go |
//! | act | [`act`] | forward, answer, drop; consumes the frame |
//!
//! [`pipeline::Pipeline::process`] lists them; [`worker::Worker::poll_once`] feeds it bursts. No clock, no randomness,
//! no sockets, no files: time and seeds are arguments.
#![forbid(unsafe_code)]

pub mod act;
mod answer;
pub mod budget;
pub mod classify;
pub mod config;
pub mod conntrack;
pub mod events;
pub mod fleet;
pub mod fragments;
mod inspect;
pub mod judge;
pub mod learn;
pub mod pipeline;
pub mod ports;
pub mod snapshot;
mod splice;
pub mod stats;
mod sweep;
pub mod tap;
pub mod track;
pub mod verify;
pub mod worker;

pub use config::{DatapathConfig, DenyResponse};
pub use snapshot::{Gateway, SharedSnapshot, Snapshot};
pub use worker::Worker;
