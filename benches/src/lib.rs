//! The comparison harness: `compare` measures whole conversations between pods through the appliance, through the kernel,
//! and through a forwarder that does nothing else; `compare_l7` measures messages through L7 rules. Benches of single
//! stages are in `micro`.

pub mod bed;
pub mod frames;
pub mod idle;
pub mod l7;
pub mod netperf;
pub mod report;
