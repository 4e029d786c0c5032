//! The filter flags, kept in the order in which they were typed, because `--not` negates the next one.

use crate::api::client;
use crate::api::names::Known;
use crate::api::request::Request;
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use flowlog::Filters;
use flowlog::filter::FilterBuilder;
use std::path::Path;

/// Flags with a value: name, letter, what it says.
const VALUED: &[(&str, Option<char>, &str)] = &[
    ("verdict", None, "FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED"),
    ("pod", None, "Either end is this pod: [namespace/]prefix"),
    ("from-pod", None, "The source is this pod"),
    ("to-pod", None, "The destination is this pod"),
    ("from", None, "The source: a label (app=web) or a pod (namespace/name)"),
    ("to", None, "The destination: a label (app=web) or a pod (namespace/name)"),
    ("namespace", Some('n'), "Either end is in this namespace"),
    ("from-namespace", None, "The source is in this namespace"),
    ("to-namespace", None, "The destination is in this namespace"),
    ("label", Some('l'), "Either end has these labels (a selector)"),
    ("from-label", None, "The source has these labels"),
    ("to-label", None, "The destination has these labels"),
    ("service", None, "Either end has the address of this service: [namespace/]prefix"),
    ("from-service", None, "The source has the address of this service"),
    ("to-service", None, "The destination has the address of this service"),
    ("workload", None, "Either end belongs to this workload: name, Kind/name or Kind/"),
    ("from-workload", None, "The source belongs to this workload"),
    ("to-workload", None, "The destination belongs to this workload"),
    ("ip", None, "Either end has this address, or one in this CIDR"),
    ("from-ip", None, "The source has this address"),
    ("to-ip", None, "The destination has this address"),
    ("snat-ip", None, "The source is translated to this address"),
    ("port", None, "Either port"),
    ("from-port", None, "The source port"),
    ("to-port", None, "The destination port"),
    (
        "protocol",
        None,
        "tcp, udp, icmp, icmpv4, icmpv6, sctp, vrrp, igmp, http, http/1.1, http/2, grpc, dns, kafka or tls",
    ),
    ("identity", None, "Either end has this identity: a number or a reserved name"),
    ("from-identity", None, "The source has this identity"),
    ("to-identity", None, "The destination has this identity"),
    ("type", Some('t'), "drop, trace[:to-endpoint…], policy-verdict, l7 or close"),
    ("drop-reason-desc", None, "Name of a drop reason: POLICY_DENIED, …"),
    ("policy", None, "Decided by this policy: [namespace/]name"),
    ("fqdn", None, "Either end has this DNS name (* is any part of it)"),
    ("from-fqdn", None, "The source has this DNS name"),
    ("to-fqdn", None, "The destination has this DNS name"),
    ("http-method", None, "HTTP requests and responses of this method"),
    ("http-path", None, "HTTP whose path (without the query) matches this expression"),
    ("http-url", None, "HTTP whose URL matches this expression"),
    ("http-status", None, "HTTP responses with this status: 404, or 5+ for all that start with 5"),
    ("http-header", None, "HTTP requests with this header field: name:value"),
    ("trace-id", None, "HTTP requests of this trace (traceparent)"),
    ("dns-query", None, "DNS whose name (with the final dot) matches this expression"),
    ("kafka-topic", None, "Kafka requests and responses of this topic (* is any part of it)"),
    ("kafka-api-key", None, "Kafka requests and responses of this API: fetch, produce, … or its number"),
    ("tcp-flags", None, "All of these flags are set: SYN,ACK"),
    ("traffic-direction", None, "ingress or egress"),
    ("reply", None, "true: answers only; false: what is no answer"),
    ("ip-version", None, "v4, v6 or none"),
    ("ip-trace-id", None, "The packet has this trace id in an IP option"),
    ("node-name", None, "Seen on this node: [cluster/]name (* is any part of it)"),
    ("node-label", None, "Seen on a node with these labels (a selector)"),
    ("cluster", None, "Either end is in this cluster (* is any part of the name)"),
    ("from-cluster", None, "The source is in this cluster"),
    ("to-cluster", None, "The destination is in this cluster"),
    ("interface", None, "Seen on this interface"),
    ("uuid", None, "The record with this name"),
    ("cel-expression", None, CEL),
];

