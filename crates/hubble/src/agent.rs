//! What the node service did: policies, endpoints and addresses that came and went.
//!
//! A ring in memory, written by the control thread and never by the packet path.

mod line;

pub use line::{Event, Line, Start};

use crate::proto::flow as proto;
use crate::proto::flow::agent_event::Notification;
use crate::request::{self, Range};
use crate::time;
use flowlog::record::{Time, u64_string};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Events kept.
pub const CAPACITY: usize = 1024;

/// How often one who follows is asked whether he is still there.
const TICK: Duration = Duration::from_millis(500);

/// One thing that the node service did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentEvent {
    /// It started.
    Started,
    /// A policy came or changed.
    PolicyUpdated(Policy),
    /// A policy went.
    PolicyDeleted(Policy),
    /// A local endpoint came.
    EndpointCreated(Endpoint),
    /// A local endpoint went.
    EndpointDeleted(Endpoint),
    /// An address got an identity, or another one.
    AddressUpserted(Address),
    /// An address lost its identity.
    AddressDeleted(Address),
}

/// A policy that came or went.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Derived-from, name and namespace, as Cilium labels its policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Epoch of the policy from then on.
    #[serde(with = "u64_string")]
    pub revision: u64,
    /// Rules of the policy.
    #[serde(rename = "rule_count", with = "u64_string")]
    pub rules: u64,
}

/// A local endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Number.
    #[serde(with = "u64_string")]
    pub id: u64,
    /// Labels of its identity.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Pod.
    #[serde(rename = "pod_name", skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// An address and its identity.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// The address with the length of its prefix.
    pub cidr: String,
    /// Its identity.
    pub identity: u32,
    /// The one it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_identity: Option<u32>,
    /// Namespace of the pod that has it; empty for what is no pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// That pod.
    #[serde(rename = "pod_name", skip_serializing_if = "String::is_empty")]
    pub pod: String,
}

/// An event and its time.
#[derive(Clone, PartialEq, Debug)]
pub struct Stamped {
    /// When.
    pub time: Time,
    /// What.
    pub event: AgentEvent,
}

impl Stamped {
    /// As Hubble's `flow.AgentEvent`.
    #[must_use]
    pub fn to_proto(&self) -> proto::AgentEvent {
        use proto::AgentEventType as Type;
        let (kind, notification) = match &self.event {
            AgentEvent::Started => {
                let start = proto::TimeNotification { time: Some(time::to_proto(self.time)) };
                (Type::AgentStarted, Notification::AgentStart(start))
            }
            AgentEvent::PolicyUpdated(policy) => (Type::PolicyUpdated, policy.notification()),
            AgentEvent::PolicyDeleted(policy) => (Type::PolicyDeleted, policy.notification()),
            AgentEvent::EndpointCreated(endpoint) => (Type::EndpointCreated, endpoint.notification()),
            AgentEvent::EndpointDeleted(endpoint) => (Type::EndpointDeleted, endpoint.notification()),
            AgentEvent::AddressUpserted(address) => (Type::IpcacheUpserted, address.notification()),
            AgentEvent::AddressDeleted(address) => (Type::IpcacheDeleted, address.notification()),
        };
        proto::AgentEvent { r#type: kind.into(), notification: Some(notification) }
    }
}

impl Policy {
    fn notification(&self) -> Notification {
        Notification::PolicyUpdate(proto::PolicyUpdateNotification {
            labels: self.labels.clone(),
            revision: self.revision,
            rule_count: i64::try_from(self.rules).unwrap_or(i64::MAX),
        })
    }
}

impl Endpoint {
    fn notification(&self) -> Notification {
        Notification::EndpointUpdate(proto::EndpointUpdateNotification {
            id: self.id,
            labels: self.labels.clone(),
            error: String::new(),
            pod_name: self.pod.clone(),
            namespace: self.namespace.clone(),
        })
    }
}

impl Address {
    fn notification(&self) -> Notification {
        Notification::IpcacheUpdate(proto::IpCacheNotification {
            cidr: self.cidr.clone(),
            identity: self.identity,
            old_identity: self.old_identity,
            namespace: self.namespace.clone(),
            pod_name: self.pod.clone(),
            ..proto::IpCacheNotification::default()
        })
    }
}

/// The last [`CAPACITY`] events.
#[derive(Debug, Default)]
pub struct AgentLog {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Stamped>,
    /// Number of the first one; numbers count all events ever.
    first: u64,
}

impl Inner {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

impl AgentLog {
    /// Adds an event that happened now.
    pub fn push(&self, event: AgentEvent) {
        self.extend([event]);
    }

