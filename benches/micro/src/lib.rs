//! What the benches share. They need no privileges and build without the kernel program: the comparison between pods in
//! network namespaces is the package above.

#![forbid(unsafe_code)]

pub mod crowd;
pub mod fleet;
pub mod machine;
pub mod node;
pub mod ratio;
pub mod scaling;
pub mod spread;
pub mod web;
