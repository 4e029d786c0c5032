//! The other side of a rule: `fromEndpoints`, `toCIDRSet`, `toFQDNs` and their kin.

use std::sync::Arc;

use ipnet::IpNet;

use super::selectors::{self, Keys, Scope};
use super::{Cursor, Fields};
use crate::rule::{Entity, GroupRef, NameMatch, Peer, Peers, ServiceRef};
use crate::validate;
use crate::{Direction, selector::Selector};

/// Why a rule with groups of a cloud provider is not honoured.
const GROUPS: &str = "groups of a cloud provider are not resolved";

/// What an element says about its peers.
pub(crate) struct Read {
    pub(crate) peers: Peers,
    pub(crate) unsupported: Option<&'static str>,
}

/// Reads the peers of an element of `ingress`, `egress` or their deny forms. `has_ports`: whether the element has
/// port or ICMP conditions, which is what makes absent peers mean anyone rather than no one.
pub(crate) fn read(fields: &Fields<'_>, direction: Direction, scope: &Scope<'_>, has_ports: bool) -> Read {
    let word = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let mut peers = Vec::new();
    let mut used: Vec<String> = Vec::new();
    let mut written = false;
    let mut unsupported = None;
    for kind in
        ["Endpoints", "Requires", "CIDR", "CIDRSet", "Entities", "Nodes", "Groups", "Services", "FQDNs"]
    {
        let name = format!("{word}{kind}");
        let Some(at) = fields.get(&name) else { continue };
        let items = at.items().unwrap_or_default();
        // A removed field that may only be empty says nothing.
        written |= kind != "Requires";
        if items.is_empty() {
            continue;
        }
        match kind {
            "Requires" => at.error_hint(
                format!("`{name}` was removed from the API"),
                format!("add the requirement to every selector under `{word}Endpoints`"),
            ),
            "Nodes" => at.error_hint(
                format!("`{name}` needs node selectors, which are off"),
                format!("write `{word}Entities: [remote-node]` or `{word}CIDR`"),
            ),
            "Groups" => {
                at.warn(format!("{GROUPS}: what this rule would allow is denied"));
                unsupported = Some(GROUPS);
                items.iter().for_each(group);
            }
            _ => {}
        }
        for item in &items {
            peers.extend(one(kind, item, scope));
        }
        used.push(name);
    }
    if let [first, second, ..] = used.as_slice() {
        fields.at.error_hint(
            format!("`{first}` and `{second}` cannot be combined in one element"),
            "write two elements; they are alternatives",
        );
    }
    let peers = match (unsupported, peers.is_empty(), written) {
        (Some(_), ..) => Peers::Any,
        (None, false, _) => Peers::List(peers.into()),
        (None, true, true) => Peers::None,
        (None, true, false) if has_ports => Peers::Any,
        (None, true, false) => Peers::None,
    };
    Read { peers, unsupported }
}

fn one(kind: &str, at: &Cursor<'_>, scope: &Scope<'_>) -> Option<Peer> {
    match kind {
        "Endpoints" => {
            let written = selectors::read(at, Keys::Sourced)?;
            Some(Peer::Endpoints(selectors::peer(at, written, scope)))
        }
        "CIDR" => Some(Peer::Cidr { prefix: prefix(at)?.trunc(), except: [].into() }),
        "CIDRSet" => cidr_set(at),
        "Entities" => {
            let name = at.word(&Entity::NAMES)?;
            Entity::parse(&name).map(Peer::Entity)
        }
        "Services" => service(at),
        "FQDNs" => name_match(at).map(Peer::Fqdn),
        _ => None,
    }
}

/// A prefix, host bits as written.
pub(crate) fn prefix(at: &Cursor<'_>) -> Option<IpNet> {
    match validate::prefix(&at.string()?) {
        Ok(prefix) => Some(prefix),
        Err(message) => {
            at.error(message);
            None
        }
    }
}

