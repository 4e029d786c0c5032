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
    /// HTTP requests by curl, one after the other on one connection.
    Http {
        /// Server port.
        port: u16,
        /// Methods and targets.
        requests: &'static [(&'static str, &'static str)],
        /// Over IPv6.
        ipv6: bool,
    },
    /// The same to a name that is looked up first.
    Named {
        /// The name.
        name: &'static str,
        /// Server port.
        port: u16,
        /// Methods and targets.
        requests: &'static [(&'static str, &'static str)],
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
            Self::Http { port, .. } | Self::Named { port, .. } => Some((port, "TCP")),
            Self::Dns { tcp } => Some((53, if tcp { "TCP" } else { "UDP" })),
            Self::Sql => Some((5432, "TCP")),
            Self::Ping => None,
        }
    }

    /// The requests, if that is what it is.
    pub(super) fn requests(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Http { requests, .. } | Self::Named { requests, .. } => requests,
            Self::Dns { .. } | Self::Sql | Self::Ping => &[],
        }
    }

    /// Whether it goes over IPv6.
    pub(super) fn is_ipv6(self) -> bool {
        matches!(self, Self::Http { ipv6: true, .. })
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (method, path)) in self.requests().iter().enumerate() {
            write!(f, "{}{method} {path}", if number > 0 { ", " } else { "" })?;
        }
        match self {
            Self::Http { ipv6: false, .. } => Ok(()),
            Self::Http { ipv6: true, .. } => f.write_str(" (IPv6)"),
            Self::Named { name, .. } => write!(f, " of {name}"),
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
    /// HTTP requests are answered with these codes, all on one connection.
    Statuses(&'static [u16]),
    /// No answer of any kind.
    Dropped,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    /// The server answered, with this.
    Answered(String),
    /// HTTP requests were answered with these codes, all on one connection.
    Statuses(Vec<u16>),
    /// Nothing came back within the time limit.
    Silence,
    /// Something else, in the client's words; never what anyone expects.
    Failed(String),
}

impl Happened {
    /// Whether it is what was expected.
    pub(super) fn meets(&self, expect: Expect) -> bool {
        match (self, expect) {
            (Self::Answered(_), Expect::Allowed) | (Self::Silence, Expect::Dropped) => true,
            (Self::Statuses(seen), Expect::Statuses(wanted)) => seen == wanted,
            _ => false,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("answer"),
            Self::Statuses(codes) => f.write_str(&list(codes)),
            Self::Dropped => f.write_str("silence"),
        }
    }
}

/// `200, 403, 200`.
pub(super) fn list(codes: &[u16]) -> String {
    let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
    codes.join(", ")
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
