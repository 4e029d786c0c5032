//! Stage 3: is the L4 checksum right, still to be completed, or wrong?

use crate::ports::Port;
use flowlog::DropReason;
use packet::checksum::{self, ChecksumState};
use packet::{ChecksumRequest, Frame, Packet, PacketIo};

/// What is left to be done about a packet's L4 checksum before it may leave.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Completion {
    /// Nothing.
    None,
    /// The sending side can do it: sum to the end of the frame.
    OnSend(ChecksumRequest),
    /// It must be summed here: SCTP, or bytes behind the datagram that are not its own.
    Here,
}

/// Checks the L4 checksum of a packet that arrived on `port`; answers what is left to be completed on the way out.
///
/// A wrong checksum is dropped and never repaired: whoever sends one on purpose wants us to believe a segment that
/// the receiver will not (Ptacek and Newsham, "Insertion, Evasion and Denial of Service", §5.1).
///
/// # Errors
/// [`DropReason::Checksum`].
#[inline(always)]
pub fn verify<I: PacketIo>(
    io: &I,
    frame: &Frame,
    packet: &Packet,
    port: &Port,
) -> Result<Completion, DropReason> {
    match checksum::classify(io, frame, packet, port.partial_checksums) {
        ChecksumState::Valid | ChecksumState::Absent => Ok(Completion::None),
        ChecksumState::Partial => Ok(match checksum::request(packet) {
            Some(request) if packet.end as usize == frame.len() => Completion::OnSend(request),
            _ => Completion::Here,
        }),
        ChecksumState::Invalid => Err(DropReason::Checksum),
    }
}