fn cidr_set(at: &Cursor<'_>) -> Option<Peer> {
    const KINDS: [&str; 3] = ["cidr", "cidrGroupRef", "cidrGroupSelector"];
    let fields = at.fields(&["cidr", "cidrGroupRef", "cidrGroupSelector", "except"])?;
    if KINDS.iter().filter(|key| fields.get(key).is_some()).count() != 1 {
        at.error("exactly one of `cidr`, `cidrGroupRef` and `cidrGroupSelector` must be written");
        return None;
    }
    if let Some(cidr) = fields.get("cidr") {
        return cidr_with_except(&fields, &cidr);
    }
    let except = fields.items("except").iter().map(prefix).collect::<Option<Vec<_>>>()?;
    let except = except.iter().map(IpNet::trunc).collect();
    let group = match fields.get("cidrGroupRef") {
        Some(at) => {
            let name = at.string()?;
            if !validate::subdomain(&name) {
                at.error(format!(
                    "`{name}` is not a name of a CiliumCIDRGroup: it must be a lower-case DNS name"
                ));
                return None;
            }
            GroupRef::Name(name)
        }
        None => {
            let written = selectors::read(&fields.need("cidrGroupSelector")?, Keys::Sourced)?;
            GroupRef::Selector(Selector::new(written.requirements()))
        }
    };
    Some(Peer::CidrGroup { group, except })
}

/// A prefix with the holes under `except`, each of which must start inside it.
pub(crate) fn cidr_with_except(fields: &Fields<'_>, cidr: &Cursor<'_>) -> Option<Peer> {
    let outer = prefix(cidr)?;
    let mut except = Vec::new();
    for at in fields.get_some("except").and_then(|at| at.items()).unwrap_or_default() {
        let hole = prefix(&at)?;
        if !outer.trunc().contains(&hole.addr()) {
            at.error(format!("{hole} is not inside {outer}, so there is nothing to except"));
            return None;
        }
        if hole.prefix_len() <= outer.prefix_len() {
            at.warn(format!("{hole} covers all of {outer}: nothing is left to match"));
        }
        except.push(hole.trunc());
    }
    Some(Peer::Cidr { prefix: outer.trunc(), except: except.into() })
}

fn service(at: &Cursor<'_>) -> Option<Peer> {
    let fields = at.fields(&["k8sService", "k8sServiceSelector"])?;
    let namespace = |fields: &Fields<'_>| fields.string("namespace").filter(|name| !name.is_empty());
    if let Some(selector) = fields.get_some("k8sServiceSelector") {
        let fields = selector.fields(&["selector", "namespace"])?;
        let written = selectors::read(&fields.need("selector")?, Keys::Sourced)?;
        let service = ServiceRef::Selector(Selector::new(written.requirements()));
        return Some(Peer::Service { namespace: namespace(&fields), service });
    }
    if let Some(named) = fields.get_some("k8sService") {
        let fields = named.fields(&["serviceName", "namespace"])?;
        let name = fields.string("serviceName").unwrap_or_default();
        if name.is_empty() {
            named.warn("no `serviceName`: this selects no service");
        }
        return Some(Peer::Service { namespace: namespace(&fields), service: ServiceRef::Name(name) });
    }
    at.warn("neither `k8sService` nor `k8sServiceSelector`: this selects no service");
    None
}

/// `matchName` or `matchPattern`, of `toFQDNs` and of DNS rules.
pub(crate) fn name_match(at: &Cursor<'_>) -> Option<NameMatch> {
    let fields = at.fields(&["matchName", "matchPattern"])?;
    let (name, pattern) = (fields.get("matchName"), fields.get("matchPattern"));
    let (at, text, checked, rule) = match (name, pattern) {
        (Some(at), None) => {
            let text = at.string()?;
            let hint = text.contains('*');
            let checked = validate::dns_name(&text);
            if hint && checked.is_err() {
                at.error_hint(format!("`{text}` holds a star"), format!("write `matchPattern: \"{text}\"`"));
                return None;
            }
            let rule = NameMatch::name(&text);
            (at, text, checked, rule)
        }
        (None, Some(at)) => {
            let text = at.string()?;
            let checked = validate::dns_pattern(&text);
            let rule = NameMatch::pattern(&text);
            (at, text, checked, rule)
        }
        _ => {
            at.error("exactly one of `matchName` and `matchPattern` must be written");
            return None;
        }
    };
    if let Err(message) = checked {
        if text.contains("://") || text.contains('/') {
            at.error_hint(message, "write the host name only, without scheme and path");
        } else {
            at.error(message);
        }
        return None;
    }
    Some(rule)
}

/// Checks a group, which is not resolved.
fn group(at: &Cursor<'_>) {
    let Some(fields) = at.fields(&["aws"]) else { return };
    if let Some(aws) = fields.get_some("aws") {
        aws.fields(&["labels", "region", "securityGroupsIds", "securityGroupsNames"]);
    }
}

/// The requirement-free list of peers for everyone.
pub(crate) fn list(peers: Vec<Peer>) -> Peers {
    if peers.is_empty() { Peers::None } else { Peers::List(Arc::from(peers)) }
}
