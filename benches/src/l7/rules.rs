//! The rules of the comparison: the same list for every gate.

use super::speech::Speech;

/// Path patterns a client may `GET`, each for the whole path with its query. What is measured matches the first, which
/// suits a gate that tries one after the other.
pub const PATHS: [&str; 11] = [
    "/allowed.*",
    "/api/v[0-9]+/orders(/[0-9]+)?",
    "/api/v[0-9]+/customers/[a-z0-9-]+/invoices",
    "/api/v1/search\\?q=[^&]*",
    "/catalog/(books|music|films)/.*",
    "/static/.*\\.(css|js|png)",
    "/health(z|/live|/ready)?",
    "/users/[0-9a-f]{8}/profile",
    "/carts/[0-9]+/items/[0-9]+",
    "/reports/20[0-9]{2}-[01][0-9]\\.pdf",
    "/images/[a-z]+/(small|large)/.*",
];

/// A path that every gate lets pass.
pub const ALLOWED: &str = "/allowed/small";
/// The large file, which every gate lets pass.
pub const LARGE: &str = "/allowed/large";
/// A path that no rule allows.
pub const DENIED: &str = "/secret";

/// What the agent enforces on the server's port.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Enforced {
    /// The port is open for the client; nothing is read.
    L4,
    /// Messages are read, and the client may say what the rules list.
    L7,
}

impl Enforced {
    /// The policy for the server.
    #[must_use]
    pub fn policy(self, speech: Speech) -> String {
        let rules = match self {
            Self::L4 => String::new(),
            Self::L7 => format!(", {}", speech.rules()),
        };
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: server, namespace: bench}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n  \
             - fromEndpoints: [{{matchLabels: {{app: client}}}}]\n    \
             toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}]{rules}}}]\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_the_policies_reads_messages() {
        for speech in [Speech::Http1, Speech::Http2, Speech::Grpc, Speech::Kafka] {
            assert!(!Enforced::L4.policy(speech).contains("rules"));
            assert!(Enforced::L7.policy(speech).contains("rules"));
        }
        assert_eq!(Enforced::L7.policy(Speech::Http2).matches("method: GET").count(), PATHS.len());
    }
}
