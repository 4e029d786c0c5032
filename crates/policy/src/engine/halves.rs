//! Compiles one direction of one endpoint, and patches it when identities came or went.

use super::Map;
use super::peers::{PeerId, PeerStore};
use crate::compile::merge::{Contribution, Merger};
use crate::compile::rules::{CompiledEntry, CompiledRule, NamedPorts};
use crate::compile::sets::RuleSets;
use crate::direction::Direction;
use crate::identity::Identity;
use crate::map::{ClassPorts, Half, HalfBody, PROTOS, PeerTable};
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
    /// Classes from which on it is compiled anew instead of given more.
    full: usize,
}

/// Classes that a half may get one by one, besides as many as it was compiled with: what was added shares no tables.
const MORE_CLASSES: usize = 256;

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
        let entries = entries(input);
        let uses_names = entries.iter().any(|(entry, _)| entry.uses_names());
        if entries.is_empty() && !input.trial() {
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

        let mut merger = input.merger(sets);
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
        let full = classes.len() * 2 + MORE_CLASSES;
        Self { half, peers: depends, round: peers.round(), uses_names, classes, entries: of_entry, full }
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
            full: 0,
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
        let mut gone: Vec<Identity> = left.iter().copied().filter(|id| self.half.has_peer(*id)).collect();
        if !gone.is_empty() {
            gone.sort_unstable();
            self.half = Arc::new(self.half.with_peers(|table| *table = table.without(&gone)));
        }
    }

    /// Puts identities that joined into classes, and makes those that do not exist yet; `false` if it must be
    /// compiled anew.
    pub(crate) fn join(
        &mut self,
        joined: &[Identity],
        input: &HalfInput<'_>,
        peers: &PeerStore,
        sets: &mut RuleSets,
    ) -> bool {
        if joined.contains(&Identity::HOST) || self.classes.is_empty() {
            return false;
        }
        let (mut places, mut missing) = (Vec::with_capacity(joined.len()), Vec::new());
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
                None if self.classes.len() >= self.full => return false,
                None => {
                    let class = self.classes.len() as u32;
                    missing.push(applying.clone());
                    self.classes.insert(applying, class);
                    places.push((*identity, class));
                }
            }
        }
        if !places.is_empty() {
            // One copy: the table of peers may be large.
            let mut half = match missing.is_empty() {
                true => Half::clone(&self.half),
                false => self.half.with_classes(&input.classes(&missing, sets)),
            };
            for (identity, class) in places {
                half.set_peer(identity, class);
            }
            self.half = Arc::new(half);
        }
        self.round = peers.round();
        true
    }
}

impl HalfInput<'_> {
    /// Numbers of the rules that switch default deny on.
    fn switched_on(&self) -> Vec<u32> {
        let halves = self.rules.iter().filter_map(|rule| rule.half(self.direction));
        halves.filter(|half| half.default == DefaultDeny::On).map(|half| half.rule).collect()
    }

    /// Whether anything is denied by default, counting the rules in audit mode.
    fn trial(&self) -> bool {
        self.always || !self.switched_on().is_empty()
    }

    fn merger<'a>(&self, sets: &'a mut RuleSets) -> Merger<'a> {
        let on = |rule: &Arc<CompiledRule>| {
            rule.half(self.direction).is_some_and(|half| half.default == DefaultDeny::On)
        };
        let enforced = self.always || self.rules.iter().any(|rule| !rule.audit && on(rule));
        let switched_on = self.switched_on();
        let merger = Merger::new(&switched_on, enforced, self.audited, sets);
        match self.rules.iter().any(|rule| rule.audit) {
            true => merger.with_trial(self.always || !switched_on.is_empty()),
            false => merger,
        }
    }

    /// The tables of classes of peers that exactly these entries apply to, besides those that apply to everyone.
    fn classes(&self, applying: &[Box<[u32]>], sets: &mut RuleSets) -> Vec<ClassPorts> {
        let entries = entries(self);
        let everyone: Vec<u32> =
            (0u32..).zip(&entries).filter(|(_, (entry, _))| entry.peers.is_none()).map(|(n, _)| n).collect();
        let mut merger = self.merger(sets);
        let mut class = |applying: &[u32]| {
            let numbers = everyone.iter().chain(applying);
            // Beyond the entries of rules there is the local host's, which nobody joins.
            let lines = numbers.filter_map(|number| entries.get(*number as usize));
            let lines: Vec<Contribution> =
                lines.flat_map(|(entry, audit)| entry.contributions(*audit, self.names)).collect();
            merger.class(&lines.iter().collect::<Vec<_>>())
        };
        applying.iter().map(|numbers| class(numbers)).collect()
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
