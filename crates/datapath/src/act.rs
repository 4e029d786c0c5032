//! Stage 7: what was decided happens. Beside the relay of inspected connections the only file that consumes a frame.

use crate::answer;
use crate::config::DenyResponse;
use crate::events::About;
use crate::inspect::Inspected;
use crate::pipeline::Pipeline;
use crate::ports::{Port, PortKind};
use crate::snapshot::Snapshot;
use crate::track::Dropped;
use crate::verify::Completion;
use flowlog::{DropReason, FlowEvent};
use l7::Anomaly;
use packet::checksum;
use packet::emit::{self, IcmpError};
use packet::{Frame, Instant, L4, Packet, PacketIo, Parsed, PortId};
use policy::Identity;

/// A decision about one frame.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Action {
    /// Send it on.
    Forward {
        /// The port it leaves by.
        out: PortId,
        /// What of its checksum is left to be completed.
        checksum: Completion,
    },
    /// Its connection is inspected: its messages decide.
    Inspect(Inspected),
    /// Drop it, and say so.
    Drop(Dropped),
    /// Answer an ARP request.
    AnswerArp,
    /// Answer a neighbour solicitation.
    AnswerNeighbour,
    /// Nothing to do with it.
    Ignore,
}

impl Action {
    /// Drop for a reason that says everything.
    #[must_use]
    pub(crate) fn drop(reason: DropReason) -> Self {
        Self::Drop(reason.into())
    }
}

