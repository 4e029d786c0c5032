//! Conditions on messages: HTTP, DNS, Kafka, TLS server names.

use std::sync::Arc;

use super::NameMatch;

/// The application rules of one entry: a message must meet one of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum L7Rules {
    /// HTTP requests; never empty (an empty list in a document means no rules at all).
    Http(Vec<HttpRule>),
    /// DNS questions; never empty.
    Dns(Vec<NameMatch>),
    /// Kafka requests; never empty.
    Kafka(Vec<KafkaRule>),
}

impl L7Rules {
    /// The protocol's word in documents and logs.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Kafka(_) => "kafka",
        }
    }
}

/// Conditions on an HTTP request; an absent one is no condition.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct HttpRule {
    /// RE2 expression for the whole method.
    pub method: Option<Arc<str>>,
    /// RE2 expression for the whole path, query string included.
    pub path: Option<Arc<str>>,
    /// RE2 expression for the whole authority, port included.
    pub host: Option<Arc<str>>,
    /// Conditions on headers, all of which must hold; from `headers` and `headerMatches`.
    pub headers: Vec<HeaderMatch>,
}

/// A condition on a header.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HeaderMatch {
    /// Header name, lower case.
    pub name: Arc<str>,
    /// The exact value; `None` asks for presence only.
    pub value: Option<Arc<str>>,
    /// What to do with a request whose header differs.
    pub mismatch: Mismatch,
}

/// What to do with a request whose header does not match.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mismatch {
    /// The rule does not match.
    #[default]
    Fail,
    /// The rule matches; the difference is logged.
    Log,
    /// The rule matches once the header has been added.
    Add,
    /// The rule matches once the header has been removed.
    Delete,
    /// The rule matches once the header has this value.
    Replace,
}

/// Conditions on a Kafka request; an absent one is no condition.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct KafkaRule {
    /// API keys, sorted; empty means any. A role is expanded to its keys.
    pub api_keys: Vec<i16>,
    /// API version.
    pub api_version: Option<i16>,
    /// Client id.
    pub client_id: Option<Arc<str>>,
    /// A topic; not looked at for requests without topics.
    pub topic: Option<Arc<str>>,
}

/// A TLS server name: exact, `*.x` (one label) or `**.x` (one label or more). Lower case.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Sni {
    /// This name.
    Exact(Arc<str>),
    /// One label and this suffix (without leading dot).
    OneLabel(Arc<str>),
    /// One label or more and this suffix (without leading dot).
    AnyLabels(Arc<str>),
}

impl Sni {
    /// The pattern of a text as documents write it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        if let Some(suffix) = text.strip_prefix("**.") {
            Self::AnyLabels(suffix.into())
        } else if let Some(suffix) = text.strip_prefix("*.") {
            Self::OneLabel(suffix.into())
        } else {
            Self::Exact(text.into())
        }
    }

    /// Whether a server name, in any case, with or without a final dot, fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let labels = |suffix: &str| -> Option<&str> {
            let split = name.len().checked_sub(suffix.len())?;
            let (head, tail) = (name.get(..split)?, name.get(split..)?);
            let head = head.strip_suffix('.')?;
            (tail.eq_ignore_ascii_case(suffix) && !head.is_empty()).then_some(head)
        };
        match self {
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact),
            Self::OneLabel(suffix) => labels(suffix).is_some_and(|head| !head.contains('.')),
            Self::AnyLabels(suffix) => {
                labels(suffix).is_some_and(|head| head.split('.').all(|label| !label.is_empty()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names() {
        let one = Sni::parse("*.Example.com");
        assert!(one.matches("a.example.COM"));
        assert!(!one.matches("a.b.example.com"));
        assert!(!one.matches("example.com"));
        assert!(!one.matches("aexample.com"));
        let any = Sni::parse("**.example.com");
        assert!(any.matches("a.b.example.com"));
        assert!(!any.matches("example.com"));
        assert!(Sni::parse("a.b").matches("A.B."));
    }
}