    /// Adds events that happened now.
    pub fn extend(&self, events: impl IntoIterator<Item = AgentEvent>) {
        let mut inner = self.lock();
        for event in events {
            if inner.events.len() >= CAPACITY {
                inner.events.pop_front();
                inner.first += 1;
            }
            inner.events.push_back(Stamped { time: time::now(), event });
        }
        drop(inner);
        self.arrived.notify_all();
    }

    /// Hands over what is asked for, in order, until there is no more or `hand_over` breaks off. Nothing is handed over
    /// now and then, so that whoever takes it may look whether he is still wanted.
    pub fn show(&self, range: &Range, mut hand_over: impl FnMut(&[Stamped]) -> ControlFlow<()>) {
        let mut cursor = 0;
        let mut events = self.read(&mut cursor);
        let history_is_over = events.iter().any(|stamped| range.is_over(Some(stamped.time)));
        events.retain(|stamped| range.has_begun(Some(stamped.time)) && !range.is_over(Some(stamped.time)));
        match range.start() {
            request::Start::Newest => events.clear(),
            request::Start::Last(number) => drop(events.drain(..events.len().saturating_sub(number))),
            request::Start::Oldest => {}
        }
        if let Some(limit) = range.limit() {
            events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        loop {
            let taken = hand_over(&events);
            if taken.is_break() || !range.follow || history_is_over || range.is_over(Some(time::now())) {
                return;
            }
            events = self.wait(&mut cursor, TICK);
        }
    }

    /// All events from number `cursor` on, which is moved past them.
    pub fn read(&self, cursor: &mut u64) -> Vec<Stamped> {
        Self::take(&self.lock(), cursor)
    }

    /// Likewise, but waits up to `timeout` for one.
    pub fn wait(&self, cursor: &mut u64, timeout: Duration) -> Vec<Stamped> {
        let waited = self.arrived.wait_timeout_while(self.lock(), timeout, |inner| inner.end() <= *cursor);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Self::take(&inner, cursor)
    }

    fn take(inner: &Inner, cursor: &mut u64) -> Vec<Stamped> {
        let skip = usize::try_from(cursor.saturating_sub(inner.first)).unwrap_or(usize::MAX);
        *cursor = inner.end().max(*cursor);
        inner.events.iter().skip(skip).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: u64) -> AgentEvent {
        AgentEvent::PolicyUpdated(Policy { rules: n, ..Policy::default() })
    }

    #[test]
    fn keeps_the_last_events_and_hands_each_out_once() {
        let (log, mut cursor) = (AgentLog::default(), 0);
        log.push(AgentEvent::Started);
        assert_eq!(log.read(&mut cursor).len(), 1);
        assert_eq!(log.wait(&mut cursor, Duration::from_millis(1)), []);
        log.extend((0..CAPACITY as u64 + 10).map(numbered));
        let events: Vec<_> = log.read(&mut cursor).into_iter().map(|stamped| stamped.event).collect();
        assert!(events.into_iter().eq((10..CAPACITY as u64 + 10).map(numbered)));
        assert_eq!(log.read(&mut cursor), []);
        // A cursor from the future sees nothing and stays.
        let mut ahead = u64::MAX;
        assert_eq!((log.read(&mut ahead), ahead), (vec![], u64::MAX));
    }

    #[test]
    fn wakes_who_waits() {
        let log = AgentLog::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| log.wait(&mut 0, Duration::from_secs(20)).len());
            log.push(AgentEvent::Started);
            assert_eq!(waiting.join().expect("a reader"), 1);
        });
    }

    #[test]
    fn shows_what_is_asked_for() {
        let log = AgentLog::default();
        log.extend((0..5).map(numbered));
        let shown = |number, first, follow: bool| {
            let range = Range::between((number, first, follow), None, None);
            let (mut seen, mut calls) = (Vec::new(), 0);
            log.show(&range, |events| {
                seen.extend(events.iter().map(|stamped| stamped.event.clone()));
                calls += 1;
                if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(calls, if follow { 2 } else { 1 });
            seen
        };
        assert!(shown(0, false, false).into_iter().eq((0..5).map(numbered)));
        assert!(shown(2, false, false).into_iter().eq((3..5).map(numbered)));
        assert!(shown(2, true, false).into_iter().eq((0..2).map(numbered)));
        assert!(shown(2, false, true).into_iter().eq((3..5).map(numbered)));
        assert_eq!(shown(0, false, true), []);
        let long_ago = Some(Time::from_nanos(0));
        let past = Range::between((0, false, true), None, long_ago);
        log.show(&past, |events| {
            assert_eq!(events, [], "what is over does not stay");
            ControlFlow::Continue(())
        });
    }
}
