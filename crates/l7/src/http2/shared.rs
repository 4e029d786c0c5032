//! Frames that both sides send and that mean the same from either.

use super::flood;
use super::frame::{
    FrameHeader, MIN_MAX_FRAME, Violation, flag, kind, number, write_header, write_window_update,
};
use super::peer::{MAX_SETTINGS, SETTING, must_bound, write_bounded};
use super::{Http2, pass, swallow};
use crate::inspector::{Context, Side, Step};

impl Http2 {
    pub(super) fn settings(
        &mut self,
        side: Side,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if head.stream != 0 {
            return Err(Violation::PROTOCOL);
        }
        let len = head.len as usize;
        if !len.is_multiple_of(SETTING) || (head.has(flag::ACK) && len != 0) {
            return Err(Violation::FRAME_SIZE);
        }
        if len > MAX_SETTINGS * SETTING {
            return Err(Violation::FLOOD);
        }
        if head.has(flag::ACK) {
            self.settings_acknowledged(side)?;
            return Ok(pass(head));
        }
        let Some(payload) = head.payload(bytes) else { return Ok(Step::NeedMore) };
        let peer = self.peer(side);
        let first = !peer.started;
        if !first {
            peer.idle.charge(cx.now)?;
        }
        let values = peer.announce(payload, side)?;
        peer.started = true;
        self.peer(side.opposite()).blocks.decoder().announced(values.header_table);
        if !must_bound(payload, side, first) {
            return Ok(pass(head));
        }
        // One frame for one frame: the acknowledgement is that of the frame that is swallowed.
        let out = match side {
            Side::Client => &mut *cx.to_server,
            Side::Server => &mut *cx.to_client,
        };
        let mut said = Vec::with_capacity(len + SETTING);
        write_bounded(payload, side, first, &mut said);
        write_header(said.len(), kind::SETTINGS, 0, 0, out);
        out.append(&mut said);
        Ok(swallow(head))
    }

    /// `side` acknowledges the other side's oldest settings.
    fn settings_acknowledged(&mut self, side: Side) -> Result<(), Violation> {
        let other = self.peer(side.opposite());
        let values = other.acknowledge().ok_or(Violation::PROTOCOL)?;
        let (_, largest) = other.header_table();
        self.peer(side).blocks.decoder().acknowledged(values.header_table, largest);
        if let (Side::Client, Some(encoder)) = (side, &mut self.encoder) {
            encoder.limit(values.header_table);
        }
        Ok(())
    }

    pub(super) fn ping(
        &mut self,
        side: Side,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if head.len != 8 {
            return Err(Violation::FRAME_SIZE);
        }
        if head.stream != 0 {
            return Err(Violation::PROTOCOL);
        }
        self.pass_idle(side, head, bytes, false, cx)
    }

    pub(super) fn goaway(head: FrameHeader, bytes: &[u8]) -> Result<Step, Violation> {
        if head.len < 8 || head.len > MIN_MAX_FRAME {
            return Err(Violation::FRAME_SIZE);
        }
        if head.stream != 0 {
            return Err(Violation::PROTOCOL);
        }
        Ok(if head.payload(bytes).is_some() { pass(head) } else { Step::NeedMore })
    }

    pub(super) fn priority(
        &mut self,
        side: Side,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if head.len != 5 {
            return Err(Violation::FRAME_SIZE);
        }
        if head.stream == 0 {
            return Err(Violation::PROTOCOL);
        }
        let hidden = side == Side::Client && self.hidden(head.stream);
        self.pass_idle(side, head, bytes, hidden, cx)
    }

    /// Frames of a type that nobody here knows must be ignored by whoever does not know it either (RFC 9113 §5.5).
    /// They are read whole, so that nothing is taken back that was judged, and so they are bounded.
    pub(super) fn unknown(
        &mut self,
        side: Side,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if head.len > MIN_MAX_FRAME {
            return Err(Violation::FRAME_SIZE);
        }
        let Some(payload) = head.payload(bytes) else { return Ok(Step::NeedMore) };
        let about = if head.kind == kind::PRIORITY_UPDATE { number(payload) } else { head.stream };
        let hidden = side == Side::Client && self.hidden(about);
        self.pass_idle(side, head, bytes, hidden, cx)
    }

    pub(super) fn window_update(
        &mut self,
        side: Side,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if head.len != 4 {
            return Err(Violation::FRAME_SIZE);
        }
        let Some(payload) = head.payload(bytes) else { return Ok(Step::NeedMore) };
        let increment = number(payload);
        if increment == 0 {
            return Err(Violation::PROTOCOL);
        }
        if head.stream != 0 {
            if self.streams.idle(head.stream) {
                return Err(Violation::PROTOCOL);
            }
            let hidden = self.hidden(head.stream);
            if hidden && side == Side::Server {
                // Either it never heard of the stream, or this comes too late to say anything.
                let refused = self.streams.get(head.stream).is_some();
                return if refused {
                    Err(Violation::PROTOCOL)
                } else {
                    self.pass_idle(side, head, bytes, false, cx)
                };
            }
            return self.pass_idle(side, head, bytes, hidden, cx);
        }
        let settled = if side == Side::Client { increment.min(self.debt) } else { 0 };
        self.debt -= settled;
        let rest = increment - settled;
        self.peer(side.opposite()).credit(rest)?;
        if settled > 0 && rest > 0 {
            write_window_update(rest, cx.to_server);
        }
        self.pass_idle(side, head, bytes, settled > 0, cx)
    }

    /// A DATA frame of `side` makes up for frames that move nothing, or is one.
    pub(super) fn ration_data(&mut self, side: Side, head: FrameHeader, now: u64) -> Result<(), Violation> {
        if head.len > 0 {
            self.client.idle.earn(flood::PER_MOVE);
            self.server.idle.earn(flood::PER_MOVE);
        } else if !head.has(flag::END_STREAM) {
            self.peer(side).idle.charge(now)?;
        }
        Ok(())
    }

    /// The error code of an RST_STREAM, if it is there.
    pub(super) fn reset_code(&self, head: FrameHeader, bytes: &[u8]) -> Result<Option<u32>, Violation> {
        if head.len != 4 {
            return Err(Violation::FRAME_SIZE);
        }
        if self.streams.idle(head.stream) {
            return Err(Violation::PROTOCOL);
        }
        let code = head.payload(bytes).and_then(|payload| payload.first_chunk::<4>());
        Ok(code.map(|octets| u32::from_be_bytes(*octets)))
    }

    /// A frame that moves nothing, and that the other side hears of unless it is `hidden`.
    fn pass_idle(
        &mut self,
        side: Side,
        head: FrameHeader,
        bytes: &[u8],
        hidden: bool,
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        if head.payload(bytes).is_none() {
            return Ok(Step::NeedMore);
        }
        // Answers to PING are asked for by the other side, which pays for them.
        if head.kind != kind::PING || !head.has(flag::ACK) {
            self.peer(side).idle.charge(cx.now)?;
        }
        Ok(if hidden { swallow(head) } else { pass(head) })
    }
}

// What moves something pays for more than one frame that does not.
const _: () = assert!(flood::PER_MOVE > 1);
