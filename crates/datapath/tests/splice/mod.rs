//! An inspected connection between two real TCP stacks, in memory and in simulated time.
//!
//! ```text
//!  client app          smoltcp ── link ─▶ ┌────────┐ ─ link ──▶ smoltcp          server app
//!  requests, judges    port 1             │ Worker │           port 2            checks, answers
//!  the responses               ◀─ link ── └────────┘ ◀─ link ──
//! ```
//!
//! * [`node`] the worker: two pods, and policy from real YAML
//! * [`stack`] a pod's TCP stack: one smoltcp interface and socket
//! * [`shift`] moves a stack's sequence numbers, so that they wrap where the test wants
//! * [`link`] loses, doubles, delays and reorders frames
//! * [`watch`] looks at every frame on both ports: bytes, windows, checksums, acknowledgements
//! * [`script`] the requests of one schedule and what each must be answered
//! * [`length`] whether little or much is said
//! * [`client`], [`server`] the two applications
//! * [`schedule`] everything that one seed decides; [`run`] plays it, [`many`] many of them
//!
//! Segment by segment instead: [`case`] reads conversations from `testdata/evasion`, [`raw`] says them, [`referee`]
//! compares what came.
//!
//! [`hostile`]: both ends try to get past.
#![allow(dead_code, unreachable_pub)]

pub mod case;
pub mod client;
pub mod hostile;
pub mod length;
pub mod link;
pub mod many;
pub mod node;
pub mod raw;
pub mod referee;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod script;
pub mod server;
pub mod shift;
pub mod stack;
pub mod watch;
