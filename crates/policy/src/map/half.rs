//! One direction of one policy map.

use super::MapEntry;
use super::class::Class;
use super::peers::PeerTable;
use super::table::{PROTOS, ProtoSlot, Range, Tables};
use crate::direction::Direction;
use crate::identity::Identity;
use crate::provenance::RuleId;
use crate::verdict::{Denial, DenyReason, L7RuleSetId, Permit, Verdict};
use hashbrown::HashMap;
use std::sync::Arc;

/// What a class of peers gets, per protocol: `(first port, verdict)`, ascending, the first at port 0.
pub(crate) type ClassPorts = [Vec<(u16, Verdict)>; PROTOS];

/// One direction: who is told apart, and what each class gets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Half {
    peers: PeerTable,
    body: Arc<HalfBody>,
}

/// The part of a half that does not change when a peer joins a class that exists.
#[derive(Debug, Default)]
pub(crate) struct HalfBody {
    enforced: bool,
    audited: bool,
    /// Class 0 is that of every peer that is not in the peer table.
    classes: Vec<Class>,
    /// For what a class does not carry itself.
    tables: Tables,
    answers: Vec<Verdict>,
}

impl HalfBody {
    /// Builds the tables of classes 0, 1, ….
    pub(crate) fn new<'a>(
        enforced: bool,
        audited: bool,
        classes: impl IntoIterator<Item = &'a ClassPorts>,
    ) -> Self {
        Self { enforced, audited, ..Self::default() }.with_classes(classes)
    }

    /// The same with more classes, behind those that there are.
    fn with_classes<'a>(&self, more: impl IntoIterator<Item = &'a ClassPorts>) -> Self {
        let (mut tables, mut classes) = (self.tables.builder(), self.classes.clone());
        let mut answers = self.answers.clone();
        let mut known: HashMap<Verdict, u32, foldhash::fast::RandomState> =
            answers.iter().copied().zip(0..).collect();
        let mut ranges = Vec::new();
        classes.extend(more.into_iter().map(|ports| {
            let mut numbers = [0; PROTOS];
            for (number, list) in numbers.iter_mut().zip(ports) {
                ranges.clear();
                for &(start, verdict) in list {
                    let answer = *known.entry(verdict).or_insert_with(|| {
                        answers.push(verdict);
                        answers.len() as u32 - 1
                    });
                    if ranges.last().is_none_or(|last: &Range| last.answer != answer) {
                        ranges.push(Range { start, answer });
                    }
                }
                *number = tables.add(&ranges);
            }
            Class::new(numbers, ports)
        }));
        answers.shrink_to_fit();
        Self { enforced: self.enforced, audited: self.audited, classes, tables: tables.finish(), answers }
    }
}

impl Half {
    pub(crate) fn new(peers: PeerTable, body: Arc<HalfBody>) -> Self {
        Self { peers, body }
    }

    /// Whether a peer has a class of its own.
    pub(crate) fn has_peer(&self, peer: Identity) -> bool {
        self.peers.class(peer) != 0
    }

    /// The same half with its peers changed.
    pub(crate) fn with_peers(&self, change: impl FnOnce(&mut PeerTable)) -> Self {
        let mut peers = self.peers.clone();
        change(&mut peers);
        Self { peers, body: Arc::clone(&self.body) }
    }

    /// Puts a peer into a class.
    pub(crate) fn set_peer(&mut self, peer: Identity, class: u32) {
        self.peers.insert(peer, class);
    }

    /// The same half with more classes, behind those that there are.
    pub(crate) fn with_classes(&self, more: &[ClassPorts]) -> Self {
        Self { peers: self.peers.clone(), body: Arc::new(self.body.with_classes(more)) }
    }

    #[inline]
    pub(crate) fn lookup(&self, peer: Identity, proto: u8, port: u16) -> Verdict {
        let body = &*self.body;
        let slot = ProtoSlot::of(proto);
        let Some(class) = body.classes.get(self.peers.class(peer) as usize) else {
            return self.without_tables();
        };
        if let Some(verdict) = class.carried(slot, port) {
            return verdict;
        }
        let answer = body.tables.lookup(class.tables[slot.0], port);
        match answer.and_then(|answer| body.answers.get(answer as usize)) {
            Some(verdict) => *verdict,
            None => self.without_tables(),
        }
    }

    /// A half without tables enforces nothing; one that is enforced never lacks them, and if it did it must deny.
    #[cold]
    fn without_tables(&self) -> Verdict {
        if self.body.enforced {
            return Verdict::Deny(Denial { reason: DenyReason::NoRule, rule: RuleId::NONE });
        }
        Verdict::Allow(Permit::new(RuleId::NONE, None, false))
    }

    pub(crate) fn is_enforced(&self) -> bool {
        self.body.enforced
    }

    pub(crate) fn is_audited(&self) -> bool {
        self.body.audited
    }

    /// The L7 rule sets that its verdicts name.
    pub(crate) fn l7_sets(&self) -> impl Iterator<Item = L7RuleSetId> {
        self.body.answers.iter().filter_map(|verdict| match verdict {
            Verdict::Allow(permit) => permit.l7(),
            Verdict::Deny(_) => None,
        })
    }

    /// The sets of rules that its verdicts name.
    pub(crate) fn rules(&self) -> impl Iterator<Item = RuleId> {
        self.body.answers.iter().map(|verdict| match verdict {
            Verdict::Allow(permit) => permit.rule(),
            Verdict::Deny(denial) => denial.rule,
        })
    }

    pub(crate) fn entries(&self, direction: Direction) -> Vec<MapEntry> {
        let mut lines = Vec::new();
        let peers = self.peers.sorted();
        let all =
            std::iter::once((None, 0)).chain(peers.into_iter().map(|(peer, class)| (Some(peer), class)));
        for (peer, class) in all {
            match self.body.classes.get(class as usize) {
                Some(class) => self.class_entries(direction, peer, &class.tables, &mut lines),
                None => lines.push(MapEntry {
                    direction,
                    peer,
                    proto: None,
                    ports: (0, u16::MAX),
                    verdict: self.without_tables(),
                }),
            }
        }
        lines
    }

    fn class_entries(
        &self,
        direction: Direction,
        peer: Option<Identity>,
        tables: &[u32; PROTOS],
        lines: &mut Vec<MapEntry>,
    ) {
        let other = tables[ProtoSlot::OTHER.0];
        for slot in (0..PROTOS).rev().map(ProtoSlot) {
            let table = tables[slot.0];
            if slot != ProtoSlot::OTHER && table == other {
                continue;
            }
            let ranges: Vec<Range> = self.body.tables.ranges(table).collect();
            for (i, range) in ranges.iter().enumerate() {
                let last = ranges.get(i + 1).map_or(u16::MAX, |next| next.start - 1);
                if let Some(&verdict) = self.body.answers.get(range.answer as usize) {
                    let ports = (range.start, last);
                    lines.push(MapEntry { direction, peer, proto: slot.proto(), ports, verdict });
                }
            }
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        self.peers.heap_size()
            + self.body.tables.heap_size()
            + self.body.classes.capacity() * size_of::<Class>()
            + self.body.answers.capacity() * size_of::<Verdict>()
    }
}
