//! The observe protocol over a stream socket: one JSON request line, then JSON lines as the answer.
//!
//! Both ends use these types. A line is [`ResponseLine`]: `{"flow":…,"node_name":…,"time":…}` as Hubble's exporter
//! writes it, or `{"lost_events":…}`, or `{"error":…}` after which nothing follows.

mod client;
mod past;

pub use client::{AnswerError, MAX_LINE, next_line, show_answer, show_line};
pub use past::{Past, Visit};

use crate::filter::{CompiledFilters, FilterError, Filters};
use crate::record::{Record, Time};
use crate::store::{Batch, Cursor, Store};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";

/// Longest request line that a server should read.
pub const MAX_REQUEST_LEN: usize = 1 << 20;

/// How often a follower without news looks whether its client is still there.
const FOLLOW_TICK: Duration = Duration::from_millis(500);

/// One request line: `{"observe":{…}}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Records, please.
    Observe(ObserveRequest),
}

/// Which records.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveRequest {
    /// What to show and hide.
    pub filters: Filters,
    /// The newest so many that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// The oldest so many that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Stay and send what comes.
    pub follow: bool,
}

/// One line of the answer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseLine {
    /// A record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<Arc<Record>>,
    /// Records that this client did not get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_events: Option<LostEvents>,
    /// Nodes that came or went, in files that Hubble's Relay wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_status: Option<NodeStatus>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Node that answers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// Nodes that a Relay reached or lost.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `NODE_CONNECTED`, `NODE_UNAVAILABLE`, `NODE_GONE`, `NODE_ERROR`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state_change: String,
    /// Which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_names: Vec<String>,
    /// More about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Records that were lost, and where.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LostEvents {
    /// `HUBBLE_RING_BUFFER` (this reader was too slow) or `PERF_EVENT_RING_BUFFER` (shed by a worker).
    pub source: String,
    /// How many.
    #[serde(with = "crate::record::u64_string")]
    pub num_events_lost: u64,
}

impl From<Arc<Record>> for ResponseLine {
    fn from(flow: Arc<Record>) -> Self {
        Self { node_name: flow.node_name.clone(), time: flow.time, flow: Some(flow), ..Self::default() }
    }
}

impl ResponseLine {
    /// A line that says that records were lost.
    #[must_use]
    pub fn lost(source: &str, num_events_lost: u64) -> Self {
        Self {
            lost_events: Some(LostEvents { source: source.to_owned(), num_events_lost }),
            ..Self::default()
        }
    }

    /// Writes the line and its end.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

/// Decides record by record, for the server and for a file alike.
#[derive(Clone, Debug)]
pub struct Selection {
    filters: CompiledFilters,
    since: Option<Time>,
    until: Option<Time>,
}

impl Selection {
    /// Prepares `request`.
    ///
    /// # Errors
    ///
    /// A filter that cannot be read.
    pub fn new(request: &ObserveRequest) -> Result<Self, FilterError> {
        Ok(Self { filters: request.filters.compile()?, since: request.since, until: request.until })
    }

    /// Whether the request asks for `record` (counts apart).
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let after = self.since.is_none_or(|since| record.time.is_some_and(|time| time >= since));
        let before = self.until.is_none_or(|until| record.time.is_some_and(|time| time <= until));
        after && before && self.filters.matches(record)
    }
}

/// Answers `request` from `store`. Returns when all is sent, the client has gone, or the store was closed.
///
/// # Errors
///
/// Those of `out`; a broken pipe is how following ends.
pub fn serve_observe(store: &Store, request: &ObserveRequest, out: &mut dyn Write) -> io::Result<()> {
    let selection = match Selection::new(request) {
        Ok(selection) => selection,
        Err(error) => {
            ResponseLine { error: Some(error.to_string()), ..ResponseLine::default() }.write(out)?;
            return out.flush();
        }
    };
    let shed = store.lost();
    let mut cursor = store.oldest();
    send_history(store, &mut cursor, &selection, request, out)?;
    out.flush()?;
    if request.follow { follow(store, cursor, shed, &selection, out) } else { Ok(()) }
}

