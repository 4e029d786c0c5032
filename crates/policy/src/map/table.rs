//! Port tables: disjoint port ranges of one protocol, each with the number of its answer.
//!
//! Small tables are a list of first ports that is counted through without a branch. From [`PAGED_FROM`] ranges on
//! there is a page per high byte of the port: one answer for the whole page, or one for each of its 256 ports.

use hashbrown::HashMap;

/// Protocols that rules can tell apart; everything else is one more slot.
pub(crate) const PROTOS: usize = 6;

/// Ranges from which a table gets pages: counting through 32 `u16` takes four vector instructions.
const PAGED_FROM: usize = 33;

/// Which of the [`PROTOS`] tables of a class a packet asks.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProtoSlot(pub(crate) usize);

impl ProtoSlot {
    pub(crate) const TCP: Self = Self(0);
    pub(crate) const UDP: Self = Self(1);
    pub(crate) const SCTP: Self = Self(2);
    pub(crate) const ICMP: Self = Self(3);
    pub(crate) const ICMPV6: Self = Self(4);
    pub(crate) const OTHER: Self = Self(5);

    #[inline]
    pub(crate) const fn of(proto: u8) -> Self {
        match proto {
            6 => Self::TCP,
            17 => Self::UDP,
            132 => Self::SCTP,
            1 => Self::ICMP,
            58 => Self::ICMPV6,
            _ => Self::OTHER,
        }
    }

    /// The protocol number, `None` for the slot of all others.
    pub(crate) const fn proto(self) -> Option<u8> {
        match self.0 {
            0 => Some(6),
            1 => Some(17),
            2 => Some(132),
            3 => Some(1),
            4 => Some(58),
            _ => None,
        }
    }

    /// As a bit of a protocol set.
    pub(crate) const fn bit(self) -> u8 {
        1 << self.0
    }
}

/// Where one table lies in the arena. `page` is `NO_PAGE` for small tables.
#[derive(Copy, Clone, Debug)]
struct Table {
    first: u32,
    len: u32,
    page: u32,
}

const NO_PAGE: u32 = u32::MAX;

/// From `start` to the port before the next range's start.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Range {
    pub(crate) start: u16,
    pub(crate) answer: u32,
}

/// All port tables of one half, equal ones kept once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    tables: Vec<Table>,
    starts: Vec<u16>,
    answers: Vec<u32>,
    /// 256 per paged table: an answer, or with [`DENSE`] the number of a dense page.
    pages: Vec<u32>,
    dense: Vec<[u32; 256]>,
}

/// Marks a page whose ports differ.
const DENSE: u32 = 1 << 31;

impl Tables {
    /// The answer's number for `port` in table `table`.
    #[inline]
    pub(crate) fn lookup(&self, table: u32, port: u16) -> Option<u32> {
        let table = self.tables.get(table as usize)?;
        if table.page != NO_PAGE {
            let page = *self.pages.get(table.page as usize + usize::from(port >> 8))?;
            return match page & DENSE {
                0 => Some(page),
                _ => Some(self.dense.get((page & !DENSE) as usize)?[usize::from(port & 0xff)]),
            };
        }
        let first = table.first as usize;
        let starts = self.starts.get(first..first + table.len as usize)?;
        let after: u16 = starts.iter().map(|start| u16::from(*start <= port)).sum();
        self.answers.get(first + usize::from(after.checked_sub(1)?)).copied()
    }

    /// The ranges of a table.
    pub(crate) fn ranges(&self, table: u32) -> impl ExactSizeIterator<Item = Range> {
        let range =
            self.tables.get(table as usize).map_or(0..0, |t| t.first as usize..(t.first + t.len) as usize);
        let starts = self.starts[range.clone()].iter();
        starts.zip(&self.answers[range]).map(|(start, answer)| Range { start: *start, answer: *answer })
    }

    /// To add more tables to these, whose numbers stay. What is added may repeat one of them.
    pub(crate) fn builder(&self) -> TablesBuilder {
        TablesBuilder { tables: self.clone(), known: HashMap::default(), known_pages: HashMap::default() }
    }

    pub(crate) fn heap_size(&self) -> usize {
        self.tables.capacity() * size_of::<Table>()
            + self.starts.capacity() * 2
            + (self.answers.capacity() + self.pages.capacity()) * 4
            + self.dense.capacity() * size_of::<[u32; 256]>()
    }
}

/// Collects tables and keeps equal ones once.
#[derive(Debug, Default)]
pub(crate) struct TablesBuilder {
    tables: Tables,
    known: HashMap<Box<[Range]>, u32, foldhash::fast::RandomState>,
    known_pages: HashMap<[u32; 256], u32, foldhash::fast::RandomState>,
}

impl TablesBuilder {
    /// Adds a table; `ranges` are ascending and begin at port 0.
    pub(crate) fn add(&mut self, ranges: &[Range]) -> u32 {
        debug_assert!(ranges.first().is_some_and(|range| range.start == 0));
        if let Some(&known) = self.known.get(ranges) {
            return known;
        }
        let first = self.tables.starts.len() as u32;
        self.tables.starts.extend(ranges.iter().map(|range| range.start));
        self.tables.answers.extend(ranges.iter().map(|range| range.answer));
        let page = if ranges.len() < PAGED_FROM { NO_PAGE } else { self.pages(ranges) };
        let number = self.tables.tables.len() as u32;
        self.tables.tables.push(Table { first, len: ranges.len() as u32, page });
        self.known.insert(ranges.into(), number);
        number
    }

    fn pages(&mut self, ranges: &[Range]) -> u32 {
        let first = self.tables.pages.len() as u32;
        let mut at = 0;
        for high in 0..=255u16 {
            let mut page = [0; 256];
            for (low, answer) in (0u16..).zip(&mut page) {
                while ranges.get(at + 1).is_some_and(|next| next.start <= high << 8 | low) {
                    at += 1;
                }
                *answer = ranges[at].answer;
            }
            let entry = if page.iter().all(|answer| *answer == page[0]) {
                page[0]
            } else {
                let dense = &mut self.tables.dense;
                DENSE
                    | *self.known_pages.entry(page).or_insert_with(|| {
                        dense.push(page);
                        dense.len() as u32 - 1
                    })
            };
            self.tables.pages.push(entry);
        }
        first
    }

    pub(crate) fn finish(self) -> Tables {
        let mut tables = self.tables;
        tables.tables.shrink_to_fit();
        tables.starts.shrink_to_fit();
        tables.answers.shrink_to_fit();
        tables.pages.shrink_to_fit();
        tables.dense.shrink_to_fit();
        tables
    }
}
