//! The answer that a refused question gets.

use super::message::{Header, Opt, Question, TYPE_OPT};

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const CHECKING_DISABLED: u16 = 0x0010;
const RCODE_NXDOMAIN: u16 = 3;
const RCODE_REFUSED: u16 = 5;
/// Largest datagram that the answer's OPT offers to take (the value of the DNS flag day of 2020).
const PAYLOAD: u16 = 1232;

/// Appends the refusal of `message`: its question byte for byte (the case of its letters may be a check of the
/// client's), no records but an OPT if it had one. Recursion is claimed to be available where it is wanted, as
/// resolvers do, so that clients report the code and not a lack of recursion.
pub(crate) fn write(
    message: &[u8],
    header: Header,
    question: Option<Question>,
    opt: Option<Opt>,
    nxdomain: bool,
    out: &mut Vec<u8>,
) {
    let mut flags = RESPONSE | header.flags & (OPCODE | RECURSION_DESIRED);
    flags |= if nxdomain { RCODE_NXDOMAIN } else { RCODE_REFUSED };
    if question.is_some() {
        // RFC 4035 §3.2.2: the bit is copied.
        flags |= header.flags & CHECKING_DISABLED;
        if header.recursion_desired() {
            flags |= RECURSION_AVAILABLE;
        }
    }
    let counts = [u16::from(question.is_some()), 0, 0, u16::from(opt.is_some())];
    for word in [header.id, flags].into_iter().chain(counts) {
        out.extend_from_slice(&word.to_be_bytes());
    }
    if let Some(question) = question {
        out.extend_from_slice(question.bytes(message));
    }
    if let Some(opt) = opt {
        // RFC 6891 §6.1.2: root, type, payload, upper code and version, flags, no options.
        out.push(0);
        for word in [TYPE_OPT, PAYLOAD, 0, if opt.dnssec_ok { 0x8000 } else { 0 }, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}
