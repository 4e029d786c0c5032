//! The static table of RFC 7541 Appendix A.

/// Index of the first entry of the dynamic table.
pub(super) const FIRST_DYNAMIC: usize = STATIC.len() + 1;

/// Name and value of each entry; the first has index 1.
#[rustfmt::skip]
pub(super) static STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// What the table has of a field.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Name and value, at this index.
    Field(usize),
    /// The name, first at this index.
    Name(usize),
    /// Nothing.
    Nothing,
}

/// Looks a field up.
pub(super) fn find(name: &[u8], value: &[u8]) -> Found {
    let mut found = Found::Nothing;
    for (at, entry) in STATIC.iter().enumerate() {
        if entry.0 == name {
            if entry.1 == value {
                return Found::Field(at + 1);
            }
            if found == Found::Nothing {
                found = Found::Name(at + 1);
            }
        }
    }
    found
}
