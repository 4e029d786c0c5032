//! Records of a capture file, whatever its format: pcap or pcapng, either byte order, any resolution of time.
//!
//! Files come from anywhere, so nothing in them is believed: every length has a limit, memory does not grow with the
//! file, and what is damaged or cut off ends in [`IoError::Capture`] with the number of the record.

use std::io::{Chain, Cursor, Read};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

use super::{MAX_FRAME_LEN, NANOS_PER_SEC};
use crate::io::IoError;
use crate::time::Instant;

/// Bytes of interface descriptions that are kept of one section: far above what 65,535 veths take to describe.
const MAX_DESCRIPTIONS: usize = 16 << 20;

/// Longest name, description or comment of an interface that is kept, in bytes.
const MAX_TEXT: usize = 4096;

/// First bytes of a pcapng file, in either byte order (draft-ietf-opsawg-pcapng §4.1).
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Block types of pcapng that carry a frame or describe where it comes from (draft-ietf-opsawg-pcapng §11.1).
mod block {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const ENHANCED_PACKET: u32 = 6;
}

/// Option of an enhanced packet block with the frame's direction; its low two bits are 2 for outbound.
const EPB_FLAGS: u16 = 2;

/// How a pcap file begins: times in microseconds and nanoseconds, numbers in either byte order.
const PCAP: [u32; 4] = [0xa1b2_c3d4, 0xd4c3_b2a1, 0xa1b2_3c4d, 0x4d3c_b2a1];

/// An interface that a capture was made on. A pcap file has one without names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// What the writer says about it beside that.
    pub comment: String,
    /// Whether its frames begin with an Ethernet header.
    pub is_ethernet: bool,
    /// Most bytes of a frame that were kept; 0 where all were.
    snaplen: u32,
    /// Divisor of a second, and seconds to be added.
    ticks: u128,
    offset: i64,
}

impl Interface {
    /// One of whole Ethernet frames.
    #[must_use]
    pub fn ethernet(name: &str, description: &str, comment: &str) -> Self {
        let (name, description, comment) = (name.to_owned(), description.to_owned(), comment.to_owned());
        Self { name, description, comment, is_ethernet: true, ticks: 1_000_000, ..Self::default() }
    }
}

/// One frame of a capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// When, in nanoseconds since 1970.
    pub time: Instant,
    /// Number of the interface.
    pub interface: u32,
    /// Whether the capture says that the frame left by the interface.
    pub outbound: bool,
    /// Length on the wire; more than `bytes` if the capture cut it.
    pub original_len: u32,
    /// The frame.
    pub bytes: Vec<u8>,
}

impl Record {
    /// Whether the capture holds only a part of the frame.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        usize::try_from(self.original_len).is_ok_and(|len| len > self.bytes.len())
    }
}

enum Format<R: Read> {
    Pcap(Box<PcapReader<R>>, u32),
    PcapNg(Box<PcapNgReader<R>>),
}

/// Reads a capture record by record.
pub struct CaptureReader<R: Read> {
    format: Format<Chain<Cursor<Vec<u8>>, R>>,
    interfaces: Vec<Interface>,
    /// Bytes of their descriptions in the file.
    described: usize,
    read: u64,
}

impl<R: Read> CaptureReader<R> {
    /// Looks at the first bytes.
    ///
    /// # Errors
    /// [`IoError::Capture`] if they do not begin a capture, or one that is not of Ethernet.
    pub fn new(mut file: R) -> Result<Self, IoError> {
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic).map_err(|e| IoError::Capture(e.to_string()))?;
        let format = <[u8; 4]>::try_from(&magic[..]).ok();
        let file = Cursor::new(magic).chain(file);
        match format {
            None => Err(IoError::Capture("the file is too short for a capture".into())),
            Some(PCAPNG) => {
                let reader = PcapNgReader::new(file).map_err(|e| damaged("its head", &e))?;
                let format = Format::PcapNg(Box::new(reader));
                Ok(Self { format, interfaces: Vec::new(), described: 0, read: 0 })
            }
            Some([0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) => {
                Err(IoError::Capture("the file is compressed; unpack it first".into()))
            }
            Some(magic) if PCAP.contains(&u32::from_be_bytes(magic)) => Self::pcap(file),
            Some(_) => Err(IoError::Capture("this is neither pcap nor pcapng".into())),
        }
    }

