//! Port tables: disjoint port ranges of one protocol, each with the number of its answer.
//!
//! Small tables are scanned; from [`PAGED_FROM`] ranges on, an index by the high byte of the port bounds the search
//! to the at most 256 ranges that begin within one page.

use hashbrown::HashMap;

/// Protocols that rules can tell apart; everything else is one more slot.
pub(crate) const PROTOS: usize = 6;

/// Ranges from which a table gets an index: a scan of eight `u16` is about as fast as the index.
const PAGED_FROM: usize = 9;

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
    ranges: Vec<Range>,
    /// Per paged table 257 numbers: the range that holds the first port of each page, and the last range.
    pages: Vec<u32>,
}

impl Tables {
    /// The answer's number for `port` in table `table`.
    #[inline]
    pub(crate) fn lookup(&self, table: u32, port: u16) -> Option<u32> {
        let table = self.tables.get(table as usize)?;
        let first = table.first as usize;
        let ranges = if table.page == NO_PAGE {
            self.ranges.get(first..first + table.len as usize)?
        } else {
            let at = table.page as usize + usize::from(port >> 8);
            let (from, to) = (*self.pages.get(at)? as usize, *self.pages.get(at + 1)? as usize);
            self.ranges.get(from..=to)?
        };
        let after = if ranges.len() < PAGED_FROM {
            ranges.iter().filter(|range| range.start <= port).count()
        } else {
            ranges.partition_point(|range| range.start <= port)
        };
        Some(ranges.get(after.wrapping_sub(1))?.answer)
    }

    /// The ranges of a table.
    pub(crate) fn ranges(&self, table: u32) -> &[Range] {
        match self.tables.get(table as usize) {
            Some(t) => &self.ranges[t.first as usize..(t.first + t.len) as usize],
            None => &[],
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        self.tables.capacity() * size_of::<Table>()
            + self.ranges.capacity() * size_of::<Range>()
            + self.pages.capacity() * 4
    }
}

/// Collects tables and keeps equal ones once.
#[derive(Debug, Default)]
pub(crate) struct TablesBuilder {
    tables: Tables,
    known: HashMap<Box<[Range]>, u32, foldhash::fast::RandomState>,
}

impl TablesBuilder {
    /// Adds a table; `ranges` are ascending and begin at port 0.
    pub(crate) fn add(&mut self, ranges: &[Range]) -> u32 {
        debug_assert!(ranges.first().is_some_and(|range| range.start == 0));
        if let Some(&known) = self.known.get(ranges) {
            return known;
        }
        let first = self.tables.ranges.len();
        self.tables.ranges.extend_from_slice(ranges);
        let page = if ranges.len() < PAGED_FROM { NO_PAGE } else { self.index(first, ranges) };
        let number = self.tables.tables.len() as u32;
        self.tables.tables.push(Table { first: first as u32, len: ranges.len() as u32, page });
        self.known.insert(ranges.into(), number);
        number
    }

    fn index(&mut self, first: usize, ranges: &[Range]) -> u32 {
        let page = self.tables.pages.len();
        for high in 0..=255u16 {
            let holds = ranges.partition_point(|range| range.start <= high << 8) - 1;
            self.tables.pages.push((first + holds) as u32);
        }
        self.tables.pages.push((first + ranges.len() - 1) as u32);
        page as u32
    }

    pub(crate) fn finish(self) -> Tables {
        let mut tables = self.tables;
        tables.tables.shrink_to_fit();
        tables.ranges.shrink_to_fit();
        tables.pages.shrink_to_fit();
        tables
    }
}
