//! Why the page is not served.

use std::net::SocketAddr;

/// Why the page is not served.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    /// The address cannot be used.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A thread or the runtime cannot be made.
    #[error("start the web page: {0}")]
    Start(std::io::Error),
    /// No randomness to make a token of.
    #[error("no random numbers for a token: {0}")]
    Random(String),
    /// A token that can be guessed.
    #[error("a token needs at least {min} characters, letters, digits, `-`, `_`, `.` or `~`", min = crate::guard::MIN_TOKEN)]
    WeakToken,
}
