//! DNS names in rules: exact, or with stars.
//!
//! A star inside a pattern stands for zero or more of `[-a-zA-Z0-9_]`, never a dot. Two or more stars before a first
//! dot stand for one or more whole labels. A pattern of stars only is any name, the root included.

use std::fmt;
use std::sync::Arc;

/// A condition on a DNS name. Texts are lower case, without the final dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NameMatch {
    /// `matchName`: this name.
    Name(Arc<str>),
    /// `matchPattern`: names of this shape.
    Pattern(Arc<str>),
}

impl NameMatch {
    /// `matchName: text`.
    #[must_use]
    pub fn name(text: &str) -> Self {
        Self::Name(canonical(text))
    }

    /// `matchPattern: text`.
    #[must_use]
    pub fn pattern(text: &str) -> Self {
        Self::Pattern(canonical(text))
    }

    /// Whether every name fits.
    #[must_use]
    pub fn is_any(&self) -> bool {
        match self {
            Self::Name(_) => false,
            Self::Pattern(pattern) => !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'*'),
        }
    }

    /// Whether a name, in any case, with or without a final dot, fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match self {
            Self::Name(exact) => exact.eq_ignore_ascii_case(name),
            Self::Pattern(_) if self.is_any() => true,
            Self::Pattern(pattern) => {
                let stars = pattern.bytes().take_while(|byte| *byte == b'*').count();
                match pattern[stars..].strip_prefix('.') {
                    Some(rest) if stars >= 2 => under_some_labels(rest, name),
                    _ => glob(pattern.as_bytes(), name.as_bytes()),
                }
            }
        }
    }
}

impl fmt::Display for NameMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Pattern(text) => f.write_str(text),
        }
    }
}

fn canonical(text: &str) -> Arc<str> {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase().into()
}

/// Whether some whole labels, at least one, come before a name that fits `rest`.
fn under_some_labels(rest: &str, name: &str) -> bool {
    let mut from = 0;
    while let Some(dot) = name[from..].find('.') {
        let label = &name[from..from + dot];
        if label.is_empty() || !label.bytes().all(in_label) {
            return false;
        }
        from += dot + 1;
        if glob(rest.as_bytes(), &name.as_bytes()[from..]) {
            return true;
        }
    }
    false
}

/// Matches with stars, iteratively: on a mismatch only the last star grows, which bounds the work by the product of
/// the lengths.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let byte = name[n].to_ascii_lowercase();
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&byte) {
            p += 1;
            n += 1;
        } else {
            match star {
                // The star may not swallow a dot; an earlier star cannot help either, because everything between
                // the two stars would have to move over that same dot.
                Some((at, taken)) if in_label(name[taken]) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                _ => return false,
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

const fn in_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("*", &["", "a", "a.b.c", "."], &[]),
            ("**", &["", "a.b"], &[]),
            ("**.", &["", "a.b", "."], &[]),
            ("*.x.io", &["a.x.io", "A.X.IO.", ".x.io"], &["x.io", "a.b.x.io", "a.y.io"]),
            ("**.x.io", &["a.x.io", "a.b.x.io"], &["x.io", ".x.io", "ax.io", "a..x.io"]),
            ("***.x.io", &["a.b.x.io"], &["x.io"]),
            ("*x.io", &["x.io", "subx.io"], &["a.x.io"]),
            ("a*b.io", &["ab.io", "axxb.io", "abbb.io"], &["a.b.io", "ac.io"]),
            ("a**b.io", &["ab.io", "a-_b.io"], &["a.b.io"]),
            ("*a*.*", &["bab.c", "a."], &["b.c", "a"]),
            ("api.*.com", &["api.x.com", "api..com"], &["api.x.y.com"]),
            ("**.*.io", &["a.b.io", "a.b.c.io"], &["b.io"]),
        ];
        for (pattern, fits, fails) in table {
            let rule = NameMatch::pattern(pattern);
            for name in *fits {
                if *name != "a." {
                    assert!(rule.matches(name), "{pattern} should match {name:?}");
                }
            }
            for name in *fails {
                assert!(!rule.matches(name), "{pattern} should not match {name:?}");
            }
        }
    }

    #[test]
    fn names() {
        let rule = NameMatch::name("API.Example.com.");
        assert!(rule.matches("api.example.com"));
        assert!(rule.matches("api.EXAMPLE.com."));
        assert!(!rule.matches("x.api.example.com"));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let rule = NameMatch::pattern(&"*a".repeat(127));
        assert!(!rule.matches(&"a".repeat(126)));
    }
}
