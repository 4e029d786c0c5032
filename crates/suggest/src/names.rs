//! DNS names as conditions: each by itself, or as a pattern where many have one suffix.

use std::collections::{BTreeMap, BTreeSet};

/// Conditions of one rule beyond which every name is admitted.
const MAX_RULES: usize = 100;
/// Longest name that a rule may hold.
const MAX_NAME: usize = 255;
/// Second-level labels under which anyone may register a name.
const REGISTRIES: [&str; 10] = ["ac", "co", "com", "edu", "gob", "gov", "ne", "net", "or", "org"];

/// A condition on a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Name {
    /// This name.
    Exact(String),
    /// Names of this shape.
    Pattern(String),
}

impl Name {
    /// Every name.
    pub(crate) fn any() -> Self {
        Self::Pattern("*".to_owned())
    }
}

/// The name as rules have it: lower case, without the final dot. `None` for what no rule can hold.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (name.len() < MAX_NAME && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
}

/// The conditions that allow these names: `*.suffix` for more than `threshold` names directly under one suffix.
pub(crate) fn conditions(names: &BTreeSet<String>, threshold: usize) -> Vec<Name> {
    let mut under: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        under.entry(name.split_once('.').map_or("", |(_, suffix)| suffix)).or_default().push(name);
    }
    let mut rules = BTreeSet::new();
    for (suffix, list) in under {
        if list.len() > threshold && may_stand_for_all(suffix) {
            rules.insert(Name::Pattern(format!("*.{suffix}")));
        } else {
            rules.extend(list.iter().map(|name| Name::Exact((*name).to_owned())));
        }
    }
    if rules.len() > MAX_RULES { vec![Name::any()] } else { rules.into_iter().collect() }
}

/// Whether the names under a suffix are likely to be one owner's.
fn may_stand_for_all(suffix: &str) -> bool {
    match suffix.split_once('.') {
        None => false,
        Some((_, rest)) if rest.contains('.') => true,
        Some((second, _)) => !REGISTRIES.contains(&second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<Name> {
        conditions(&names.iter().map(|name| (*name).to_owned()).collect(), 3)
    }

    #[test]
    fn many_names_under_one_suffix_become_a_pattern() {
        let exact = |name: &str| Name::Exact(name.to_owned());
        assert_eq!(of(&["b.example", "a.example"]), [exact("a.example"), exact("b.example")]);
        let many = ["a.x.example", "b.x.example", "c.x.example", "d.x.example", "d.e.x.example"];
        assert_eq!(of(&many), [exact("d.e.x.example"), Name::Pattern("*.x.example".to_owned())]);
    }

    #[test]
    fn nobodys_suffix_is_never_opened() {
        for suffix in ["com", "co.uk", "com.au"] {
            let names: Vec<String> = ["a", "b", "c", "d", "e"].map(|name| format!("{name}.{suffix}")).into();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert!(of(&names).iter().all(|name| matches!(name, Name::Exact(_))), "{suffix}");
        }
    }

    #[test]
    fn what_no_rule_can_hold_is_left_out() {
        assert_eq!(canonical("API.Example.").as_deref(), Some("api.example"));
        for wrong in ["", ".", "a..b", "a b", "*.x", "a\n", &"a".repeat(255), "é.example"] {
            assert_eq!(canonical(wrong), None, "{wrong:?}");
        }
        let many: BTreeSet<String> = (0..200).map(|n| format!("a.n{n}.example")).collect();
        assert_eq!(conditions(&many, 3), [Name::any()]);
    }
}
