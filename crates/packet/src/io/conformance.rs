//! What every [`PacketIo`] must do, as callable checks (feature `conformance`).
//!
//! A backend's tests build a [`Rig`] around it and call [`all`], or the checks one by one. Each check makes its own
//! rig, asserts, and ends with nothing outstanding.
#![expect(clippy::expect_used, clippy::panic, reason = "the checks are assertions")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::PacketIo;
use crate::frame::{Burst, Frame, PortId};

/// Rounds of waiting for frames that are on their way.
const PATIENCE: usize = 1_000;

/// A backend together with the other end of its ports.
pub trait Rig {
    /// The backend under test.
    type Io: PacketIo;

    /// The backend.
    fn io(&mut self) -> &mut Self::Io;
    /// Lets a frame arrive on `port`.
    fn inject(&mut self, port: PortId, bytes: &[u8]);
    /// Takes the frames that left by `port` since the last call, in order.
    fn drain(&mut self, port: PortId) -> Vec<Vec<u8>>;
    /// At least two ports.
    fn ports(&self) -> Vec<PortId>;
    /// Lets the other end catch up.
    fn settle(&mut self);
    /// Buffers in the backend's memory, so that a check can exceed it.
    fn pool(&self) -> usize;
    /// Largest frame that the backend takes over several buffers.
    fn max_frame(&self) -> usize;
}

/// Runs every check on rigs made by `make`.
pub fn all<R: Rig>(mut make: impl FnMut() -> R) {
    order_and_bytes(&mut make());
    forward_keeps_bytes(&mut make());
    unknown_port_hands_back(&mut make());
    full_port_hands_back(&mut make());
    buffers_come_back(&mut make());
    alloc_exhausts_and_recovers(&mut make());
    long_frames(&mut make());
    copied_frames(&mut make());
    changes_reach_the_wire(&mut make());
    stale_handle_panics(&mut make());
}

/// Frames arrive in order and unchanged.
pub fn order_and_bytes<R: Rig>(rig: &mut R) {
    let port = rig.ports()[0];
    let sent: Vec<Vec<u8>> = (0..32).map(|n| pattern(60 + n * 40, n)).collect();
    for frame in &sent {
        rig.inject(port, frame);
    }
    for (n, frame) in receive(rig, sent.len()).into_iter().enumerate() {
        assert_eq!(frame.port(), port, "frame {n} names its port");
        assert_eq!(frame.len(), sent[n].len(), "length of frame {n}");
        assert_eq!(rig.io().bytes(&frame), sent[n], "bytes of frame {n}");
        assert_eq!(gather(rig.io(), &frame), sent[n], "buffers of frame {n}");
        rig.io().release(frame);
    }
    at_rest(rig);
}

/// What arrives on one port and is sent on another leaves unchanged and in order.
pub fn forward_keeps_bytes<R: Rig>(rig: &mut R) {
    let (from, to) = (rig.ports()[0], rig.ports()[1]);
    let sent: Vec<Vec<u8>> = (0..16).map(|n| pattern(64 + n * 90, n)).collect();
    for frame in &sent {
        rig.inject(from, frame);
    }
    let frames = receive(rig, sent.len());
    forward(rig, to, frames);
    assert_eq!(drain(rig, to, sent.len()), sent);
    at_rest(rig);
}

/// A port that does not exist gives the frame back.
pub fn unknown_port_hands_back<R: Rig>(rig: &mut R) {
    let port = rig.ports()[0];
    let before = rig.io().stats();
    let frame = rig.io().alloc(port, 60).expect("an empty pool has a buffer");
    let frame = rig.io().send(PortId(u16::MAX), frame).expect_err("no such port");
    assert_eq!(rig.io().outstanding(), 1, "the frame is the caller's again");
    assert_eq!(rig.io().bytes(&frame).len(), 60, "and can still be used");
    rig.io().release(frame);
    assert_eq!(rig.io().stats().tx_refused, before.tx_refused + 1);
    at_rest(rig);
}

