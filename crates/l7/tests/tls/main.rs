//! The reader of TLS hellos: real conversations, hellos built by hand, an independent reader beside ours, hostile
//! bytes.

mod connection;
mod fuzz_smoke;
mod hellos;
mod oracle;
mod support;
