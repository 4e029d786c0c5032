use super::*;
use crate::checksum;
use crate::testing;

const P0: PortId = PortId(0);
const P1: PortId = PortId(1);

fn received(io: &mut MemIo) -> Vec<Frame> {
    let mut burst = Burst::new();
    io.recv(&mut burst).unwrap();
    burst.drain().collect()
}

#[test]
fn ports_are_served_in_turn() {
    let mut io = MemIo::new(MemConfig::default());
    for n in 0..100 {
        assert!(io.inject(P0, &[n; 60]));
    }
    assert!(io.inject(P1, &[200; 60]));
    let frames = received(&mut io);
    assert_eq!(frames.len(), crate::BURST_LEN);
    assert_eq!(frames[BATCH].port(), P1, "a busy port does not starve a quiet one");
    frames.into_iter().for_each(|f| io.release(f));
    assert_eq!(io.waiting(P0), 37);
}

#[test]
fn a_full_port_refuses_and_counts() {
    let mut io = MemIo::new(MemConfig { tx_capacity: 2, ..MemConfig::default() });
    for _ in 0..3 {
        io.inject(P0, &[1; 60]);
    }
    let mut refused = Vec::new();
    for frame in received(&mut io) {
        refused.extend(io.send(P1, frame).err());
    }
    assert_eq!((refused.len(), io.outstanding()), (1, 1));
    io.flush().unwrap();
    let again = refused.pop().unwrap();
    io.send(P1, again).unwrap();
    io.flush().unwrap();
    assert_eq!(io.take_sent(P1).len(), 3);
    let expected = IoStats {
        rx_frames: 3,
        rx_bytes: 180,
        tx_frames: 3,
        tx_bytes: 180,
        tx_refused: 1,
        wakeups: 2,
        ..IoStats::default()
    };
    assert_eq!(io.stats(), expected);
    assert_eq!(io.free_buffers(), 1_024);
}

#[test]
fn arrivals_beyond_memory_are_lost_and_counted() {
    let mut io = MemIo::new(MemConfig { buffers: 2, ..MemConfig::default() });
    assert!(!io.inject(P0, &[0; 9_000]), "needs three buffers");
    assert!(io.inject(P0, &[0; 8_192]));
    assert!(!io.inject(P0, &[0; 60]));
    assert!(!io.inject(PortId(9), &[0; 60]), "no such port");
    assert_eq!(io.stats().rx_lost, 3);
}

#[test]
fn refill_brings_frames_back_as_they_were() {
    let mut io = MemIo::new(MemConfig { sent: Sent::Refill, buffers: 8, ..MemConfig::default() });
    let original = testing::udp("10.0.0.1", "10.0.0.2", 1, 2, &[7; 300]);
    io.inject(P0, &original);
    for _ in 0..20 {
        let mut frame = received(&mut io).pop().unwrap();
        assert_eq!((io.bytes(&frame), frame.port()), (&original[..], P0));
        io.bytes_mut(&mut frame)[..100].fill(0);
        io.send(P1, frame).unwrap();
        let own = io.alloc(P1, 60).unwrap();
        io.send(P1, own).unwrap();
        io.flush().unwrap();
    }
    assert_eq!((io.outstanding(), io.free_buffers()), (0, 7));
}

#[test]
fn a_requested_checksum_is_right_when_the_frame_has_left() {
    for (len, partial) in [0, 1, 9_001].into_iter().map(|len| {
        (len, testing::partial(testing::tcp("fd00::1", "fd00::2", 80, 9, 0x10, 1, 2, &vec![0xa7; len])))
    }) {
        let mut io = MemIo::new(MemConfig::default());
        io.inject(P0, &partial);
        let mut frame = received(&mut io).pop().unwrap();
        let packet = testing::packet_of(&partial);
        frame.request_checksum(checksum::request(&packet).unwrap());
        io.send(P1, frame).unwrap();
        io.flush().unwrap();
        let sent = io.take_sent(P1).pop().unwrap();
        let right = testing::tcp("fd00::1", "fd00::2", 80, 9, 0x10, 1, 2, &vec![0xa7; len]);
        assert!(sent == right, "payload of {len} bytes");
    }
}

#[test]
#[should_panic(expected = "stale frame handle")]
fn a_sent_frame_cannot_be_read() {
    let mut io = MemIo::new(MemConfig::default());
    let frame = io.alloc(P0, 60).unwrap();
    let forged = Frame::new(frame.index(), 60, P0);
    io.send(P0, frame).unwrap();
    let _ = io.bytes(&forged);
}