/// Sending without flushing ends in refusals (or in an empty pool), never in a loss.
pub fn full_port_hands_back<R: Rig>(rig: &mut R) {
    let port = rig.ports()[1];
    let mut accepted = 0;
    while let Some(frame) = rig.io().alloc(port, 60) {
        match rig.io().send(port, frame) {
            Ok(()) => accepted += 1,
            Err(frame) => {
                assert_eq!(rig.io().outstanding(), 1, "a refused frame is the caller's");
                rig.io().release(frame);
                break;
            }
        }
        assert!(accepted <= rig.pool(), "more frames accepted than there are buffers");
    }
    rig.io().flush().expect("flush");
    assert_eq!(drain(rig, port, accepted).len(), accepted, "what was accepted leaves");
    at_rest(rig);
    whole_pool_is_free(rig);
}

/// Ten times as many frames as there are buffers pass through.
pub fn buffers_come_back<R: Rig>(rig: &mut R) {
    let (from, to) = (rig.ports()[0], rig.ports()[1]);
    let frame = pattern(100, 7);
    let batch = 16;
    for round in 0..(rig.pool() * 10).div_ceil(batch) {
        for _ in 0..batch {
            rig.inject(from, &frame);
        }
        let frames = receive(rig, batch);
        if round % 2 == 0 {
            forward(rig, to, frames);
            assert_eq!(drain(rig, to, batch).len(), batch, "round {round}");
        } else {
            frames.into_iter().for_each(|f| rig.io().release(f));
        }
    }
    at_rest(rig);
}

/// `alloc` ends with `None` and works again after a release; its bytes are zero.
pub fn alloc_exhausts_and_recovers<R: Rig>(rig: &mut R) {
    let port = rig.ports()[0];
    for _ in 0..2 {
        let mut frames = Vec::new();
        while let Some(mut frame) = rig.io().alloc(port, 1_000) {
            assert!(rig.io().bytes(&frame).iter().all(|b| *b == 0), "a fresh frame is zeroed");
            rig.io().bytes_mut(&mut frame).fill(0xa5);
            frames.push(frame);
            assert!(frames.len() <= rig.pool(), "more frames than buffers");
        }
        assert!(!frames.is_empty());
        assert_eq!(rig.io().outstanding(), frames.len());
        assert!(rig.io().stats().alloc_failed > 0, "the refusal is counted");
        frames.into_iter().for_each(|f| rig.io().release(f));
    }
    assert!(rig.io().alloc(port, 1 << 20).is_none(), "what fits no buffer is refused");
    at_rest(rig);
}

/// Frames of 9,000 and 65,000 bytes, as far as the backend takes them, arrive and leave whole.
pub fn long_frames<R: Rig>(rig: &mut R) {
    let (from, to) = (rig.ports()[0], rig.ports()[1]);
    for len in [4_096, 4_097, 9_000, 65_000] {
        if len > rig.max_frame() {
            continue;
        }
        let sent = pattern(len, len);
        rig.inject(from, &sent);
        let frames = receive(rig, 1);
        assert_eq!(frames[0].len(), len);
        assert!(rig.io().bytes(&frames[0]).len() >= 1_500, "the first buffer holds all headers");
        assert_eq!(gather(rig.io(), &frames[0]), sent);
        forward(rig, to, frames);
        assert_eq!(drain(rig, to, 1), [sent]);
    }
    at_rest(rig);
    whole_pool_is_free(rig);
}

/// What is copied in leaves whole, wherever the bytes are divided, in as many buffers as it needs.
pub fn copied_frames<R: Rig>(rig: &mut R) {
    let (from, to) = (rig.ports()[0], rig.ports()[1]);
    for len in [60, 1_514, 3_840, 3_841, 9_000, 65_000] {
        if len > rig.max_frame() {
            continue;
        }
        let sent = pattern(len, len);
        for border in [0, 1, len / 3, len.min(3_900), len] {
            let (first, second) = sent.split_at(border);
            let frame = rig.io().copy_in(from, [first, second]).expect("an empty pool has buffers");
            assert_eq!((frame.len(), frame.port()), (len, from));
            assert!(rig.io().bytes(&frame).len() >= len.min(1_500), "the first buffer holds all headers");
            assert_eq!(gather(rig.io(), &frame), sent, "{len} bytes divided after {border}");
            forward(rig, to, vec![frame]);
            assert_eq!(drain(rig, to, 1), std::slice::from_ref(&sent));
        }
    }
    let too_long = vec![0; rig.pool() * (64 << 10) + 1];
    assert!(rig.io().copy_in(from, [&too_long, &[0; 60]]).is_none(), "what fits nowhere is refused");
    assert!(rig.io().stats().alloc_failed > 0, "and counted");
    at_rest(rig);
    whole_pool_is_free(rig);
}

