//! Names from DNS answers, as people ask for them.

use jiff::Timestamp;
use policy::PolicySnapshot;
use policy::fqdn::{Name, Record};
use policy::rule::{NameMatch, Peer, Peers, Policy};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which names.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Of this shape, as `matchPattern` has it.
    pub name: Option<&'a str>,
    /// That this endpoint asked for first.
    pub endpoint: Option<&'a str>,
}

/// The names that are known at `now`, in seconds since 1970.
#[must_use]
pub fn list(policy: &PolicySnapshot, policies: &[Arc<Policy>], wanted: &Wanted<'_>, now: u64) -> Value {
    let users = users(policies);
    let shape = wanted.name.map(NameMatch::pattern);
    let asker = |name: &Name| {
        let endpoint = policy.endpoint(name.endpoint?)?;
        Some(super::answer::full_name(&endpoint.namespace, &endpoint.name))
    };
    let value = |name: Arc<Name>| {
        let endpoint = asker(&name);
        let fits = shape.as_ref().is_none_or(|shape| shape.matches(&name.name))
            && wanted.endpoint.is_none_or(|wanted| endpoint.as_deref() == Some(wanted));
        fits.then(|| {
            let conditions: BTreeSet<&NameMatch> = policy.fqdn.conditions(&name.name).collect();
            let policies: BTreeSet<&String> =
                conditions.iter().filter_map(|condition| users.get(*condition)).flatten().collect();
            json!({
                "name": &*name.name,
                "addresses": name.addresses.iter().map(|r| address(policy, r, now)).collect::<Vec<_>>(),
                "cnames": name.cnames.iter().map(|name| &**name).collect::<Vec<_>>(),
                "conditions": conditions.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "policies": policies,
                "endpoint": endpoint,
                "lastSeen": time(name.seen),
            })
        })
    };
    policy.fqdn.names().into_iter().filter_map(value).collect()
}

fn address(policy: &PolicySnapshot, record: &Record, now: u64) -> Value {
    json!({
        "ip": record.addr.to_string(),
        "identity": policy.identity(record.addr).0,
        "ttlSeconds": record.expires.saturating_sub(now),
        "expires": time(record.expires),
        "state": if record.grace.is_some() { "grace" } else { "live" },
    })
}

fn time(seconds: u64) -> Option<String> {
    Some(Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?.to_string())
}

/// Policies by the `toFQDNs` conditions that they name.
fn users(policies: &[Arc<Policy>]) -> BTreeMap<&NameMatch, BTreeSet<String>> {
    let mut users: BTreeMap<&NameMatch, BTreeSet<String>> = BTreeMap::new();
    for policy in policies {
        for entry in policy.rules.iter().flat_map(|rule| &rule.egress) {
            let Peers::List(peers) = &entry.peers else { continue };
            for peer in &**peers {
                if let Peer::Fqdn(condition) = peer {
                    let name = super::answer::full_name(&policy.namespace, &policy.name);
                    users.entry(condition).or_default().insert(name);
                }
            }
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::engine::{Engine, Options, SourceFile};
    use policy::fqdn::Answer;

    const POLICY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: out, namespace: shop}\n\
                          spec: {endpointSelector: {matchLabels: {app: web}}, egress: [{toFQDNs: [{matchPattern: \"*.example.com\"}]}]}\n";
    const INVENTORY: &str =
        "pods: [{name: web, namespace: shop, labels: {app: web}, node: n1, ips: [10.0.0.1]}]\n";

    fn engine() -> Engine {
        let mut engine = Engine::new(Options { node_name: "n1".into(), ..Options::default() });
        engine.set_inventory(policy::document::load_inventory(INVENTORY, "i.yaml").expect("valid"));
        let file = SourceFile { path: "policies/out.yaml".into(), text: POLICY.into() };
        assert!(engine.set_policies(vec![file]).is_valid());
        let endpoint = engine.endpoint("shop", "web").map(|endpoint| endpoint.id);
        let cnames: [Box<str>; 1] = ["cdn.example.net".into()];
        let (api, new) = ([[192, 0, 2, 1].into()], [[192, 0, 2, 2].into()]);
        let answer = |name, addresses, ttl| Answer { name, addresses, cnames: &cnames, ttl, endpoint };
        engine.learn_fqdns([answer("api.example.com", &api, 60)], 1_000);
        assert!(engine.expire_fqdns(1_070).is_empty());
        engine.learn_fqdns([answer("api.example.com", &new, 60)], 1_080);
        let other = Answer { endpoint: None, cnames: &[], ..answer("www.example.org", &new, 300) };
        engine.learn_fqdns([other], 1_080);
        engine
    }

    fn asked(wanted: &Wanted<'_>) -> Value {
        let engine = engine();
        list(&engine.snapshot(), &engine.policies(), wanted, 1_090)
    }

    #[test]
    fn a_name_comes_with_all_that_is_known_of_it() {
        let all = asked(&Wanted::default());
        let id = policy::Identity::FIRST_NODE_LOCAL.0;
        let expected = json!({
            "name": "api.example.com",
            "addresses": [
                {"ip": "192.0.2.1", "identity": id, "ttlSeconds": 0, "expires": "1970-01-01T00:17:40Z", "state": "grace"},
                {"ip": "192.0.2.2", "identity": id, "ttlSeconds": 50, "expires": "1970-01-01T00:19:00Z", "state": "live"},
            ],
            "cnames": ["cdn.example.net"],
            "conditions": ["*.example.com"],
            "policies": ["shop/out"],
            "endpoint": "shop/web",
            "lastSeen": "1970-01-01T00:18:00Z",
        });
        assert_eq!(all[0], expected);
        let names = |value: &Value| value.as_array().map_or(0, Vec::len);
        assert_eq!(names(&all), 2);
        assert_eq!(names(&asked(&Wanted { name: Some("*.example.org"), ..Wanted::default() })), 1);
        assert_eq!(names(&asked(&Wanted { name: Some("API.example.com."), ..Wanted::default() })), 1);
        assert_eq!(names(&asked(&Wanted { endpoint: Some("shop/web"), ..Wanted::default() })), 1);
        assert_eq!(names(&asked(&Wanted { endpoint: Some("shop/other"), ..Wanted::default() })), 0);
    }

    #[test]
    fn the_table_has_a_line_for_each_address() {
        let table = crate::show::fqdns(&asked(&Wanted::default()));
        let expected = "\
NAME             IP         IDENTITY  TTL   STATE  CONDITIONS     POLICIES  FIRST ASKED BY  LAST SEEN
api.example.com  192.0.2.1  16777217  0s    grace  *.example.com  shop/out  shop/web        1970-01-01T00:18:00Z
api.example.com  192.0.2.2  16777217  50s   live   *.example.com  shop/out  shop/web        1970-01-01T00:18:00Z
www.example.org  192.0.2.2  16777217  290s  live   -              -         -               1970-01-01T00:18:00Z
";
        assert_eq!(table, expected);
    }
}