/// Flags without one: name, letter, the flag and value it stands for, what it says.
const PLAIN: &[(&str, Option<char>, (&str, &str), &str)] = &[
    ("not", None, ("not", ""), "Negate the next filter"),
    ("all-namespaces", Some('A'), ("namespace", ""), "Pods of every namespace"),
    ("from-all-namespaces", None, ("from-namespace", ""), "The source is a pod of any namespace"),
    ("to-all-namespaces", None, ("to-namespace", ""), "The destination is a pod of any namespace"),
    ("ipv4", Some('4'), ("ip-version", "v4"), "IPv4 only"),
    ("ipv6", Some('6'), ("ip-version", "v6"), "IPv6 only"),
    ("encrypted", None, ("encrypted", ""), "Packets that were encrypted on their way"),
    ("unencrypted", None, ("unencrypted", ""), "Packets that were not"),
];

/// Why there are no such expressions.
const CEL: &str = "Not supported: combine the other filters, or give -o json to a JSON processor";

/// What this node never records, so that a filter for it shows nothing.
const NEVER: &[(&str, &str)] = &[
    ("ip-trace-id", "trace ids in IP options are not read on this node"),
    ("encrypted", "records of this node do not say whether a packet was encrypted"),
    ("snat-ip", "source addresses are translated by the kernel, after this node has recorded the packet"),
];

/// Kinds of event that this node never records.
const NEVER_TYPES: [&str; 2] = ["capture", "trace-sock"];

/// Filter flags in the order in which they were typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterArgs {
    typed: Vec<(String, String)>,
}

impl FilterArgs {
    /// The filters they mean.
    pub(crate) fn build(&self) -> Result<Filters> {
        let mut builder = FilterBuilder::default();
        let mut negated = false;
        for (name, value) in &self.typed {
            if name == "not" {
                if negated {
                    bail!("--not twice in a row");
                }
                negated = true;
                continue;
            }
            if name == "cel-expression" {
                bail!(
                    "--cel-expression is not supported: combine the other filters (--not negates), or give -o json to a JSON processor such as jq"
                );
            }
            let what = if value.contains('=') { "label" } else { "pod" };
            match name.as_str() {
                "from" | "to" => builder.flag(&format!("{name}-{what}"), value, negated),
                name => builder.flag(name, value, negated),
            };
            negated = false;
        }
        if negated {
            bail!("--not without a filter after it");
        }
        Ok(builder.build()?)
    }

    /// The flags and their values, in the order in which they were typed.
    pub(crate) fn typed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.typed.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Filters that match nothing on a node of ours.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for (at, (name, value)) in self.typed.iter().enumerate() {
            let negated =
                at.checked_sub(1).and_then(|at| self.typed.get(at)).is_some_and(|(name, _)| name == "not");
            let kind = value.split(':').next().unwrap_or(value);
            let why = match NEVER.iter().find(|(never, _)| never == name) {
                Some((_, why)) => (*why).to_owned(),
                None if name == "type" && NEVER_TYPES.contains(&kind) => {
                    format!("this node has no events of type {kind}")
                }
                None => continue,
            };
            let value = if value.is_empty() { String::new() } else { format!(" {value}") };
            let what = if negated { "hides nothing" } else { "matches nothing" };
            notes.push(format!("--{name}{value} {what}: {why}"));
        }
        notes
    }

    /// Filters that match nothing because the node behind that socket does not have the names they ask for.
    pub(super) fn notes_from(&self, socket: &Path) -> Vec<String> {
        if !self.typed().any(|(name, _)| Asked::by(name).is_some()) {
            return Vec::new();
        }
        // Whoever cannot say it (no service, an older one) is asked for flows all the same, and that tells why.
        let known = client::ask(socket, &Request::Known).ok();
        known
            .and_then(|known| serde_json::from_value(known).ok())
            .map_or_else(Vec::new, |known| self.notes_of(&known))
    }

    /// Filters that match nothing because the node does not have those names; each sort is told once.
    fn notes_of(&self, known: &Known) -> Vec<String> {
        let mut told = Vec::new();
        let mut notes = Vec::new();
        for (name, value) in self.typed() {
            let Some(asked) = Asked::by(name) else { continue };
            if let Some(why) = asked.missing(known, value).filter(|_| !told.contains(&asked)) {
                told.push(asked);
                notes.push(format!("--{name} {value} finds nothing here: {why}"));
            }
        }
        notes
    }
}

