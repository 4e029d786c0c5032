//! UDP, ICMP echo, SCTP and the rest: who may begin, and what counts as an answer.

use super::tcp::{State, Step, Tracking};
use flowlog::DropReason;
use packet::icmp::is_echo_request;
use packet::{L4, Leg};

/// SCTP chunk types (RFC 9260 §3.2).
const INIT: u8 = 1;
const ABORT: u8 = 6;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Judges the first packet of a connection.
pub(super) fn open(l4: &L4, l4_proto: u8) -> Result<Tracking, DropReason> {
    match l4 {
        L4::Icmp(message) if !is_echo_request(l4_proto, message.kind) => Err(DropReason::UnrelatedIcmp),
        // RFC 9260 §8.5.1: an INIT carries tag zero, nothing else does.
        L4::Sctp(sctp) if sctp.first_chunk != INIT || sctp.tag != 0 => Err(DropReason::NotAConnection),
        L4::Fragment => Err(DropReason::FragmentUnknown),
        _ => Ok(Tracking::idle(State::Unreplied)),
    }
}

/// Follows a later packet.
pub(super) fn step(tracking: &mut Tracking, leg: Leg, l4: &L4, l4_proto: u8) -> Result<Step, DropReason> {
    match l4 {
        // A request against the connection would open one in a direction that policy was not asked about. The two
        // have different keys, so this never holds; it costs a comparison to be sure.
        L4::Icmp(message) if is_echo_request(l4_proto, message.kind) != (leg == Leg::Original) => {
            return Err(DropReason::UnrelatedIcmp);
        }
        L4::Sctp(sctp) if sctp.first_chunk == INIT => match (tracking.state, leg) {
            (State::Finished, _) => return Ok(Step::Reopen),
            (_, Leg::Reply) => return Err(DropReason::NotAConnection),
            _ => {}
        },
        L4::Sctp(_) if tracking.state == State::Finished => return Ok(Step::Ignored),
        L4::Sctp(sctp) if !tracking.tag_fits(leg, sctp.tag) => return Ok(Step::Ignored),
        L4::Sctp(sctp) if matches!(sctp.first_chunk, ABORT | SHUTDOWN_COMPLETE) => {
            tracking.state = State::Finished;
            return Ok(Step::Advanced);
        }
        _ => {}
    }
    if leg == Leg::Reply {
        tracking.state = State::Replied;
    }
    Ok(Step::Advanced)
}
