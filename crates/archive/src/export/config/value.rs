//! Values with a notation of their own. Each is read by a visitor, so that an error has the place of the value and
//! not that of the map around it.

use flowlog::mask::{FieldMask as Mask, MaskError};
use flowlog::schema::{self, FLOW, Shape};
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

    /// Ready to use.
    ///
    /// # Errors
    ///
    /// A path that names no field; none that was read from a file.
    pub fn compile(&self) -> Result<Mask, MaskError> {
        Mask::new(&self.0)
    }

    fn check(path: &str) -> Result<(), String> {
        let Err(error) = Mask::new([path]) else { return Ok(()) };
        let MaskError::Unknown { nearest, .. } = &error else { return Err(error.to_string()) };
        let known = nearest.split('.').filter(|name| !name.is_empty()).count();
        let wrong = path.split('.').nth(known).unwrap_or_default();
        match near(nearest, wrong) {
            Some(name) => {
                let dot = if known > 0 { "." } else { "" };
                Err(format!("a flow has no field `{path}`; did you mean `{nearest}{dot}{name}`?"))
            }
            None if known > 0 => {
                Err(format!("a flow has no field `{path}`; `{nearest}` is one, to be taken whole"))
            }
            None => Err(format!("a flow has no field `{path}`; docs/export.md says which it has")),
        }
    }
}

/// The field of the message `at` whose name is like `wrong`.
fn near(at: &str, wrong: &str) -> Option<&'static str> {
    let mut fields = FLOW;
    for name in at.split('.').filter(|name| !name.is_empty()) {
        fields = match schema::field(fields, name)? {
            Shape::Message(inner) => inner,
            _ => return None,
        };
    }
    let wrong = wrong.to_lowercase();
    let names =
        fields.iter().map(|(name, _)| (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), *name));
    names.min().filter(|(distance, name)| *distance <= 1 + name.len() / 4).map(|(_, name)| name)
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
                    paths.push(path);
                }
                // Each is a field; that leaves their number.
                Mask::new(&paths).map_err(de::Error::custom)?;
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

/// One filter, with the liberties that [`FlowFilter::from_json`] takes.
struct Filter(FlowFilter);

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Filter;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a flow filter")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Filter, A::Error> {
                let fields = serde_json::Value::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let mut filters = FlowFilter::from_json(&fields.to_string()).map_err(de::Error::custom)?;
                // One object is one filter.
                Ok(Filter(filters.pop().unwrap_or_default()))
            }
        }
        deserializer.deserialize_map(Visitor)
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
                while let Some(Filter(filter)) = seq.next_element()? {
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
