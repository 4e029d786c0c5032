//! One filter, parsed, against one record.

use super::message::MessageFilter;
use super::pattern::{NodePattern, Selector};
use super::peer::{Peer, contains, networks};
use super::protocol::Protocol;
use super::{FilterError, FlowFilter, InterfaceFilter, MAX_ENTRIES};
use crate::drop_reason::is_reason_name;
use crate::record::{L4, Record, Rule};
use ipnet::IpNet;

/// A filter ready to run.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    raw: FlowFilter,
    source: Peer,
    destination: Peer,
    translated: Vec<IpNet>,
    protocols: Vec<Protocol>,
    nodes: Vec<NodePattern>,
    node_labels: Vec<Selector>,
    policies: Vec<PolicyName>,
    message: MessageFilter,
}

/// A policy, in this namespace if one is given.
#[derive(Clone, Debug)]
struct PolicyName(Option<String>, String);

impl Compiled {
    pub(super) fn new(f: &FlowFilter) -> Result<Self, FilterError> {
        let lengths = [
            f.uuid.len(),
            f.source_ip_xlated.len(),
            f.traffic_direction.len(),
            f.verdict.len(),
            f.drop_reason_desc.len(),
            f.interface.len(),
            f.event_type.len(),
            f.protocol.len(),
            f.reply.len(),
            f.tcp_flags.len(),
            f.node_name.len(),
            f.node_labels.len(),
            f.ip_version.len(),
            f.trace_id.len(),
            f.ip_trace_id.len(),
            f.encrypted.len(),
            f.policy.len(),
        ];
        if lengths.iter().any(|n| *n > MAX_ENTRIES) {
            return Err(FilterError::TooMany);
        }
        if !f.experimental.cel_expression.is_empty() {
            return Err(FilterError::Unsupported {
                field: "experimental.cel_expression",
                instead: "use the other filters, or JSON output and a JSON processor",
            });
        }
        if let Some(unknown) = f.drop_reason_desc.iter().find(|name| !is_reason_name(name)) {
            return Err(FilterError::value("drop-reason-desc", unknown));
        }
        let label = |text: &String| Selector::parse("node-label", text);
        Ok(Self {
            source: Peer::source(f)?,
            destination: Peer::destination(f)?,
            translated: networks("snat-ip", &f.source_ip_xlated)?,
            protocols: f.protocol.iter().map(|name| Protocol::parse(name)).collect::<Result<_, _>>()?,
            nodes: f.node_name.iter().map(|name| NodePattern::new(name)).collect::<Result<_, _>>()?,
            node_labels: f.node_labels.iter().map(label).collect::<Result<_, _>>()?,
            policies: f.policy.iter().map(|name| PolicyName::new(name)).collect::<Result<_, _>>()?,
            message: MessageFilter::new(f)?,
            raw: f.clone(),
        })
    }

    pub(super) fn matches(&self, r: &Record) -> bool {
        self.event_matches(r)
            && self.packet_matches(r)
            && any(&self.nodes, |node| node.matches(&r.node_name))
            && any(&self.node_labels, |selector| selector.matches(&r.node_labels))
            && any(&self.policies, |policy| policy.decided(r))
            && self.message.matches(r)
            && self.source.matches(r)
            && self.destination.matches(r)
    }

    fn event_matches(&self, r: &Record) -> bool {
        let f = &self.raw;
        any(&f.verdict, |v| *v == r.verdict)
            && any(&f.drop_reason_desc, |d| *d == r.drop_reason_desc)
            && any(&f.event_type, |t| {
                r.event_type
                    .is_some_and(|e| e.kind == t.kind && (!t.match_sub_type || e.sub_type == t.sub_type))
            })
            && any(&f.traffic_direction, |d| *d == r.traffic_direction)
            && any(&f.reply, |reply| r.is_reply == Some(*reply))
            && any(&f.uuid, |uuid| *uuid == r.uuid)
            && any(&f.interface, |wanted| interface_matches(r, wanted))
            && any(&f.trace_id, |id| {
                let parent = r.trace_context.as_ref().and_then(|context| context.parent.as_ref());
                parent.is_some_and(|parent| parent.trace_id == *id)
            })
            && any(&f.ip_trace_id, |id| r.ip_trace_id.as_ref().is_some_and(|have| have.trace_id == *id))
    }

    fn packet_matches(&self, r: &Record) -> bool {
        let f = &self.raw;
        any(&self.protocols, |protocol| protocol.matches(r))
            && any(&f.ip_version, |v| r.ip.as_ref().map_or_else(Default::default, |ip| ip.version) == *v)
            && any(&f.encrypted, |wanted| r.ip.as_ref().is_some_and(|ip| ip.encrypted == *wanted))
            && any(&f.tcp_flags, |wanted| match &r.l4 {
                Some(L4::Tcp(tcp)) => tcp.flags.unwrap_or_default().contains(*wanted),
                _ => false,
            })
            && (self.translated.is_empty()
                || r.ip.as_ref().is_some_and(|ip| contains(&self.translated, &ip.source_xlated)))
    }
}

impl PolicyName {
    fn new(text: &str) -> Result<Self, FilterError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
        };
        if name.is_empty() {
            return Err(FilterError::value("policy", text));
        }
        Ok(Self(namespace, name.to_owned()))
    }

    /// Whether the policy allowed or denied it, or switched on the default deny that did.
    fn decided(&self, r: &Record) -> bool {
        let is = |namespace: &str, name: &str| {
            self.1 == name && self.0.as_ref().is_none_or(|wanted| wanted == namespace)
        };
        let listed = [&r.egress_allowed_by, &r.ingress_allowed_by, &r.egress_denied_by, &r.ingress_denied_by];
        let extra = r.extensions.as_ref();
        let deny = extra.and_then(|e| e.default_deny.as_ref()).map_or(&[][..], |d| &d.switched_on_by);
        let rules = extra.map_or(&[][..], |e| &e.rules);
        let by_rule = |rule: &Rule| is(&rule.namespace, &rule.name);
        listed.into_iter().flatten().any(|policy| is(&policy.namespace, &policy.name))
            || rules.iter().any(by_rule)
            || deny.iter().any(by_rule)
    }
}

fn interface_matches(r: &Record, wanted: &InterfaceFilter) -> bool {
    r.interface.as_ref().is_some_and(|have| {
        (wanted.index == 0 || wanted.index == have.index)
            && (wanted.name.is_empty() || wanted.name == have.name)
    })
}

/// An empty list asks nothing; otherwise one value must do.
pub(super) fn any<T>(values: &[T], test: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(test)
}
