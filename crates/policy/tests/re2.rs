//! Expressions as RE2 reads them. Expected answers were taken from RE2 itself.

use std::time::{Duration, Instant};

use policy::re2::{RegexError, check, compile_dense, compile_full_match};
use regex_automata::Anchored;
use regex_automata::dfa::{Automaton as _, dense::DFA};
use regex_automata::util::start;

fn matches(pattern: &str, text: &str) -> bool {
    let regex = compile_full_match(&[pattern]).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let matched = regex.is_match(text.as_bytes());
    if let Some(dense) = compile_dense(&[pattern]) {
        assert_eq!(walk(&dense, text), matched, "{pattern} on {text:?} by table");
    }
    matched
}

/// The answer of a table that is worked out in advance.
fn walk(dense: &DFA<Vec<u32>>, text: &str) -> bool {
    let start = dense.start_state(&start::Config::new().anchored(Anchored::Yes)).expect("an anchored start");
    let last = text.bytes().fold(start, |state, byte| dense.next_state(state, byte));
    dense.is_match_state(dense.next_eoi_state(last))
}

#[test]
fn whole_values_only() {
    assert!(matches("/public", "/public"));
    assert!(!matches("/public", "/public/"));
    assert!(!matches("/public", "/public?x=1"));
    assert!(matches("a|ab", "ab"));
    assert!(!matches("(?m)^a$", "a\n"));
    assert!(!matches("(?m)a$\\n|b", "a\nb"));
    assert!(matches("", "") && !matches("", "a"));
}

#[test]
fn meaning_follows_re2() {
    let table: &[(&str, &[&str], &[&str])] = &[
        (r"\d+", &["123"], &["١٢٣"]),
        (r"\w", &["a", "_"], &["é"]),
        (r"\s", &[" ", "\t", "\n", "\x0c"], &["\u{a0}", "\x0b"]),
        (r"[[:space:]]", &["\x0b", " "], &["\u{a0}"]),
        (r"[a&&b]", &["a", "&", "b"], &["&&"]),
        (r"[a~~b]", &["~"], &[]),
        (r"[[a]", &["[", "a"], &["[a"]),
        (r"[a[b]]", &["a]", "[]", "b]"], &["a"]),
        (r"[]a]", &["]", "a"], &[]),
        (r"[^]a]", &["b"], &["]"]),
        (r"[a-]", &["a", "-"], &[]),
        (r"\Qa.b*\Ec", &["a.b*c"], &["axbbc"]),
        (r"\Qab", &["ab"], &[]),
        (r"\C", &["a"], &["ab"]),
        (r"\07", &["\x07"], &[]),
        (r"\101", &["A"], &[]),
        (r"\x{41}\x42", &["AB"], &[]),
        (r"a{,3}", &["a{,3}"], &["aa"]),
        (r"{", &["{"], &[]),
        (r"a{2}", &["aa"], &["a", "aaa"]),
        (r"a{2,}", &["aa", "aaaa"], &["a"]),
        (r"\_", &["_"], &[]),
        (r"\<a\>", &["<a>"], &["a"]),
        (r"(?i)k", &["k", "K", "\u{212a}"], &[]),
        (r"(?i)GET|post", &["get", "POST"], &["put"]),
        (r"(?i:a)b", &["Ab"], &["AB"]),
        (r"a(?i)b", &["aB"], &["Ab"]),
        (r"(a(?i)b)c", &["aBc"], &["aBC"]),
        (r".", &["é", "x"], &["\n"]),
        (r"(?s).", &["\n"], &[]),
        (r"[^a]", &["\n", "é"], &["a"]),
        (r"\D", &["\n", "a"], &["1"]),
        (r"\pL+", &["aé"], &["1"]),
        (r"\p{Greek}", &["α"], &["a"]),
        (r"\P{Greek}", &["a"], &["α"]),
        (r"\p{^Greek}", &["a"], &["α"]),
        (r"[\pN_]", &["1", "_"], &["a"]),
        (r"\bab\b", &["ab"], &[]),
        (r"a\bé", &["aé"], &[]),
        (r"(?P<n>a)(?<m>b)", &["ab"], &[]),
        (r"(?U)a*", &["aaa"], &[]),
        (r"a*?b+?c??", &["aabbc"], &[]),
        (r"^^a$$", &["a"], &[]),
        (r"(|a)*b", &["aab", "b"], &[]),
        (r"/users/[0-9]+(\?.*)?", &["/users/1", "/users/1?x"], &["/users/", "/users/1/"]),
    ];
    for (pattern, fits, fails) in table {
        for text in *fits {
            assert!(matches(pattern, text), "{pattern} should match {text:?}");
        }
        for text in *fails {
            assert!(!matches(pattern, text), "{pattern} should not match {text:?}");
        }
    }
}

#[test]
fn what_re2_refuses_is_refused() {
    let refused = [
        "/a(b",
        "a)",
        "[a",
        "[b-a]",
        "[a--b]",
        "a**",
        "a*+",
        "a{2}{3}",
        "*a",
        "(*a)",
        "a|*",
        "a{1001}",
        "(a{100}){11}",
        "a{2,1}",
        r"\1",
        r"\8",
        r"\é",
        r"\Z",
        r"\y",
        r"\x4",
        r"\x{}",
        r"\x{110000}",
        "(?x)a",
        "(?-u)a",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?-)",
        "(?i",
        "(?P<a>b)(?P<a>c)",
        "(?P<>a)",
        "(?P<a b>c)",
        "(?P=a)",
        r"\pX",
        r"\p{greek}",
        r"\p{L",
        "[[:foo:]]",
        r"[a-\d]",
        r"[\b]",
        r"\E",
        "\\",
    ];
    for pattern in refused {
        assert!(check(pattern).is_err(), "{pattern} should be refused");
    }
    assert_eq!(
        check("a)").map_err(|error| error.to_string()),
        Err("`)` without `(` at character 2".to_owned())
    );
}

#[test]
fn pathological_expressions_are_refused_soon() {
    let start = Instant::now();
    assert_eq!(check(&"a".repeat(9000)), Err(RegexError::TooLong));
    assert!(check(&"(".repeat(8000)).is_err());
    assert!(check(&format!("{}a{}", "(".repeat(2000), ")".repeat(2000))).is_err());
    assert_eq!(check(&"\\pL{1000}".repeat(100)), Err(RegexError::TooLarge));
    assert!(check("((((a{10}){10}){10}){10}){10}").is_err());
    assert!(check(&"(x+x+)+".repeat(500)).is_ok());
    assert!(!matches("(x+x+)+y", &"x".repeat(10_000)), "linear, not exponential");
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
}

#[test]
fn a_set_says_which() {
    let regex = compile_full_match(&["/a/.*", "/a/b", "/c"]).expect("valid");
    let mut found = regex_automata::PatternSet::new(3);
    regex.which_overlapping_matches(&regex_automata::Input::new("/a/b"), &mut found);
    assert_eq!(found.iter().map(|id| id.as_usize()).collect::<Vec<_>>(), [0, 1]);
}
