//! What may be asked.

use serde::{Deserialize, Serialize};

/// One question; on the wire `"status"`, `{"policy_map":{"endpoint":"production/api"}}`, `{"observe":{…}}`, …
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the node is.
    Status,
    /// Endpoints.
    Endpoints,
    /// Identities with their labels.
    Identities,
    /// Addresses with their identities.
    Ips,
    /// Names from DNS answers with their addresses.
    Fqdns {
        /// Only names of this shape, as `matchPattern` has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Only names that this endpoint (`namespace/pod`) asked for first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
    },
    /// Connections, one a line.
    Conntrack {
        /// At most so many.
        limit: usize,
    },
    /// Policies in force.
    Policies,
    /// One policy in force.
    Policy {
        /// `namespace/name`, or the name of a clusterwide one.
        name: String,
    },
    /// The compiled policy of an endpoint.
    PolicyMap {
        /// `namespace/pod` or the endpoint's number.
        endpoint: String,
    },
    /// Counters in Prometheus' text format, as one JSON string.
    Metrics,
    /// Frames; answered in parts.
    Capture(Box<super::capture::CaptureRequest>),
    /// What the node service did, one event a line; filters are about flows and refused.
    AgentEvents(flowlog::api::ObserveRequest),
    /// What records of this node can name.
    Known,
    /// Flows; answered by the flow log.
    Observe(flowlog::api::ObserveRequest),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_is_stable() {
        let cases = [
            (Request::Status, r#""status""#),
            (Request::Known, r#""known""#),
            (Request::Conntrack { limit: 5 }, r#"{"conntrack":{"limit":5}}"#),
            (Request::Fqdns { name: None, endpoint: None }, r#"{"fqdns":{}}"#),
            (
                Request::Fqdns { name: Some("*.a".into()), endpoint: Some("b/c".into()) },
                r#"{"fqdns":{"name":"*.a","endpoint":"b/c"}}"#,
            ),
            (Request::PolicyMap { endpoint: "a/b".into() }, r#"{"policy_map":{"endpoint":"a/b"}}"#),
        ];
        for (request, text) in cases {
            assert_eq!(serde_json::to_string(&request).expect("JSON"), text);
            assert!(serde_json::from_str::<Request>(text).is_ok(), "{text}");
        }
        for wrong in [r#""reboot""#, r#"{"conntrack":{"limit":-1}}"#, r#"{"policy_map":{}}"#, "{}", "[]"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_flow_log_client_speaks_the_same_language() {
        let asked = flowlog::api::Request::Observe(flowlog::api::ObserveRequest {
            follow: true,
            ..Default::default()
        });
        let text = serde_json::to_string(&asked).expect("JSON");
        assert!(matches!(serde_json::from_str(&text), Ok(Request::Observe(request)) if request.follow));
    }
}
