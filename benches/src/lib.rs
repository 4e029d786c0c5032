//! The comparison harness: `compare` measures whole conversations between pods through the appliance, through the kernel
//! with and without rules, and through forwarders that do nothing else; `compare_l7` measures messages through L7 rules;
//! `bench_report` writes what they found. Benches of single stages are in `micro`.

pub mod aims;
pub mod axis;
pub mod bed;
pub mod chart;
pub mod contender;
pub mod cpu;
pub mod entries;
pub mod frames;
pub mod idle;
pub mod l7;
pub mod netperf;
pub mod page;
pub mod peers;
pub mod report;
pub mod sample;
pub mod scaling;
