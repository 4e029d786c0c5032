//! What a client is told about a stream that the server never hears of.
//!
//! The block is put between two blocks of the server's, so it must leave the client's table as it is: its fields are
//! literals without indexing. One thing a block may owe: behind an acknowledged fall of the client's
//! SETTINGS_HEADER_TABLE_SIZE the next block must begin with a size update, whoever wrote it (RFC 7541 §4.2). We begin
//! with the one that the server owes; the server's own, which still comes, then finds nothing more to evict. Entries
//! that ours evicts would have been evicted by the server's before any reference to them.

use super::frame::{code, flag, kind, write_header, write_headers, write_reset};
use super::hpack::{literal, size_update};

/// The body of a refusal.
const BODY: &[u8] = b"Access denied\r\n";

/// Octets of DATA that a refusal with a body takes from the client's windows.
pub(super) const BODY_LEN: u32 = BODY.len() as u32;

/// How a stream is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// `:status 403`.
    Status,
    /// The same with a body, which takes [`BODY_LEN`] octets of window.
    StatusAndBody,
    /// A trailers-only answer with `grpc-status 7`, PERMISSION_DENIED.
    Grpc,
    /// RST_STREAM with PROTOCOL_ERROR: a malformed request (RFC 9113 §8.1.1).
    Reset,
    /// RST_STREAM with REFUSED_STREAM: beyond the streams that are followed. Nobody has acted on it, so the client may
    /// send it again (RFC 9113 §8.7), as gRPC does by itself.
    Later,
}

/// Writes the refusal of `stream`; `open` says that the client has more to send on it.
pub(super) fn write(refusal: Refusal, stream: u32, open: bool, owed: Option<u32>, out: &mut Vec<u8>) {
    match refusal {
        Refusal::Reset => return write_reset(stream, code::PROTOCOL_ERROR, out),
        Refusal::Later => return write_reset(stream, code::REFUSED_STREAM, out),
        Refusal::Status | Refusal::StatusAndBody | Refusal::Grpc => {}
    }
    let mut block = Vec::with_capacity(64);
    if let Some(size) = owed {
        size_update(size, &mut block);
    }
    match refusal {
        Refusal::Grpc => {
            literal(b":status", b"200", &mut block);
            literal(b"content-type", b"application/grpc", &mut block);
            literal(b"grpc-status", b"7", &mut block);
            literal(b"grpc-message", b"Access denied", &mut block);
        }
        _ => literal(b":status", b"403", &mut block),
    }
    let body = refusal == Refusal::StatusAndBody;
    if body {
        literal(b"content-type", b"text/plain", &mut block);
        literal(b"content-length", b"15", &mut block);
    }
    write_headers(&block, !body, stream, out);
    if body {
        write_header(BODY.len(), kind::DATA, flag::END_STREAM, stream, out);
        out.extend_from_slice(BODY);
    }
    if open {
        // RFC 9113 §8.1: the answer is complete, the rest of the request is not wanted.
        write_reset(stream, code::NO_ERROR, out);
    }
}
