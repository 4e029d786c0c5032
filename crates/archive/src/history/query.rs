//! Records out of the store.
//!
//! A filter is asked three times. First of shapes, where it can only say "perhaps": what it asks of a row is left out,
//! and so is what hides records. Blocks without a shape that may match are not unpacked. Then what it asks of addresses
//! and ports, of each row whose shape may match, before a record is made of it. At last, as it is, of the records that
//! are left: the answer is that of a walk through everything.

use super::block::{self, Summary};
use super::row;
use super::segment::{Reader, SegmentError};
use super::store::Folder;
use flowlog::api::{ObserveRequest, Selection};
use flowlog::filter::{CompiledFilters, FilterError};
use flowlog::{Filters, FlowFilter, Record};
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Which way to go through the store.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// As records came.
    OldestFirst,
    /// The other way.
    NewestFirst,
}

/// A place in the store; places are in the order of records.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    file: u64,
    block: u64,
    row: usize,
}

/// Numbers in the flow log of this run: from, and below.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) run: u64,
    /// From 0: earlier runs too.
    pub(super) from: u64,
    pub(super) below: u64,
}

impl Window {
    fn holds(&self, run: u64, seq: u64) -> bool {
        if run == self.run { (self.from..self.below).contains(&seq) } else { self.from == 0 }
    }

    fn may_hold(&self, summary: &Summary) -> bool {
        if summary.run != self.run {
            return self.from == 0;
        }
        summary.seqs.0 < self.below && summary.seqs.1 >= self.from
    }
}

/// Nobody stops waiting.
pub(super) const PATIENT: &dyn Fn() -> bool = &|| false;

/// A question, ready to ask.
#[derive(Clone, Debug)]
pub struct Question {
    selection: Selection,
    /// `None`: every shape may match.
    perhaps: Option<CompiledFilters>,
    /// `None`: every row may match.
    outline: Option<CompiledFilters>,
    times: (Option<i128>, Option<i128>),
    /// Whether to look at every record, as a test does.
    #[cfg(test)]
    pub(super) everything: bool,
}

impl Question {
    /// The filters and times of a request; its counts are up to the caller.
    ///
    /// # Errors
    ///
    /// A filter that cannot be read.
    pub fn new(request: &ObserveRequest) -> Result<Self, FilterError> {
        let nanos = |time: Option<flowlog::record::Time>| time.map(|time| time.0.as_nanosecond());
        Ok(Self {
            selection: Selection::new(request)?,
            perhaps: perhaps(&request.filters)?,
            outline: outlines(&request.filters)?,
            times: (nanos(request.since), nanos(request.until)),
            #[cfg(test)]
            everything: false,
        })
    }

    /// The same for records that are in memory.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether a block may have records of these times.
    fn may_be_in(&self, summary: &Summary) -> bool {
        let (since, until) = self.times;
        match summary.times {
            Some((first, last)) => {
                since.is_none_or(|since| last >= since) && until.is_none_or(|until| first <= until)
            }
            // A record without a time is in no span of it.
            None => since.is_none() && until.is_none(),
        }
    }

    fn is_in_time(&self, time: Option<i128>) -> bool {
        let (since, until) = self.times;
        since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && until.is_none_or(|until| time.is_some_and(|time| time <= until))
    }
}

/// What can be asked of a shape: nothing that is in rows, and nothing that hides.
fn perhaps(filters: &Filters) -> Result<Option<CompiledFilters>, FilterError> {
    if filters.allowlist.is_empty() {
        return Ok(None);
    }
    let of_shapes = |f: &FlowFilter| {
        let f = f.clone();
        FlowFilter {
            source_pod: f.source_pod,
            source_fqdn: f.source_fqdn,
            source_label: f.source_label,
            source_service: f.source_service,
            source_workload: f.source_workload,
            source_cluster_name: f.source_cluster_name,
            source_identity: f.source_identity,
            destination_pod: f.destination_pod,
            destination_fqdn: f.destination_fqdn,
            destination_label: f.destination_label,
            destination_service: f.destination_service,
            destination_workload: f.destination_workload,
            destination_cluster_name: f.destination_cluster_name,
            destination_identity: f.destination_identity,
            traffic_direction: f.traffic_direction,
            verdict: f.verdict,
            drop_reason_desc: f.drop_reason_desc,
            interface: f.interface,
            event_type: f.event_type,
            reply: f.reply,
            node_name: f.node_name,
            node_labels: f.node_labels,
            ip_version: f.ip_version,
            encrypted: f.encrypted,
            policy: f.policy,
            ..FlowFilter::default()
        }
    };
    let allowlist = filters.allowlist.iter().map(of_shapes).collect();
    Filters { allowlist, denylist: Vec::new() }.compile().map(Some)
}

