//! Whom the policies of an endpoint allow, in words: what stands beside a default deny.
//!
//! Read from the compiled map when a record of a denial is read, once for each endpoint and direction of a snapshot.

use policy::label::{Label, Source};
use policy::{Direction, EndpointId, Identity, PolicySnapshot, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

/// Peers that are named.
const PEERS: usize = 8;

/// Ports that are named of each.
const PORTS: usize = 4;

/// Lines of a map that are looked at: a policy may allow tens of thousands of addresses.
const LINES: usize = 4096;

/// Keys of labels that say where a pod is and not who it is.
const PLACE: [&str; 2] = ["io.cilium.", "io.kubernetes."];

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Allowed(Mutex<HashMap<(EndpointId, Direction), Vec<String>>>);

impl Allowed {
    /// Whom `endpoint` allows in `direction`.
    pub(super) fn peers(
        &self,
        policy: &PolicySnapshot,
        endpoint: EndpointId,
        direction: Direction,
    ) -> Vec<String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((endpoint, direction)).or_insert_with(|| peers(policy, endpoint, direction)).clone()
    }
}

fn peers(policy: &PolicySnapshot, endpoint: EndpointId, direction: Direction) -> Vec<String> {
    let Some(endpoint) = policy.endpoint(endpoint) else { return Vec::new() };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in endpoint.map.entries().take(LINES).filter(|entry| entry.direction == direction) {
        // What audit mode lets pass is not allowed.
        if matches!(entry.verdict, Verdict::Allow(permit) if !permit.audited()) {
            let peer = entry.peer.map_or_else(|| "everybody".to_owned(), |peer| name(policy, peer));
            found.entry(peer).or_default().insert(ports(entry.proto, entry.ports));
        }
    }
    let more = found.len().saturating_sub(PEERS);
    let mut list: Vec<String> =
        found.iter().take(PEERS).map(|(peer, ports)| format!("{peer}: {}", listed(ports))).collect();
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    list
}

fn listed(ports: &BTreeSet<String>) -> String {
    if ports.contains(ANY) {
        return ANY.to_owned();
    }
    let mut text = ports.iter().take(PORTS).map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = ports.len().checked_sub(PORTS) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Every port of every protocol.
const ANY: &str = "any port";

fn ports(proto: Option<u8>, ports: (u16, u16)) -> String {
    let Some(proto) = proto else { return ANY.to_owned() };
    let name = super::super::answer::protocol(proto);
    match ports {
        (0, u16::MAX) => name,
        (first, _) if matches!(proto, 1 | 58) => format!("{name} type {first}"),
        (first, last) if first == last => format!("{first}/{name}"),
        (first, last) => format!("{first}-{last}/{name}"),
    }
}

/// An identity as people know it: what it is called, where it is, or who it is.
fn name(policy: &PolicySnapshot, identity: Identity) -> String {
    if let Some(name) = identity.reserved_name() {
        return name.to_owned();
    }
    let Some(labels) = policy.directory().labels(identity) else { return format!("identity {}", identity.0) };
    let place = |label: &&Label| !PLACE.iter().any(|place| label.key.starts_with(place));
    let of = |text: &dyn Fn(&Label) -> Option<String>| labels.iter().filter(place).filter_map(text).collect();
    let own: Vec<String> = of(&|label| match label.source {
        Source::K8s => Some(label.to_string().trim_start_matches("k8s:").to_owned()),
        Source::Reserved => None,
        _ => Some(label.to_string()),
    });
    let who = if own.is_empty() { format!("identity {}", identity.0) } else { own.join(",") };
    labels.namespace().map_or_else(|| who.clone(), |namespace| format!("{who} in {namespace}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::PolicyMap;

    fn snapshot(map: PolicyMap) -> PolicySnapshot {
        let endpoints = [(Identity(1001), "shop/api", &["10.0.0.1"][..], map)];
        PolicySnapshot::for_tests(1, &endpoints, &[], policy::RuleTable::default())
    }

    #[test]
    fn peers_with_their_ports_and_no_more_than_a_reader_can_use() {
        let (ingress, egress) = (Direction::Ingress, Direction::Egress);
        let map = PolicyMap::builder()
            .enforce(ingress, &[])
            .enforce(egress, &[])
            .allow(ingress, Identity(2001), 6, 8080..=8080)
            .allow(ingress, Identity(2001), 6, 9000..=9010)
            .allow(ingress, Identity::HOST, None, None)
            .allow(ingress, None, 1, 8..=8)
            .deny(ingress, Identity(2003), 6, 80..=80);
        let map = (2100..2120).fold(map, |map, peer| map.allow(egress, Identity(peer), 17, 53..=53));
        let snapshot = snapshot(map.build());
        let allowed = Allowed::default();
        let of = |direction| allowed.peers(&snapshot, EndpointId(1), direction);
        let found = of(ingress);
        assert!(found.contains(&"host: any port".to_owned()), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("everybody: ICMP type 8")), "{found:?}");
        let own = found.iter().find(|line| line.starts_with("identity 2001")).expect("named");
        assert!(own.contains("8080/TCP") && own.contains("9000-9010/TCP"), "{own}");
        let far = of(egress);
        assert_eq!(far.len(), PEERS + 1, "{far:?}");
        assert_eq!(far.last().map(String::as_str), Some("and 12 more"));
        assert_eq!(of(egress), far, "the second time from memory");
        assert_eq!(allowed.peers(&snapshot, EndpointId(9), ingress), [""; 0]);
    }

    #[test]
    fn what_audit_mode_lets_pass_is_not_allowed() {
        let map = PolicyMap::builder().enforce(Direction::Ingress, &[]).audit(Direction::Ingress).allow(
            Direction::Ingress,
            Identity(2001),
            6,
            80..=80,
        );
        let found = peers(&snapshot(map.build()), EndpointId(1), Direction::Ingress);
        assert_eq!(found, ["identity 2001: 80/TCP"]);
    }
}
