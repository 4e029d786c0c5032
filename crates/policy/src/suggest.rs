//! What the writer of an unknown field probably meant.

use crate::yaml::{Node, Value};

/// Where fields that are written at the wrong level belong.
const HOMES: &[(&str, &str)] = &[
    ("endpointSelector", "`spec`"),
    ("nodeSelector", "`spec`"),
    ("podSelector", "`spec`, or a `from`/`to` element of a NetworkPolicy"),
    ("policyTypes", "`spec` of a NetworkPolicy"),
    ("ingress", "`spec`"),
    ("egress", "`spec`"),
    ("ingressDeny", "`spec`"),
    ("egressDeny", "`spec`"),
    ("enableDefaultDeny", "`spec`"),
    ("fromEndpoints", "an element of `ingress`"),
    ("fromEntities", "an element of `ingress`"),
    ("fromCIDR", "an element of `ingress`"),
    ("fromCIDRSet", "an element of `ingress`"),
    ("toEndpoints", "an element of `egress`"),
    ("toEntities", "an element of `egress`"),
    ("toCIDR", "an element of `egress`"),
    ("toCIDRSet", "an element of `egress`"),
    ("toFQDNs", "an element of `egress`"),
    ("toServices", "an element of `egress`"),
    ("toPorts", "an element of `ingress` or `egress`"),
    ("icmps", "an element of `ingress` or `egress`, beside `fromEndpoints`"),
    ("ports", "an element of `toPorts`"),
    ("rules", "an element of `toPorts`, beside `ports`"),
    ("serverNames", "an element of `toPorts`, beside `ports`"),
    ("http", "`rules` of a `toPorts` element"),
    ("dns", "`rules` of a `toPorts` element"),
    ("kafka", "`rules` of a `toPorts` element"),
    ("port", "an element of `ports`"),
    ("protocol", "an element of `ports`"),
    ("matchLabels", "a selector"),
    ("matchExpressions", "a selector"),
    ("matchName", "an element of `toFQDNs` or `dns`"),
    ("matchPattern", "an element of `toFQDNs` or `dns`"),
    ("method", "an element of `http`"),
    ("path", "an element of `http`"),
    ("namespace", "`metadata`"),
    ("labels", "`metadata`"),
    ("name", "`metadata`"),
];

/// Words of other APIs and frequent inventions, with the field that is meant.
const SYNONYMS: &[(&str, &str)] = &[
    ("methods", "method"),
    ("paths", "path"),
    ("hosts", "host"),
    ("topics", "topic"),
    ("from", "fromEndpoints"),
    ("to", "toEndpoints"),
    ("podSelector", "endpointSelector"),
    ("endpointSelector", "podSelector"),
    ("fromEndpoints", "from"),
    ("toEndpoints", "to"),
    ("toPorts", "ports"),
    ("fromCIDRs", "fromCIDR"),
    ("toCIDRs", "toCIDR"),
    ("fqdns", "toFQDNs"),
    ("toFqdn", "toFQDNs"),
    ("toDomains", "toFQDNs"),
    ("sni", "serverNames"),
    ("labels", "matchLabels"),
    ("icmp", "icmps"),
    ("client", "clientID"),
    ("pathRegex", "path"),
    ("url", "path"),
];

/// The suggestion for an unknown field of a mapping at `path` that admits `known`.
pub(crate) fn field(path: &str, key: &str, value: &Node, known: &[&str]) -> Option<String> {
    if let Some((_, meant)) = SYNONYMS.iter().find(|(word, meant)| *word == key && known.contains(meant)) {
        let once =
            matches!(value.value, Value::List(_)) && matches!(*meant, "method" | "path" | "host" | "topic");
        let example = if *meant == "method" { "GET|POST" } else { "first|second" };
        return Some(if once {
            format!(
                "did you mean `{meant}`? It takes one regex, such as `{example}`, or write one element for each"
            )
        } else {
            format!("did you mean `{meant}`?")
        });
    }
    if let Some(mirrored) = mirror(key).filter(|word| known.contains(&word.as_str())) {
        let side = if key.starts_with("from") { "egress" } else { "ingress" };
        return Some(format!("in {side} rules write `{mirrored}`"));
    }
    if path.contains("Deny[") && matches!(key, "rules" | "toFQDNs" | "serverNames" | "authentication") {
        return Some(
            "Cilium admits no such condition in deny rules; annotate the policy with `sluice.io/extensions: deny-conditions` \
             to use it here, or remove it to deny all of it"
                .to_owned(),
        );
    }
    if let Some((_, home)) = HOMES.iter().find(|(word, _)| *word == key) {
        return Some(format!("`{key}` belongs in {home}: check the indentation"));
    }
    closest(key, known).map(|word| format!("did you mean `{word}`?"))
}

/// The word that is close enough to be a slip of the pen.
pub(crate) fn closest<'a>(word: &str, admitted: &[&'a str]) -> Option<&'a str> {
    if let Some(same) = admitted.iter().find(|other| other.eq_ignore_ascii_case(word)) {
        return Some(same);
    }
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    admitted
        .iter()
        .map(|other| (strsim::osa_distance(&lower, &other.to_ascii_lowercase()), *other))
        .filter(|(distance, other)| *distance <= 1 + other.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// `fromX` for `toX` and the reverse.
fn mirror(key: &str) -> Option<String> {
    if let Some(rest) = key.strip_prefix("from").filter(|rest| rest.starts_with(char::is_uppercase)) {
        return Some(format!("to{rest}"));
    }
    let rest = key.strip_prefix("to").filter(|rest| rest.starts_with(char::is_uppercase))?;
    Some(format!("from{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        assert_eq!(closest("tcp", &["TCP", "UDP"]), Some("TCP"));
        assert_eq!(closest("ingres", &["ingress", "egress"]), Some("ingress"));
        assert_eq!(closest("fromEndpoint", &["fromEndpoints", "fromEntities"]), Some("fromEndpoints"));
        assert_eq!(closest("QUIC", &["TCP", "UDP"]), None);
    }
}
