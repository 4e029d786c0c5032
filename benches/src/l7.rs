//! Messages that a policy reads: through the appliance with and without L7 rules, through proxies with the same rules,
//! and through nothing.

pub mod aims;
pub mod envoy;
pub mod gate;
pub mod haproxy;
pub mod nginx;
pub mod proxy;
pub mod rules;
pub mod sample;
pub mod speech;
