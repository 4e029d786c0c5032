//! The messages and services of `proto/`, as the build makes them.
//!
//! Names, field numbers and enum values are Hubble's; `tests/numbers.rs` compares them with a table.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::nursery)]
#![allow(rustdoc::all, deprecated)]

/// Flows, filters and agent events.
pub mod flow {
    include!(concat!(env!("OUT_DIR"), "/flow.rs"));
}

/// The state of nodes.
pub mod relay {
    include!(concat!(env!("OUT_DIR"), "/relay.rs"));
}

/// The Observer service.
pub mod observer {
    include!(concat!(env!("OUT_DIR"), "/observer.rs"));
}

/// Descriptors of all of the above, encoded: what reflection answers.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
