//! Flows that are no longer in memory, out of the node's history. Calls may take long and have a thread of their own.

use crate::api::Flows;
use crate::node::Node;
use crate::query::Query;
use crate::row::FlowRow;
use flowlog::api::ObserveRequest;
use flowlog::record::Time;
use flowlog::{Filters, FlowFilter, Record};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a history is looked through: less than the page waits.
const PATIENCE: Duration = Duration::from_secs(8);

/// A row has its time to the microsecond.
const PRECISION_NS: i128 = 1_000;

/// Asks for the newest rows of a span of time; `None` without a history.
pub(crate) fn rows(query: Query, last: usize) -> impl FnOnce(&dyn Node) -> Option<Flows> + Send + 'static {
    move |node| look(node, &query, last)
}

fn look(node: &dyn Node, query: &Query, last: usize) -> Option<Flows> {
    let past = node.past()?;
    let (begun, cut) = (Instant::now(), Cell::new(false));
    let stop = || {
        cut.set(begun.elapsed() > PATIENCE);
        cut.get()
    };
    let (mut found, mut searched) = (Vec::new(), 0);
    let mut take = |record: Arc<Record>| {
        searched += 1;
        if found.len() < last && query.matches(&record) {
            found.push(record);
        }
        if found.len() < last && !stop() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    // The filters were compiled before.
    let _ = past.newest(&query.request(), &stop, &mut take);
    // Numbers that fall, as those of rows do.
    let rows = (1..=found.len() as u64).rev().zip(&found).map(|(seq, record)| FlowRow::new(seq, record));
    Some(Flows { rows: rows.collect(), searched, kept: true, cut: cut.get(), ..Flows::default() })
}

/// The record of this name and time.
pub(crate) fn find(node: &dyn Node, uuid: String, at: Time) -> Option<Arc<Record>> {
    let from = at.0.as_nanosecond();
    let filter = FlowFilter { uuid: vec![uuid], ..FlowFilter::default() };
    let request = ObserveRequest {
        filters: Filters { allowlist: vec![filter], denylist: Vec::new() },
        since: Some(Time::from_nanos(from - PRECISION_NS)),
        until: Some(Time::from_nanos(from + PRECISION_NS)),
        ..ObserveRequest::default()
    };
    let (begun, mut found) = (Instant::now(), None);
    let mut take = |record| {
        found = Some(record);
        ControlFlow::Break(())
    };
    let _ = node.past()?.newest(&request, &|| begun.elapsed() > PATIENCE, &mut take);
    found
}
