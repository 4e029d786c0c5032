//! Writes pcapng (draft-ietf-opsawg-pcapng) as far as captures of ours need it: interfaces that may join at any time,
//! frames with a comment, a direction and a count of lost ones, and statistics at the end.

use std::io::Write;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};

use crate::io::IoError;

/// Longest text of an option, in bytes: lengths have 16 bits, and no reader shows more.
const MAX_TEXT: usize = 16 << 10;

/// Power of ten that divides a second.
const NANOSECONDS: u8 = 9;

/// Directions in the flags of an enhanced packet block.
const INBOUND: u32 = 1;
/// See [`INBOUND`].
const OUTBOUND: u32 = 2;

/// A frame to be written.
#[derive(Copy, Clone, Debug)]
pub struct NgFrame<'a> {
    /// Number of its interface, from [`NgWriter::interface`].
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub nanos: u64,
    /// Length on the wire.
    pub original_len: u32,
    /// Its bytes, or the first of them.
    pub bytes: &'a [u8],
    /// Whether it left by the interface.
    pub outbound: bool,
    /// Frames lost since the one before.
    pub lost_before: u64,
    /// What to say about it.
    pub comment: &'a str,
}

/// What happened on one interface.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct NgStatistics {
    /// Begin, in nanoseconds since 1970.
    pub from: u64,
    /// End.
    pub to: u64,
    /// Frames seen.
    pub seen: u64,
    /// Frames lost, because the reader was too slow.
    pub lost: u64,
    /// Frames that the filter let through.
    pub accepted: u64,
}

/// Writes one section.
pub struct NgWriter<W: Write> {
    writer: PcapNgWriter<W>,
    interfaces: u32,
}

impl<W: Write> NgWriter<W> {
    /// Begins a section: which program writes, and what it says about the capture.
    ///
    /// # Errors
    /// [`IoError::Capture`] if `out` cannot be written, here and below.
    pub fn new(out: W, program: &str, comment: &str) -> Result<Self, IoError> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::Comment(cut(comment).to_owned().into()),
                SectionHeaderOption::OS("Linux".into()),
                SectionHeaderOption::UserApplication(cut(program).to_owned().into()),
            ],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(out, section).map_err(failed)?;
        Ok(Self { writer, interfaces: 0 })
    }

    /// Describes an Ethernet interface and answers its number.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn interface(
        &mut self,
        name: &str,
        description: &str,
        comment: &str,
        snaplen: u32,
    ) -> Result<u32, IoError> {
        let options = vec![
            InterfaceDescriptionOption::IfName(cut(name).into()),
            InterfaceDescriptionOption::IfDescription(cut(description).into()),
            InterfaceDescriptionOption::Comment(cut(comment).into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let block = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen, options };
        self.writer.write_pcapng_block(block).map_err(failed)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// See [`new`](Self::new); also if its interface is not described.
    pub fn frame(&mut self, frame: &NgFrame<'_>) -> Result<(), IoError> {
        let direction = if frame.outbound { OUTBOUND } else { INBOUND };
        let mut options = vec![
            EnhancedPacketOption::Comment(cut(frame.comment).into()),
            EnhancedPacketOption::Flags(direction),
        ];
        if frame.lost_before > 0 {
            options.push(EnhancedPacketOption::DropCount(frame.lost_before));
        }
        let block = EnhancedPacketBlock {
            interface_id: frame.interface,
            timestamp: Duration::from_nanos(frame.nanos),
            original_len: frame.original_len,
            data: frame.bytes.into(),
            options,
        };
        self.writer.write_pcapng_block(block).map_err(failed)?;
        Ok(())
    }

    /// Writes what happened on an interface.
    ///
    /// # Errors
    /// See [`frame`](Self::frame).
    pub fn statistics(&mut self, interface: u32, of: &NgStatistics) -> Result<(), IoError> {
        let options = vec![
            InterfaceStatisticsOption::IsbStartTime(halves(of.from)),
            InterfaceStatisticsOption::IsbEndTime(halves(of.to)),
            InterfaceStatisticsOption::IsbIfRecv(of.seen),
            InterfaceStatisticsOption::IsbIfDrop(of.lost),
            InterfaceStatisticsOption::IsbFilterAccept(of.accepted),
        ];
        let block = InterfaceStatisticsBlock { interface_id: interface, timestamp: halves(of.to), options };
        self.writer.write_pcapng_block(block).map_err(failed)?;
        Ok(())
    }

    /// The output, to be emptied or flushed.
    pub fn get_mut(&mut self) -> &mut W {
        self.writer.get_mut()
    }
}

/// A time as the format has it, high half first; the library writes it as one little-endian number.
const fn halves(nanos: u64) -> u64 {
    nanos.rotate_left(32)
}

/// The part of a text that fits an option.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

fn failed(error: pcap_file::PcapError) -> IoError {
    match error {
        pcap_file::PcapError::IoError(source) => IoError::System { what: "write the capture", source },
        other => IoError::Capture(other.to_string()),
    }
}
