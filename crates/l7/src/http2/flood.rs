//! Frames that cost the receiver work and the sender nothing are rationed.
//!
//! Each side has two allowances. One is for frames that move nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty
//! DATA, unknown types); it grows with time and with what is moved in either direction, so a peer that measures round
//! trips or returns credit after every DATA frame never runs out. The other is for the client's resets of streams that
//! are not answered yet (CVE-2023-44487); it grows with time and with streams that end as they should.

use super::frame::Violation;

/// The most that can be saved up (nghttp2: `stream_reset_burst`, 1,000).
const BURST: u32 = 1_000;

/// What time gives, per second (nghttp2: `stream_reset_rate`, 33).
const PER_SECOND: u64 = 33;

/// What a frame that moves something gives (Envoy: `max_inbound_window_update_frames_per_data_frame_sent`, 10).
pub(super) const PER_MOVE: u32 = 10;

const NANOS_PER_FRAME: u64 = 1_000_000_000 / PER_SECOND;

/// One allowance.
#[derive(Debug)]
pub(super) struct Allowance {
    frames: u32,
    /// Until when time has been counted.
    counted: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { frames: BURST, counted: 0 }
    }
}

impl Allowance {
    /// One more frame.
    pub(super) fn charge(&mut self, now: u64) -> Result<(), Violation> {
        if self.counted == 0 {
            self.counted = now;
        }
        if self.frames == 0 {
            let given = now.saturating_sub(self.counted) / NANOS_PER_FRAME;
            self.frames = given.min(u64::from(BURST)) as u32;
            self.counted = now;
        }
        self.frames = self.frames.checked_sub(1).ok_or(Violation::FLOOD)?;
        Ok(())
    }

    /// Something happened that makes up for `frames`.
    pub(super) fn earn(&mut self, frames: u32) {
        self.frames = (self.frames + frames).min(BURST);
    }
}
