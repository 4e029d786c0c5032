//! One conversation: who asks whom for what, what should happen, and what did.

use std::fmt;
use std::time::Duration;

/// One end of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// `namespace/name`.
    Pod(&'static str),
    /// The node itself, as the kubelet would ask.
    Node,
    /// A machine outside the cluster.
    Outside,
}

impl Peer {
    /// What the table shows.
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::Pod(path) => path.rsplit('/').next().unwrap_or(path),
            Self::Node => "node",
            Self::Outside => "outside",
        }
    }
}

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// An HTTP GET by curl.
    Http {
        /// Server port.
        port: u16,
        /// Request target.
        path: &'static str,
        /// Over IPv6.
        ipv6: bool,
    },
    /// A lookup by dig.
    Dns {
        /// Over TCP instead of UDP.
        tcp: bool,
    },
    /// A query by psql (or one message to an echo server where PostgreSQL is not installed).
    Sql,
    /// One echo request.
    Ping,
}

impl Probe {
    /// Port and protocol as flow filters want them; `None` for ICMP.
    pub(super) fn port(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Http { port, .. } => Some((port, "TCP")),
            Self::Dns { tcp } => Some((53, if tcp { "TCP" } else { "UDP" })),
            Self::Sql => Some((5432, "TCP")),
            Self::Ping => None,
        }
    }

    /// Whether it goes over IPv6.
    pub(super) fn is_ipv6(self) -> bool {
        matches!(self, Self::Http { ipv6: true, .. })
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { path, ipv6: false, .. } => write!(f, "GET {path}"),
            Self::Http { path, ipv6: true, .. } => write!(f, "GET {path} (IPv6)"),
            Self::Dns { tcp: false } => f.write_str("DNS lookup"),
            Self::Dns { tcp: true } => f.write_str("DNS lookup over TCP"),
            Self::Sql => f.write_str("SELECT"),
            Self::Ping => f.write_str("ping"),
        }
    }
}

/// What should happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// The server answers.
    Allowed,
    /// No answer of any kind.
    Dropped,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    /// The server answered, with this.
    Answered(String),
    /// Nothing came back within the time limit.
    Silence,
    /// Something else, in the client's words; never what anyone expects.
    Failed(String),
}

impl Happened {
    /// Whether it is what was expected.
    pub(super) fn meets(&self, expect: Expect) -> bool {
        matches!((self, expect), (Self::Answered(_), Expect::Allowed) | (Self::Silence, Expect::Dropped))
    }
}

/// One line of the demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversation {
    /// Who speaks first.
    pub(super) from: Peer,
    /// Who is asked.
    pub(super) to: Peer,
    /// What the client does.
    pub(super) probe: Probe,
    /// What should come of it.
    pub(super) expect: Expect,
}

impl Conversation {
    /// `api-service:8080/TCP`.
    pub(super) fn destination(&self) -> String {
        match self.probe.port() {
            Some((port, protocol)) => format!("{}:{port}/{protocol}", self.to.short()),
            None => format!("{} ICMP", self.to.short()),
        }
    }
}

/// A conversation that took place.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Which one.
    pub(super) conversation: Conversation,
    /// What came of it.
    pub(super) happened: Happened,
    /// How long it took.
    pub(super) elapsed: Duration,
}

impl Outcome {
    /// Whether it went as expected.
    pub(super) fn as_expected(&self) -> bool {
        self.happened.meets(self.conversation.expect)
    }
}
