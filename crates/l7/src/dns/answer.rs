//! What an answer says about the question's name: the CNAMEs from it, and the addresses at their ends.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{CLASS_IN, Question, Record, Records, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_CNAME};
use super::name::{self, Text};
use super::spill::Spill;

/// CNAME records in one answer, and so the longest chain; resolvers give up earlier (unbound: 11).
pub(crate) const MAX_CNAMES: usize = 16;

/// A CNAME record.
#[derive(Copy, Clone, Default)]
struct Link {
    owner: usize,
    target: usize,
    ttl: u32,
}

/// The question's name and the names that CNAMEs lead to.
struct Chain {
    /// Where the name's first label stands; for the text at the same index.
    origins: [usize; MAX_CNAMES + 1],
    /// Where each text ends in `text`. The first, that of the question, stands elsewhere and ends at 0.
    ends: [usize; MAX_CNAMES + 1],
    len: usize,
    text: Spill<u8, 512>,
}

/// What was found.
pub(crate) struct Found {
    chain: Chain,
    pub(crate) addresses: Spill<IpAddr, 16>,
    ttl: Option<u32>,
}

impl Found {
    /// Nothing.
    pub(crate) const fn nothing() -> Self {
        let chain =
            Chain { origins: [0; MAX_CNAMES + 1], ends: [0; MAX_CNAMES + 1], len: 1, text: Spill::new(0) };
        Self { chain, addresses: Spill::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), ttl: None }
    }

    /// Reads the `count` records of an answer section. `None`: a record that counts is malformed, or there are more
    /// CNAMEs than are followed.
    pub(crate) fn read(question: Question, name: &Text, records: Records<'_>, count: u16) -> Option<Self> {
        let mut found = Self::nothing();
        if question.qclass != CLASS_IN {
            return Some(found);
        }
        let message = records.message;
        let mut links = [Link::default(); MAX_CNAMES];
        let mut linked = 0;
        let mut wanted = 0u16;
        let mut all = records;
        for _ in 0..count {
            let record = all.next()?;
            if record.class != CLASS_IN {
                continue;
            }
            if record.rtype == TYPE_CNAME {
                if name::skip(message, record.at)? != record.at + record.data.len() {
                    return None;
                }
                *links.get_mut(linked)? = Link { owner: record.owner, target: record.at, ttl: record.ttl() };
                linked += 1;
            } else if is_address(record, question.qtype) {
                wanted += 1;
            }
        }
        found.chain.origins[0] = super::message::HEADER_LEN;
        found.follow(message, name, &links[..linked])?;
        if wanted > 0 {
            found.collect(question.qtype, name, records, count)?;
        }
        Some(found)
    }

    /// Texts of the names that CNAMEs lead to, in order.
    pub(crate) fn cnames(&self) -> ([&str; MAX_CNAMES], usize) {
        let mut names = [""; MAX_CNAMES];
        for (index, name) in (1..self.chain.len).zip(&mut names) {
            *name = core::str::from_utf8(self.chain.text(index)).unwrap_or_default();
        }
        (names, self.chain.len - 1)
    }

    /// Least time to live of the records used; 0 if none was.
    pub(crate) fn ttl(&self) -> u32 {
        self.ttl.unwrap_or(0)
    }

    fn follow(&mut self, message: &[u8], name: &Text, links: &[Link]) -> Option<()> {
        if links.is_empty() {
            return Some(());
        }
        let mut text = Text::new();
        let mut owners = [0usize; MAX_CNAMES];
        for (link, owner) in links.iter().zip(&mut owners) {
            *owner = name::origin(message, link.owner)?;
        }
        while self.chain.len <= links.len() {
            let last = self.chain.len - 1;
            let mut next = None;
            for (link, owner) in links.iter().zip(owners) {
                if self.chain.is(last, message, name, link.owner, owner, &mut text)? {
                    next = Some(link);
                    break;
                }
            }
            let Some(link) = next else { break };
            text.read(message, link.target)?;
            if text.as_bytes() == name.as_bytes() || self.chain.contains(text.as_bytes()) {
                break;
            }
            self.use_ttl(link.ttl);
            self.chain.push(name::origin(message, link.target)?, text.as_bytes());
        }
        Some(())
    }

    fn collect(&mut self, qtype: u16, name: &Text, records: Records<'_>, count: u16) -> Option<()> {
        let mut records = records;
        let mut text = Text::new();
        // Owners are mostly pointers to one place: the last answer is remembered.
        let mut last = (usize::MAX, false);
        for _ in 0..count {
            let record = records.next()?;
            if !is_address(record, qtype) {
                continue;
            }
            let address = match record.rtype {
                TYPE_A => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(record.data).ok()?)),
                _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(record.data).ok()?)),
            };
            let origin = name::origin(records.message, record.owner)?;
            if last.0 != origin {
                last = (origin, self.chain.holds(records.message, name, record.owner, origin, &mut text)?);
            }
            if last.1 {
                self.addresses.extend(&[address]);
                self.use_ttl(record.ttl());
            }
        }
        Some(())
    }

    fn use_ttl(&mut self, ttl: u32) {
        self.ttl = Some(self.ttl.map_or(ttl, |least| least.min(ttl)));
    }
}

impl Chain {
    fn text(&self, index: usize) -> &[u8] {
        &self.text.as_slice()[self.ends[index - 1]..self.ends[index]]
    }

    fn push(&mut self, origin: usize, text: &[u8]) {
        self.text.extend(text);
        self.origins[self.len] = origin;
        self.ends[self.len] = self.text.as_slice().len();
        self.len += 1;
    }

    /// Whether a CNAME led to this text.
    fn contains(&self, text: &[u8]) -> bool {
        (1..self.len).any(|index| self.text(index) == text)
    }

    /// Whether the name at `at`, whose first label stands at `origin`, is the one at `index`. `name` is that of the
    /// question. `None`: it is malformed.
    fn is(
        &self,
        index: usize,
        message: &[u8],
        name: &Text,
        at: usize,
        origin: usize,
        text: &mut Text,
    ) -> Option<bool> {
        if self.origins[index] == origin {
            return Some(true);
        }
        text.read(message, at)?;
        let other = if index == 0 { name.as_bytes() } else { self.text(index) };
        Some(text.as_bytes() == other)
    }

    /// Whether the name at `at` is any of them.
    fn holds(&self, message: &[u8], name: &Text, at: usize, origin: usize, text: &mut Text) -> Option<bool> {
        if self.origins[..self.len].contains(&origin) {
            return Some(true);
        }
        text.read(message, at)?;
        Some(text.as_bytes() == name.as_bytes() || self.contains(text.as_bytes()))
    }
}

fn is_address(record: Record<'_>, qtype: u16) -> bool {
    record.class == CLASS_IN
        && matches!(record.rtype, TYPE_A | TYPE_AAAA)
        && (qtype == record.rtype || qtype == TYPE_ANY)
}
