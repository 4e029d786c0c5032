//! TLS: the server name of a ClientHello.
//!
//! The client's first message is read, split over segments and records as it may be, and judged by its server name;
//! nothing of it leaves before. What was refused is reset without an alert, as Cilium's proxy does. Rules of this
//! reader:
//!
//! * The connection must start with TLS: a hello in the form of SSL 2, a protocol that turns to TLS later (PostgreSQL's
//!   `SSLRequest`, STARTTLS in mail) or a server that speaks first is [`Anomaly::TlsNotTls`](crate::Anomaly::TlsNotTls).
//! * A hello has at most [`MAX_HELLO`] bytes in at most [`MAX_HELLO_STREAM`] bytes of records, ends where a record
//!   ends, and is read to its last byte. An extension that is read may stand there once.
//! * The server name extension holds exactly one name, of type `host_name`, of letters, digits, `-`, `_` and single
//!   dots between labels of at most 63; a final dot is malformed (RFC 6066 §3). Its text is lower-case.
//! * Without the extension there is no name: policy is asked with none, and rules with names do not fit.
//! * With an `encrypted_client_hello` extension the name that is seen may be a cover, or the extension may be the random
//!   one that browsers send to everyone; policy is told of it and decides.
//! * A server may ask for a second hello (HelloRetryRequest), which RFC 8446 §4.1.2 requires to carry the same name.
//!   Servers may read it anew, so nothing else is trusted to keep to that: until the server's first message says
//!   which it is, the client's early data passes and its handshake messages are held; a second hello must
//!   show the same name and the same kind of hello as the first, else the connection ends. Then everything passes.
//!
//! A name in a hello proves nothing about who answers: rules that need that bind the address too (`toFQDNs`).

mod hello;
mod inspector;
mod record;
#[cfg(feature = "testing")]
pub mod testing;

pub use hello::{MAX_HELLO, client_hello};
pub use inspector::Tls;
pub use record::MAX_HELLO_STREAM;

/// What a ClientHello says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TlsHello<'a> {
    /// Server name, lower-case; `None` if there is none.
    pub server_name: Option<&'a str>,
    /// Whether it carries an encrypted hello (ECH), so that the name may be a cover.
    pub encrypted: bool,
}
