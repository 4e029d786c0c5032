//! Maps written by hand, for tests of the crates that ask them.

use super::half::{ClassPorts, Half, HalfBody};
use super::peers::PeerTable;
use super::{PROTOS, PolicyMap, ProtoSlot};
use crate::compile::merge::{Contribution, Effect, Merger};
use crate::compile::sets::RuleSets;
use crate::direction::Direction;
use crate::identity::Identity;
use crate::provenance::{Provenance, RuleTable};
use crate::verdict::L7RuleSetId;
use core::ops::RangeInclusive;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Collects rules in any order; precedence is that of compiled policy (deny, then redirect, then allow).
#[derive(Debug, Default)]
pub struct MapBuilder {
    rules: RuleSets,
    because: Vec<u32>,
    halves: [HalfRules; 2],
}

#[derive(Debug, Default)]
struct HalfRules {
    enforced: Option<Vec<u32>>,
    audited: bool,
    lines: Vec<(Option<Identity>, Contribution)>,
}

impl MapBuilder {
    /// Puts a direction into default deny, switched on by `policies`.
    #[must_use]
    pub fn enforce(mut self, direction: Direction, policies: &[Provenance]) -> Self {
        let ids = self.rules.provenances(policies);
        self.half(direction).enforced.get_or_insert_default().extend(ids);
        self
    }

    /// Names the rules behind the lines that follow.
    #[must_use]
    pub fn because(mut self, rules: &[Provenance]) -> Self {
        self.because = self.rules.provenances(rules);
        self
    }

    /// Allows `peer` (`None`: any) on `proto` (`None`: any) and `ports` (`None`: any; for ICMP the types).
    #[must_use]
    pub fn allow(
        self,
        direction: Direction,
        peer: impl Into<Option<Identity>>,
        proto: impl Into<Option<u8>>,
        ports: impl Into<Option<RangeInclusive<u16>>>,
    ) -> Self {
        self.line(direction, peer.into(), proto.into(), ports.into(), Effect::Allow)
    }

    /// Denies, whatever allows.
    #[must_use]
    pub fn deny(
        self,
        direction: Direction,
        peer: impl Into<Option<Identity>>,
        proto: impl Into<Option<u8>>,
        ports: impl Into<Option<RangeInclusive<u16>>>,
    ) -> Self {
        self.line(direction, peer.into(), proto.into(), ports.into(), Effect::Deny)
    }

    /// Allows what the L7 rules `l7` also allow.
    #[must_use]
    pub fn redirect(
        self,
        direction: Direction,
        peer: impl Into<Option<Identity>>,
        proto: impl Into<Option<u8>>,
        ports: impl Into<Option<RangeInclusive<u16>>>,
        l7: L7RuleSetId,
    ) -> Self {
        self.line(direction, peer.into(), proto.into(), ports.into(), Effect::Fixed(l7))
    }

    /// Puts a direction into audit mode: what would be denied is let pass and marked.
    #[must_use]
    pub fn audit(mut self, direction: Direction) -> Self {
        self.half(direction).audited = true;
        self
    }

    /// The map, without the table that its rule numbers refer to.
    #[must_use]
    pub fn build(self) -> PolicyMap {
        self.build_with_rules().0
    }

    /// The map and what its rule numbers stand for.
    #[must_use]
    pub fn build_with_rules(mut self) -> (PolicyMap, RuleTable) {
        let [ingress, egress] = std::mem::take(&mut self.halves);
        let rules = &mut self.rules;
        let map = PolicyMap::from_halves(Arc::new(ingress.build(rules)), Arc::new(egress.build(rules)));
        (map, self.rules.table())
    }

    fn half(&mut self, direction: Direction) -> &mut HalfRules {
        match direction {
            Direction::Ingress => &mut self.halves[0],
            Direction::Egress => &mut self.halves[1],
        }
    }

    fn line(
        mut self,
        direction: Direction,
        peer: Option<Identity>,
        proto: Option<u8>,
        ports: Option<RangeInclusive<u16>>,
        effect: Effect,
    ) -> Self {
        let (first, last) = ports.map_or((0, u16::MAX), |ports| (*ports.start(), *ports.end()));
        let protos = proto.map_or((1 << PROTOS) - 1, |proto| ProtoSlot::of(proto).bit());
        let rules = if self.because.is_empty() {
            vec![None]
        } else {
            self.because.iter().copied().map(Some).collect()
        };
        for rule in rules {
            let line =
                Contribution { protos, first, last, effect: effect.clone(), rule, audit: false, exact: true };
            self.half(direction).lines.push((peer, line));
        }
        self
    }
}

impl HalfRules {
    fn build(self, rules: &mut RuleSets) -> Half {
        if self.enforced.is_none() && self.lines.is_empty() {
            return Half::default();
        }
        let enforced = self.enforced.is_some();
        let switched_on = self.enforced.unwrap_or_default();
        let mut merger = Merger::new(&switched_on, enforced, self.audited, rules);
        let for_any: Vec<_> = self.lines.iter().filter(|(peer, _)| peer.is_none()).map(|(_, c)| c).collect();
        let mut own: BTreeMap<Identity, Vec<&Contribution>> = BTreeMap::new();
        for (peer, line) in &self.lines {
            if let Some(peer) = peer {
                own.entry(*peer).or_insert_with(|| for_any.clone()).push(line);
            }
        }
        let mut classes = vec![merger.class(&for_any)];
        let mut numbers: HashMap<ClassPorts, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut peers = PeerTable::with_capacity(own.len());
        for (peer, lines) in own {
            // Peers that get the same share a class, as in compiled policy.
            let number = *numbers.entry(merger.class(&lines)).or_insert_with_key(|ports| {
                classes.push(ports.clone());
                classes.len() as u32 - 1
            });
            peers.insert(peer, number);
        }
        Half::new(peers, Arc::new(HalfBody::new(enforced, self.audited, &classes)))
    }
}
