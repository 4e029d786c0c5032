//! Compiles one direction of one endpoint, and patches it when only identities were added.

use super::Map;
use super::peers::{PeerId, PeerStore};
use crate::compile::merge::{Contribution, Merger};
use crate::compile::rules::{CompiledEntry, CompiledRule, NamedPorts};
use crate::compile::sets::RuleSets;
use crate::direction::Direction;
use crate::identity::Identity;
use crate::map::{Half, HalfBody, PROTOS, PeerTable};
use crate::provenance::RuleId;
use crate::rule::DefaultDeny;
use crate::verdict::{Denial, DenyReason, Permit, Verdict};
use std::sync::Arc;

/// A half in use, with what is needed to see whether it is still right.
#[derive(Debug)]
pub(crate) struct BuiltHalf {
    pub(crate) half: Arc<Half>,
    /// Peers it depends on.
    peers: Vec<PeerId>,
    /// Round of the peer store that it knows of.
    round: u64,
    pub(crate) uses_names: bool,
    /// Classes by the entries that apply to them.
    classes: Map<Box<[u32]>, u32>,
    /// Peers per entry, in the order of entry numbers.
    entries: Vec<Option<Vec<PeerId>>>,
}

/// What a half is compiled from.
pub(crate) struct HalfInput<'a> {
    pub(crate) direction: Direction,
    pub(crate) rules: &'a [Arc<CompiledRule>],
    pub(crate) names: &'a dyn NamedPorts,
    /// Deny what no rule allows even if no rule says so.
    pub(crate) always: bool,
    pub(crate) audited: bool,
    /// The subject's own node reaches it at ingress unless a deny matches.
    pub(crate) local_host: bool,
}

/// How far a half is behind.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Staleness {
    /// Not at all.
    Current,
    /// Identities joined.
    Joined,
    /// Compile anew.
    Stale,
}

impl BuiltHalf {
    pub(crate) fn compile(input: &HalfInput<'_>, peers: &PeerStore, sets: &mut RuleSets) -> Self {
        let audited_apart = input.rules.iter().any(|rule| rule.audit);
        let on = |rule: &&Arc<CompiledRule>| {
            rule.half(input.direction).is_some_and(|half| half.default == DefaultDeny::On)
        };
        let switched_on: Vec<u32> = input
            .rules
            .iter()
            .filter(on)
            .filter_map(|rule| rule.half(input.direction).map(|half| half.rule))
            .collect();
        let trial = input.always || !switched_on.is_empty();
        let enforced = input.always || input.rules.iter().filter(on).any(|rule| !rule.audit);
        let entries = entries(input);
        let uses_names = entries.iter().any(|(entry, _)| entry.uses_names());
        if entries.is_empty() && !trial {
            return Self::unenforced(peers.round());
        }
        let mut lines: Vec<Vec<Contribution>> =
            entries.iter().map(|(entry, audit)| entry.contributions(*audit, input.names)).collect();
        let mut of_peer: Map<Identity, Vec<u32>> = Map::default();
        let mut everyone: Vec<u32> = Vec::new();
        for (number, (entry, _)) in (0u32..).zip(&entries) {
            let Some(list) = &entry.peers else {
                everyone.push(number);
                continue;
            };
            for identity in list.iter().filter_map(|id| peers.members(*id)).flatten() {
                let applying = of_peer.entry(*identity).or_default();
                if applying.last() != Some(&number) {
                    applying.push(number);
                }
            }
        }
        let mut depends: Vec<PeerId> =
            entries.iter().filter_map(|(e, _)| e.peers.as_ref()).flatten().copied().collect();
        depends.sort_unstable();
        depends.dedup();
        let mut of_entry: Vec<_> = entries.iter().map(|(entry, _)| entry.peers.clone()).collect();
        if input.local_host && input.direction == Direction::Ingress {
            of_peer.entry(Identity::HOST).or_default().push(lines.len() as u32);
            lines.push(vec![local_host()]);
            of_entry.push(Some(Vec::new()));
        }

        let mut merger = Merger::new(&switched_on, enforced, input.audited, sets);
        if audited_apart {
            merger = merger.with_trial(trial);
        }
        let mut class = |applying: &[u32]| {
            let numbers = everyone.iter().chain(applying);
            let all: Vec<&Contribution> = numbers.flat_map(|number| &lines[*number as usize]).collect();
            merger.class(&all)
        };
        let mut tables = vec![class(&[])];
        let mut classes: Map<Box<[u32]>, u32> = Map::default();
        classes.insert(Box::default(), 0);
        let mut table = PeerTable::with_capacity(of_peer.len());
        for (identity, applying) in of_peer {
            let number = match classes.get(&applying[..]) {
                Some(number) => *number,
                None => {
                    tables.push(class(&applying));
                    classes.insert(applying.into(), tables.len() as u32 - 1);
                    tables.len() as u32 - 1
                }
            };
            table.insert(identity, number);
        }
        let body = HalfBody::new(true, input.audited, &tables);
        let half = Arc::new(Half::new(table, Arc::new(body)));
        Self { half, peers: depends, round: peers.round(), uses_names, classes, entries: of_entry }
    }