/// Names that a node has only where somebody wrote them down.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Asked {
    Service,
    Workload,
    Cluster,
    NodeLabel,
}

impl Asked {
    /// What a flag asks.
    fn by(flag: &str) -> Option<Self> {
        let plain = flag.strip_prefix("from-").or_else(|| flag.strip_prefix("to-")).unwrap_or(flag);
        Some(match plain {
            "service" => Self::Service,
            "workload" => Self::Workload,
            "cluster" => Self::Cluster,
            "node-label" => Self::NodeLabel,
            _ => return None,
        })
    }

    /// Why nothing can match.
    fn missing(self, known: &Known, value: &str) -> Option<String> {
        let other_cluster = !value.contains('*') && value != known.cluster;
        Some(match self {
            Self::Service if !known.services => {
                "no service of the node's inventory has an address (services, ips)".to_owned()
            }
            Self::Workload if !known.workloads => {
                "the node's inventory does not say what its pods belong to \
                (pods, workload), nor do their names"
                    .to_owned()
            }
            Self::Cluster if other_cluster => {
                format!("the node's cluster is {} (node.cluster in sluice.yaml)", known.cluster)
            }
            Self::NodeLabel if !known.node_labels => {
                "the node has no labels (node.labels in sluice.yaml, or \
                nodes, labels in its inventory)"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut placed: Vec<(usize, (String, String))> = Vec::new();
        for (name, ..) in VALUED {
            let (indices, values) = (matches.indices_of(name), matches.get_many::<String>(name));
            for (index, value) in indices.into_iter().flatten().zip(values.into_iter().flatten()) {
                placed.push((index, ((*name).to_owned(), value.clone())));
            }
        }
        for (name, _, (flag, value), _) in PLAIN {
            if matches.get_many::<String>(name).is_some() {
                for index in matches.indices_of(name).into_iter().flatten() {
                    placed.push((index, ((*flag).to_owned(), (*value).to_owned())));
                }
            }
        }
        placed.sort_by_key(|(index, _)| *index);
        Ok(Self { typed: placed.into_iter().map(|(_, flag)| flag).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for FilterArgs {
    fn augment_args(command: Command) -> Command {
        let valued = VALUED.iter().map(|(name, short, help)| {
            Arg::new(*name)
                .long(*name)
                .short(*short)
                .help(*help)
                .action(ArgAction::Append)
                .value_name("VALUE")
        });
        let plain = PLAIN.iter().map(|(name, short, _, help)| {
            let arg = Arg::new(*name).long(*name).short(*short).help(*help).action(ArgAction::Append);
            arg.num_args(0).default_missing_value("")
        });
        command.next_help_heading("Filters").args(valued).args(plain).next_help_heading(None::<&str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(typed: &[(&str, &str)], known: &Known) -> Vec<String> {
        let typed = typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FilterArgs { typed }.notes_of(known)
    }

    #[test]
    fn what_finds_nothing_for_want_of_names_is_told_once() {
        let typed = [
            ("to-service", "shop/api"),
            ("service", "web"),
            ("node-label", "zone=a"),
            ("from-workload", "Deployment/web"),
            ("cluster", "e*"),
            ("to-cluster", "west"),
            ("from-cluster", "west"),
            ("pod", "a"),
        ];
        let nothing = Known { cluster: "east".into(), node_labels: false, services: false, workloads: false };
        assert_eq!(
            notes(&typed, &nothing),
            [
                "--to-service shop/api finds nothing here: no service of the node's inventory has an address (services, ips)",
                "--node-label zone=a finds nothing here: the node has no labels (node.labels in sluice.yaml, or nodes, labels in its inventory)",
                "--from-workload Deployment/web finds nothing here: the node's inventory does not say what its pods belong to (pods, workload), nor do their names",
                "--to-cluster west finds nothing here: the node's cluster is east (node.cluster in sluice.yaml)",
            ]
        );
        let all = Known { node_labels: true, services: true, workloads: true, cluster: "west".into() };
        assert_eq!(notes(&typed, &all), [""; 0]);
        assert_eq!(notes(&[("cluster", "east")], &nothing), [""; 0]);
        assert_eq!(notes(&[("pod", "a"), ("verdict", "DROPPED")], &nothing), [""; 0]);
    }
}
