//! DNS over both transports: conversations as data, what is remembered, an independent reader beside ours, hostile
//! bytes.

mod conversations;
mod fuzz_smoke;
mod oracle;
mod outstanding;
mod stream;
mod support;
