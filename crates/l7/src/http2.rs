//! HTTP/2 on one connection.

pub mod hpack;

use crate::anomaly::Anomaly;
use crate::inspector::{Context, End, Inspector, Settings, Side, Step};

/// HTTP/2 over cleartext, from the client's preface on.
#[derive(Debug)]
pub struct Http2 {
    _settings: Settings,
}

impl Http2 {
    /// A connection of which nothing was seen yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { _settings: *settings }
    }
}

impl Inspector for Http2 {
    fn feed(&mut self, _side: Side, _bytes: &[u8], _cx: &mut Context<'_>) -> Step {
        Step::End(End::Anomaly(Anomaly::Http2Preface))
    }

    fn finish(&mut self, _side: Side, _undecided: usize, _cx: &mut Context<'_>) -> Option<End> {
        None
    }
}
