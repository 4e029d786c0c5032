//! Character classes: `[…]`, `\d`, `\pL`, `[:alpha:]`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::RegexError;
use super::parser::Parser;

/// General categories, by RE2's names.
const CATEGORIES: &[&str] = &[
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// Reads a class after its `[`.
pub(super) fn bracket(parser: &mut Parser) -> Result<ClassUnicode, RegexError> {
    let negated = parser.eat("^");
    let mut class = ClassUnicode::empty();
    let mut first = true;
    loop {
        let Some(c) = parser.peek() else {
            return parser.fail("`[` without `]`");
        };
        if c == ']' && !first {
            parser.skip(1);
            break;
        }
        first = false;
        if c == '['
            && parser.peek_at(1) == Some(':')
            && let Some(named) = posix(parser)?
        {
            class.union(&named);
            continue;
        }
        if c == '\\' {
            parser.skip(1);
            if let Some(named) = escape(parser)? {
                class.union(&named);
                continue;
            }
            let low = parser.escaped_char()?;
            class.union(&range(parser, low)?);
            continue;
        }
        parser.skip(1);
        class.union(&range(parser, c)?);
    }
    if negated {
        class.negate();
    }
    Ok(class)
}

/// A character, or a range that starts with it.
fn range(parser: &mut Parser, low: char) -> Result<ClassUnicode, RegexError> {
    let mut high = low;
    if parser.peek() == Some('-') && parser.peek_at(1).is_some_and(|c| c != ']') {
        parser.skip(1);
        high = match parser.next() {
            Some('\\') => parser.escaped_char()?,
            Some(c) => c,
            None => return parser.fail("`[` without `]`"),
        };
    }
    if high < low {
        return parser.fail(format!("the range {low}-{high} is backwards"));
    }
    Ok(folded(parser, ClassUnicode::new([ClassUnicodeRange::new(low, high)])))
}

/// Reads `[:name:]` if it is closed; else `[` is a character.
fn posix(parser: &mut Parser) -> Result<Option<ClassUnicode>, RegexError> {
    let mut length = 2;
    loop {
        match (parser.peek_at(length), parser.peek_at(length + 1)) {
            (Some(':'), Some(']')) => break,
            (None, _) => return Ok(None),
            _ => length += 1,
        }
    }
    let name: String = (2..length).filter_map(|i| parser.peek_at(i)).collect();
    let (negated, word) = match name.strip_prefix('^') {
        Some(word) => (true, word),
        None => (false, &*name),
    };
    let ranges: &[(char, char)] = match word {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => WORD,
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return parser.fail(format!("there is no class [:{name}:]")),
    };
    parser.skip(length + 2);
    Ok(Some(named(parser, ranges, negated)))
}

const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// Reads what follows `\` if it names a class.
pub(super) fn escape(parser: &mut Parser) -> Result<Option<ClassUnicode>, RegexError> {
    let Some(c) = parser.peek() else { return Ok(None) };
    // `\s` has no vertical tab in RE2, unlike `[:space:]`.
    let ranges: &[(char, char)] = match c {
        'd' | 'D' => &[('0', '9')],
        's' | 'S' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        'w' | 'W' => WORD,
        'p' | 'P' => {
            parser.skip(1);
            return unicode(parser, c == 'P').map(Some);
        }
        _ => return Ok(None),
    };
    parser.skip(1);
    Ok(Some(named(parser, ranges, c.is_ascii_uppercase())))
}

fn named(parser: &Parser, ranges: &[(char, char)], negated: bool) -> ClassUnicode {
    let ranges = ranges.iter().map(|(low, high)| ClassUnicodeRange::new(*low, *high));
    let mut class = folded(parser, ClassUnicode::new(ranges));
    if negated {
        class.negate();
    }
    class
}

/// Reads the name after `\p`.
fn unicode(parser: &mut Parser, mut negated: bool) -> Result<ClassUnicode, RegexError> {
    let mut name = match parser.next() {
        Some('{') => match parser.until("}") {
            Some(name) => name,
            None => return parser.fail("`\\p{` without `}`"),
        },
        Some(c) => c.to_string(),
        None => return parser.fail("`\\p` without a name"),
    };
    if let Some(rest) = name.strip_prefix('^') {
        negated = !negated;
        name = rest.to_owned();
    }
    let script = name.len() > 2
        && name.split('_').all(|word| {
            let mut letters = word.chars();
            letters.next().is_some_and(|c| c.is_ascii_uppercase()) && letters.all(|c| c.is_ascii_lowercase())
        });
    let found = match name.as_str() {
        "Any" => Some(ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)])),
        // RE2's C has no unassigned code points; surrogates are no characters.
        "C" => table(r"[\p{Cc}\p{Cf}\p{Co}]"),
        "Cs" => Some(ClassUnicode::empty()),
        category if CATEGORIES.contains(&category) => table(&format!(r"\p{{{category}}}")),
        script_name if script => table(&format!(r"\p{{Script={script_name}}}")),
        _ => None,
    };
    let Some(class) = found else {
        return parser.fail(format!("there is no class \\p{{{name}}}"));
    };
    let mut class = folded(parser, class);
    if negated {
        class.negate();
    }
    Ok(class)
}

/// A Unicode table, through the parser that holds it.
fn table(expression: &str) -> Option<ClassUnicode> {
    let hir = regex_syntax::parse(expression).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    }
}

fn folded(parser: &Parser, mut class: ClassUnicode) -> ClassUnicode {
    if parser.flags.fold {
        class.case_fold_simple();
    }
    class
}
