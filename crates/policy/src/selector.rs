//! Selectors over labels, in one canonical form.
//!
//! `matchLabels` and `matchExpressions` become one sorted list of [`Requirement`]s that must all hold; the same
//! selection written in another order is the same value, so selectors can be interned and compared.

use std::fmt;
use std::sync::Arc;

use crate::label::{LabelKey, LabelSet, Source};

/// What a requirement asks of the value under its key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operator {
    /// The key is there and its value is one of these (sorted, without repetition).
    In(Arc<[Arc<str>]>),
    /// The key is missing, or its value is none of these (sorted, without repetition).
    NotIn(Arc<[Arc<str>]>),
    /// The key is there.
    Exists,
    /// The key is missing.
    DoesNotExist,
}

/// One condition of a [`Selector`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Requirement {
    /// The label asked about.
    pub key: LabelKey,
    /// What is asked.
    pub operator: Operator,
}

impl Requirement {
    /// `key = value`.
    #[must_use]
    pub fn equals(key: LabelKey, value: &str) -> Self {
        Self::is_in(key, [value])
    }

    /// `key in (values)`.
    #[must_use]
    pub fn is_in<'a>(key: LabelKey, values: impl IntoIterator<Item = &'a str>) -> Self {
        Self { key, operator: Operator::In(canonical(values)) }
    }

    /// `key notin (values)`.
    #[must_use]
    pub fn not_in<'a>(key: LabelKey, values: impl IntoIterator<Item = &'a str>) -> Self {
        Self { key, operator: Operator::NotIn(canonical(values)) }
    }

    /// The key is there.
    #[must_use]
    pub fn exists(key: LabelKey) -> Self {
        Self { key, operator: Operator::Exists }
    }

    /// The key is missing.
    #[must_use]
    pub fn does_not_exist(key: LabelKey) -> Self {
        Self { key, operator: Operator::DoesNotExist }
    }

    /// Whether these labels meet the requirement.
    #[must_use]
    pub fn matches(&self, labels: &LabelSet) -> bool {
        let value = labels.get(&self.key);
        let listed = |values: &[Arc<str>], value: &str| values.binary_search_by(|v| (**v).cmp(value)).is_ok();
        match (&self.operator, value) {
            (Operator::In(values), Some(value)) => listed(values, value),
            (Operator::In(_), None) => false,
            (Operator::NotIn(values), Some(value)) => !listed(values, value),
            (Operator::NotIn(_), None) => true,
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operator {
            Operator::In(values) if values.len() == 1 => write!(f, "{}={}", self.key, values[0]),
            Operator::In(values) => write!(f, "{} in ({})", self.key, values.join(",")),
            Operator::NotIn(values) => write!(f, "{} notin ({})", self.key, values.join(",")),
            Operator::Exists => self.key.fmt(f),
            Operator::DoesNotExist => write!(f, "!{}", self.key),
        }
    }
}

/// A conjunction of requirements; the empty one matches everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Selector {
    requirements: Arc<[Requirement]>,
}

impl Selector {
    /// The selector of these requirements.
    #[must_use]
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut requirements: Vec<Requirement> = requirements.into_iter().collect();
        requirements.sort_unstable();
        requirements.dedup();
        Self { requirements: requirements.into() }
    }

    /// The selector that everything matches.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The requirements in canonical order.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether everything matches.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether these labels meet every requirement.
    #[must_use]
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    /// The values that `key`, of source `k8s` or any, is limited to; a hint for indexing by, for example, namespace.
    #[must_use]
    pub fn limits(&self, key: &str) -> Option<&[Arc<str>]> {
        self.requirements.iter().find_map(|r| match &r.operator {
            Operator::In(values)
                if *r.key.key == *key && matches!(r.key.source, Source::K8s | Source::Any) =>
            {
                Some(&**values)
            }
            _ => None,
        })
    }

    /// Whether a requirement names this key.
    #[must_use]
    pub fn mentions(&self, source: &Source, key: &str) -> bool {
        self.requirements.iter().any(|r| r.key.source == *source && *r.key.key == *key)
    }

    /// Whether a requirement names a key of this source.
    #[must_use]
    pub fn mentions_source(&self, source: &Source) -> bool {
        self.requirements.iter().any(|r| r.key.source == *source)
    }

    /// This selector with further requirements.
    #[must_use]
    pub fn and(&self, more: impl IntoIterator<Item = Requirement>) -> Self {
        Self::new(self.requirements.iter().cloned().chain(more))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("{}");
        }
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

fn canonical<'a>(values: impl IntoIterator<Item = &'a str>) -> Arc<[Arc<str>]> {
    let mut values: Vec<Arc<str>> = values.into_iter().map(Arc::from).collect();
    values.sort_unstable();
    values.dedup();
    values.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Label;

    fn set(labels: &[&str]) -> LabelSet {
        labels.iter().map(|text| Label::parse(text)).collect()
    }

    #[test]
    fn operators() {
        let pod = set(&["k8s:app=web", "k8s:tier=front"]);
        let key = LabelKey::parse;
        assert!(Requirement::equals(key("app"), "web").matches(&pod));
        assert!(!Requirement::equals(key("app"), "api").matches(&pod));
        assert!(Requirement::is_in(key("tier"), ["back", "front"]).matches(&pod));
        assert!(!Requirement::is_in(key("zone"), ["a"]).matches(&pod));
        assert!(!Requirement::not_in(key("tier"), ["front"]).matches(&pod));
        assert!(Requirement::not_in(key("zone"), ["a"]).matches(&pod), "missing is not in");
        assert!(Requirement::exists(key("k8s:tier")).matches(&pod));
        assert!(Requirement::does_not_exist(key("zone")).matches(&pod));
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let key = LabelKey::parse;
        let a = Selector::new([Requirement::is_in(key("b"), ["2", "1"]), Requirement::equals(key("a"), "x")]);
        let b = Selector::new([
            Requirement::equals(key("a"), "x"),
            Requirement::is_in(key("b"), ["1", "2", "2"]),
            Requirement::equals(key("a"), "x"),
        ]);
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "any:a=x,any:b in (1,2)");
        assert!(Selector::all().matches(&LabelSet::default()));
    }
}
