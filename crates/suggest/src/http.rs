//! HTTP requests as rules: method by method, paths as a tree in which many siblings become a class.

use crate::few::Few;
use crate::path::{ANY, Segment};
use std::collections::BTreeMap;

/// Rules for one port beyond which paths are cut to their first segments.
const MAX_RULES: usize = 64;

/// A method and a path in segments.
pub(crate) type Request = (String, Vec<Segment>);

/// What is known of one request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Asked {
    /// Records.
    pub(crate) records: u64,
    /// Whether one of them had a query.
    pub(crate) query: bool,
    /// Paths as they were sent.
    pub(crate) paths: Few,
}

impl Asked {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.records = self.records.saturating_add(other.records);
        self.query |= other.query;
        self.paths.merge(&other.paths);
    }
}

/// A rule, and what speaks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) asked: Asked,
}

#[derive(Clone, Default)]
struct Node {
    children: BTreeMap<Segment, Node>,
    end: Option<Asked>,
}

/// Whether a method can stand in a rule: one that is not in capitals matches no usual request.
pub(crate) fn is_method(method: &str) -> bool {
    !method.is_empty() && method.len() <= 32 && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

/// The rules that allow these requests, and whether paths had to be cut.
pub(crate) fn rules(requests: &BTreeMap<Request, Asked>, threshold: usize) -> (Vec<Rule>, bool) {
    let mut trees: BTreeMap<&str, Node> = BTreeMap::new();
    for ((method, segments), asked) in requests {
        let mut node = trees.entry(method).or_default();
        for segment in segments {
            node = node.children.entry(segment.clone()).or_default();
        }
        node.end.get_or_insert_default().merge(asked);
    }
    for tree in trees.values_mut() {
        tree.collapse(threshold);
    }
    let mut depth = requests.keys().map(|(_, segments)| segments.len()).max().unwrap_or(0);
    let whole = depth;
    loop {
        let mut rules = Vec::new();
        for (method, tree) in &trees {
            tree.write(method, String::new(), depth, &mut rules);
        }
        if rules.len() <= MAX_RULES || depth == 0 {
            return (rules, depth < whole);
        }
        depth -= 1;
    }
}

impl Node {
    fn collapse(&mut self, threshold: usize) {
        let names = |segment: &Segment| *segment != Segment::Literal(String::new());
        if self.children.keys().filter(|segment| names(segment)).count() > threshold {
            let mut any = Self::default();
            let mut kept = BTreeMap::new();
            for (segment, child) in std::mem::take(&mut self.children) {
                if names(&segment) {
                    any.merge(child)
                } else {
                    kept.insert(segment, child);
                }
            }
            kept.insert(Segment::Class(ANY.to_owned()), any);
            self.children = kept;
        }
        self.children.values_mut().for_each(|child| child.collapse(threshold));
    }

    fn merge(&mut self, other: Self) {
        for (segment, child) in other.children {
            self.children.entry(segment).or_default().merge(child);
        }
        if let Some(end) = other.end {
            self.end.get_or_insert_default().merge(&end);
        }
    }

    fn write(&self, method: &str, prefix: String, depth: usize, rules: &mut Vec<Rule>) {
        let mut push = |path: String, asked: &Asked| {
            let query = if asked.query { "(\\?.*)?" } else { "" };
            rules.push(Rule {
                method: method.to_owned(),
                path: format!("{path}{query}"),
                asked: asked.clone(),
            });
        };
        if depth == 0 && !self.children.is_empty() {
            let mut all = Asked::default();
            self.all(&mut all);
            let rest = if prefix.is_empty() { "/.*" } else { "(/.*)?" };
            push(format!("{prefix}{rest}"), &all);
            return;
        }
        if let Some(asked) = &self.end {
            push(prefix.clone(), asked);
        }
        for (segment, child) in &self.children {
            child.write(method, format!("{prefix}/{}", segment.expression()), depth.saturating_sub(1), rules);
        }
    }

    fn all(&self, all: &mut Asked) {
        if let Some(end) = &self.end {
            all.merge(end);
        }
        self.children.values().for_each(|child| child.all(all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path;

    fn of(list: &[(&str, String)]) -> (Vec<(String, String)>, bool) {
        let mut requests: BTreeMap<Request, Asked> = BTreeMap::new();
        for (method, url) in list {
            let path = path::read(url).expect("a path");
            let asked = requests.entry(((*method).to_owned(), path.segments)).or_default();
            asked.records += 1;
            asked.query |= path.query;
        }
        let (rules, cut) = rules(&requests, 8);
        for rule in &rules {
            policy::re2::check(&rule.path).unwrap_or_else(|error| panic!("{}: {error}", rule.path));
        }
        let patterns: Vec<(String, String)> =
            rules.into_iter().map(|rule| (rule.method, rule.path)).collect();
        let compile = |path: &str| policy::re2::compile_full_match(&[path]).expect("compiles");
        let regexes: Vec<_> = patterns.iter().map(|(method, path)| (method, compile(path))).collect();
        for (method, url) in list {
            let fits = regexes.iter().any(|(of, regex)| of == method && regex.is_match(url.as_bytes()));
            assert!(fits, "{method} {url} in {patterns:?}");
        }
        (patterns, cut)
    }

    fn rule(method: &str, path: &str) -> (String, String) {
        (method.to_owned(), path.to_owned())
    }

    #[test]
    fn one_rule_for_a_method_and_a_path() {
        let list = [
            ("GET", "/orders/1".to_owned()),
            ("GET", "/orders/2?full=1".to_owned()),
            ("POST", "/orders".to_owned()),
            ("GET", "/".to_owned()),
            ("GET", "/static/".to_owned()),
            ("POST", "/pay.v1.Pay/Charge".to_owned()),
        ];
        let (rules, cut) = of(&list);
        assert_eq!(
            rules,
            [
                rule("GET", "/"),
                rule("GET", "/orders/[0-9]+(\\?.*)?"),
                rule("GET", "/static/"),
                rule("POST", "/orders"),
                rule("POST", "/pay\\.v1\\.Pay/Charge"),
            ]
        );
        assert!(!cut);
    }

    #[test]
    fn many_siblings_become_a_class_and_few_do_not() {
        let names = |n: usize| {
            (0..n).map(|n| ("GET", format!("/shop/{}/items", "abcdefghijkl".split_at(n).0.to_owned() + "z")))
        };
        let (few, _) = of(&names(8).collect::<Vec<_>>());
        assert_eq!(few.len(), 8);
        let (many, _) = of(&names(9).collect::<Vec<_>>());
        assert_eq!(many, [rule("GET", "/shop/[^/?]+/items")]);
    }

    #[test]
    fn too_many_rules_are_cut_to_their_prefixes() {
        let name = |n: usize| ["a", "b", "c", "d", "e", "f", "g"][n % 7];
        let list: Vec<_> = (0..343)
            .map(|n| ("GET", format!("/{}/{}/{}", name(n), name(n / 7), name(n / 49))))
            .chain([("GET", "/a?x".to_owned())])
            .collect();
        let (rules, cut) = of(&list);
        assert!(cut && rules.len() <= MAX_RULES, "{rules:?}");
        assert!(
            rules.contains(&rule("GET", "/a(/.*)?(\\?.*)?")) || rules.contains(&rule("GET", "/a/a(/.*)?")),
            "{rules:?}"
        );
    }
}
