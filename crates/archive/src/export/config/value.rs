//! Values with a notation of their own. Each is read by a visitor, so that an error has the place of the value and
//! not that of the map around it.

use flowlog::{Filters, FlowFilter};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::path::PathBuf;

/// Deserializes a string through `FromStr`-like parsing, with the place of the value in errors.
macro_rules! parsed {
    ($name:ident, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

/// Name of an exporter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Name(String);
parsed!(Name, "a name");

impl Name {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if (1..=63).contains(&text.len()) && text.chars().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{text}` is no name: write 1 to 63 letters, digits, `-`, `_` or `.`"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}
parsed!(Target, "an absolute path or `stdout`");

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        match text {
            "stdout" => Ok(Self::Stdout),
            _ if path.is_absolute() && path.file_name().is_some() && !text.ends_with('/') => {
                Ok(Self::File(path))
            }
            _ => Err(format!("`{text}` is no file: write an absolute path, or `stdout`")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Address of a syslog receiver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A datagram socket.
    Unix(PathBuf),
    /// `host:port`; a message is a datagram (RFC 5426).
    Udp(String),
    /// `host:port`; each message has its length before it (RFC 6587 §3.4.1).
    Tcp(String),
}
parsed!(Address, "an address such as `udp://10.0.0.9:514`");

impl Address {
    fn parse(text: &str) -> Result<Self, String> {
        let host = |rest: &str| {
            let (host, port) = rest.rsplit_once(':')?;
            let legal = !host.is_empty() && !host.contains(['/', ' ', '@']);
            (legal && port.parse::<u16>().is_ok_and(|port| port != 0)).then(|| rest.to_owned())
        };
        let found = match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Some(Self::Unix(path.into())),
            Some(("udp", rest)) => host(rest).map(Self::Udp),
            Some(("tcp", rest)) => host(rest).map(Self::Tcp),
            _ => None,
        };
        found.ok_or_else(|| {
            format!("`{text}` is no syslog address: write unix:///dev/log, udp://HOST:514 or tcp://HOST:601")
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Udp(host) => write!(f, "udp://{host}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// A moment, in RFC 3339.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct End(pub jiff::Timestamp);
parsed!(End, "a moment such as `2026-12-31T23:59:59Z`");

impl End {
    fn parse(text: &str) -> Result<Self, String> {
        let moment = text.parse().map(Self);
        moment.map_err(|_| format!("`{text}` is no moment: write it as in `2026-12-31T23:59:59Z`"))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fields of Hubble's `flow.Flow` at its top.
const FIELDS: [&str; 46] = [
    "time",
    "uuid",
    "emitter",
    "verdict",
    "drop_reason",
    "auth_type",
    "ethernet",
    "IP",
    "l4",
    "tunnel",
    "source",
    "destination",
    "Type",
    "node_name",
    "node_labels",
    "source_names",
    "destination_names",
    "l7",
    "reply",
    "is_reply",
    "event_type",
    "source_service",
    "destination_service",
    "traffic_direction",
    "policy_match_type",
    "trace_observation_point",
    "trace_reason",
    "file",
    "ip_trace_id",
    "drop_reason_desc",
    "debug_capture_point",
    "interface",
    "proxy_port",
    "trace_context",
    "sock_xlate_point",
    "socket_cookie",
    "cgroup_id",
    "Summary",
    "extensions",
    "egress_allowed_by",
    "ingress_allowed_by",
    "egress_denied_by",
    "ingress_denied_by",
    "policy_log",
    "aggregate",
    "flags",
];

/// Most paths in a mask.
const MAX_PATHS: usize = 64;

/// Fields to write: dotted paths from the top of a flow, as `source.pod_name`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct FieldMask(Vec<String>);

impl FieldMask {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn check(path: &str) -> Result<(), String> {
        let legal =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if path.len() > 256 || !path.split('.').all(legal) {
            return Err(format!("`{path}` is no field: write names joined by dots, as in `source.pod_name`"));
        }
        let top = path.split('.').next().unwrap_or(path);
        if FIELDS.contains(&top) {
            return Ok(());
        }
        let near = FIELDS
            .iter()
            .map(|name| (strsim::damerau_levenshtein(&top.to_lowercase(), &name.to_lowercase()), name));
        match near.min() {
            Some((distance, name)) if distance <= 1 + name.len() / 4 => {
                Err(format!("a flow has no field `{top}`; did you mean `{name}`?"))
            }
            _ => Err(format!("a flow has no field `{top}`; docs/export.md lists them")),
        }
    }
}

impl<'de> Deserialize<'de> for FieldMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Path(String);
        impl<'de> Deserialize<'de> for Path {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = Path;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("the name of a field")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<Path, E> {
                        FieldMask::check(text).map_err(E::custom)?;
                        Ok(Path(text.to_owned()))
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = FieldMask;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of fields")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<FieldMask, A::Error> {
                let mut paths = Vec::new();
                while let Some(Path(path)) = seq.next_element()? {
                    if paths.len() == MAX_PATHS {
                        return Err(de::Error::custom(format!(
                            "more than {MAX_PATHS} fields; name the groups"
                        )));
                    }
                    paths.push(path);
                }
                Ok(FieldMask(paths))
            }
            fn visit_unit<E: de::Error>(self) -> Result<FieldMask, E> {
                Ok(FieldMask::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Hubble's filters; each is tried when it is read, so a wrong value is an error of the file.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct FilterList(pub Vec<FlowFilter>);

impl FilterList {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for FilterList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = FilterList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of flow filters")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<FilterList, A::Error> {
                let mut filters = Vec::new();
                while let Some(filter) = seq.next_element::<FlowFilter>()? {
                    filters.push(filter);
                    let all = Filters { allowlist: filters.clone(), denylist: Vec::new() };
                    all.compile().map_err(de::Error::custom)?;
                }
                Ok(FilterList(filters))
            }
            fn visit_unit<E: de::Error>(self) -> Result<FilterList, E> {
                Ok(FilterList::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
