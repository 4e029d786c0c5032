//! Records that somebody keeps beyond memory.

use super::ObserveRequest;
use crate::filter::FilterError;
use crate::record::Record;
use crate::store::Cursor;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Takes a record; breaks when it has enough.
pub type Visit<'a> = &'a mut dyn FnMut(Arc<Record>) -> ControlFlow<()>;

/// What is kept and what is in memory, as one: each record once and in order. Calls may take long.
pub trait Past: Send + Sync {
    /// Hands the records that `request` asks for to `visit`, oldest first, until it has enough or `stop` says that nobody
    /// waits for more. Answers where in the flow log whoever follows goes on.
    ///
    /// # Errors
    ///
    /// A filter that cannot be read.
    fn read(
        &self,
        request: &ObserveRequest,
        stop: &dyn Fn() -> bool,
        visit: Visit<'_>,
    ) -> Result<Cursor, FilterError>;

    /// The same, newest first; the counts of the request are the caller's.
    ///
    /// # Errors
    ///
    /// A filter that cannot be read.
    fn newest(
        &self,
        request: &ObserveRequest,
        stop: &dyn Fn() -> bool,
        visit: Visit<'_>,
    ) -> Result<(), FilterError>;
}