    fn pcap(file: Chain<Cursor<Vec<u8>>, R>) -> Result<Self, IoError> {
        let reader = PcapReader::new(file).map_err(|e| damaged("its head", &e))?;
        let header = reader.header();
        if header.datalink != DataLink::ETHERNET {
            return Err(IoError::Capture(not_ethernet(header.datalink)));
        }
        let scale = match header.ts_resolution {
            TsResolution::NanoSecond => 1,
            TsResolution::MicroSecond => 1_000,
        };
        let only = Interface { is_ethernet: true, ..Interface::default() };
        Ok(Self {
            format: Format::Pcap(Box::new(reader), scale),
            interfaces: vec![only],
            described: 0,
            read: 0,
        })
    }

    /// The next record, or `None` at the end of the file.
    ///
    /// # Errors
    /// [`IoError::Capture`] if the file is damaged, or cut off within the record.
    pub fn next_record(&mut self) -> Result<Option<Record>, IoError> {
        let number = self.read + 1;
        let found = match &mut self.format {
            Format::Pcap(reader, scale) => pcap_record(reader, *scale, number)?,
            Format::PcapNg(_) => self.pcapng_record(number)?,
        };
        if let Some(record) = &found {
            if record.bytes.len() > MAX_FRAME_LEN {
                return Err(wrong(number, &format!("a frame of {} bytes", record.bytes.len())));
            }
            self.read = number;
        }
        Ok(found)
    }

    /// An interface that records name.
    #[must_use]
    pub fn interface(&self, id: u32) -> Option<&Interface> {
        self.interfaces.get(usize::try_from(id).ok()?)
    }

    /// Records read.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.read
    }

    fn pcapng_record(&mut self, number: u64) -> Result<Option<Record>, IoError> {
        let Self { format: Format::PcapNg(reader), interfaces, described, .. } = self else {
            return Ok(None);
        };
        loop {
            let Some(block) = reader.next_raw_block() else { return Ok(None) };
            let block = block.map_err(|e| damaged(&format!("record {number}"), &e))?;
            let (kind, body) = (block.type_, block.body.into_owned());
            match kind {
                block::SECTION => {
                    interfaces.clear();
                    *described = 0;
                }
                block::INTERFACE => {
                    *described += body.len();
                    if *described > MAX_DESCRIPTIONS {
                        return Err(wrong(number, "more interfaces before it than are read"));
                    }
                    let Some(found) = reader.interfaces().last() else { continue };
                    let found = interface(found).map_err(|what| wrong(number, &what))?;
                    interfaces.push(found);
                }
                block::ENHANCED_PACKET | block::SIMPLE_PACKET => {
                    let fields = Fields { big: reader.section().endianness == Endianness::Big, rest: &body };
                    let record = match kind {
                        block::ENHANCED_PACKET => enhanced(fields, interfaces),
                        _ => simple(fields, interfaces),
                    };
                    return record.map(Some).map_err(|what| wrong(number, what));
                }
                _ => {}
            }
        }
    }
}

fn pcap_record<R: Read>(
    reader: &mut PcapReader<R>,
    scale: u32,
    number: u64,
) -> Result<Option<Record>, IoError> {
    let Some(record) = reader.next_raw_packet() else { return Ok(None) };
    let record = record.map_err(|e| damaged(&format!("record {number}"), &e))?;
    let nanos = record.ts_frac.checked_mul(scale).filter(|n| u64::from(*n) < NANOS_PER_SEC);
    let nanos = nanos.ok_or_else(|| wrong(number, "the fraction of its time exceeds one second"))?;
    Ok(Some(Record {
        time: Instant::from_nanos(u64::from(record.ts_sec) * NANOS_PER_SEC + u64::from(nanos)),
        interface: 0,
        outbound: false,
        original_len: record.orig_len,
        bytes: record.data.into_owned(),
    }))
}

/// What is needed of an interface description.
fn interface(found: &InterfaceDescriptionBlock<'_>) -> Result<Interface, String> {
    let is_ethernet = found.linktype == DataLink::ETHERNET;
    let mut interface =
        Interface { is_ethernet, snaplen: found.snaplen, ticks: 1_000_000, ..Interface::default() };
    for option in &found.options {
        match option {
            InterfaceDescriptionOption::IfName(text) => interface.name = kept(text),
            InterfaceDescriptionOption::IfDescription(text) => interface.description = kept(text),
            InterfaceDescriptionOption::Comment(text) => interface.comment = kept(text),
            InterfaceDescriptionOption::IfTsResol(code) => {
                let base: u128 = if code & 0x80 == 0 { 10 } else { 2 };
                let ticks = base.checked_pow(u32::from(code & 0x7f)).filter(|ticks| *ticks <= 1 << 64);
                interface.ticks =
                    ticks.ok_or_else(|| format!("an unreadable resolution of time ({code})"))?;
            }
            InterfaceDescriptionOption::IfTsOffset(seconds) => interface.offset = seconds.cast_signed(),
            _ => {}
        }
    }
    Ok(interface)
}

