//! Many whole-string patterns over one field, all tried in one pass.
//!
//! Texts without metacharacters are compared as they are; the rest become one automaton whose last state says which
//! patterns match the whole field. Nothing is allocated per field while the automaton fits [`re2::compile_dense`]'s
//! limits; beyond them the states are made as they are needed, in memory that is kept from one field to the next.

use crate::re2;
use core::fmt;
use hashbrown::HashMap;
use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::meta::Regex;
use regex_automata::util::pool::{Pool, PoolGuard};
use regex_automata::util::start;
use regex_automata::{Anchored, Input, PatternID, PatternSet};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// Patterns of one field, literals included, up to which each has a bit of an answer of fixed size.
const BITS: usize = 1024;

/// Patterns by number.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    numbers: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    /// Those that are compared as they are. They are text, so a field that equals one is text as well.
    literals: HashMap<Arc<[u8]>, usize, foldhash::fast::RandomState>,
    /// Automaton pattern → our number, ascending.
    of_automaton: Vec<usize>,
    automaton: Automaton,
}

/// How the patterns that are no literals are tried.
#[derive(Debug, Default)]
enum Automaton {
    #[default]
    None,
    /// All in one walk over a table; at most [`BITS`] patterns.
    Dense(Box<dense::DFA<Vec<u32>>>),
    /// All in one walk over states that are made as they are needed.
    Together(Box<Lazy>),
    /// One by one, because together they are too large. Each was compiled once before, when the document was read.
    Apart(Vec<Option<Regex>>),
}

type MakeSet = Box<dyn Fn() -> PatternSet + Send + Sync + UnwindSafe + RefUnwindSafe>;

struct Lazy {
    regex: Regex,
    sets: Pool<PatternSet, MakeSet>,
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.regex.fmt(f)
    }
}

/// Which patterns match a field.
#[derive(Debug)]
pub(super) struct Matched<'a> {
    patterns: &'a Patterns,
    field: &'a [u8],
    /// The literal that the field is.
    exact: Option<usize>,
    /// By pattern number, from the table;
    bits: [u64; BITS / 64],
    /// or by number in the automaton, from states made as they are needed.
    set: Option<PoolGuard<'a, PatternSet, MakeSet>>,
}

impl Patterns {
    /// The number of a pattern; to be called before [`Patterns::compile`].
    pub(super) fn add(&mut self, pattern: &Arc<str>) -> usize {
        if let Some(&number) = self.numbers.get(pattern) {
            return number;
        }
        let number = self.numbers.len();
        self.numbers.insert(Arc::clone(pattern), number);
        if is_literal(pattern) {
            self.literals.insert(Arc::from(Arc::clone(pattern)), number);
        }
        number
    }

    /// Builds the automaton of all patterns that are no literals.
    pub(super) fn compile(&mut self) {
        let all = self.numbers.iter().map(|(text, number)| (*number, &**text));
        let mut complex: Vec<(usize, &str)> = all.filter(|(_, text)| !is_literal(text)).collect();
        complex.sort_unstable();
        let (of_automaton, texts): (Vec<usize>, Vec<&str>) = complex.into_iter().unzip();
        if !texts.is_empty() {
            self.automaton = automaton(&texts, self.numbers.len() <= BITS);
        }
        self.of_automaton = of_automaton;
    }

    /// Tries all patterns on a field.
    pub(super) fn matched<'a>(&'a self, field: &'a [u8]) -> Matched<'a> {
        let exact = self.literals.get(field).copied();
        let mut matched = Matched { patterns: self, field, exact, bits: [0; BITS / 64], set: None };
        match &self.automaton {
            Automaton::None | Automaton::Apart(_) => {}
            Automaton::Dense(dfa) => matched.walk(dfa),
            Automaton::Together(lazy) => {
                let mut set = lazy.sets.get();
                set.clear();
                lazy.regex.which_overlapping_matches(&Input::new(field).anchored(Anchored::Yes), &mut set);
                matched.set = Some(set);
            }
        }
        matched
    }
}

impl Matched<'_> {
    /// Walks a table over the whole field; the state after the end lists the patterns that match.
    fn walk(&mut self, dfa: &dense::DFA<Vec<u32>>) {
        // No look-behind byte: a field is a text of its own.
        let Ok(mut state) = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)) else { return };
        for byte in self.field {
            state = dfa.next_state(state, *byte);
            if dfa.is_special_state(state) && (dfa.is_dead_state(state) || dfa.is_quit_state(state)) {
                return;
            }
        }
        state = dfa.next_eoi_state(state);
        if dfa.is_match_state(state) {
            for at in 0..dfa.match_len(state) {
                let of_automaton = dfa.match_pattern(state, at).as_usize();
                let Some(&number) = self.patterns.of_automaton.get(of_automaton) else { continue };
                if let Some(word) = self.bits.get_mut(number / 64) {
                    *word |= 1 << (number % 64);
                }
            }
        }
    }

    /// Whether the pattern of that number matched.
    #[inline]
    pub(super) fn has(&self, number: usize) -> bool {
        if self.exact == Some(number) {
            return true;
        }
        match &self.patterns.automaton {
            Automaton::None => false,
            Automaton::Dense(_) => {
                self.bits.get(number / 64).is_some_and(|word| word & 1 << (number % 64) != 0)
            }
            Automaton::Together(_) | Automaton::Apart(_) => self.tried(number),
        }
    }

    fn tried(&self, number: usize) -> bool {
        let Ok(at) = self.patterns.of_automaton.binary_search(&number) else { return false };
        match (&self.patterns.automaton, &self.set) {
            (_, Some(set)) => PatternID::new(at).is_ok_and(|id| set.contains(id)),
            (Automaton::Apart(list), None) => match list.get(at) {
                Some(Some(one)) => one.is_match(Input::new(self.field).anchored(Anchored::Yes)),
                _ => false,
            },
            _ => false,
        }
    }
}

fn automaton(texts: &[&str], few: bool) -> Automaton {
    if few && let Some(dense) = re2::compile_dense(texts) {
        return Automaton::Dense(Box::new(dense));
    }
    if let Ok(regex) = re2::compile_full_match(texts) {
        let patterns = regex.pattern_len();
        let sets: Pool<PatternSet, MakeSet> = Pool::new(Box::new(move || PatternSet::new(patterns)));
        return Automaton::Together(Box::new(Lazy { regex, sets }));
    }
    Automaton::Apart(texts.iter().map(|text| re2::compile_full_match(&[text]).ok()).collect())
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'])
}
