//! RE2's grammar (its `doc/syntax.txt` and `re2/parse.cc`, read for their rules), with default options.

use std::collections::HashSet;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, Look, Repetition};

use super::RegexError;
use super::class;

/// Deepest nesting of groups. RE2 has a limit of the same kind; the automaton's builder recurses this deep.
const MAX_NESTING: usize = 200;
/// RE2's limit on a repetition, and on the product of nested ones.
const MAX_REPEAT: u32 = 1000;

/// Flags that an expression can set.
#[derive(Copy, Clone, Default)]
pub(super) struct Flags {
    /// `i`: letters in any case.
    pub(super) fold: bool,
    /// `m`: `^` and `$` at lines.
    multi_line: bool,
    /// `s`: `.` matches a newline.
    dot_newline: bool,
}

/// One part of a concatenation, with the product of the counted repetitions inside.
struct Item {
    hir: Hir,
    repeats: u32,
}

/// A group that is open.
#[derive(Default)]
struct Group {
    alternatives: Vec<Hir>,
    items: Vec<Item>,
    repeats: u32,
    /// Flags to restore after it.
    outer: Flags,
}

impl Group {
    fn new(outer: Flags) -> Self {
        Self { repeats: 1, outer, ..Self::default() }
    }

    fn end_alternative(&mut self) {
        let items = std::mem::take(&mut self.items);
        self.repeats = items.iter().map(|item| item.repeats).fold(self.repeats, u32::max);
        self.alternatives.push(Hir::concat(items.into_iter().map(|item| item.hir).collect()));
    }

    fn close(mut self) -> Item {
        self.end_alternative();
        Item { hir: Hir::alternation(self.alternatives), repeats: self.repeats }
    }
}

pub(super) fn parse(pattern: &str) -> Result<Hir, RegexError> {
    let mut parser = Parser { chars: pattern.chars().collect(), at: 0, flags: Flags::default() };
    parser.run()
}

pub(super) struct Parser {
    chars: Vec<char>,
    at: usize,
    pub(super) flags: Flags,
}