impl Pipeline {
    /// Carries out `action` on `frame`. `more` answers whether the next frame of the burst goes on with its stream.
    #[inline(always)]
    pub(crate) fn act<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        parsed: Option<&Parsed>,
        action: Action,
        more: impl FnOnce() -> bool,
        now: Instant,
    ) {
        match (action, parsed) {
            (Action::Forward { out, checksum }, Some(Parsed::Ip(packet))) => {
                self.forward(io, snapshot, frame, packet, out, checksum, now);
            }
            (Action::Inspect(at), Some(Parsed::Ip(packet))) => {
                self.inspect(io, snapshot, frame, packet, at, more(), now);
            }
            (Action::Drop(dropped), _) => self.drop_frame(io, snapshot, frame, parsed, dropped, now),
            (Action::AnswerArp, Some(Parsed::Arp(arp))) => {
                self.stats.answered += 1;
                self.answer(io, snapshot, frame, |buf, _, port| emit::arp_reply(buf, arp, port.mac));
            }
            (Action::AnswerNeighbour, Some(Parsed::Ip(packet))) => {
                self.stats.answered += 1;
                self.answer(io, snapshot, frame, |buf, head, port| {
                    answer::neighbour(buf, head, packet, port)
                });
            }
            // The others say what is to be done with a kind of packet that `decide` has seen.
            _ => {
                self.stats.answered += 1;
                io.release(frame);
            }
        }
    }

    /// Puts the frame on its way: one hop further, to the next Ethernet address.
    #[inline(always)]
    pub(crate) fn forward<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        mut frame: Frame,
        packet: &Packet,
        out: PortId,
        completion: Completion,
        now: Instant,
    ) {
        let Some(port) = snapshot.ports.get(out) else {
            return self.drop_packet(io, snapshot, frame, packet, DropReason::PortGone.into(), now);
        };
        if packet.ip_len() > port.mtu {
            return self.drop_packet(
                io,
                snapshot,
                frame,
                packet,
                DropReason::FragmentationNeeded.into(),
                now,
            );
        }
        let bytes = io.bytes_mut(&mut frame);
        emit::edit::set_eth(bytes, port.mac, port.peer_mac);
        // `classify` has refused what has no hop left, so this cannot fail.
        let _ = emit::edit::decrement_ttl(bytes, packet);
        match completion {
            Completion::None => {}
            Completion::OnSend(request) => frame.request_checksum(request),
            Completion::Here => checksum::complete(io, &mut frame, packet),
        }
        let len = frame.len() as u64;
        match io.send(out, frame) {
            Ok(()) => {
                self.stats.forwarded += 1;
                let stats = self.stats.port(out);
                stats.tx_frames += 1;
                stats.tx_bytes += len;
            }
            Err(frame) => {
                self.drop_packet(io, snapshot, frame, packet, DropReason::PortFull.into(), now);
            }
        }
    }

    /// Drops a frame whose packet was parsed.
    #[cold]
    #[inline(never)]
    pub(crate) fn drop_packet<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        packet: &Packet,
        dropped: Dropped,
        now: Instant,
    ) {
        self.drop_frame(io, snapshot, frame, Some(&Parsed::Ip(*packet)), dropped, now);
    }

    /// Counts, logs, answers where an answer is due, and releases.
    #[inline(never)]
    pub(crate) fn drop_frame<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        parsed: Option<&Parsed>,
        dropped: Dropped,
        now: Instant,
    ) {
        self.stats.dropped[dropped.reason.index()] += 1;
        self.stats.port(frame.port()).dropped += 1;
        self.log_drop(snapshot, &frame, parsed, &dropped, now);
        if let (Some(Parsed::Ip(packet)), Some(port)) = (parsed, snapshot.ports.get(frame.port())) {
            self.respond(io, snapshot, &frame, packet, port, &dropped, now);
        }
        io.release(frame);
    }

    fn log_drop(
        &mut self,
        snapshot: &Snapshot,
        frame: &Frame,
        parsed: Option<&Parsed>,
        dropped: &Dropped,
        now: Instant,
    ) {
        let told = self.told_drops.take(frame.port(), now);
        if !told {
            self.events.shed_one();
        }
        if told || self.taps.is_on() {
            let event = self.drop_event(snapshot, frame, parsed, dropped, now);
            self.taps.dropped(frame, dropped.reason, event);
            if told {
                self.events.record(event);
            }
        }
    }

    /// What the flow log is told about a drop.
    pub(crate) fn drop_event(
        &self,
        snapshot: &Snapshot,
        frame: &Frame,
        parsed: Option<&Parsed>,
        dropped: &Dropped,
        now: Instant,
    ) -> FlowEvent {
        let about = match parsed {
            Some(Parsed::Ip(packet)) => About::of_packet(packet, frame.port(), snapshot, now),
            _ => About::of_frame(frame.port(), frame.len(), snapshot, now),
        };
        let about = match &dropped.parties {
            Some(parties) if dropped.is_reply => about.between(&parties.dst, &parties.src),
            Some(parties) => about.between(&parties.src, &parties.dst),
            None => match sender(frame.port(), snapshot) {
                Some((identity, endpoint)) => about.from(identity, endpoint),
                None => about,
            },
        };
        about.reply(dropped.is_reply).dropped(dropped.reason, dropped.refusal.as_ref())
    }

    /// The answer a dropped packet gets, if any: ICMP errors that routers owe (RFC 1812 §4.3, RFC 4443 §3), resets
    /// for revoked connections, and refusals where the configuration wants them.
    fn respond<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: &Frame,
        packet: &Packet,
        port: &Port,
        dropped: &Dropped,
        now: Instant,
    ) {
        let reject = self.config.deny_response == DenyResponse::Reject;
        let tcp = matches!(packet.l4_header, L4::Tcp(_));
        let answer = match dropped.reason {
            DropReason::TtlExceeded => Answer::Icmp(IcmpError::TimeExceeded),
            DropReason::FragmentationNeeded => match self.mtu_towards(packet, snapshot) {
                Some(mtu) => Answer::Icmp(IcmpError::TooBig { mtu }),
                None => return,
            },
            DropReason::NoRoute => Answer::Icmp(answer::unreachable(packet.dst)),
            DropReason::Revoked | DropReason::L7(Anomaly::MidStream) if tcp => Answer::Reset,
            DropReason::Denied(_) if reject && tcp => Answer::Reset,
            DropReason::Denied(_) if reject => Answer::Icmp(answer::prohibited(packet.dst)),
            _ => return,
        };
        if !emit::may_answer_with_error(packet) || !self.answers.take(port.id, now) {
            return;
        }
        let mut buf = [0; answer::MAX_LEN];
        let len = match answer {
            Answer::Reset => emit::tcp_reset_for(&mut buf, packet),
            Answer::Icmp(error) => {
                answer::icmp_error(&mut buf, io.bytes(frame), packet, error, &snapshot.gateway)
            }
        };
        self.send_own(io, port.id, len.and_then(|len| buf.get(..len)));
    }

    fn mtu_towards(&self, packet: &Packet, snapshot: &Snapshot) -> Option<u32> {
        match snapshot.ports.route(packet.dst) {
            crate::ports::Route::Pod(id) | crate::ports::Route::Host(id) => {
                snapshot.ports.get(id).map(|p| p.mtu)
            }
            crate::ports::Route::None => None,
        }
    }

    /// Answers on the port the frame came from and releases the frame.
    fn answer<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        frame: Frame,
        write: impl FnOnce(&mut [u8], &[u8], &Port) -> Option<usize>,
    ) {
        let id = frame.port();
        let mut buf = [0; answer::MAX_LEN];
        let len = snapshot.ports.get(id).and_then(|port| write(&mut buf, io.bytes(&frame), port));
        io.release(frame);
        self.send_own(io, id, len.and_then(|len| buf.get(..len)));
    }

    /// Sends a frame made here. What finds no buffer or no room is counted and forgotten: none of our answers is
    /// owed reliably.
    pub(crate) fn send_own<I: PacketIo>(&mut self, io: &mut I, port: PortId, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        let Some(mut frame) = io.alloc(port, bytes.len()) else {
            self.stats.dropped[DropReason::NoBuffer.index()] += 1;
            return;
        };
        io.bytes_mut(&mut frame).copy_from_slice(bytes);
        if self.taps.is_on() {
            self.tap_generated(port, bytes);
        }
        match io.send(port, frame) {
            Ok(()) => {
                self.stats.generated += 1;
                let stats = self.stats.port(port);
                stats.tx_frames += 1;
                stats.tx_bytes += bytes.len() as u64;
            }
            Err(frame) => {
                self.stats.dropped[DropReason::PortFull.index()] += 1;
                io.release(frame);
            }
        }
    }
}

#[derive(Copy, Clone)]
enum Answer {
    Icmp(IcmpError),
    Reset,
}

/// Who is behind a port, as far as the port alone tells.
fn sender(port: PortId, snapshot: &Snapshot) -> Option<(Identity, Option<policy::EndpointId>)> {
    match &snapshot.ports.get(port)?.kind {
        PortKind::Pod { endpoint, .. } => {
            let endpoint = snapshot.policy.endpoint((*endpoint)?)?;
            Some((endpoint.identity, Some(endpoint.id)))
        }
        PortKind::Host => None,
    }
}
