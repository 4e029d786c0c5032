//! HTTP paths: the form that policy sees, and segments that stand for many.
//!
//! A segment that is a number, a UUID, a hexadecimal id, a date or a long token becomes an anchored class. The result is
//! an expression of RE2 in ASCII, in which everything that came from the network is escaped.

use std::fmt::Write as _;

/// Shortest text that is taken for a hexadecimal id.
const MIN_HEX: usize = 8;
/// Shortest text that is taken for a token.
const MIN_TOKEN: usize = 20;
/// Longest suffix that is taken for a file's.
const MAX_SUFFIX: usize = 5;
/// Longest path that is looked at: the flow log's own limit.
const MAX_PATH: usize = 2048;

/// One segment of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Segment {
    /// This text.
    Literal(String),
    /// Texts that this expression matches.
    Class(String),
}

/// Any segment.
pub(crate) const ANY: &str = "[^/?]+";

impl Segment {
    fn new(text: &str) -> Self {
        if let Some(class) = class(text) {
            return Self::Class(class.to_owned());
        }
        if let Some((stem, suffix)) = text.rsplit_once('.')
            && suffix.len() <= MAX_SUFFIX
            && suffix.bytes().all(|b| b.is_ascii_alphabetic())
            && let Some(class) = class(stem)
        {
            return Self::Class(format!("{class}\\.{suffix}"));
        }
        Self::Literal(text.to_owned())
    }

    /// The expression for it.
    pub(crate) fn expression(&self) -> String {
        match self {
            Self::Literal(text) => escape(text),
            Self::Class(class) => class.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Literal(text) | Self::Class(text) => text.len(),
        }
    }
}

/// The class that a text belongs to, if it is not a word.
fn class(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let all = |test: fn(&u8) -> bool| bytes.iter().all(test);
    if bytes.is_empty() {
        return None;
    }
    if all(u8::is_ascii_digit) {
        return Some("[0-9]+");
    }
    if is_uuid(bytes) {
        return Some("[0-9a-fA-F-]{36}");
    }
    if is_shape(bytes, b"dddd-dd-dd") {
        return Some("[0-9]{4}-[0-9]{2}-[0-9]{2}");
    }
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    if bytes.len() >= MIN_HEX && digits > 0 && all(u8::is_ascii_hexdigit) {
        return Some(if all(|b| !b.is_ascii_uppercase()) { "[0-9a-f]+" } else { "[0-9a-fA-F]+" });
    }
    let admitted = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if bytes.len() >= MIN_TOKEN && digits > 0 && all(admitted) && is_random(bytes) {
        return Some("[A-Za-z0-9_-]{20,}");
    }
    None
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_shape(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// Words keep to one kind of letter for a while, tokens do not: at least every fifth place changes between digits,
/// small and capital letters.
fn is_random(text: &[u8]) -> bool {
    let kind = |b: &u8| match b {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        _ => 3,
    };
    let changes = text.windows(2).filter(|pair| match pair {
        [a, b] => kind(a) != kind(b) && kind(a) != 3 && kind(b) != 3,
        _ => false,
    });
    changes.count() * 5 >= text.len()
}

/// An expression that matches exactly this text.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            other => {
                let _ = write!(out, "\\x{{{:x}}}", u32::from(other));
            }
        }
    }
    out
}

/// A path as policy is asked about it, in segments, and whether a query came with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) segments: Vec<Segment>,
    pub(crate) query: bool,
    /// The path, without its query.
    pub(crate) plain: String,
}

/// Why a path cannot be put into a rule.
pub(crate) const CUT: &str = "paths that the log cut or could not read";

