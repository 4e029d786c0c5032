//! HTTP/1.0 and HTTP/1.1 on one connection.

use crate::anomaly::Anomaly;
use crate::inspector::{Context, End, Inspector, Side, Step};

/// One connection.
#[derive(Debug, Default)]
pub struct Http1 {}

impl Http1 {
    /// A connection on which nothing was said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Inspector for Http1 {
    fn feed(&mut self, _side: Side, bytes: &[u8], _cx: &mut Context<'_>) -> Step {
        if bytes.is_empty() {
            return Step::NeedMore;
        }
        Step::End(End::Anomaly(Anomaly::HttpNotHttp))
    }

    fn finish(&mut self, _side: Side, _undecided: usize, _cx: &mut Context<'_>) -> Option<End> {
        None
    }
}