    /// Lets everything pass.
    pub(crate) fn unenforced(round: u64) -> Self {
        Self {
            half: Arc::default(),
            peers: Vec::new(),
            round,
            uses_names: false,
            classes: Map::default(),
            entries: Vec::new(),
        }
    }

    /// Denies everything, because a policy that selects the endpoint (or may) could not be read.
    pub(crate) fn invalid(rule: RuleId, audited: bool, round: u64) -> Self {
        let verdict = match audited {
            true => Verdict::Allow(Permit::new(rule, None, true)),
            false => Verdict::Deny(Denial { reason: DenyReason::InvalidPolicy, rule }),
        };
        let tables = std::array::from_fn::<_, PROTOS, _>(|_| vec![(0, verdict)]);
        let body = HalfBody::new(true, audited, [&tables]);
        let half = Arc::new(Half::new(PeerTable::default(), Arc::new(body)));
        Self { half, ..Self::unenforced(round) }
    }

    pub(crate) fn staleness(&self, peers: &PeerStore) -> Staleness {
        let mut joined = false;
        for id in &self.peers {
            let (rebuilt, last_joined) = peers.rounds(*id);
            if rebuilt > self.round {
                return Staleness::Stale;
            }
            joined |= last_joined > self.round;
        }
        if joined { Staleness::Joined } else { Staleness::Current }
    }

    /// Forgets identities that are gone, so that one that gets the same number later inherits nothing.
    pub(crate) fn leave(&mut self, left: &[Identity]) {
        if left.iter().any(|identity| self.half.has_peer(*identity)) {
            self.half = Arc::new(self.half.with_peers(|table| *table = table.without(left)));
        }
    }

    /// Puts identities that joined into classes that exist; `false` if one needs a class of its own.
    pub(crate) fn join(&mut self, joined: &[Identity], peers: &PeerStore) -> bool {
        let mut places = Vec::with_capacity(joined.len());
        if joined.contains(&Identity::HOST) {
            return false;
        }
        for identity in joined {
            let applies = |list: &Option<Vec<PeerId>>| {
                let mut members = list.iter().flatten().filter_map(|id| peers.members(*id));
                members.any(|members| members.contains(identity))
            };
            let applying: Box<[u32]> = (0u32..)
                .zip(&self.entries)
                .filter(|(_, list)| applies(list))
                .map(|(number, _)| number)
                .collect();
            match self.classes.get(&applying) {
                Some(0) if !self.half.has_peer(*identity) => {}
                Some(class) => places.push((*identity, *class)),
                None => return false,
            }
        }
        if !places.is_empty() {
            self.half = Arc::new(self.half.with_peers(|table| {
                for (identity, class) in places {
                    table.insert(identity, class);
                }
            }));
        }
        self.round = peers.round();
        true
    }
}

fn entries<'a>(input: &HalfInput<'a>) -> Vec<(&'a CompiledEntry, bool)> {
    let rules = input.rules.iter();
    let halves = rules.filter_map(|rule| Some((rule.half(input.direction)?, rule.audit)));
    halves.flat_map(|(half, audit)| half.entries.iter().map(move |entry| (entry, audit))).collect()
}

/// What kubelet's probes need: the node reaches its own pods.
fn local_host() -> Contribution {
    Contribution {
        protos: (1 << PROTOS) - 1,
        first: 0,
        last: u16::MAX,
        effect: crate::compile::merge::Effect::Allow,
        rule: None,
        audit: false,
        exact: false,
    }
}
