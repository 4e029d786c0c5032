//! `toFQDNs`: names from DNS answers, the addresses behind them, and which conditions of rules these satisfy.
//!
//! ```text
//!   answer ──▶ Cache ──▶ addresses that gained or lost a name ──▶ engine: identities, IP cache
//!                │
//!                └── expired ──▶ grace ──▶ no connection any more? ──▶ forgotten
//! ```
//!
//! What one pod was told counts for every pod with a rule for that name. Nothing here looks at a clock: time is an
//! argument, in seconds since 1970, so that it survives a restart.

mod cache;
mod in_force;
mod saved;
mod selectors;
pub(crate) mod shards;

pub use cache::{Answer, Limits, Name, Record};
pub(crate) use cache::{Cache, MAX_TTL};
pub(crate) use in_force::Carrier;
pub use in_force::InForce;
pub use saved::{FqdnState, SavedAddress, SavedName};
pub(crate) use selectors::Selectors;

#[cfg(test)]
mod tests;
