//! The filter flags, kept in the order in which they were typed, because `--not` negates the next one.

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use flowlog::Filters;
use flowlog::filter::FilterBuilder;

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
    ("ip", None, "Either end has this address, or one in this CIDR"),
    ("from-ip", None, "The source has this address"),
    ("to-ip", None, "The destination has this address"),
    ("port", None, "Either port"),
    ("from-port", None, "The source port"),
    ("to-port", None, "The destination port"),
    (
        "protocol",
        None,
        "tcp, udp, icmp, icmpv4, icmpv6, sctp, http, http/1.1, http/2, grpc, dns, kafka or tls",
    ),
    ("identity", None, "Either end has this identity: a number or a reserved name"),
    ("from-identity", None, "The source has this identity"),
    ("to-identity", None, "The destination has this identity"),
    ("type", Some('t'), "drop, trace[:to-endpoint…], policy-verdict, l7 or close"),
    ("drop-reason-desc", None, "Name of a drop reason: POLICY_DENIED, …"),
    ("fqdn", None, "Either end has this DNS name (* is any part of it)"),
    ("from-fqdn", None, "The source has this DNS name"),
    ("to-fqdn", None, "The destination has this DNS name"),
    ("http-method", None, "HTTP requests and responses of this method"),
    ("http-path", None, "HTTP whose path (without the query) matches this expression"),
    ("http-url", None, "HTTP whose URL matches this expression"),
    ("http-status", None, "HTTP responses with this status: 404, or 5+ for all that start with 5"),
    ("http-header", None, "HTTP requests with this header field: name:value"),
    ("dns-query", None, "DNS whose name (with the final dot) matches this expression"),
    ("tcp-flags", None, "All of these flags are set: SYN,ACK"),
    ("traffic-direction", None, "ingress or egress"),
    ("ip-version", None, "v4 or v6"),
    ("node-name", None, "Seen on this node"),
    ("uuid", None, "The record with this name"),
];

/// Flags without one: name, letter, the flag and value it stands for, what it says.
const PLAIN: &[(&str, Option<char>, (&str, &str), &str)] = &[
    ("not", None, ("not", ""), "Negate the next filter"),
    ("all-namespaces", Some('A'), ("namespace", ""), "Pods of every namespace"),
    ("ipv4", Some('4'), ("ip-version", "v4"), "IPv4 only"),
    ("ipv6", Some('6'), ("ip-version", "v6"), "IPv6 only"),
];

/// Filter flags in the order in which they were typed.
#[derive(Clone, Debug, Default)]
pub(super) struct FilterArgs {
    typed: Vec<(String, String)>,
}

impl FilterArgs {
    /// The filters they mean.
    pub(super) fn build(&self) -> Result<Filters> {
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