/// Sends what comes after `cursor` until the client has gone or the store was closed. What a worker shed before `shed`
/// (see [`Store::lost`]) is history; only what is shed while following is news.
///
/// # Errors
///
/// Those of `out`; a broken pipe is how following ends.
pub fn follow(
    store: &Store,
    mut cursor: Cursor,
    mut shed: u64,
    selection: &Selection,
    out: &mut dyn Write,
) -> io::Result<()> {
    loop {
        let batch = store.wait(&mut cursor, FOLLOW_TICK);
        let now_shed = store.lost();
        if now_shed > shed {
            ResponseLine::lost("PERF_EVENT_RING_BUFFER", now_shed - shed).write(out)?;
            shed = now_shed;
        }
        send(&batch, selection, out)?;
        if batch.records.is_empty() {
            if batch.closed {
                return Ok(());
            }
            // An empty line is no record; it fails when the client has gone.
            out.write_all(b"\n")?;
        }
        out.flush()?;
    }
}

fn send_history(
    store: &Store,
    cursor: &mut Cursor,
    selection: &Selection,
    request: &ObserveRequest,
    out: &mut dyn Write,
) -> io::Result<()> {
    let end = store.newest();
    let limit = |n: Option<u64>| n.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let (first, last) = (limit(request.first), limit(request.last));
    let mut kept: VecDeque<Arc<Record>> = VecDeque::new();
    let mut sent = 0;
    while *cursor < end {
        let batch = store.read(cursor);
        for record in batch.records.iter().filter(|record| selection.matches(record)) {
            if let Some(last) = last {
                if kept.len() == last {
                    kept.pop_front();
                }
                if last > 0 {
                    kept.push_back(Arc::clone(record));
                }
            } else if first.is_none_or(|first| sent < first) {
                ResponseLine::from(Arc::clone(record)).write(out)?;
                sent += 1;
            }
        }
        if last.is_none() && first.is_some_and(|first| sent >= first) {
            break;
        }
    }
    *cursor = (*cursor).max(end);
    kept.into_iter().try_for_each(|record| ResponseLine::from(record).write(out))
}

fn send(batch: &Batch, selection: &Selection, out: &mut dyn Write) -> io::Result<()> {
    if batch.lost > 0 {
        ResponseLine::lost("HUBBLE_RING_BUFFER", batch.lost).write(out)?;
    }
    let matching = batch.records.iter().filter(|record| selection.matches(record));
    matching.cloned().try_for_each(|record| ResponseLine::from(record).write(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FlowEvent;
    use crate::testing::{Names, event};

    fn store() -> Store {
        let store = Store::new(8);
        for n in 0..10 {
            let e = FlowEvent { at: packet::Instant::from_secs(n), len: n as u32, ..event() };
            store.push(Record::from_event(&e, &Names, n));
        }
        store.close();
        store
    }

    fn answer(request: &ObserveRequest) -> Vec<u32> {
        let mut out = Vec::new();
        serve_observe(&store(), request, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("JSON");
        let lines = text.lines().map(|l| serde_json::from_str::<ResponseLine>(l).expect("a line"));
        lines.filter_map(|l| l.flow?.extensions.as_ref().map(|e| e.length)).collect()
    }

    #[test]
    fn counts_and_times_select() {
        let at = |n: i128| Some(Time::from_nanos((1_763_719_200 + n) * 1_000_000_000));
        let all = ObserveRequest::default();
        assert_eq!(answer(&all), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(answer(&ObserveRequest { last: Some(2), ..all.clone() }), [8, 9]);
        assert_eq!(answer(&ObserveRequest { last: Some(0), ..all.clone() }), [0_u32; 0]);
        assert_eq!(answer(&ObserveRequest { first: Some(2), ..all.clone() }), [2, 3]);
        assert_eq!(answer(&ObserveRequest { since: at(4), until: at(6), ..all.clone() }), [4, 5, 6]);
        assert_eq!(answer(&ObserveRequest { last: Some(1), follow: true, ..all }), [9]);
    }

    #[test]
    fn a_bad_filter_is_an_answer() {
        let mut request = ObserveRequest::default();
        request.filters.allowlist =
            vec![crate::FlowFilter { source_port: vec!["x".into()], ..Default::default() }];
        let mut out = Vec::new();
        serve_observe(&store(), &request, &mut out).expect("memory");
        assert_eq!(String::from_utf8_lossy(&out), "{\"error\":\"invalid value \\\"x\\\" for --port\"}\n");
    }
}
