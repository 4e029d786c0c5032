//! Agent events as lines of JSON: protobuf's of `GetAgentEventsResponse`, as `hubble observe agent-events -o json` prints.

use super::{Address, AgentEvent, Endpoint, Policy, Stamped};
use crate::proto::flow::AgentEventType as Type;
use flowlog::record::Time;
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// What happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_event: Option<Event>,
    /// Where.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// What happened: a kind, and of what follows the one that belongs to it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// `AGENT_STARTED`, `POLICY_UPDATED`, …
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// A start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_start: Option<Start>,
    /// A policy that came or went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_update: Option<Policy>,
    /// An endpoint that came or went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_update: Option<Endpoint>,
    /// An address that got or lost an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipcache_update: Option<Address>,
}

/// A start.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

impl Stamped {
    /// As a line of JSON.
    #[must_use]
    pub fn to_line(&self, node: &str) -> Line {
        let of = |kind: Type| Event { kind: kind.as_str_name().to_owned(), ..Event::default() };
        let policy = |kind, policy: &Policy| Event { policy_update: Some(policy.clone()), ..of(kind) };
        let endpoint =
            |kind, endpoint: &Endpoint| Event { endpoint_update: Some(endpoint.clone()), ..of(kind) };
        let address = |kind, address: &Address| Event { ipcache_update: Some(address.clone()), ..of(kind) };
        let event = match &self.event {
            AgentEvent::Started => {
                Event { agent_start: Some(Start { time: Some(self.time) }), ..of(Type::AgentStarted) }
            }
            AgentEvent::PolicyUpdated(of) => policy(Type::PolicyUpdated, of),
            AgentEvent::PolicyDeleted(of) => policy(Type::PolicyDeleted, of),
            AgentEvent::EndpointCreated(of) => endpoint(Type::EndpointCreated, of),
            AgentEvent::EndpointDeleted(of) => endpoint(Type::EndpointDeleted, of),
            AgentEvent::AddressUpserted(of) => address(Type::IpcacheUpserted, of),
            AgentEvent::AddressDeleted(of) => address(Type::IpcacheDeleted, of),
        };
        Line { agent_event: Some(event), node_name: node.to_owned(), time: Some(self.time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::DESCRIPTORS;
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
    use serde_json::Value;

    fn events() -> Vec<AgentEvent> {
        let policy = Policy { labels: vec!["k8s:a=b".into()], revision: 7, rules: 2 };
        let pod = || ("shop".to_owned(), "web".to_owned());
        let endpoint =
            Endpoint { id: 12, labels: vec!["k8s:app=web".into()], namespace: pod().0, pod: pod().1 };
        let address = Address {
            cidr: "10.0.0.1/32".into(),
            identity: 1001,
            old_identity: Some(2),
            namespace: pod().0,
            pod: pod().1,
        };
        let learnt = Address { cidr: "192.0.2.1/32".into(), identity: 16_777_217, ..Address::default() };
        vec![
            AgentEvent::Started,
            AgentEvent::PolicyUpdated(policy.clone()),
            AgentEvent::PolicyDeleted(policy),
            AgentEvent::EndpointCreated(endpoint.clone()),
            AgentEvent::EndpointDeleted(endpoint),
            AgentEvent::AddressUpserted(address),
            AgentEvent::AddressDeleted(learnt),
        ]
    }

    #[test]
    fn a_line_is_what_protobuf_writes_and_is_read_back() {
        let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
        let kind = pool.get_message_by_name("flow.AgentEvent").expect("flow.AgentEvent");
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
        for event in events() {
            let stamped = Stamped { time: Time::from_nanos(1_763_719_200_123_456_789), event };
            let encoded = stamped.to_proto().encode_to_vec();
            let message = DynamicMessage::decode(kind.clone(), encoded.as_slice()).expect("an event");
            let theirs = message.serialize_with_options(serde_json::value::Serializer, &options);
            let line = stamped.to_line("node-1");
            let ours = serde_json::to_value(&line).expect("JSON");
            assert_eq!(ours["agent_event"], theirs.expect("JSON"));
            assert_eq!(
                (&ours["node_name"], &ours["time"]),
                (&"node-1".into(), &"2025-11-21T10:00:00.123456789Z".into())
            );
            assert_eq!(serde_json::from_value::<Line>(ours).expect("reads back"), line);
        }
        let newer = r#"{"agent_event":{"type":"SERVICE_DELETED","service_delete":{"id":1}},"x":1}"#;
        let line: Line = serde_json::from_str(newer).expect("what is not known is left out");
        assert_eq!(line.agent_event.expect("an event").kind, "SERVICE_DELETED");
        assert_eq!(serde_json::from_str::<Line>("{}").expect("nothing"), Line::default());
        assert_eq!(
            serde_json::to_value(Line::default()).expect("JSON"),
            Value::Object(serde_json::Map::default())
        );
    }
}
