//! Rules after reading: resolved, validated, and free of the way they were written.
//!
//! A CiliumNetworkPolicy and a Kubernetes NetworkPolicy are the same thing here. Namespace and cluster scoping has
//! been applied to every selector, so whoever evaluates a rule only matches. One [`Entry`] is one element of a
//! rule's list narrowed to one element of its `toPorts`: peers AND ports AND application rules.

mod l7;
mod name;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

pub use l7::{HeaderMatch, HttpRule, KafkaRule, L7Rules, Mismatch, Sni};
pub use name::NameMatch;

use crate::Direction;
use crate::label::Label;
use crate::provenance::Provenance;
use crate::selector::Selector;

/// The kinds of documents that hold rules.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PolicyKind {
    /// `CiliumNetworkPolicy`.
    Cilium,
    /// `CiliumClusterwideNetworkPolicy`.
    CiliumClusterwide,
    /// `NetworkPolicy` of `networking.k8s.io`.
    Kubernetes,
}

impl PolicyKind {
    /// The `kind` of the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cilium => "CiliumNetworkPolicy",
            Self::CiliumClusterwide => "CiliumClusterwideNetworkPolicy",
            Self::Kubernetes => "NetworkPolicy",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One accepted document.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Policy {
    /// Which kind of document.
    pub kind: PolicyKind,
    /// Namespace; empty for clusterwide policies.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// File as given to the loader.
    pub file: Arc<str>,
    /// Line of the document's first key, from 1.
    pub line: u32,
    /// Labels of the object.
    pub labels: Vec<Label>,
    /// Annotated `sluice.io/audit: "true"`: what it would deny is let through and reported.
    pub audit: bool,
    /// Its rules, in order of writing (`spec`, then `specs`).
    pub rules: Vec<Rule>,
}

impl Policy {
    /// The provenance of a line of this policy.
    #[must_use]
    pub fn provenance(&self, line: u32) -> Provenance {
        Provenance {
            kind: self.kind.as_str().to_owned(),
            namespace: self.namespace.to_string(),
            name: self.name.to_string(),
            file: self.file.to_string(),
            line,
        }
    }

    /// What names this policy among all: kind, namespace and name.
    #[must_use]
    pub fn key(&self) -> (PolicyKind, Arc<str>, Arc<str>) {
        (self.kind, self.namespace.clone(), self.name.clone())
    }
}

/// One rule: whom it protects, and what may pass in each direction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rule {
    /// Whom the rule protects.
    pub subject: Subject,
    /// Entries towards the subject, allow and deny, in order of writing.
    pub ingress: Vec<Entry>,
    /// Entries from the subject, allow and deny, in order of writing.
    pub egress: Vec<Entry>,
    /// Effect on the default of the ingress direction.
    pub ingress_default: DefaultDeny,
    /// Effect on the default of the egress direction.
    pub egress_default: DefaultDeny,
    /// Rule labels.
    pub labels: Vec<Label>,
    /// Free text.
    pub description: Option<Arc<str>>,
    /// `log.value`: copied into flow events.
    pub log: Option<Arc<str>>,
    /// Line of the rule, from 1.
    pub line: u32,
}

impl Rule {
    /// The entries of a direction.
    #[must_use]
    pub fn entries(&self, direction: Direction) -> &[Entry] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// The effect on the default of a direction.
    #[must_use]
    pub const fn default_deny(&self, direction: Direction) -> DefaultDeny {
        match direction {
            Direction::Ingress => self.ingress_default,
            Direction::Egress => self.egress_default,
        }
    }
}

/// Whom a rule protects.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// Endpoints whose labels match; never the host.
    Endpoint(Selector),
    /// The host endpoint of nodes whose labels match.
    Node(Selector),
}

/// What a rule does to the default of one direction of its subject.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum DefaultDeny {
    /// The rule says nothing about this direction.
    #[default]
    Untouched,
    /// Entries are enforced (denies and application rules act), but what matches none passes.
    Off,
    /// What matches no allow is denied.
    On,
}

/// One allow or deny: from or to these peers, on these ports, with these messages.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The other side.
    pub peers: Peers,
    /// Transport conditions.
    pub ports: Ports,
    /// Application rules; `None` means any message.
    pub l7: Option<L7Rules>,
    /// TLS server names allowed; empty means no condition.
    pub server_names: Vec<Sni>,
    /// Whether this denies rather than allows.
    pub deny: bool,
    /// Why this entry cannot be honoured as written. An allow with a reason allows nothing, and the reason is what a
    /// denial reports when nothing else allows the packet; a deny with a reason denies what the entry says.
    pub unsupported: Option<&'static str>,
    /// Line of the list element, from 1.
    pub line: u32,
}

/// The other side of an entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Peers {
    /// Whoever.
    Any,
    /// Nobody: an explicit empty list, or an element without any condition.
    None,
    /// Any one of these; never empty.
    List(Arc<[Peer]>),
}

