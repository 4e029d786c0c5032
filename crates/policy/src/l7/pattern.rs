//! Many whole-string patterns over one field, all tried in one pass.
//!
//! Texts without metacharacters are compared as they are; the rest become one automaton that answers with the set
//! of patterns that match the whole field.

use hashbrown::HashMap;
use regex_automata::meta::Regex;
use regex_automata::{Input, PatternSet};
use std::sync::Arc;

/// Size of the automaton of one rule set, in bytes; patterns that do not fit together match nothing.
const SIZE_LIMIT: usize = 16 << 20;

/// Patterns by number.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    numbers: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    literal: Vec<Option<Arc<str>>>,
    /// Automaton pattern → our number.
    of_automaton: Vec<usize>,
    automaton: Option<Regex>,
}

/// Which patterns match a field.
#[derive(Debug)]
pub(super) struct Matched<'a> {
    patterns: &'a Patterns,
    field: &'a [u8],
    set: Option<PatternSet>,
}

impl Patterns {
    /// The number of a pattern; to be called before [`Patterns::compile`].
    pub(super) fn add(&mut self, pattern: &Arc<str>) -> usize {
        if let Some(&number) = self.numbers.get(pattern) {
            return number;
        }
        let number = self.literal.len();
        self.numbers.insert(Arc::clone(pattern), number);
        self.literal.push(is_literal(pattern).then(|| Arc::clone(pattern)));
        number
    }

    /// Builds the automaton of all patterns that are no literals.
    pub(super) fn compile(&mut self) {
        let mut texts = vec![None; self.literal.len()];
        for (text, number) in &self.numbers {
            texts[*number] = Some(text);
        }
        let complex = (0..).zip(&self.literal).filter(|(_, literal)| literal.is_none()).map(|(number, _)| number);
        self.of_automaton = complex.collect();
        if self.of_automaton.is_empty() {
            return;
        }
        let whole = self.of_automaton.iter().filter_map(|number| texts[*number]).map(|text| whole(text));
        let whole: Vec<String> = whole.collect();
        let config = Regex::config().nfa_size_limit(Some(SIZE_LIMIT)).utf8_empty(false).onepass_size_limit(Some(SIZE_LIMIT));
        self.automaton = Regex::builder().configure(config).build_many(&whole).ok();
    }

    /// Tries all patterns on a field.
    pub(super) fn matched<'a>(&'a self, field: &'a [u8]) -> Matched<'a> {
        let set = self.automaton.as_ref().map(|automaton| {
            let mut set = PatternSet::new(automaton.pattern_len());
            automaton.which_overlapping_matches(&Input::new(field), &mut set);
            set
        });
        Matched { patterns: self, field, set }
    }
}

impl Matched<'_> {
    /// Whether the pattern of that number matched.
    pub(super) fn has(&self, number: usize) -> bool {
        match self.patterns.literal.get(number) {
            Some(Some(literal)) => literal.as_bytes() == self.field,
            Some(None) => {
                let at = self.patterns.of_automaton.binary_search(&number).ok();
                let id = at.and_then(|at| regex_automata::PatternID::new(at).ok());
                id.is_some_and(|id| self.set.as_ref().is_some_and(|set| set.contains(id)))
            }
            None => false,
        }
    }
}

/// The pattern as one that only matches a whole field.
fn whole(pattern: &str) -> String {
    format!(r"\A(?:{pattern})\z")
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'])
}
