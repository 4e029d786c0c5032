//! What of a log a client asks for: how many, from which end, from when to when, and whether to stay.

use crate::time;
use flowlog::Filters;
use flowlog::api::ObserveRequest;
use flowlog::record::Time;
use prost_types::Timestamp;
use tonic::Status;

/// A part of a log.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Range {
    number: u64,
    first: bool,
    pub(crate) follow: bool,
    pub(crate) since: Option<Time>,
    pub(crate) until: Option<Time>,
}

/// Where reading begins.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// At the oldest entry.
    Oldest,
    /// So many matching entries before the newest.
    Last(usize),
    /// After the newest.
    Newest,
}

impl Range {
    /// So many entries (0: all) from the newest or, with `first`, the oldest on; with `follow` also those that come; no
    /// earlier and no later than that.
    #[must_use]
    pub const fn between(
        (number, first, follow): (u64, bool, bool),
        since: Option<Time>,
        until: Option<Time>,
    ) -> Self {
        Self { number, first, follow, since, until }
    }

    /// As the requests have it.
    pub(crate) fn new(
        (number, first, follow): (u64, bool, bool),
        since: Option<&Timestamp>,
        until: Option<&Timestamp>,
    ) -> Result<Self, Status> {
        if first && follow {
            return Err(Status::invalid_argument("first and follow contradict each other"));
        }
        let read = |name: &str, stamp: Option<&Timestamp>| {
            let wrong = || Status::invalid_argument(format!("{name}: not a point in time"));
            stamp.map(|stamp| time::from_proto(stamp).ok_or_else(wrong)).transpose()
        };
        Ok(Self::between((number, first, follow), read("since", since)?, read("until", until)?))
    }

    /// Where to begin. A time to begin at goes before the end that `number` counts from.
    pub(crate) fn start(&self) -> Start {
        if self.since.is_some() || self.first {
            Start::Oldest
        } else if self.number > 0 {
            Start::Last(usize::try_from(self.number).unwrap_or(usize::MAX))
        } else if self.follow {
            Start::Newest
        } else {
            Start::Oldest
        }
    }

    /// The same of records that somebody keeps, without those that come.
    pub(crate) fn of(&self, filters: Filters) -> ObserveRequest {
        let (last, first) = match self.start() {
            Start::Oldest => (None, self.limit()),
            Start::Last(_) => (Some(self.number), None),
            Start::Newest => (Some(0), None),
        };
        ObserveRequest { filters, last, first, since: self.since, until: self.until, follow: false }
    }

    /// How many entries end the stream.
    pub(crate) fn limit(&self) -> Option<u64> {
        (self.number > 0 && !self.follow).then_some(self.number)
    }

    /// Whether nothing from `time` on is wanted.
    pub(crate) fn is_over(&self, time: Option<Time>) -> bool {
        self.until.is_some_and(|until| time.is_some_and(|time| time > until))
    }

    /// Whether `time` is not too early.
    pub(crate) fn has_begun(&self, time: Option<Time>) -> bool {
        self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(number: u64, first: bool, follow: bool, since: Option<i64>) -> Range {
        let since = since.map(|seconds| Timestamp { seconds, nanos: 0 });
        Range::new((number, first, follow), since.as_ref(), None).expect("a range")
    }

    #[test]
    fn begins_where_hubble_begins() {
        let cases = [
            (range(20, false, false, None), Start::Last(20), Some(20)),
            (range(u64::MAX, false, false, None), Start::Last(usize::MAX), Some(u64::MAX)),
            (range(0, false, false, None), Start::Oldest, None),
            (range(20, true, false, None), Start::Oldest, Some(20)),
            (range(0, false, true, None), Start::Newest, None),
            (range(20, false, true, None), Start::Last(20), None),
            (range(20, false, false, Some(5)), Start::Oldest, Some(20)),
            (range(0, false, true, Some(5)), Start::Oldest, None),
        ];
        for (range, start, limit) in cases {
            assert_eq!((range.start(), range.limit()), (start, limit), "{range:?}");
        }
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        let error = Range::new((1, true, true), None, None).expect_err("contradiction");
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        let wrong = Timestamp { seconds: 0, nanos: -1 };
        let error = Range::new((1, false, false), None, Some(&wrong)).expect_err("no time");
        assert_eq!(
            (error.code(), error.message()),
            (tonic::Code::InvalidArgument, "until: not a point in time")
        );
    }
}
