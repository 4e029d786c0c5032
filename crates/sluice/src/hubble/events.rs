//! What changed from one state to the next, as Hubble's agent events.
//!
//! The control thread shows its state after it has changed something; what was there before is compared with it. The
//! packet path has no part in this.

use ::hubble::agent::{Address, AgentEvent, AgentLog, Endpoint, Policy};
use packet::Addr;
use policy::engine::directory::WorkloadKind;
use policy::fqdn::InForce;
use policy::rule::Policy as Rules;
use policy::{Identity, PolicySnapshot};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The log of events and the state it has come to.
#[derive(Debug, Default)]
pub struct Events {
    log: Arc<AgentLog>,
    seen: Mutex<Option<Seen>>,
}

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// A state.
#[derive(Debug, Default)]
struct Seen {
    policy: Arc<PolicySnapshot>,
    policies: BTreeMap<(&'static str, Arc<str>, Arc<str>), Arc<Rules>>,
    endpoints: BTreeMap<u16, (Identity, Name)>,
    /// What the inventory lists.
    addresses: BTreeMap<Addr, (Identity, Name)>,
    /// What DNS answers taught.
    learnt: InForce,
}

impl Events {
    /// Where they are kept.
    #[must_use]
    pub fn log(&self) -> Arc<AgentLog> {
        Arc::clone(&self.log)
    }

    /// Compares the state in force with the one before. The first is the start: its addresses are not news.
    pub fn note(&self, policies: &[Arc<Rules>], policy: &Arc<PolicySnapshot>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(&seen.policy, policy)) {
            return;
        }
        let now = Seen::new(policies, policy);
        let mut events = Vec::new();
        match &*seen {
            Some(before) => {
                now.differences(before, &mut events);
                now.addresses_since(before, &mut events);
            }
            None => {
                events.push(AgentEvent::Started);
                now.differences(&Seen::default(), &mut events);
            }
        }
        *seen = Some(now);
        drop(seen);
        if !events.is_empty() {
            self.log.extend(events);
        }
    }

    /// Compares what DNS answers taught with what they had taught before, and nothing else: they come far more often
    /// than files and pods.
    pub fn note_learnt(&self, learnt: &InForce) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = &mut *seen else { return };
        let mut events = Vec::new();
        moved(learnt, &seen.learnt, |addr| seen.addresses.contains_key(&addr), &mut events);
        seen.learnt = learnt.clone();
        if !events.is_empty() {
            self.log.extend(events);
        }
    }
}

/// Addresses of names that got another identity or lost theirs, without those that are somebody's `own`.
fn moved(now: &InForce, before: &InForce, own: impl Fn(Addr) -> bool, events: &mut Vec<AgentEvent>) {
    for (addr, old, new) in now.moved_since(before).into_iter().filter(|(addr, ..)| !own(*addr)) {
        events.extend(match (old, new) {
            (_, Some(new)) => Some(AgentEvent::AddressUpserted(address(addr, &(new, Name::default()), old))),
            (Some(old), None) => {
                Some(AgentEvent::AddressDeleted(address(addr, &(old, Name::default()), None)))
            }
            (None, None) => None,
        });
    }
}

impl Seen {
    fn new(policies: &[Arc<Rules>], policy: &Arc<PolicySnapshot>) -> Self {
        let key =
            |rules: &Rules| (rules.kind.as_str(), Arc::clone(&rules.namespace), Arc::clone(&rules.name));
        let endpoint = |endpoint: &Arc<policy::Endpoint>| {
            let name = (Arc::clone(&endpoint.namespace), Arc::clone(&endpoint.name));
            (endpoint.id.0, (endpoint.identity, name))
        };
        let addresses = policy.directory.addresses().into_iter().map(|(addr, workload)| {
            let name = match workload.kind {
                WorkloadKind::Pod => (Arc::clone(&workload.namespace), Arc::clone(&workload.name)),
                WorkloadKind::Node | WorkloadKind::External => Name::default(),
            };
            (addr, (workload.identity, name))
        });
        Self {
            policies: policies.iter().map(|rules| (key(rules), Arc::clone(rules))).collect(),
            endpoints: policy.endpoints.iter().flatten().map(endpoint).collect(),
            addresses: addresses.collect(),
            learnt: policy.fqdn.clone(),
            policy: Arc::clone(policy),
        }
    }

