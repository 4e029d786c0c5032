//! Captures as ports: frames of a capture file (pcap or pcapng) arrive, frames that are sent are written to one.
//!
//! Capture timestamps become the time: one `recv` hands up frames of one timestamp only, and [`PcapIo::now`] tells it.
//! Whoever has timers looks ahead with [`PcapIo::peek`] and lets time pass with [`PcapIo::wait_until`]. A damaged or
//! hostile file ends in [`IoError::Capture`].

mod ng;
mod read;

pub use ng::{NgFrame, NgStatistics, NgWriter};
pub use read::{CaptureReader, Interface, Record};

use std::io::{Read, Write};
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, TsResolution};

use super::mem::{MemConfig, MemIo, Sent};
use super::{IoError, IoStats, PacketIo};
use crate::frame::{Burst, Frame, PortId};
use crate::time::Instant;

/// Longest record accepted, in bytes: the largest snapshot length that capture tools use.
pub const MAX_FRAME_LEN: usize = 256 * 1024;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Where sent frames go.
pub enum Output<W: Write> {
    /// Nowhere.
    None,
    /// All ports into one file.
    One(W),
    /// The port's number picks the file; ports without one write nothing.
    PerPort(Vec<W>),
}

/// A frame that was read before its time.
struct Ahead {
    time: Instant,
    port: PortId,
    bytes: Vec<u8>,
}

/// Which port a frame arrives on; `None` leaves it out. The frame may be changed before it arrives.
type Place = Box<dyn FnMut(&mut Record, Option<&Interface>) -> Option<PortId>>;

/// A [`PacketIo`] over capture files.
pub struct PcapIo<R: Read, W: Write> {
    reader: CaptureReader<R>,
    writers: Vec<PcapWriter<W>>,
    one_file: bool,
    place: Place,
    ahead: Option<Ahead>,
    /// What was wrong with the record behind the frames that were handed up last.
    failed: Option<IoError>,
    now: Instant,
    /// Frames after it wait.
    limit: Option<Instant>,
    mem: MemIo,
    ports: u16,
    finished: bool,
}

impl<R: Read, W: Write> PcapIo<R, W> {
    /// Reads from `capture`; `place` picks the port of each frame, by its addresses or always the same. A frame
    /// placed on a port that does not exist is counted as lost.
    ///
    /// # Errors
    /// [`IoError::Capture`] if `capture` does not begin as a capture of Ethernet does, or an output cannot be written.
    pub fn new(
        capture: R,
        ports: u16,
        mut place: impl FnMut(&[u8]) -> PortId + 'static,
        output: Output<W>,
    ) -> Result<Self, IoError> {
        let reader = CaptureReader::new(capture)?;
        Self::placing(reader, ports, move |record, _| Some(place(&record.bytes)), output)
    }

    /// The same, where `place` also sees the record and its interface, may change the frame, and may leave it out.
    ///
    /// # Errors
    /// [`IoError::Capture`] if an output cannot be written.
    pub fn placing(
        reader: CaptureReader<R>,
        ports: u16,
        place: impl FnMut(&mut Record, Option<&Interface>) -> Option<PortId> + 'static,
        output: Output<W>,
    ) -> Result<Self, IoError> {
        let one_file = matches!(output, Output::One(_));
        let files = match output {
            Output::None => Vec::new(),
            Output::One(file) => vec![file],
            Output::PerPort(files) => files,
        };
        let writers = files.into_iter().map(new_writer).collect::<Result<_, _>>()?;
        let mem = MemIo::new(MemConfig { ports, sent: Sent::Keep, ..MemConfig::default() });
        Ok(Self {
            reader,
            writers,
            one_file,
            place: Box::new(place),
            ahead: None,
            failed: None,
            now: Instant::ZERO,
            limit: None,
            mem,
            ports,
            finished: false,
        })
    }

    /// Capture time of the frames that the last `recv` handed up, in nanoseconds since 1970; never goes back.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether the last `recv` found the end of the capture.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Ends the outputs and gives them back, in the order in which they were given.
    pub fn into_outputs(self) -> Vec<W> {
        self.writers.into_iter().map(PcapWriter::into_writer).collect()
    }

