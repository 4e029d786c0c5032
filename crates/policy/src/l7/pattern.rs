//! Many whole-string patterns over one field, all tried in one pass.
//!
//! Texts without metacharacters are compared as they are; the rest become one automaton that answers with the set
//! of patterns that match the whole field.

use crate::re2::compile_full_match;
use hashbrown::HashMap;
use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input, PatternID, PatternSet};
use std::sync::Arc;

/// Patterns by number.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    numbers: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    literal: Vec<Option<Arc<str>>>,
    /// Automaton pattern → our number.
    of_automaton: Vec<usize>,
    automaton: Automaton,
}

/// How the patterns that are no literals are tried.
#[derive(Debug, Default)]
enum Automaton {
    #[default]
    None,
    /// All in one pass.
    Together(Regex),
    /// One by one, because together they are too large. Each was compiled once before, when the document was read.
    Apart(Vec<Option<Regex>>),
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
        let complex =
            (0..).zip(&self.literal).filter(|(_, literal)| literal.is_none()).map(|(number, _)| number);
        self.of_automaton = complex.collect();
        if self.of_automaton.is_empty() {
            return;
        }
        let texts: Vec<&str> =
            self.of_automaton.iter().filter_map(|number| texts[*number]).map(|text| &**text).collect();
        self.automaton = match compile_full_match(&texts) {
            Ok(together) => Automaton::Together(together),
            Err(_) => Automaton::Apart(texts.iter().map(|text| compile_full_match(&[text]).ok()).collect()),
        };
    }

    /// Tries all patterns on a field.
    pub(super) fn matched<'a>(&'a self, field: &'a [u8]) -> Matched<'a> {
        let set = match &self.automaton {
            Automaton::Together(automaton) => {
                let mut set = PatternSet::new(automaton.pattern_len());
                automaton.which_overlapping_matches(&Input::new(field).anchored(Anchored::Yes), &mut set);
                Some(set)
            }
            Automaton::None | Automaton::Apart(_) => None,
        };
        Matched { patterns: self, field, set }
    }
}

impl Matched<'_> {
    /// Whether the pattern of that number matched.
    pub(super) fn has(&self, number: usize) -> bool {
        match self.patterns.literal.get(number) {
            Some(Some(literal)) => literal.as_bytes() == self.field,
            Some(None) => self.patterns.of_automaton.binary_search(&number).is_ok_and(|at| self.tried(at)),
            None => false,
        }
    }

    fn tried(&self, at: usize) -> bool {
        match (&self.patterns.automaton, &self.set) {
            (Automaton::Together(_), Some(set)) => PatternID::new(at).is_ok_and(|id| set.contains(id)),
            (Automaton::Apart(list), _) => match list.get(at) {
                Some(Some(one)) => one.is_match(Input::new(self.field).anchored(Anchored::Yes)),
                _ => false,
            },
            _ => false,
        }
    }
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'])
}
