//! Stage 3: is the L4 checksum right, still to be completed, or wrong?

use crate::ports::Port;
use flowlog::DropReason;
use packet::checksum::{self, ChecksumState};
use packet::{ChecksumRequest, Frame, Packet, PacketIo};

/// Checks the L4 checksum of a packet that arrived on `port`; answers what is left to be completed on the way out.
///
/// A wrong checksum is dropped and never repaired: whoever sends one on purpose wants us to believe a segment that
/// the receiver will not (Ptacek and Newsham, "Insertion, Evasion and Denial of Service", §5.1).
///
/// # Errors
/// [`DropReason::Checksum`].
pub fn verify<I: PacketIo>(
    io: &I,
    frame: &Frame,
    packet: &Packet,
    port: &Port,
) -> Result<Option<ChecksumRequest>, DropReason> {
    match checksum::classify(io, frame, packet, port.partial_checksums) {
        ChecksumState::Valid | ChecksumState::Absent => Ok(None),
        ChecksumState::Partial => checksum::request(packet).map(Some).ok_or(DropReason::Checksum),
        ChecksumState::Invalid => Err(DropReason::Checksum),
    }
}
