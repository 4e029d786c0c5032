//! Benches: `benches/*.rs` time single stages with criterion; `compare` measures whole conversations between pods
//! through the appliance, through the kernel, and through a forwarder that does nothing else.

pub mod bed;
pub mod frames;
pub mod idle;
pub mod netperf;
pub mod node;
pub mod report;