    fn differences(&self, before: &Self, events: &mut Vec<AgentEvent>) {
        let revision = self.policy.epoch;
        for (key, rules) in &self.policies {
            if before.policies.get(key).is_none_or(|old| !Arc::ptr_eq(old, rules) && old != rules) {
                events.push(AgentEvent::PolicyUpdated(policy_of(rules, revision)));
            }
        }
        for (key, rules) in &before.policies {
            if !self.policies.contains_key(key) {
                events.push(AgentEvent::PolicyDeleted(policy_of(rules, revision)));
            }
        }
        // A number that another pod has now is one that went and one that came.
        for (id, old) in &before.endpoints {
            if self.endpoints.get(id).is_none_or(|now| now.1 != old.1) {
                events.push(AgentEvent::EndpointDeleted(before.endpoint(*id, old)));
            }
        }
        for (id, now) in &self.endpoints {
            if before.endpoints.get(id).is_none_or(|old| now.1 != old.1) {
                events.push(AgentEvent::EndpointCreated(self.endpoint(*id, now)));
            }
        }
    }

    fn addresses_since(&self, before: &Self, events: &mut Vec<AgentEvent>) {
        for (addr, now) in &self.addresses {
            let old = before.addresses.get(addr);
            if old != Some(now) {
                let old = old.map(|old| old.0).or_else(|| before.learnt.identity(*addr));
                events.push(AgentEvent::AddressUpserted(address(*addr, now, old)));
            }
        }
        let gone = before.addresses.iter().filter(|(addr, _)| !self.addresses.contains_key(*addr));
        for (addr, old) in gone {
            events.push(match self.learnt.identity(*addr) {
                // Nobody's any more, but names still lead there.
                Some(now) => {
                    AgentEvent::AddressUpserted(address(*addr, &(now, Name::default()), Some(old.0)))
                }
                None => AgentEvent::AddressDeleted(address(*addr, old, None)),
            });
        }
        let own = |addr| self.addresses.contains_key(&addr) || before.addresses.contains_key(&addr);
        moved(&self.learnt, &before.learnt, own, events);
    }