    /// When the next frame comes; `None` if none does.
    ///
    /// # Errors
    /// As [`recv`](PacketIo::recv).
    pub fn peek(&mut self) -> Result<Option<Instant>, IoError> {
        if self.ahead.is_none() {
            self.ahead = self.read()?;
        }
        self.finished = self.ahead.is_none();
        Ok(self.ahead.as_ref().map(|frame| frame.time))
    }

    /// Lets time pass: it is now `now`, or what it was if that is later. From the first call on, frames after it wait.
    pub fn wait_until(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.limit = Some(self.now);
    }

    /// The next record of the file that has a port, or `None` at its end.
    fn read(&mut self) -> Result<Option<Ahead>, IoError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        while let Some(mut record) = self.reader.next_record()? {
            let interface = self.reader.interface(record.interface);
            if let Some(port) = (self.place)(&mut record, interface) {
                // Records may be slightly out of order; time may not.
                return Ok(Some(Ahead { time: record.time.max(self.now), port, bytes: record.bytes }));
            }
        }
        Ok(None)
    }

    fn write_sent(&mut self) -> Result<(), IoError> {
        let time = Duration::from_nanos(self.now.as_nanos());
        for port in 0..self.ports {
            let mut writer = self.writers.get_mut(if self.one_file { 0 } else { usize::from(port) });
            let mut failed = None;
            self.mem.take_sent_with(PortId(port), |pieces| {
                let Some(writer) = writer.as_deref_mut() else { return };
                let bytes = pieces.concat();
                let packet = PcapPacket::new_owned(time, bytes.len() as u32, bytes);
                if let Err(e) = writer.write_packet(&packet) {
                    failed = Some(damaged(e));
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }
}

fn new_writer<W: Write>(file: W) -> Result<PcapWriter<W>, IoError> {
    let header = PcapHeader {
        snaplen: MAX_FRAME_LEN as u32,
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        ..PcapHeader::default()
    };
    PcapWriter::with_header(file, header).map_err(damaged)
}

fn damaged(error: pcap_file::PcapError) -> IoError {
    IoError::Capture(error.to_string())
}

impl<R: Read, W: Write> PacketIo for PcapIo<R, W> {
    fn recv(&mut self, burst: &mut Burst) -> Result<(), IoError> {
        let mut injected = 0;
        let mut port = PortId(0);
        while injected < burst.room() {
            let next = match self.ahead.take() {
                Some(frame) => Some(frame),
                None => match self.read() {
                    Ok(next) => next,
                    // The frames before the damage are whole.
                    Err(error) if injected > 0 => {
                        self.failed = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                },
            };
            self.finished = next.is_none();
            let Some(frame) = next else { break };
            let early = self.limit.is_some_and(|limit| frame.time > limit);
            // Frames of one moment stay in the capture's order, where memory would serve the ports in turn.
            if early || injected > 0 && (frame.time != self.now || frame.port != port) {
                self.ahead = Some(frame);
                break;
            }
            (self.now, port) = (frame.time, frame.port);
            self.mem.inject(frame.port, &frame.bytes);
            injected += 1;
        }
        self.mem.recv(burst)
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.mem.bytes(frame)
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.mem.bytes_mut(frame)
    }

    fn for_each_buffer(&self, frame: &Frame, each: &mut dyn FnMut(&[u8])) {
        self.mem.for_each_buffer(frame, each);
    }

    fn alloc(&mut self, port: PortId, len: usize) -> Option<Frame> {
        self.mem.alloc(port, len)
    }

    fn copy_in(&mut self, port: PortId, parts: [&[u8]; 2]) -> Option<Frame> {
        self.mem.copy_in(port, parts)
    }

    fn send(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        self.mem.send(port, frame)
    }

    fn release(&mut self, frame: Frame) {
        self.mem.release(frame);
    }

    fn flush(&mut self) -> Result<(), IoError> {
        self.mem.flush()?;
        self.write_sent()
    }

    fn outstanding(&self) -> usize {
        self.mem.outstanding()
    }

    fn stats(&self) -> IoStats {
        self.mem.stats()
    }
}

#[cfg(test)]
mod tests;