fn kept(text: &str) -> String {
    text.chars()
        .scan(0, |len, c| {
            *len += c.len_utf8();
            (*len <= MAX_TEXT).then_some(c)
        })
        .collect()
}

/// Enhanced packet block (draft-ietf-opsawg-pcapng §4.3).
fn enhanced(mut fields: Fields<'_>, interfaces: &[Interface]) -> Result<Record, &'static str> {
    let interface = fields.u32().ok_or(SHORT)?;
    let (high, low) = (fields.u32().ok_or(SHORT)?, fields.u32().ok_or(SHORT)?);
    let (captured, original_len) = (fields.u32().ok_or(SHORT)?, fields.u32().ok_or(SHORT)?);
    let from = usize::try_from(interface).ok().and_then(|at| interfaces.get(at));
    let from = from.ok_or("its interface is not described")?;
    let time = from.time(u64::from(high) << 32 | u64::from(low))?;
    let bytes = fields.padded(captured).ok_or(SHORT)?.to_vec();
    let mut outbound = false;
    while let (Some(code), Some(len)) = (fields.u16(), fields.u16()) {
        let Some(value) = fields.padded(u32::from(len)).filter(|_| code != 0) else { break };
        if code == EPB_FLAGS {
            outbound = Fields { rest: value, ..fields }.u32().is_some_and(|flags| flags & 3 == 2);
        }
    }
    Ok(Record { time, interface, outbound, original_len, bytes })
}

/// Simple packet block (draft-ietf-opsawg-pcapng §4.4): no time, the first interface.
fn simple(mut fields: Fields<'_>, interfaces: &[Interface]) -> Result<Record, &'static str> {
    let original_len = fields.u32().ok_or(SHORT)?;
    let snaplen = interfaces.first().ok_or("its interface is not described")?.snaplen;
    let kept = if snaplen == 0 { original_len } else { original_len.min(snaplen) };
    let bytes = fields.padded(kept).ok_or(SHORT)?.to_vec();
    Ok(Record { time: Instant::ZERO, interface: 0, outbound: false, original_len, bytes })
}

const SHORT: &str = "its block is too short for what it says it holds";

impl Interface {
    /// The time that so many ticks are.
    fn time(&self, ticks: u64) -> Result<Instant, &'static str> {
        let nanos = u128::from(ticks) * u128::from(NANOS_PER_SEC) / self.ticks.max(1);
        let offset = i128::from(self.offset) * i128::from(NANOS_PER_SEC);
        let nanos = i128::try_from(nanos).ok().and_then(|nanos| nanos.checked_add(offset));
        let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
        nanos.map(Instant::from_nanos).ok_or("its time is before 1970 or after 2554")
    }
}

/// Numbers and bytes one after the other.
#[derive(Copy, Clone)]
struct Fields<'a> {
    big: bool,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn u32(&mut self) -> Option<u32> {
        let (now, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(if self.big { u32::from_be_bytes(*now) } else { u32::from_le_bytes(*now) })
    }

    fn u16(&mut self) -> Option<u16> {
        let (now, rest) = self.rest.split_first_chunk::<2>()?;
        self.rest = rest;
        Some(if self.big { u16::from_be_bytes(*now) } else { u16::from_le_bytes(*now) })
    }

    /// So many bytes and what fills them up to a multiple of four.
    fn padded(&mut self, len: u32) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok()?;
        let now = self.rest.get(..len)?;
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(now)
    }
}

fn wrong(number: u64, what: &str) -> IoError {
    IoError::Capture(format!("record {number}: {what}"))
}

fn damaged(place: &str, error: &PcapError) -> IoError {
    let what = match error {
        PcapError::IncompleteBuffer => "the file ends within it".to_owned(),
        PcapError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends within it (a capture that was cut off?)".to_owned()
        }
        PcapError::IoError(e) => e.to_string(),
        other => other.to_string(),
    };
    IoError::Capture(format!("{place}: {what}"))
}

fn not_ethernet(link: DataLink) -> String {
    format!("link type {link:?} is not Ethernet; capture on one interface, not on `any`")
}

#[cfg(test)]
mod tests;
