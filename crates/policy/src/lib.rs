//! Identity-based policy: what users write, compiled to what a packet asks.
//!
//! A packet asks one question per side, `(direction, peer identity, protocol, port)`, of the [`PolicyMap`] of the
//! endpoint on that side. The answer is a [`Verdict`]: a [`Permit`] is proof that some rule (or the absence of
//! enforcement) allowed it, a [`Denial`] says which rule or which default deny did not. Everything a packet may
//! ask is in one immutable [`PolicySnapshot`], built off the hot path and swapped whole.
#![forbid(unsafe_code)]

pub(crate) mod compile;
pub mod conformance;
pub mod direction;
pub mod document;
pub mod engine;
pub mod explain;
pub mod fqdn;
pub mod identity;
pub mod inventory;
pub mod ip_cache;
pub mod l7;
pub mod label;
pub mod lint;
pub mod map;
pub mod provenance;
pub mod re2;
pub mod rule;
pub mod selector;
pub mod snapshot;
mod suggest;
mod validate;
pub mod verdict;
mod yaml;

pub use direction::Direction;
pub use engine::directory::{Directory, Workload, WorkloadKind};
pub use engine::{EnforcementMode, Engine, Options, Quarantine};
pub use identity::{Identity, IdentityState};
pub use ip_cache::IpCache;
pub use l7::{L7Kind, L7RuleSet, L7Table};
pub use map::{MapBuilder, MapEntry, PolicyMap};
pub use provenance::{Provenance, RuleId, RuleTable};
pub use snapshot::{Endpoint, EndpointId, PolicySnapshot};
pub use verdict::{Denial, DenyReason, L7RuleSetId, Permit, Verdict};