impl Parser {
    pub(super) fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.at = (self.at + count).min(self.chars.len());
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Consumes a text if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let fits = text.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c));
        if fits {
            self.skip(text.chars().count());
        }
        fits
    }

    /// The text up to a terminator, both consumed, if there is one.
    pub(super) fn until(&mut self, terminator: &str) -> Option<String> {
        let start = self.at;
        while self.at < self.chars.len() {
            let end = self.at;
            if self.eat(terminator) {
                return Some(self.chars[start..end].iter().collect());
            }
            self.at += 1;
        }
        self.at = start;
        None
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Result<T, RegexError> {
        Err(RegexError::Syntax { message: message.into(), at: self.at.min(self.chars.len()).max(1) })
    }

    fn run(&mut self) -> Result<Hir, RegexError> {
        let mut names = HashSet::new();
        let mut stack: Vec<Group> = Vec::new();
        let mut group = Group::new(self.flags);
        // Whether the last thing read was a repetition, which RE2 does not stack.
        let mut repeated = false;
        while let Some(c) = self.next() {
            let after_repetition = std::mem::replace(&mut repeated, false);
            match c {
                '(' => {
                    if let Some(outer) = self.open(&mut names)? {
                        if stack.len() >= MAX_NESTING {
                            return self.fail(format!("groups nested deeper than {MAX_NESTING}"));
                        }
                        stack.push(std::mem::replace(&mut group, Group::new(outer)));
                    }
                }
                ')' => {
                    let Some(outer) = stack.pop() else {
                        return self.fail("`)` without `(`");
                    };
                    let closed = std::mem::replace(&mut group, outer);
                    self.flags = closed.outer;
                    group.items.push(closed.close());
                }
                '|' => group.end_alternative(),
                '*' | '+' | '?' => {
                    let (min, max) = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    self.repeat(&mut group, min, max, false, after_repetition)?;
                    repeated = true;
                }
                '{' => match self.counts() {
                    Some((min, max)) => {
                        self.repeat(&mut group, min, max, true, after_repetition)?;
                        repeated = true;
                    }
                    None => self.push(&mut group, self.literal('{')),
                },
                '\\' if self.eat("Q") => {
                    let text =
                        self.until("\\E").unwrap_or_else(|| std::iter::from_fn(|| self.next()).collect());
                    for c in text.chars() {
                        self.push(&mut group, self.literal(c));
                    }
                }
                _ => {
                    let hir = self.atom(c)?;
                    self.push(&mut group, hir);
                }
            }
        }
        if !stack.is_empty() {
            return self.fail("`(` without `)`");
        }
        Ok(group.close().hir)
    }

    fn push(&self, group: &mut Group, hir: Hir) {
        group.items.push(Item { hir, repeats: 1 });
    }

    /// Reads what follows `(`. Answers the flags to restore after the group, or `None` if it was only flags.
    fn open(&mut self, names: &mut HashSet<String>) -> Result<Option<Flags>, RegexError> {
        let outer = self.flags;
        if !self.eat("?") {
            return Ok(Some(outer));
        }
        if self.eat("P<")
            || (self.peek() == Some('<') && !matches!(self.peek_at(1), Some('=' | '!')) && self.eat("<"))
        {
            let Some(name) = self.until(">") else {
                return self.fail("the name of a group is not closed");
            };
            let word = |c: char| c.is_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(word) {
                return self.fail(format!("`{name}` is not a name for a group"));
            }
            if !names.insert(name) {
                return self.fail("two groups have the same name");
            }
            return Ok(Some(outer));
        }
        let (mut negated, mut seen) = (false, false);
        loop {
            match self.next() {
                Some('i') => (self.flags.fold, seen) = (!negated, true),
                Some('m') => (self.flags.multi_line, seen) = (!negated, true),
                Some('s') => (self.flags.dot_newline, seen) = (!negated, true),
                // Which of several matches is preferred makes no difference to a whole match.
                Some('U') => seen = true,
                Some('-') if !negated => (negated, seen) = (true, false),
                Some(end @ (':' | ')')) if seen || !negated => return Ok((end == ':').then_some(outer)),
                _ => {
                    return self.fail(
                        "unknown `(?…`: there are groups `(?:`, `(?P<name>` and flags i, m, s, U; no look-around",
                    );
                }
            }
        }
    }

    fn repeat(
        &mut self,
        group: &mut Group,
        min: u32,
        max: Option<u32>,
        counted: bool,
        stacked: bool,
    ) -> Result<(), RegexError> {
        let lazy = self.eat("?");
        if stacked {
            return self.fail("a repetition of a repetition: put the first in a group");
        }
        let Some(last) = group.items.last_mut() else {
            return self.fail("a repetition of nothing");
        };
        if counted {
            let times = max.unwrap_or(min).max(1);
            last.repeats = last.repeats.saturating_mul(times);
            if min > MAX_REPEAT
                || max.is_some_and(|max| max > MAX_REPEAT || max < min)
                || last.repeats > MAX_REPEAT
            {
                return self.fail(format!("a repetition may go up to {MAX_REPEAT}, nested ones together"));
            }
        }
        let sub = Box::new(std::mem::replace(&mut last.hir, Hir::empty()));
        last.hir = Hir::repetition(Repetition { min, max, greedy: !lazy, sub });
        Ok(())
    }

    /// Reads the counts after `{`; what is no count leaves `{` a character.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let start = self.at;
        let counts = self.try_counts();
        if counts.is_none() {
            self.at = start;
        }
        counts
    }

    fn try_counts(&mut self) -> Option<(u32, Option<u32>)> {
        let min = self.integer()?;
        if self.eat("}") {
            return Some((min, Some(min)));
        }
        if !self.eat(",") {
            return None;
        }
        if self.eat("}") {
            return Some((min, None));
        }
        let max = self.integer()?;
        self.eat("}").then_some((min, Some(max)))
    }

    /// A decimal integer without leading zeros, saturating above what is admitted.
    fn integer(&mut self) -> Option<u32> {
        let first = self.peek()?.to_digit(10)?;
        if first == 0 && self.peek_at(1).is_some_and(|c| c.is_ascii_digit()) {
            return None;
        }
        let mut value: u32 = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            value = value.saturating_mul(10).saturating_add(digit).min(1 << 20);
            self.skip(1);
        }
        Some(value)
    }

    /// Anything that stands for itself or for one position or character.
    fn atom(&mut self, c: char) -> Result<Hir, RegexError> {
        Ok(match c {
            '.' if self.flags.dot_newline => Hir::dot(Dot::AnyChar),
            '.' => Hir::dot(Dot::AnyCharExceptLF),
            '^' if self.flags.multi_line => Hir::look(Look::StartLF),
            '^' => Hir::look(Look::Start),
            '$' if self.flags.multi_line => Hir::look(Look::EndLF),
            '$' => Hir::look(Look::End),
            '[' => Hir::class(Class::Unicode(class::bracket(self)?)),
            '\\' => return self.escape(),
            c => self.literal(c),
        })
    }

    fn escape(&mut self) -> Result<Hir, RegexError> {
        if let Some(class) = class::escape(self)? {
            return Ok(Hir::class(Class::Unicode(class)));
        }
        Ok(match self.peek() {
            Some('b') => self.look(Look::WordAscii),
            Some('B') => self.look(Look::WordAsciiNegate),
            Some('A') => self.look(Look::Start),
            Some('z') => self.look(Look::End),
            Some('C') => {
                self.skip(1);
                Hir::dot(Dot::AnyByte)
            }
            _ => {
                let c = self.escaped_char()?;
                self.literal(c)
            }
        })
    }

    fn look(&mut self, look: Look) -> Hir {
        self.skip(1);
        Hir::look(look)
    }

    /// Reads what follows `\` as one character.
    pub(super) fn escaped_char(&mut self) -> Result<char, RegexError> {
        let Some(c) = self.next() else {
            return self.fail("`\\` at the end");
        };
        let code = match c {
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            '1'..='7' if !self.peek().is_some_and(|c| c.is_digit(8)) => {
                return self.fail("back references are not regular");
            }
            '0'..='7' => self.digits(c.to_digit(8).unwrap_or(0), 8, 2),
            'x' => {
                if self.eat("{") {
                    let hex = self.until("}").filter(|hex| !hex.is_empty() && hex.len() <= 8);
                    match hex.and_then(|hex| {
                        let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
                        u32::from_str_radix(&hex, 16).ok().filter(|_| digits)
                    }) {
                        Some(code) => code,
                        None => return self.fail("`\\x{` needs hexadecimal digits and `}`"),
                    }
                } else {
                    let two = |i| self.peek_at(i).is_some_and(|c: char| c.is_ascii_hexdigit());
                    if !two(0) || !two(1) {
                        return self.fail("`\\x` needs two hexadecimal digits");
                    }
                    self.digits(0, 16, 2)
                }
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c),
            c => return self.fail(format!("`\\{c}` has no meaning")),
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail(format!("there is no character U+{code:X}")),
        }
    }

    fn digits(&mut self, mut value: u32, radix: u32, most: usize) -> u32 {
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else { break };
            value = value * radix + digit;
            self.skip(1);
        }
        value
    }

    fn literal(&self, c: char) -> Hir {
        if !self.flags.fold {
            return Hir::literal(c.to_string().into_bytes());
        }
        let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
        class.case_fold_simple();
        Hir::class(Class::Unicode(class))
    }
}
