//! Messages that a policy reads: through the appliance with and without L7 rules, through a proxy with the same rules,
//! and through nothing.

pub mod cpu;
pub mod envoy;
pub mod gate;
pub mod report;
pub mod rules;
pub mod sample;
pub mod speech;