/// What is written through `bytes_mut` is what leaves.
pub fn changes_reach_the_wire<R: Rig>(rig: &mut R) {
    let port = rig.ports()[1];
    let mut frame = rig.io().alloc(port, 64).expect("an empty pool has a buffer");
    let expected = pattern(64, 3);
    rig.io().bytes_mut(&mut frame).copy_from_slice(&expected);
    forward(rig, port, vec![frame]);
    assert_eq!(drain(rig, port, 1), [expected]);
    at_rest(rig);
}

/// A handle whose frame was given away panics in every build, whatever it is used for.
pub fn stale_handle_panics<R: Rig>(rig: &mut R) {
    let port = rig.ports()[0];
    let frame = rig.io().alloc(port, 60).expect("an empty pool has a buffer");
    let (index, len) = (frame.index(), frame.len() as u32);
    rig.io().release(frame);
    // A second handle to a buffer that was given back, which safe use of the seam cannot make.
    let forged = || Frame::new(index, len, port);
    let io = rig.io();
    let panics = |what: &str, use_it: &mut dyn FnMut()| {
        assert!(catch_unwind(AssertUnwindSafe(use_it)).is_err(), "{what} of a stale handle");
    };
    panics("bytes", &mut || assert!(io.bytes(&forged()).is_empty()));
    panics("bytes_mut", &mut || io.bytes_mut(&mut forged()).fill(0));
    panics("for_each_buffer", &mut || io.for_each_buffer(&forged(), &mut |_| {}));
    panics("release", &mut || io.release(forged()));
    panics("send", &mut || drop(io.send(port, forged())));
    at_rest(rig);
}

/// Receives until `count` frames are there.
pub fn receive<R: Rig>(rig: &mut R, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for _ in 0..PATIENCE {
        let mut burst = Burst::new();
        rig.io().recv(&mut burst).expect("recv");
        frames.extend(burst.drain());
        if frames.len() >= count {
            assert_eq!(frames.len(), count, "more frames than were injected");
            return frames;
        }
        rig.settle();
    }
    panic!("{} of {count} frames arrived", frames.len());
}

fn forward<R: Rig>(rig: &mut R, to: PortId, frames: Vec<Frame>) {
    for frame in frames {
        let mut held = Some(frame);
        for _ in 0..PATIENCE {
            let Some(frame) = held.take() else { break };
            if let Err(back) = rig.io().send(to, frame) {
                held = Some(back);
                rig.io().flush().expect("flush");
                rig.settle();
            }
        }
        assert!(held.is_none(), "the port never had room");
    }
    rig.io().flush().expect("flush");
}

fn drain<R: Rig>(rig: &mut R, port: PortId, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..PATIENCE {
        frames.extend(rig.drain(port));
        if frames.len() >= count {
            break;
        }
        rig.settle();
        rig.io().flush().expect("flush");
    }
    frames
}

fn gather<I: PacketIo>(io: &I, frame: &Frame) -> Vec<u8> {
    let mut whole = Vec::new();
    io.for_each_buffer(frame, &mut |buffer| whole.extend_from_slice(buffer));
    whole
}

/// After everything left, nearly the whole pool can be allocated (a backend may keep some for receiving).
fn whole_pool_is_free<R: Rig>(rig: &mut R) {
    let port = rig.ports()[0];
    let mut count = || {
        let mut frames = Vec::new();
        while let Some(frame) = rig.io().alloc(port, 60) {
            frames.push(frame);
        }
        let count = frames.len();
        frames.into_iter().for_each(|f| rig.io().release(f));
        count
    };
    let first = count();
    assert!(first > 0, "no buffer came back");
    assert_eq!(first, count(), "what is released can be allocated again");
    at_rest(rig);
}

fn at_rest<R: Rig>(rig: &mut R) {
    rig.io().flush().expect("flush");
    assert_eq!(rig.io().outstanding(), 0, "frames outstanding at the end");
}

/// A frame of `len` bytes that starts with a valid Ethernet header (IPv4, which the XDP program steers) and differs by `n`.
fn pattern(len: usize, n: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i * 31 + n * 7) as u8).collect();
    let header = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame[..header.len()].copy_from_slice(&header);
    frame
}
