//! Rules → one [`PolicyMap`](crate::PolicyMap) per endpoint.

pub(crate) mod merge;
pub(crate) mod rules;
pub(crate) mod sets;
