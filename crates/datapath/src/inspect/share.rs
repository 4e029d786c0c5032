//! Who keeps how much waiting: frames and bytes of inspected connections, by the port whose pod is answerable for them.
//!
//! What is kept is bounded for a worker as a whole. So that one pod cannot take all of it, a port may keep no more than
//! what is still free for everyone (dynamic thresholds: Choudhury and Hahne, "Dynamic Queue Length Thresholds for
//! Shared-Memory Packet Switches", 1998): alone it may have half, and n greedy ports leave one part in n + 1 free for
//! whoever has little.

use packet::PortId;

/// Frames that wait, and bytes on the heap.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Share {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

impl Share {
    /// Takes `before` off and puts `after` on.
    fn replace(&mut self, before: Self, after: Self) {
        self.frames = self.frames + after.frames - before.frames;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

/// The shares of all ports.
#[derive(Debug, Default)]
pub(super) struct Shares {
    total: Share,
    ports: Vec<Share>,
}

impl Shares {
    pub(super) fn total(&self) -> Share {
        self.total
    }

    /// What a connection keeps for `port` has changed.
    pub(super) fn replace(&mut self, port: PortId, before: Share, after: Share) {
        if before == after {
            return;
        }
        let at = usize::from(port.0);
        if at >= self.ports.len() {
            self.ports.resize(at + 1, Share::default());
        }
        self.ports[at].replace(before, after);
        self.total.replace(before, after);
    }

    /// Whether one more frame of `port` may wait, where `most` may for all ports.
    pub(super) fn may_hold(&self, port: PortId, most: usize) -> bool {
        self.of(port).frames < most.saturating_sub(self.total.frames)
    }

    /// Whether `port` keeps more bytes than it may, where all ports may keep `most`.
    pub(super) fn is_overfull(&self, port: PortId, most: usize) -> bool {
        self.of(port).bytes > most.saturating_sub(self.total.bytes)
    }

    fn of(&self, port: PortId) -> Share {
        self.ports.get(usize::from(port.0)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a port keep frames until it may not keep more.
    fn fill(shares: &mut Shares, port: PortId, most: usize) -> usize {
        let mut held = Share::default();
        while shares.may_hold(port, most) {
            let more = Share { frames: held.frames + 1, ..held };
            shares.replace(port, held, more);
            held = more;
        }
        held.frames
    }

    #[test]
    fn a_greedy_port_leaves_as_much_as_it_has() {
        let mut shares = Shares::default();
        assert_eq!(fill(&mut shares, PortId(3), 512), 256);
        assert_eq!(fill(&mut shares, PortId(200), 512), 128, "the second has half of what is left");
        assert!(shares.may_hold(PortId(7), 512), "whoever has nothing may begin");
        assert_eq!(shares.total().frames, 384);
    }

    #[test]
    fn bytes_are_counted_apart_and_given_back() {
        let mut shares = Shares::default();
        let much = Share { frames: 0, bytes: 40 };
        shares.replace(PortId(1), Share::default(), much);
        assert!(!shares.is_overfull(PortId(1), 80) && shares.is_overfull(PortId(1), 79));
        assert!(!shares.is_overfull(PortId(2), 40), "others are not to blame");
        shares.replace(PortId(1), much, Share::default());
        assert_eq!(shares.total(), Share::default());
        assert!(!shares.is_overfull(PortId(1), 0));
    }
}