/// One kind of peer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Peer {
    /// Identities whose labels match.
    Endpoints(Selector),
    /// A named class of identities.
    Entity(Entity),
    /// Addresses outside the cluster in this prefix and outside the exceptions.
    Cidr {
        /// The prefix, host bits cleared.
        prefix: IpNet,
        /// Holes in it, host bits cleared.
        except: Arc<[IpNet]>,
    },
    /// Addresses of CIDR groups.
    CidrGroup {
        /// Which groups.
        group: GroupRef,
        /// Holes in them, host bits cleared.
        except: Arc<[IpNet]>,
    },
    /// The backends of services.
    Service {
        /// Namespace of the service; `None` means any.
        namespace: Option<Arc<str>>,
        /// Which services.
        service: ServiceRef,
    },
    /// Addresses learnt from DNS answers for these names.
    Fqdn(NameMatch),
}

/// Which CIDR groups.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum GroupRef {
    /// The one of this name.
    Name(Arc<str>),
    /// Those whose object labels match.
    Selector(Selector),
}

/// Which services.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ServiceRef {
    /// The one of this name.
    Name(Arc<str>),
    /// Those whose labels match.
    Selector(Selector),
}

/// Named classes of identities.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Entity {
    /// Everything.
    All,
    /// Outside the cluster.
    World,
    /// Outside the cluster, IPv4.
    WorldIpv4,
    /// Outside the cluster, IPv6.
    WorldIpv6,
    /// Everything that belongs to this cluster.
    Cluster,
    /// The subject's own node.
    Host,
    /// Every other node.
    RemoteNode,
    /// Whoever serves the Kubernetes API.
    KubeApiServer,
    /// The ingress controller.
    Ingress,
    /// Health endpoints.
    Health,
    /// Endpoints without labels yet.
    Init,
    /// Pods that are not managed.
    Unmanaged,
    /// Nobody.
    None,
}

impl Entity {
    /// Every entity that a document may name.
    pub const NAMES: [&'static str; 11] = [
        "all",
        "world",
        "cluster",
        "host",
        "init",
        "ingress",
        "unmanaged",
        "remote-node",
        "health",
        "none",
        "kube-apiserver",
    ];

    /// The entity of a name in a document; `world-ipv4` and `world-ipv6` are not admitted there.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "world" => Self::World,
            "cluster" => Self::Cluster,
            "host" => Self::Host,
            "init" => Self::Init,
            "ingress" => Self::Ingress,
            "unmanaged" => Self::Unmanaged,
            "remote-node" => Self::RemoteNode,
            "health" => Self::Health,
            "none" => Self::None,
            "kube-apiserver" => Self::KubeApiServer,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::World => "world",
            Self::WorldIpv4 => "world-ipv4",
            Self::WorldIpv6 => "world-ipv6",
            Self::Cluster => "cluster",
            Self::Host => "host",
            Self::RemoteNode => "remote-node",
            Self::KubeApiServer => "kube-apiserver",
            Self::Ingress => "ingress",
            Self::Health => "health",
            Self::Init => "init",
            Self::Unmanaged => "unmanaged",
            Self::None => "none",
        }
    }
}

/// Transport conditions of an entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ports {
    /// Whatever: all protocols, ICMP included.
    Any,
    /// Any one of these; an empty list (a `toPorts` element without `ports`) matches nothing.
    List(Vec<PortRule>),
    /// Any one of these ICMP types; an empty list matches nothing.
    Icmp(Vec<Icmp>),
}

/// A protocol and its destination ports.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PortRule {
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub port: Port,
}

/// Transport protocols of port rules.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// TCP, UDP and SCTP; never ICMP.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Destination ports.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Port {
    /// Every port of the protocol.
    Any,
    /// These numbers, never including 0; a single port is a range of one.
    Numbers(RangeInclusive<u16>),
    /// A container port's name, lower case. Ingress: the subject's own; egress: looked up over all pods.
    Named(Arc<str>),
}

/// One ICMP type.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Icmp {
    /// Of which ICMP.
    pub family: IcmpFamily,
    /// The type; the code is not looked at.
    pub kind: u8,
}

/// Which ICMP.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IcmpFamily {
    /// ICMP.
    V4,
    /// ICMPv6.
    V6,
}

/// A CiliumCIDRGroup.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CidrGroup {
    /// Name.
    pub name: Arc<str>,
    /// Labels of the object, with source `cidrgroup`; what a [`GroupRef::Selector`] is matched against.
    pub labels: Vec<Label>,
    /// Its prefixes, host bits cleared.
    pub prefixes: Vec<IpNet>,
    /// File as given to the loader.
    pub file: Arc<str>,
    /// Line of the document, from 1.
    pub line: u32,
}