/// What can be asked of addresses and ports alone.
fn outlines(filters: &Filters) -> Result<Option<CompiledFilters>, FilterError> {
    let of_outlines = |f: &FlowFilter| FlowFilter {
        source_ip: f.source_ip.clone(),
        source_ip_xlated: f.source_ip_xlated.clone(),
        source_port: f.source_port.clone(),
        destination_ip: f.destination_ip.clone(),
        destination_port: f.destination_port.clone(),
        tcp_flags: f.tcp_flags.clone(),
        ..FlowFilter::default()
    };
    let allowlist: Vec<FlowFilter> = filters.allowlist.iter().map(of_outlines).collect();
    // One that asks nothing of them lets every row pass.
    if allowlist.iter().any(|filter| *filter == FlowFilter::default()) {
        return Ok(None);
    }
    let any = !allowlist.is_empty();
    any.then(|| Filters { allowlist, denylist: Vec::new() }.compile()).transpose()
}

/// Shapes that a question has met: files have many in common.
#[derive(Default)]
struct Shapes {
    /// By two hashes, 128 bits with seeds that nobody knows; nothing for a shape that does not match.
    known: HashMap<(u64, u64), Option<Arc<Record>>, foldhash::fast::RandomState>,
    seeds: (foldhash::quality::RandomState, foldhash::quality::RandomState),
}

/// Shapes that are kept at most, some 1.5 KB each where they match.
const MAX_KNOWN: usize = 32_768;

impl Shapes {
    /// The shape, if a record of it may match.
    fn get(
        &mut self,
        json: &str,
        perhaps: Option<&CompiledFilters>,
    ) -> Result<Option<Arc<Record>>, SegmentError> {
        let key = (self.seeds.0.hash_one(json), self.seeds.1.hash_one(json));
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let shape: Record = serde_json::from_str(json).map_err(|_| SegmentError::Damaged)?;
        let shape = perhaps.is_none_or(|perhaps| perhaps.matches(&shape)).then(|| Arc::new(shape));
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(key, shape.clone());
        Ok(shape)
    }
}

/// One way through the store.
#[derive(Copy, Clone)]
pub(super) struct Walk<'a> {
    pub(super) question: &'a Question,
    pub(super) window: Window,
    pub(super) order: Order,
    /// Nothing before this place.
    pub(super) from: Option<Position>,
    /// Asked now and then: whether nobody waits for more.
    pub(super) stop: &'a dyn Fn() -> bool,
}

/// Hands matching records to `visit` until it has enough. Files that cannot be read are left out and noted.
pub(super) fn scan(
    folder: &Folder,
    walk: &Walk<'_>,
    visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>,
) -> Result<(), SegmentError> {
    let mut shapes = Shapes::default();
    let mut numbers = folder.numbers();
    if walk.order == Order::NewestFirst {
        numbers.reverse();
    }
    for number in numbers {
        if walk.from.is_some_and(|from| number < from.file) {
            continue;
        }
        let Some(reader) = folder.read(number)? else { continue };
        match scan_file(number, &reader, &mut shapes, walk, visit) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(SegmentError::Damaged) => folder.damaged(number),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn scan_file(
    file: u64,
    reader: &Reader,
    known: &mut Shapes,
    walk: &Walk<'_>,
    visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SegmentError> {
    let Walk { question, window, order, from, stop } = *walk;
    let mut blocks = reader.summaries()?;
    #[cfg(test)]
    let everything = question.everything;
    #[cfg(not(test))]
    let everything = false;
    if !everything {
        blocks.retain(|(_, summary)| window.may_hold(summary) && question.may_be_in(summary));
    }
    if blocks.is_empty() {
        return Ok(ControlFlow::Continue(()));
    }
    let perhaps = question.perhaps.as_ref().filter(|_| !everything);
    let outlines = question.outline.as_ref().filter(|_| !everything);
    let texts = reader.shapes()?;
    let shapes = texts.iter().map(|json| known.get(json, perhaps)).collect::<Result<Vec<_>, _>>()?;
    drop(texts);
    let shape_of = |shape: u32| shapes.get(shape as usize).and_then(Option::as_ref);
    if order == Order::NewestFirst {
        blocks.reverse();
    }
    for (block, summary) in blocks {
        if !summary.shapes.iter().any(|shape| shape_of(*shape).is_some()) {
            continue;
        }
        if from.is_some_and(|from| (file, block) < (from.file, from.block)) {
            continue;
        }
        if stop() {
            return Ok(ControlFlow::Break(()));
        }
        let (rows, texts) = block::decode(&reader.rows(block)?)?;
        let mut outline = Record::default();
        let mut one = |at: usize| {
            let position = Position { file, block, row: at };
            let Some(row) = rows.get(at) else { return ControlFlow::Continue(()) };
            let Some(shape) = shape_of(row.shape) else { return ControlFlow::Continue(()) };
            if !window.holds(summary.run, row.seq)
                || !everything && !question.is_in_time(row.time)
                || from.is_some_and(|from| position < from)
            {
                return ControlFlow::Continue(());
            }
            if let Some(filter) = outlines {
                row::outline(shape, row, &texts, &mut outline);
                if !filter.matches(&outline) {
                    return ControlFlow::Continue(());
                }
            }
            let record = row::join(shape, row, &texts);
            if question.selection.matches(&record) {
                visit(position, record)
            } else {
                ControlFlow::Continue(())
            }
        };
        let outcome = match order {
            Order::OldestFirst => (0..rows.len()).try_for_each(&mut one),
            Order::NewestFirst => (0..rows.len()).rev().try_for_each(&mut one),
        };
        if outcome.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
