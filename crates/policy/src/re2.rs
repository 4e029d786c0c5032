//! Regular expressions with RE2's grammar and meaning, on automata of `regex-automata`.
//!
//! Users write expressions for Envoy, which hands them to RE2. The two grammars look alike and differ silently:
//! `\d` is ASCII there, `[a&&b]` is three characters, `\<` is a character, `a{1001}` is an error. So the text is
//! parsed here, by RE2's rules, into an intermediate form whose meaning is fixed; what RE2 refuses is refused. An
//! expression always stands for a whole value: it is anchored at both ends, whatever flags it sets inside.
//!
//! Bounds: the length of an expression, its nesting, RE2's own limit on repetition, and the size of the automaton.
//! Matching is linear in the value.

mod class;
mod parser;

use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::{MatchKind, meta};
use regex_syntax::hir::{Hir, Look};

/// Longest expression, in bytes.
pub const MAX_PATTERN: usize = 8 << 10;
/// Largest automaton of one expression, in bytes: RE2's default budget is 8 MiB.
const MAX_NFA: usize = 8 << 20;
/// Length up to which an expression without counts and Unicode tables need not be compiled to know its size: a
/// character costs at most some 25 states of 48 bytes (`[^a]`), which stays below [`MAX_NFA`].
const SMALL: usize = 1 << 10;
/// Largest automaton of a set, in bytes.
const MAX_SET_NFA: usize = 64 << 20;
/// Memory for the states of the lazily built automaton of a set, in bytes and per thread.
const HYBRID_CACHE: usize = 4 << 20;

/// Largest table of a set that is worked out in advance, in bytes, and the memory to do so.
const MAX_DENSE: usize = 1 << 20;
/// Largest automaton of a set whose table is worked out in advance, in bytes.
const MAX_DENSE_NFA: usize = 512 << 10;

/// Why an expression is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegexError {
    /// RE2 would not read it.
    #[error("{message} at character {at}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// Where, in characters from 1.
        at: usize,
    },
    /// It is longer than [`MAX_PATTERN`].
    #[error("longer than {MAX_PATTERN} bytes")]
    TooLong,
    /// Its automaton would be too large.
    #[error("too large when compiled: repetitions multiply")]
    TooLarge,
}

/// Reads an expression. The result is not anchored.
///
/// # Errors
///
/// What RE2 refuses, and what exceeds the bounds of this module.
pub fn parse(pattern: &str) -> Result<Hir, RegexError> {
    if pattern.len() > MAX_PATTERN {
        return Err(RegexError::TooLong);
    }
    parser::parse(pattern)
}

/// Whether an expression can be compiled.
///
/// # Errors
///
/// As [`parse`], and expressions whose automaton would be too large.
pub fn check(pattern: &str) -> Result<(), RegexError> {
    let hir = anchored(parse(pattern)?);
    let tables = pattern.contains("\\p") || pattern.contains("\\P");
    if pattern.len() <= SMALL && !tables && !pattern.contains('{') {
        return Ok(());
    }
    thompson::Compiler::new()
        .configure(nfa(MAX_NFA))
        .build_from_hir(&hir)
        .map(drop)
        .map_err(|_| RegexError::TooLarge)
}

/// Compiles expressions, each of which must match a whole value, into one automaton. Pattern `n` of the result is
/// `patterns[n]`; search with [`Anchored`](regex_automata::Anchored) input and ask for all matches with
/// `which_overlapping_matches`, or for any with `is_match`.
///
/// # Errors
///
/// As [`check`], for the first expression refused or the set as a whole.
pub fn compile_full_match(patterns: &[&str]) -> Result<meta::Regex, RegexError> {
    let hirs = patterns.iter().map(|pattern| Ok(anchored(parse(pattern)?))).collect::<Result<Vec<_>, _>>()?;
    let config = meta::Config::new()
        .match_kind(MatchKind::All)
        .utf8_empty(false)
        .which_captures(thompson::WhichCaptures::None)
        .nfa_size_limit(Some(MAX_SET_NFA))
        .hybrid_cache_capacity(HYBRID_CACHE)
        .onepass(false);
    meta::Builder::new().configure(config).build_many_from_hir(&hirs).map_err(|_| RegexError::TooLarge)
}

/// Compiles expressions as [`compile_full_match`], into a table that a search only reads. Start it anchored, feed it
/// the whole value and its end; the last state lists the expressions that match. `None` if the table would be large,
/// or an expression asks for more than a table can tell.
#[must_use]
pub fn compile_dense(patterns: &[&str]) -> Option<dense::DFA<Vec<u32>>> {
    let hirs: Vec<Hir> =
        patterns.iter().map(|pattern| parse(pattern).map(anchored)).collect::<Result<_, _>>().ok()?;
    let nfa = thompson::Compiler::new().configure(nfa(MAX_DENSE_NFA)).build_many_from_hir(&hirs).ok()?;
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .accelerate(false)
        .dfa_size_limit(Some(MAX_DENSE))
        .determinize_size_limit(Some(MAX_DENSE));
    dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()
}

fn nfa(limit: usize) -> thompson::Config {
    thompson::Config::new()
        .utf8(false)
        .which_captures(thompson::WhichCaptures::None)
        .nfa_size_limit(Some(limit))
}

fn anchored(hir: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)])
}