    fn endpoint(&self, id: u16, (identity, (namespace, pod)): &(Identity, Name)) -> Endpoint {
        let labels = self.policy.directory.labels(*identity);
        Endpoint {
            id: id.into(),
            labels: labels.map(|set| set.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            namespace: namespace.to_string(),
            // The host has a name, which is that of no pod.
            pod: if namespace.is_empty() { String::new() } else { pod.to_string() },
        }
    }
}

fn policy_of(rules: &Rules, revision: u64) -> Policy {
    let label = |key: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{key}={value}");
    let mut labels = vec![label("derived-from", rules.kind.as_str()), label("name", &rules.name)];
    if !rules.namespace.is_empty() {
        labels.push(label("namespace", &rules.namespace));
    }
    Policy { labels, revision, rules: rules.rules.len() as u64 }
}

fn address(addr: Addr, (identity, (namespace, pod)): &(Identity, Name), old: Option<Identity>) -> Address {
    let length = if addr.as_v4().is_some() { 32 } else { 128 };
    Address {
        cidr: format!("{addr}/{length}"),
        identity: identity.0,
        old_identity: old.map(|old| old.0),
        namespace: namespace.to_string(),
        pod: pod.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::engine::{Engine, Options, SourceFile};
    use policy::fqdn::Answer;

    const POLICY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: out, namespace: shop}\n\
                          spec: {endpointSelector: {}, egress: [{toFQDNs: [{matchPattern: \"*.example.com\"}]}]}\n";
    const POD: &str = "{name: web, namespace: shop, node: n1, ips: [10.0.0.1]}";

    struct Node {
        engine: Engine,
        events: Events,
        cursor: u64,
    }

    impl Node {
        fn new() -> Self {
            let mut engine = Engine::new(Options { node_name: "n1".into(), ..Options::default() });
            let file = SourceFile { path: "out.yaml".into(), text: POLICY.into() };
            assert!(engine.set_policies(vec![file]).is_valid());
            let mut node = Self { engine, events: Events::default(), cursor: 0 };
            node.inventory(&[POD]);
            assert!(matches!(node.news().as_slice(), [AgentEvent::Started, ..]));
            node
        }

        fn inventory(&mut self, pods: &[&str]) {
            let text = format!("pods: [{}]\n", pods.join(", "));
            self.engine.set_inventory(policy::document::load_inventory(&text, "i.yaml").expect("valid"));
            self.events.note(&self.engine.policies(), &self.engine.snapshot());
        }

        fn answer(&mut self, name: &str, last: u8, now: u64) {
            let addresses = [[192, 0, 2, last].into()];
            let answer = Answer { name, addresses: &addresses, cnames: &[], ttl: 60, endpoint: None };
            self.engine.learn_fqdns([answer], now);
            self.events.note_learnt(&self.engine.snapshot().fqdn);
        }

        fn news(&mut self) -> Vec<AgentEvent> {
            self.events.log().read(&mut self.cursor).into_iter().map(|stamped| stamped.event).collect()
        }

        /// The news, which are about addresses only: each with its identity before and now.
        fn moves(&mut self) -> Vec<(String, Option<u32>, Option<u32>)> {
            let one = |event| match event {
                AgentEvent::AddressUpserted(of) => (of.cidr, of.old_identity, Some(of.identity)),
                AgentEvent::AddressDeleted(of) => (of.cidr, Some(of.identity), None),
                other => panic!("{other:?}"),
            };
            self.news().into_iter().map(one).collect()
        }
    }

    #[test]
    fn what_dns_teaches_is_news_until_it_is_forgotten() {
        let mut node = Node::new();
        let at = |last: u8| format!("192.0.2.{last}/32");
        node.answer("www.example.org", 7, 100);
        assert_eq!(node.moves(), [], "no rule is about it");
        node.answer("api.example.com", 1, 100);
        let id = node.engine.snapshot().identity(Addr::v4([192, 0, 2, 1])).0;
        assert!(id >= Identity::FIRST_NODE_LOCAL.0);
        assert_eq!(node.moves(), [(at(1), None, Some(id))]);
        node.answer("api.example.com", 1, 110);
        assert_eq!(node.moves(), [], "the same again");
        node.answer("api.example.com", 2, 110);
        assert_eq!(node.moves(), [(at(2), None, Some(id))]);
        // The state as a whole has nothing to add.
        node.events.note(&node.engine.policies(), &node.engine.snapshot());
        assert_eq!(node.moves(), []);

        // A pod takes one of them, and gives it back.
        node.inventory(&[POD, "{name: odd, namespace: shop, node: n2, ips: [192.0.2.1]}"]);
        let pod = node.engine.snapshot().identity(Addr::v4([192, 0, 2, 1])).0;
        assert_eq!(node.moves(), [(at(1), Some(id), Some(pod))]);
        node.inventory(&[POD]);
        assert_eq!(node.moves(), [(at(1), Some(pod), Some(id))]);

        let _expired = node.engine.expire_fqdns(200);
        let asked = node.engine.expire_fqdns(2_000);
        node.engine.settle_fqdns(&asked, |_| false, 2_000);
        node.events.note_learnt(&node.engine.snapshot().fqdn);
        assert_eq!(node.moves(), [(at(1), Some(id), None), (at(2), Some(id), None)]);
    }

    #[test]
    fn what_is_no_pod_has_no_name() {
        let mut node = Node::new();
        let text = format!("pods: [{POD}]\nexternal: [{{name: office, ip: 203.0.113.7}}]\n");
        node.engine.set_inventory(policy::document::load_inventory(&text, "i.yaml").expect("valid"));
        node.events.note(&node.engine.policies(), &node.engine.snapshot());
        let news = node.news();
        let [AgentEvent::AddressUpserted(of)] = news.as_slice() else { panic!("{news:?}") };
        assert_eq!((of.cidr.as_str(), of.pod.as_str(), of.namespace.as_str()), ("203.0.113.7/32", "", ""));
    }
}
