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
    /// Flows; answered by the flow log.
    Observe(flowlog::api::ObserveRequest),
}
