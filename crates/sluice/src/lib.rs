//! The parts of the sluice binary that its own end-to-end tests and benches use too.
//!
//! `main.rs` stays a thin shell over these modules; nothing here is a stable interface for other programs.

#![forbid(unsafe_code)]

pub mod demo;
pub mod testbed;
