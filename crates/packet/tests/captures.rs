//! The committed captures are what their generator writes, and read back as the frames that went in.

use packet::io::pcap::{Output, PcapIo};
use packet::{Burst, PacketIo, PortId, testing};

const EVERY_KIND: &[u8] = include_bytes!("../../../testdata/pcap/every_kind.pcap");

#[test]
fn the_committed_capture_is_up_to_date() {
    let expected = testing::capture(&testing::seeds());
    assert!(EVERY_KIND == expected, "run `cargo run -p packet --example captures`");
}

#[test]
fn the_capture_reads_back() {
    let mut io = PcapIo::new(EVERY_KIND, 1, |_| PortId(0), Output::<Vec<u8>>::None).unwrap();
    let (mut burst, mut frames) = (Burst::new(), Vec::new());
    while !io.finished() {
        io.recv(&mut burst).unwrap();
        for frame in burst.drain() {
            frames.push(io.bytes(&frame).to_vec());
            assert_eq!(io.now().as_nanos(), 1_000_000_000 + 1_000 * (frames.len() as u64 - 1));
            io.release(frame);
        }
    }
    assert_eq!(frames, testing::seeds());
    assert_eq!(io.outstanding(), 0);
}
