//! What a filter asks of a message, and of names.

use super::matching::any;
use super::pattern::Glob;
use super::{FilterError, FlowFilter, HeaderFilter, MAX_ENTRIES};
use crate::record::{Http, Record};
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
    topics: Vec<Glob>,
    apis: Vec<String>,
}

impl MessageFilter {
    pub(super) fn new(f: &FlowFilter) -> Result<Self, FilterError> {
        let others = [
            f.http_status_code.len(),
            f.http_method.len(),
            f.http_header.len(),
            f.kafka_topic.len(),
            f.kafka_api_key.len(),
        ];
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
            topics: f
                .kafka_topic
                .iter()
                .map(|text| Glob::new("kafka-topic", text))
                .collect::<Result<_, _>>()?,
            apis: f.kafka_api_key.clone(),
        })
    }

    pub(super) fn matches(&self, r: &Record) -> bool {
        let l7 = r.l7.as_ref();
        let http = l7.and_then(|l7| l7.http.as_ref());
        let dns = l7.and_then(|l7| l7.dns.as_ref());
        let kafka = l7.and_then(|l7| l7.kafka.as_ref());
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
            && any(&self.apis, |api| kafka.is_some_and(|kafka| kafka.api_key.eq_ignore_ascii_case(api)))
            && any(&self.topics, |topic| {
                let more = r.extensions.as_ref().map_or(&[][..], |e| &e.kafka_topics);
                kafka.is_some_and(|kafka| {
                    topic.matches(&kafka.topic) || more.iter().any(|also| topic.matches(also))
                })
            })
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
