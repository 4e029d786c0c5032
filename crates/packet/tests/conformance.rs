//! The conformance suite on the two backends of this crate.
#![expect(clippy::unwrap_used, reason = "a rig that cannot be built fails its test")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use packet::io::conformance::{self, Rig};
use packet::io::mem::{MemConfig, MemIo};
use packet::io::pcap::{Output, PcapIo};
use packet::{PacketIo, PortId};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};

const PORTS: [PortId; 2] = [PortId(0), PortId(1)];

struct MemRig {
    io: MemIo,
    pool: usize,
}

impl MemRig {
    fn new(buffer_size: usize, buffers: usize) -> Self {
        let io = MemIo::new(MemConfig { buffers, buffer_size, tx_capacity: 20, ..MemConfig::default() });
        Self { io, pool: buffers }
    }
}

impl Rig for MemRig {
    type Io = MemIo;

    fn io(&mut self) -> &mut MemIo {
        &mut self.io
    }
    fn inject(&mut self, port: PortId, bytes: &[u8]) {
        assert!(self.io.inject(port, bytes), "room for the frame");
    }
    fn drain(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.io.take_sent(port)
    }
    fn ports(&self) -> Vec<PortId> {
        PORTS.to_vec()
    }
    fn settle(&mut self) {}
    fn pool(&self) -> usize {
        self.pool
    }
    fn max_frame(&self) -> usize {
        65_000
    }
}

/// A file that grows while it is read.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<VecDeque<u8>>>);

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().read(out)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The port of an injected frame travels in front of the capture, in order.
struct PcapRig {
    io: PcapIo<Pipe, Pipe>,
    input: PcapWriter<Pipe>,
    places: Rc<RefCell<VecDeque<PortId>>>,
    outputs: [Pipe; 2],
    readers: [Option<PcapReader<Pipe>>; 2],
}

impl PcapRig {
    fn new() -> Self {
        let (pipe, outputs) = (Pipe::default(), [Pipe::default(), Pipe::default()]);
        let input = PcapWriter::with_header(pipe.clone(), PcapHeader::default()).unwrap();
        let places = Rc::new(RefCell::new(VecDeque::new()));
        let queue = places.clone();
        let place = move |_: &[u8]| queue.borrow_mut().pop_front().unwrap();
        let io = PcapIo::new(pipe, 2, place, Output::PerPort(outputs.to_vec())).unwrap();
        Self { io, input, places, outputs, readers: [None, None] }
    }
}

impl Rig for PcapRig {
    type Io = PcapIo<Pipe, Pipe>;

    fn io(&mut self) -> &mut Self::Io {
        &mut self.io
    }
    fn inject(&mut self, port: PortId, bytes: &[u8]) {
        self.places.borrow_mut().push_back(port);
        let packet = PcapPacket::new(Duration::from_secs(1), bytes.len() as u32, bytes);
        self.input.write_packet(&packet).unwrap();
    }
    fn drain(&mut self, port: PortId) -> Vec<Vec<u8>> {
        let at = usize::from(port.0);
        let reader =
            self.readers[at].get_or_insert_with(|| PcapReader::new(self.outputs[at].clone()).unwrap());
        let mut frames = Vec::new();
        while let Some(packet) = reader.next_packet() {
            frames.push(packet.unwrap().data.into_owned());
        }
        frames
    }
    fn ports(&self) -> Vec<PortId> {
        PORTS.to_vec()
    }
    fn settle(&mut self) {}
    fn pool(&self) -> usize {
        MemConfig::default().buffers
    }
    fn max_frame(&self) -> usize {
        65_000
    }
}

#[test]
fn memory_backend_conforms() {
    conformance::all(|| MemRig::new(4_096, 64));
}

#[test]
fn memory_backend_conforms_with_small_buffers() {
    conformance::all(|| MemRig::new(2_048, 64));
}

#[test]
fn capture_backend_conforms() {
    conformance::all(PcapRig::new);
}

#[test]
fn an_empty_capture_is_at_rest() {
    let mut rig = PcapRig::new();
    let mut burst = packet::Burst::new();
    rig.io().recv(&mut burst).unwrap();
    assert!(burst.is_empty() && rig.io().finished());
}
