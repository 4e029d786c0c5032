//! Which `toFQDNs` conditions a name satisfies, without asking each of them.
//!
//! Names are found by hash. A pattern is filed under what follows its last star, from the first dot on
//! (`*-cdn.example.com` under `.example.com`): a name is asked about under each of its own endings. Patterns that fix
//! no ending, such as `api.*`, are asked one by one.

use crate::label::{Label, Source};
use crate::rule::NameMatch;
use hashbrown::HashMap;
use std::sync::Arc;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The conditions of all rules in force, numbered in their own order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selectors {
    list: Vec<NameMatch>,
    names: Map<Arc<str>, u32>,
    /// Patterns by ending; those without one under the empty text.
    patterns: Map<Box<str>, Vec<u32>>,
}

impl Selectors {
    /// From conditions in ascending order, each once.
    pub(crate) fn new(list: Vec<NameMatch>) -> Self {
        let (mut names, mut patterns) = (Map::default(), Map::<Box<str>, Vec<u32>>::default());
        for (number, condition) in (0u32..).zip(&list) {
            match condition {
                NameMatch::Name(name) => {
                    names.insert(Arc::clone(name), number);
                }
                NameMatch::Pattern(pattern) => {
                    patterns.entry(ending(pattern).into()).or_default().push(number)
                }
            }
        }
        Self { list, names, patterns }
    }

    /// All conditions; the place of each is its number.
    pub(crate) fn list(&self) -> &[NameMatch] {
        &self.list
    }

    /// The labels that stand for conditions.
    pub(crate) fn labels<'a>(&'a self, numbers: &'a [u32]) -> impl Iterator<Item = Label> + 'a {
        let conditions = numbers.iter().filter_map(|number| self.list.get(*number as usize));
        conditions.map(|condition| Label::new(Source::Fqdn, condition.to_string(), ""))
    }

    /// Numbers of the conditions that a name (lower case, without the final dot) satisfies, in no order.
    pub(crate) fn matching<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let dots = name.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
        let endings = dots.filter_map(|at| name.get(at..)).chain([""]);
        let filed = endings.filter_map(|ending| self.patterns.get(ending)).flatten();
        let exact = self.names.get(name);
        let fits = |number: &&u32| self.list.get(**number as usize).is_some_and(|one| one.matches(name));
        exact.into_iter().chain(filed.filter(fits)).copied()
    }
}

/// What a name must end in to fit a pattern, as far as whole labels go.
fn ending(pattern: &str) -> &str {
    let literal = pattern.rfind('*').map_or(pattern, |star| &pattern[star + 1..]);
    literal.find('.').map_or("", |dot| &literal[dot..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_asking_each(
            conditions in proptest::collection::vec("[ab*]{0,3}(\\.[ab*]{0,3}){0,3}", 0..12),
            names in proptest::collection::vec("[ab]{1,3}(\\.[ab]{1,3}){0,3}", 1..20),
        ) {
            let parse = |text: &String| match text.contains('*') {
                true => NameMatch::pattern(text),
                false => NameMatch::name(text),
            };
            let mut list: Vec<NameMatch> = conditions.iter().map(parse).collect();
            list.sort_unstable();
            list.dedup();
            let selectors = Selectors::new(list.clone());
            for name in &names {
                let mut found: Vec<u32> = selectors.matching(name).collect();
                found.sort_unstable();
                let each = (0u32..).zip(&list).filter(|(_, one)| one.matches(name));
                prop_assert_eq!(found, each.map(|(number, _)| number).collect::<Vec<_>>(), "{}", name);
            }
        }
    }

    #[test]
    fn patterns_are_filed_under_their_ending() {
        let filed = ["*.example.com", "*-cdn.example.com", "**.example.com", "api.*", "*", "a.*.c*m", "x.y"];
        let endings = [".example.com", ".example.com", ".example.com", "", "", "", ".y"];
        assert_eq!(filed.map(ending), endings);
    }
}
