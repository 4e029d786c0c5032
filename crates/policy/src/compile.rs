//! Rules → one [`PolicyMap`](crate::PolicyMap) per endpoint.

pub(crate) mod merge;
pub(crate) mod sets;
