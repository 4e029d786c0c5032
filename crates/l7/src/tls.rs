//! TLS: the server name of a ClientHello.

/// What a ClientHello says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TlsHello<'a> {
    /// Server name, lower-case; `None` if there is none.
    pub server_name: Option<&'a str>,
    /// Whether it carries an encrypted hello (ECH), so that the name may be a cover.
    pub encrypted: bool,
}
