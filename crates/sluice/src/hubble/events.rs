//! What changed from one state to the next, as Hubble's agent events.
//!
//! The control thread shows its state after it has changed something; what was there before is compared with it. The
//! packet path has no part in this.

use ::hubble::agent::{Address, AgentEvent, AgentLog, Endpoint, Policy};
use packet::Addr;
use policy::rule::Policy as Rules;
use policy::{Identity, PolicySnapshot};
use std::collections::{BTreeMap, HashMap};
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
    policies: HashMap<(&'static str, Arc<str>, Arc<str>), Arc<Rules>>,
    endpoints: BTreeMap<u16, (Identity, Name)>,
    addresses: HashMap<Addr, (Identity, Name)>,
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
            (addr, (workload.identity, (Arc::clone(&workload.namespace), Arc::clone(&workload.name))))
        });
        Self {
            policies: policies.iter().map(|rules| (key(rules), Arc::clone(rules))).collect(),
            endpoints: policy.endpoints.iter().flatten().map(endpoint).collect(),
            addresses: addresses.collect(),
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
                events.push(AgentEvent::AddressUpserted(address(*addr, now, old.map(|old| old.0))));
            }
        }
        for (addr, old) in &before.addresses {
            if !self.addresses.contains_key(addr) {
                events.push(AgentEvent::AddressDeleted(address(*addr, old, None)));
            }
        }
    }

    fn endpoint(&self, id: u16, (identity, (namespace, pod)): &(Identity, Name)) -> Endpoint {
        let labels = self.policy.directory.labels(*identity);
        Endpoint {
            id,
            labels: labels.map(|set| set.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            namespace: namespace.to_string(),
            pod: pod.to_string(),
        }
    }
}

fn policy_of(rules: &Rules, revision: u64) -> Policy {
    let label = |key: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{key}={value}");
    let mut labels = vec![label("derived-from", rules.kind.as_str()), label("name", &rules.name)];
    if !rules.namespace.is_empty() {
        labels.push(label("namespace", &rules.namespace));
    }
    Policy { labels, revision, rules: rules.rules.len() }
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
