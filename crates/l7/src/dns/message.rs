//! The parts of a message (RFC 1035 §4.1): header, question, records.

use super::name::{self, Text};

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 12;
/// Record types that are read (RFC 1035 §3.2.2, RFC 3596, RFC 6891).
pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_AAAA: u16 = 28;
pub(crate) const TYPE_OPT: u16 = 41;
/// Question types that are not those of records (RFC 1035 §3.2.3, RFC 1995).
pub(crate) const TYPE_IXFR: u16 = 251;
pub(crate) const TYPE_AXFR: u16 = 252;
pub(crate) const TYPE_ANY: u16 = 255;
/// Internet.
pub(crate) const CLASS_IN: u16 = 1;

const OPCODE_QUERY: u8 = 0;

/// The header.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Header {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    counts: [u16; 4],
}

impl Header {
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let word = |at| be16(message, at);
        let [id, flags] = [word(0)?, word(2)?];
        Some(Self { id, flags, counts: [word(4)?, word(6)?, word(8)?, word(10)?] })
    }

    const fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    const fn opcode(self) -> u8 {
        (self.flags >> 11) as u8 & 15
    }

    const fn rcode(self) -> u8 {
        self.flags as u8 & 15
    }

    pub(crate) const fn recursion_desired(self) -> bool {
        self.flags & 0x0100 != 0
    }
}

/// Type and class of the question; its name stands in a [`Text`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) qtype: u16,
    pub(crate) qclass: u16,
    /// Where it ends.
    end: usize,
}

impl Question {
    /// Its bytes as sent.
    pub(crate) fn bytes(self, message: &[u8]) -> &[u8] {
        message.get(HEADER_LEN..self.end).unwrap_or_default()
    }

    /// A pointer could lead nowhere: nothing but the header stands before.
    fn read(message: &[u8], text: &mut Text) -> Option<Self> {
        let at = text.read(message, HEADER_LEN)?;
        Some(Self { qtype: be16(message, at)?, qclass: be16(message, at + 2)?, end: at + 4 })
    }
}

/// What a client may send.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Request {
    /// A question, and what its OPT record says.
    Query(Header, Question, Option<Opt>),
    /// Another operation, or a zone transfer.
    Unsupported(Header, Option<Question>, Option<Opt>),
}

impl Request {
    /// Reads a client's message. `None`: it is malformed.
    pub(crate) fn read(message: &[u8], name: &mut Text) -> Option<Self> {
        let header = Header::read(message)?;
        if header.is_response() {
            return None;
        }
        if header.opcode() != OPCODE_QUERY {
            return Some(Self::Unsupported(header, None, None));
        }
        let [questions, answers, authorities, additionals] = header.counts;
        if questions != 1 || answers != 0 {
            return None;
        }
        let question = Question::read(message, name)?;
        let mut records = Records { message, at: question.end };
        // An IXFR says in its authority section what the client has (RFC 1995 §3).
        let transfer = matches!(question.qtype, TYPE_AXFR | TYPE_IXFR);
        if authorities != 0 && !transfer {
            return None;
        }
        for _ in 0..authorities {
            records.next()?;
        }
        let opt = records.opt(additionals)?;
        if records.at != message.len() {
            return None;
        }
        Some(if transfer {
            Self::Unsupported(header, Some(question), opt)
        } else {
            Self::Query(header, question, opt)
        })
    }
}

/// What a server may send.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Response<'a> {
    /// The answer to a question: its answer section stands in `records`, `count` of them.
    Answer { id: u16, question: Question, rcode: u8, records: Records<'a>, count: u16 },
    /// An error that does not say to which question.
    BareError { id: u16, rcode: u8 },
}

impl<'a> Response<'a> {
    /// Reads a server's message to its last byte. `None`: it is malformed.
    pub(crate) fn read(message: &'a [u8], name: &mut Text) -> Option<Self> {
        let header = Header::read(message)?;
        if !header.is_response() || header.opcode() != OPCODE_QUERY {
            return None;
        }
        let [questions, count, authorities, additionals] = header.counts;
        if questions == 0 {
            let bare = header.rcode() != 0 && header.counts == [0; 4] && message.len() == HEADER_LEN;
            return bare.then_some(Self::BareError { id: header.id, rcode: header.rcode() });
        }
        if questions != 1 {
            return None;
        }
        let question = Question::read(message, name)?;
        let records = Records { message, at: question.end };
        let mut rest = records;
        for _ in 0..u32::from(count) + u32::from(authorities) {
            rest.next()?;
        }
        let opt = rest.opt(additionals)?;
        if rest.at != message.len() {
            return None;
        }
        // RFC 6891 §6.1.3: the upper eight bits of the code; those in use fit eight bits in all.
        let upper = opt.map_or(0, |opt| u16::from(opt.rcode) << 4);
        let rcode = u8::try_from(upper | u16::from(header.rcode())).unwrap_or(u8::MAX);
        Some(Self::Answer { id: header.id, question, rcode, records, count })
    }
}

/// What an OPT record says, as far as it is read.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Opt {
    /// Upper bits of the response code.
    rcode: u8,
    /// Whether signatures are wanted.
    pub(crate) dnssec_ok: bool,
}

/// One record.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Record<'a> {
    /// Where its owner's name stands.
    pub(crate) owner: usize,
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    ttl: u32,
    /// Where its data starts.
    pub(crate) at: usize,
    pub(crate) data: &'a [u8],
}

impl Record<'_> {
    /// Seconds. With the highest bit set they are none (RFC 2181 §8).
    pub(crate) const fn ttl(self) -> u32 {
        if self.ttl > i32::MAX as u32 { 0 } else { self.ttl }
    }
}

/// The records from some place on.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Records<'a> {
    pub(crate) message: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// The next one. `None`: it is malformed, or there is none.
    pub(crate) fn next(&mut self) -> Option<Record<'a>> {
        let owner = self.at;
        let at = name::skip(self.message, owner)?;
        let fixed: [u8; 10] = *self.message.get(at..)?.first_chunk()?;
        let [t0, t1, c0, c1, ttl @ .., l0, l1] = fixed;
        let from = at + fixed.len();
        let data = self.message.get(from..from + usize::from(u16::from_be_bytes([l0, l1])))?;
        self.at = from + data.len();
        Some(Record {
            owner,
            rtype: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes(ttl),
            at: from,
            data,
        })
    }

    /// Goes over the additional section for its OPT record. `None`: the section is malformed.
    fn opt(&mut self, count: u16) -> Option<Option<Opt>> {
        let mut found = None;
        for _ in 0..count {
            let record = self.next()?;
            if record.rtype == TYPE_OPT {
                // RFC 6891 §6.1.1: one at most, owned by the root.
                if found.is_some() || self.message.get(record.owner) != Some(&0) {
                    return None;
                }
                let rcode = (record.ttl >> 24) as u8;
                found = Some(Opt { rcode, dnssec_ok: record.ttl & 0x8000 != 0 });
            }
        }
        Some(found)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}