/// Reads the path out of a URL: absolute (`http://host/path?query`), or a path.
///
/// # Errors
/// What the log did not keep whole.
pub(crate) fn read(url: &str) -> Result<Path, &'static str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let from = if url.starts_with('/') { 0 } else { rest.find(['/', '?']).unwrap_or(rest.len()) };
    let target = &rest[from..];
    let (path, query) = match target.split_once('?') {
        Some((path, _)) => (path, true),
        None => (target, false),
    };
    if path.len() > MAX_PATH || path.contains('\u{fffd}') || (!query && path.ends_with('…')) {
        return Err(CUT);
    }
    let path = normal(path);
    let segments = path.strip_prefix('/').unwrap_or(&path).split('/').map(Segment::new).collect();
    Ok(Path { segments, query, plain: path })
}

/// Unreserved characters and slashes decoded, slashes merged, dot segments resolved, as before policy looks at it.
fn normal(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len() + 1);
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let value =
            rest.get(..3).filter(|_| c == '%').and_then(|escape| u8::from_str_radix(&escape[1..], 16).ok());
        match value.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/') => {
                decoded.push(c);
                rest = &rest[3..];
            }
            _ => {
                decoded.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = decoded.split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        match *segment {
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            "." | "" if !last => {}
            "." => kept.push(""),
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(url: &str) -> String {
        let path = read(url).expect("a path");
        path.segments.iter().map(Segment::expression).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn segments_that_stand_for_many() {
        for (text, expected) in [
            ("/orders/17", "orders/[0-9]+"),
            ("/v1/orders", "v1/orders"),
            ("/users/3f2504e0-4f89-11d3-9a0c-0305e82c3301/x", "users/[0-9a-fA-F-]{36}/x"),
            ("/blob/5f2b1c9d3e", "blob/[0-9a-f]+"),
            ("/blob/5F2b1c9d3e", "blob/[0-9a-fA-F]+"),
            ("/deadbeef/facade", "deadbeef/facade"),
            ("/day/2025-01-31", "day/[0-9]{4}-[0-9]{2}-[0-9]{2}"),
            ("/t/dGhpcyBpcyBhIHRva2VuMTIz", "t/[A-Za-z0-9_-]{20,}"),
            ("/posts/how-we-moved-to-kubernetes-in-2024", "posts/how-we-moved-to-kubernetes-in-2024"),
            ("/img/1234.png", "img/[0-9]+\\.png"),
            ("/a.b/c+d", "a\\.b/c\\+d"),
            ("/payment.v1.PaymentService/Charge2", "payment\\.v1\\.PaymentService/Charge2"),
            ("/caf\u{e9}/\u{1f600}", "caf\\x{e9}/\\x{1f600}"),
            ("/line\nbreak", "line\\x{a}break"),
            ("http://api:8080/x", "x"),
            ("http://api:8080", ""),
            ("/", ""),
            ("/dir/", "dir/"),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_are_as_policy_sees_them() {
        for (sent, seen) in [
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/a//b", "/a/b"),
            ("/%61%2Fb%20c", "/a/b%20c"),
            ("/a/..", "/"),
            ("/..", "/"),
            ("/%zz%", "/%zz%"),
            ("/%é", "/%é"),
        ] {
            assert_eq!(read(sent).expect("a path").plain, seen, "{sent}");
        }
        let with_query = read("http://a/x?y=/../z…").expect("the path is whole");
        assert!(with_query.query && with_query.plain == "/x");
        assert!(read("http://a?x=1").is_ok_and(|path| path.query && path.plain == "/"));
        assert_eq!(read("/a/cut…"), Err(CUT));
        assert_eq!(read("/a/\u{fffd}"), Err(CUT));
    }

    #[test]
    fn every_expression_is_one_of_re2_and_matches_its_text() {
        for text in ["a.b", "x{2}", "(", "caf\u{e9}", "tab\there", "$^|", "\u{1f600}", "q\\x"] {
            policy::re2::check(&escape(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
            let regex = policy::re2::compile_full_match(&[&escape(text)]).expect("compiles");
            assert!(regex.is_match(text) && !regex.is_match("axb"), "{text}");
        }
    }
}
