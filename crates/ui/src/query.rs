//! What a browser asks for: the flags of `sluice observe`, and a few of the page's own.
//!
//! | parameter | means |
//! |---|---|
//! | a flag of observe (`verdict`, `from-pod`, `http-path`, …) | that flag |
//! | `not-` and a flag | that flag, negated |
//! | `from`, `to` | a label (with `=`) or a pod, as in observe |
//! | `q` | this text stands somewhere in the row |
//! | `since`, `until` | no earlier, no later than this moment (RFC 3339) |
//! | `hide` | `kube-dns`, `host`, `remote-node` or `prometheus` is on neither end |

use crate::names::Group;
use crate::row::{self, FlowRow};
use flowlog::api::ObserveRequest;
use flowlog::filter::{CompiledFilters, FilterBuilder, FilterError};
use flowlog::record::Time;
use flowlog::{Filters, Record};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;

/// Longest free text.
const MAX_TEXT: usize = 200;

/// Most parameters.
const MAX_PARAMETERS: usize = 64;

/// A question that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("`{0}` is no group; write kube-dns, host, remote-node or prometheus")]
    Group(String),
    #[error("at most {MAX_PARAMETERS} parameters, and at most {MAX_TEXT} characters of text")]
    TooMuch,
    #[error("`{value}` is no number for `{name}`")]
    Number { name: String, value: String },
    #[error("`{0}` is no moment; write it as in 2026-12-31T23:59:59Z")]
    Moment(String),
}

/// Which records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    given: Filters,
    /// The same, ready to run.
    filters: CompiledFilters,
    since: Option<Time>,
    until: Option<Time>,
    text: String,
    hide: Vec<Group>,
}

impl Query {
    /// Reads parameters; those in `other` belong to somebody else.
    pub(crate) fn read(parameters: &[(String, String)], other: &[&str]) -> Result<Self, QueryError> {
        if parameters.len() > MAX_PARAMETERS {
            return Err(QueryError::TooMuch);
        }
        let (mut builder, mut query) = (FilterBuilder::default(), Self::default());
        for (name, value) in parameters {
            match name.as_str() {
                name if other.contains(&name) => {}
                "q" if value.len() > MAX_TEXT => return Err(QueryError::TooMuch),
                "q" => query.text = value.trim().to_lowercase(),
                "since" => query.since = Some(moment(value)?),
                "until" => query.until = Some(moment(value)?),
                "hide" => {
                    query.hide.push(Group::named(value).ok_or_else(|| QueryError::Group(value.clone()))?);
                }
                flag => {
                    let (flag, negated) =
                        flag.strip_prefix("not-").map_or((flag, false), |flag| (flag, true));
                    match flag {
                        "from" | "to" => {
                            let what = if value.contains('=') { "label" } else { "pod" };
                            builder.flag(&format!("{flag}-{what}"), value, negated);
                        }
                        flag => {
                            builder.flag(flag, value, negated);
                        }
                    }
                }
            }
        }
        query.given = builder.build()?;
        query.filters = query.given.compile()?;
        Ok(query)
    }

    /// Whether it is about a span of time, and not about what is there and comes.
    pub(crate) fn is_of_the_past(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// What of it a history can be asked; the rest is up to [`matches`](Self::matches).
    pub(crate) fn request(&self) -> ObserveRequest {
        let Self { since, until, .. } = *self;
        ObserveRequest { filters: self.given.clone(), since, until, ..ObserveRequest::default() }
    }

    pub(crate) fn matches(&self, record: &Record) -> bool {
        let after = self.since.is_none_or(|since| record.time.is_some_and(|time| time >= since));
        let before = self.until.is_none_or(|until| record.time.is_some_and(|time| time <= until));
        after
            && before
            && self.filters.matches(record)
            && self.shows(record)
            && (self.text.is_empty() || self.has_text(record))
    }

    fn shows(&self, record: &Record) -> bool {
        self.hide.is_empty()
            || !row::groups(record).into_iter().flatten().any(|group| self.hide.contains(&group))
    }

    fn has_text(&self, record: &Record) -> bool {
        let row = FlowRow::new(0, record);
        let peer = |peer: &row::Peer| {
            let labels = peer.labels.iter().any(|label| self.is_in(label));
            labels || self.is_in(&peer.name) || self.is_in(&peer.ip) || self.is_in(&peer.workload)
        };
        peer(&row.source)
            || peer(&row.destination)
            || [&row.summary, &row.policy, &row.reason, &row.verdict, &row.kind, &row.protocol, &row.uuid]
                .into_iter()
                .any(|text| self.is_in(text))
            || [row.source.port, row.destination.port].iter().any(|port| port.to_string() == self.text)
    }

    fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.text)
    }
}

/// A moment.
pub(crate) fn moment(text: &str) -> Result<Time, QueryError> {
    let read = |text: &str| Time::deserialize(text.into_deserializer());
    read(text).map_err(|_: serde::de::value::Error| QueryError::Moment(text.chars().take(40).collect()))
}

/// The value of a parameter that is given at most once.
pub(crate) fn one<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().rfind(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

/// A number.
pub(crate) fn number(parameters: &[(String, String)], name: &str) -> Result<Option<u64>, QueryError> {
    let wrong = |value: &str| QueryError::Number { name: name.to_owned(), value: value.to_owned() };
    one(parameters, name).map(|value| value.parse().map_err(|_| wrong(value))).transpose()
}
