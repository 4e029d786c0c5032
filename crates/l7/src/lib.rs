//! Application protocols on one connection: bytes in, messages and decisions about byte ranges out. Pure: no packets,
//! no policy, no clock.
//!
//! [`inspector`] holds the contract between a protocol and the splicer that moves the bytes, [`judge`] that between a
//! protocol and policy. A protocol never sees a byte twice unless it asked for more, and never decides about a byte
//! that it has not seen, save for bytes whose content cannot matter (bodies).
#![forbid(unsafe_code)]

pub mod anomaly;
pub mod dns;
pub mod http;
pub mod http1;
pub mod http2;
pub mod inspector;
pub mod judge;
pub mod kafka;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;

pub use anomaly::Anomaly;
pub use inspector::{Context, End, Inspector, Settings, Side, Step};
pub use judge::{Judge, Learning};
