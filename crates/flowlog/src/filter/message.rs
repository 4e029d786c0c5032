//! What a filter asks of a message, and of names.

use super::matching::any;
use super::{FilterError, FlowFilter, HeaderFilter, MAX_ENTRIES};
use crate::record::{Http, Layer7, Record};
use regex::{Regex, RegexBuilder};

/// Bytes that an expression from a client may take when it is compiled, and again while it runs.
const MAX_EXPRESSION: usize = 256 << 10;

/// Expressions in all filters of a request together: what they take is what a client can make us take.
pub(super) const MAX_EXPRESSIONS: usize = 64;

/// Longest expression that is read.
const MAX_TEXT: usize = 4096;

/// What is asked of a message, ready to run.
#[derive(Clone, Debug)]
pub(super) struct MessageFilter {
    statuses: Vec<Status>,
    methods: Vec<String>,
    paths: Vec<Regex>,
    urls: Vec<Regex>,
    headers: Vec<HeaderFilter>,
    queries: Vec<Regex>,
}

impl MessageFilter {
    pub(super) fn new(f: &FlowFilter) -> Result<Self, FilterError> {
        let others = [f.http_status_code.len(), f.http_method.len(), f.http_header.len()];
        if others.iter().any(|n| *n > MAX_ENTRIES) {
            return Err(FilterError::TooMany);
        }
        let status =
            |text: &String| Status::parse(text).ok_or_else(|| FilterError::value("http-status", text));
        Ok(Self {
            statuses: f.http_status_code.iter().map(status).collect::<Result<_, _>>()?,
            methods: f.http_method.clone(),
            paths: expressions_of("http-path", &f.http_path)?,
            urls: expressions_of("http-url", &f.http_url)?,
            headers: f.http_header.clone(),
            queries: expressions_of("dns-query", &f.dns_query)?,
        })
    }

    pub(super) fn matches(&self, r: &Record) -> bool {
        let l7 = r.l7.as_ref();
        let http = l7.and_then(|l7| l7.http.as_ref());
        let dns = l7.and_then(|l7| l7.dns.as_ref());
        let of_http = |test: &dyn Fn(&Http) -> bool| http.is_some_and(test);
        any(&self.statuses, |status| of_http(&|http| status.matches(http.code)))
            && any(&self.methods, |method| of_http(&|http| http.method.eq_ignore_ascii_case(method)))
            && any(&self.paths, |path| of_http(&|http| path.is_match(path_of(&http.url))))
            && any(&self.urls, |url| of_http(&|http| url.is_match(&http.url)))
            && any(&self.headers, |wanted| {
                of_http(&|http| {
                    let same = |key: &str, value: &str| {
                        key.eq_ignore_ascii_case(&wanted.key) && value == wanted.value
                    };
                    http.headers.iter().any(|have| same(&have.key, &have.value))
                })
            })
            && any(&self.queries, |query| dns.is_some_and(|dns| query.is_match(&dns.query)))
    }
}

/// Expressions in a filter.
pub(super) fn count_expressions(f: &FlowFilter) -> usize {
    f.http_path.len() + f.http_url.len() + f.dns_query.len()
}

fn expressions_of(flag: &str, texts: &[String]) -> Result<Vec<Regex>, FilterError> {
    let compile = |text: &String| {
        let built = (text.len() <= MAX_TEXT).then(|| {
            RegexBuilder::new(text).size_limit(MAX_EXPRESSION).dfa_size_limit(MAX_EXPRESSION).build()
        });
        built.and_then(Result::ok).ok_or_else(|| FilterError::value(flag, text))
    };
    texts.iter().map(compile).collect()
}

/// The path of a URL, without query and fragment.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    path.split(['?', '#']).next().unwrap_or(path)
}

/// A status code, or the digits it starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Status {
    Is(u32),
    Starts(String),
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
        };
        match text.strip_suffix('+') {
            Some(start) if digits(start, 3) => Some(Self::Starts(start.to_owned())),
            None if digits(text, 3) && text.len() == 3 => text.parse().ok().map(Self::Is),
            _ => None,
        }
    }

    /// Requests have no code and match nothing.
    fn matches(&self, code: u32) -> bool {
        code != 0
            && match self {
                Self::Is(wanted) => *wanted == code,
                Self::Starts(start) => code.to_string().starts_with(start.as_str()),
            }
    }
}

/// Whether the message of `r` is of the protocol named.
pub(super) fn is_protocol(r: &Record, wanted: &str) -> bool {
    let Some(l7) = &r.l7 else { return false };
    let wanted = wanted.to_ascii_lowercase();
    let extra = r.extensions.as_ref();
    match (l7, wanted.as_str()) {
        (Layer7 { http: Some(_), .. }, "http") | (Layer7 { dns: Some(_), .. }, "dns") => true,
        (Layer7 { kafka: Some(_), .. }, "kafka") => true,
        (Layer7 { http: Some(http), .. }, "grpc") => {
            let content = http
                .headers
                .iter()
                .any(|header| header.key == "content-type" && header.value.starts_with("application/grpc"));
            content || extra.is_some_and(|e| e.grpc_status.is_some())
        }
        (Layer7 { http: Some(http), .. }, version) => http.protocol.eq_ignore_ascii_case(version),
        (_, "tls") => extra.is_some_and(|e| e.tls.is_some()),
        _ => false,
    }
}

/// A DNS name in which `*` stands for any part.
#[derive(Clone, Debug)]
pub(super) struct NamePattern(Vec<String>);

impl NamePattern {
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        let name = normal(text);
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
        if name.is_empty() || name.len() > 255 || !name.chars().all(legal) {
            return Err(FilterError::value("fqdn", text));
        }
        Ok(Self(name.split('*').map(str::to_owned).collect()))
    }

    /// The parts between the stars must be found in order, the first at the start and the last at the end.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name = normal(name);
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| *only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
