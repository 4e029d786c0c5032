//! What happens, as it happens: server-sent events, at most four a second of each kind.
//!
//! | event | says |
//! |---|---|
//! | `map` | what changed in the map of the namespace `map` |
//! | `flows` | new rows that the filters select, newest first; at most [`MAX_ROWS`] at a time, the rest is counted |
//! | `status` | what went through, and the namespaces |

use crate::api::{App, Failure};
use crate::query::{self, Query};
use crate::row::FlowRow;
use axum::extract::{Query as Parameters, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Time between events of a kind.
const BEAT: Duration = Duration::from_millis(250);

/// Rows in one event; 120 a second.
pub(crate) const MAX_ROWS: usize = 30;

/// Beats between events that say how things are.
const STATUS_EVERY: u64 = 8;

/// Beats between changes of the map.
const MAP_EVERY: u64 = 2;

/// One `flows` event.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NewFlows {
    /// Rows, newest first.
    pub rows: Vec<FlowRow>,
    /// Rows that match and were left out, because there were too many at once.
    pub skipped: u64,
    /// Records that this browser was too slow for.
    pub lost: u64,
}

struct Watching {
    app: App,
    _place: OwnedSemaphorePermit,
    query: Query,
    flows: bool,
    namespace: Option<String>,
    version: Option<u64>,
    next: u64,
    beat: Interval,
    beats: u64,
}

pub(crate) async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
    Parameters(given): Parameters<Vec<(String, String)>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let query = Query::read(&given, &["map", "flows", "since"])?;
    let place = app.streams.clone().try_acquire_owned();
    let place = place.map_err(|_| Failure::busy("too many open pages; close one"))?;
    // A browser that connects again says what it had.
    let known = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let next = match known {
        Some(next) => next,
        None => query::number(&given, "since")?.unwrap_or_else(|| app.feed.lock().recent.end()),
    };
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = Watching {
        query,
        flows: query::one(&given, "flows") != Some("0"),
        namespace: query::one(&given, "map").map(str::to_owned),
        version: None,
        next,
        beat,
        beats: 0,
        _place: place,
        app,
    };
    let events = stream::unfold(watching, |mut watching| async move {
        watching.beat.tick().await;
        let events = watching.events();
        Some((stream::iter(events.into_iter().map(Ok)), watching))
    });
    Ok(Sse::new(events.flatten()).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))))
}

impl Watching {
    fn events(&mut self) -> Vec<Event> {
        let beat = self.beats;
        self.beats += 1;
        let mut events = Vec::new();
        if beat.is_multiple_of(STATUS_EVERY) {
            events.push(event("status", &self.app.status()));
        }
        if beat.is_multiple_of(MAP_EVERY)
            && let Some(namespace) = &self.namespace
        {
            let view = self.app.feed.lock().map.view(namespace, self.version);
            self.version = Some(view.version);
            if !view.is_empty() {
                events.push(event("map", &view));
            }
        }
        if self.flows {
            let new = self.flows();
            if !new.rows.is_empty() || new.lost > 0 {
                events.push(event("flows", &new).map(|event| event.id(self.next.to_string())));
            }
        }
        events.into_iter().flatten().collect()
    }

    fn flows(&mut self) -> NewFlows {
        let (records, lost, end) = {
            let state = self.app.feed.lock();
            let (records, lost) = state.recent.since(self.next);
            (records, lost, state.recent.end())
        };
        self.next = end;
        let mut new = NewFlows { lost, ..NewFlows::default() };
        for (seq, record) in records.iter().rev().filter(|(_, record)| self.query.matches(record)) {
            if new.rows.len() < MAX_ROWS {
                new.rows.push(FlowRow::new(*seq, record));
            } else {
                new.skipped += 1;
            }
        }
        new
    }
}

/// Our own types always become JSON.
fn event(name: &str, data: &impl Serialize) -> Option<Event> {
    let text = serde_json::to_string(data).ok()?;
    Some(Event::default().event(name).data(text))
}
