//! Names with stars, and label selectors.

use super::FilterError;

/// A name in which `*` stands for any part.
#[derive(Clone, Debug)]
pub(super) struct Glob(Vec<String>);

impl Glob {
    /// Any name; `flag` is blamed for one that is empty or longer than a name can be.
    pub(super) fn new(flag: &str, text: &str) -> Result<Self, FilterError> {
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(FilterError::value(flag, text));
        }
        Ok(Self(text.split('*').map(str::to_owned).collect()))
    }

    /// The parts between the stars must be found in order, the first at the start and the last at the end.
    pub(super) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| *only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// Longest name (RFC 1035 §2.3.4 for DNS; Kafka's topics have 249, Kubernetes' names 253).
const MAX_NAME: usize = 255;

/// A DNS name in which `*` stands for any part.
#[derive(Clone, Debug)]
pub(super) struct NamePattern(Glob);

impl NamePattern {
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        let name = normal(text);
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
        if !name.chars().all(legal) {
            return Err(FilterError::value("fqdn", text));
        }
        Glob::new("fqdn", &name).map(Self).map_err(|_| FilterError::value("fqdn", text))
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.matches(&normal(name))
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// A node: `name`, or `cluster/name`.
#[derive(Clone, Debug)]
pub(super) struct NodePattern(Glob, bool);

/// The cluster of a node that is written without one.
const DEFAULT_CLUSTER: &str = "default";

impl NodePattern {
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        Ok(Self(Glob::new("node-name", text)?, text.contains('/')))
    }

    pub(super) fn matches(&self, node: &str) -> bool {
        match (node.split_once('/'), self.1) {
            (Some((_, name)), false) => self.0.matches(name),
            (None, true) => self.0.matches(&format!("{DEFAULT_CLUSTER}/{node}")),
            _ => self.0.matches(node),
        }
    }
}

/// A label selector: requirements joined by commas, all of which must hold.
#[derive(Clone, Debug)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    pub(super) fn parse(flag: &str, text: &str) -> Result<Self, FilterError> {
        let mut depth = 0_u32;
        let parts = text.split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        let error = || FilterError::value(flag, text);
        parts
            .map(|part| Requirement::parse(part.trim()).ok_or_else(error))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn parse(text: &str) -> Option<Self> {
        let key = |text: &str| {
            let key = text.trim();
            (!key.is_empty() && !key.contains([' ', '(', ')', '!', '='])).then(|| key.to_owned())
        };
        let values = |list: &str| -> Option<Vec<String>> {
            let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(|v| v.trim().to_owned()).collect())
        };
        if let Some((left, right)) = text.split_once("!=") {
            return Some(Self::NotIn(key(left)?, vec![right.trim().to_owned()]));
        }
        if let Some((left, right)) = text.split_once('=') {
            let right = right.strip_prefix('=').unwrap_or(right).trim();
            return Some(Self::In(key(left)?, vec![right.to_owned()]));
        }
        if let Some((left, right)) = text.split_once(" notin ") {
            return Some(Self::NotIn(key(left)?, values(right)?));
        }
        if let Some((left, right)) = text.split_once(" in ") {
            return Some(Self::In(key(left)?, values(right)?));
        }
        match text.strip_prefix('!') {
            Some(absent) => Some(Self::Absent(key(absent)?)),
            None => Some(Self::Exists(key(text)?)),
        }
    }

    fn holds(&self, labels: &[String]) -> bool {
        let value = |key: &str| labels.iter().find_map(|label| label_value(label, key));
        match self {
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
            Self::In(key, wanted) => value(key).is_some_and(|v| wanted.iter().any(|w| w == v)),
            Self::NotIn(key, wanted) => value(key).is_none_or(|v| wanted.iter().all(|w| w != v)),
        }
    }
}

/// The value of `label` if its key is `key`; a key without a source (`k8s:`, `reserved:`) means any source.
fn label_value<'a>(label: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = label.split_once('=').unwrap_or((label, ""));
    let bare = name.split_once(':').map_or(name, |(_, bare)| bare);
    let wanted = key.strip_prefix("any:").unwrap_or(key);
    (name == wanted || bare == wanted).then_some(value)
}
