//! One answer out of the store and the flow log in memory, each record once and in order.
//!
//! ```text
//!   store:   ├─ earlier runs ─┼──── this run ────┤written
//!   memory:                          ├───────────┼──────────┤
//!   answer:  ├─ from the store ──────────────────┤─ memory ─┤
//! ```
//!
//! Records of a run are numbered by the flow log; the store keeps the numbers. It is asked to write what it has, which
//! gives the number up to which it is complete; from there on memory is read. What memory overwrites meanwhile is
//! looked up in the store again.

use super::History;
use super::query::{Order, PATIENT, Position, Question, Walk, Window};
use flowlog::api::{ObserveRequest, ResponseLine, Visit, follow};
use flowlog::filter::FilterError;
use flowlog::store::Cursor;
use flowlog::{Record, Store};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Records of memory that are looked at together on the way back.
const STEP: usize = 512;

/// Answers `request` from both. Returns when all is sent, the client has gone, or the flow log was closed.
///
/// # Errors
///
/// Those of `out`; a broken pipe is how following ends.
pub fn observe(
    store: &Store,
    history: &History,
    request: &ObserveRequest,
    out: &mut dyn Write,
) -> io::Result<()> {
    let question = match Question::new(request) {
        Ok(question) => question,
        Err(error) => {
            ResponseLine { error: Some(error.to_string()), ..ResponseLine::default() }.write(out)?;
            return out.flush();
        }
    };
    let shed = store.lost();
    let mut sent = Ok(());
    let mut send = |record: Arc<Record>| {
        sent = ResponseLine::from(record).write(out);
        if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let end = Merge::new(store, history, &question, PATIENT).answer(request, &mut send);
    sent?;
    out.flush()?;
    if request.follow { follow(store, end, shed, question.selection(), out) } else { Ok(()) }
}

/// Hands the records that `request` asks for to `visit`, oldest first, each once, until it has enough or `stop` says so.
/// Answers where in the flow log whoever follows goes on.
///
/// # Errors
///
/// A filter that cannot be read.
pub fn read(
    store: &Store,
    history: &History,
    request: &ObserveRequest,
    stop: &dyn Fn() -> bool,
    visit: Visit<'_>,
) -> Result<Cursor, FilterError> {
    let question = Question::new(request)?;
    Ok(Merge::new(store, history, &question, stop).answer(request, visit))
}

/// Hands the records that match `request` to `visit`, newest first, each once, until it has enough or `stop` says so;
/// the counts of the request are the caller's.
///
/// # Errors
///
/// A filter that cannot be read.
pub fn newest(
    store: &Store,
    history: &History,
    request: &ObserveRequest,
    stop: &dyn Fn() -> bool,
    visit: Visit<'_>,
) -> Result<(), FilterError> {
    let question = Question::new(request)?;
    Merge::new(store, history, &question, stop).back(visit);
    Ok(())
}

struct Merge<'a> {
    store: &'a Store,
    history: &'a History,
    question: &'a Question,
    stop: &'a dyn Fn() -> bool,
    /// Where memory ended when the client asked: what comes later is for followers.
    end: Cursor,
    cursor: Cursor,
}

impl<'a> Merge<'a> {
    fn new(
        store: &'a Store,
        history: &'a History,
        question: &'a Question,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        let end = store.newest();
        Self { store, history, question, stop, end, cursor: store.oldest() }
    }

    /// All of it; answers where followers go on.
    fn answer(mut self, request: &ObserveRequest, visit: Visit<'_>) -> Cursor {
        // Whether somebody had enough makes no difference here.
        let _ = match request.last {
            Some(0) => {
                self.cursor = self.end;
                ControlFlow::Continue(())
            }
            Some(last) => self.last(usize::try_from(last).unwrap_or(usize::MAX), visit),
            None => self.all(request.first.unwrap_or(u64::MAX), visit),
        };
        self.cursor.max(self.end)
    }

    /// Oldest first, `most` at most.
    fn all(&mut self, most: u64, visit: Visit<'_>) -> ControlFlow<()> {
        let mut left = most;
        let mut take = |record: Arc<Record>| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            visit(record)?;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let written = self.history.sync(self.end.number());
        self.cursor = Cursor::at(written.min(self.end.number()));
        self.stored(0, self.cursor.number(), None, &mut take)?;
        self.memory(&mut take)
    }

    /// The newest `last`, oldest of them first.
    fn last(&mut self, last: usize, visit: Visit<'_>) -> ControlFlow<()> {
        // Those in memory are no more than memory holds.
        let begin = self.cursor.number();
        let mut kept: VecDeque<Arc<Record>> = VecDeque::new();
        self.memory(&mut |record| {
            if kept.len() == last {
                kept.pop_front();
            }
            kept.push_back(record);
            ControlFlow::Continue(())
        })?;
        let missing = last - kept.len();
        if missing > 0 {
            self.history.sync(begin);
            // How far back they are is found without keeping them.
            let (mut found, mut from) = (0, None);
            self.scan(0, begin, Order::NewestFirst, None, &mut |at, _| {
                found += 1;
                from = Some(at);
                if found == missing { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if from.is_some() {
                self.stored(0, begin, from, visit)?;
            }
        }
        kept.into_iter().try_for_each(visit)
    }

    /// From the end to where the cursor is, and on into the store.
    fn back(&self, visit: Visit<'_>) {
        let begin = self.cursor.number();
        // Complete down to here.
        let mut low = self.end.number();
        while low > begin && !(self.stop)() {
            let from = low.saturating_sub(STEP as u64).max(begin);
            let mut cursor = Cursor::at(from);
            let batch = self.store.read(&mut cursor);
            let first = cursor.number() - batch.records.len() as u64;
            let before = (first..).zip(batch.records).take_while(|(seq, _)| *seq < low);
            let before: Vec<Arc<Record>> = before.map(|(_, record)| record).collect();
            for record in before.into_iter().rev() {
                if self.question.selection().matches(&record) && visit(record).is_break() {
                    return;
                }
            }
            low = first.min(low);
            if batch.lost > 0 {
                break;
            }
        }
        self.history.sync(low);
        self.scan(0, low, Order::NewestFirst, None, &mut |_, record| visit(Arc::new(record)));
    }

    /// From where the cursor is to the end. What is overwritten before it is read comes from the store.
    fn memory(&mut self, visit: Visit<'_>) -> ControlFlow<()> {
        while self.cursor < self.end && !(self.stop)() {
            let before = self.cursor.number();
            let batch = self.store.read(&mut self.cursor);
            if batch.lost > 0 {
                let gap = (before + batch.lost).min(self.end.number());
                self.history.sync(gap);
                self.stored(before, gap, None, visit)?;
            }
            let first = self.cursor.number() - batch.records.len() as u64;
            for (seq, record) in (first..).zip(batch.records) {
                if seq < self.end.number() && self.question.selection().matches(&record) {
                    visit(record)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Out of the store, oldest first.
    fn stored(&self, from: u64, below: u64, position: Option<Position>, visit: Visit<'_>) -> ControlFlow<()> {
        let mut outcome = ControlFlow::Continue(());
        self.scan(from, below, Order::OldestFirst, position, &mut |_, record| {
            outcome = visit(Arc::new(record));
            outcome
        });
        outcome
    }

    fn scan(
        &self,
        from: u64,
        below: u64,
        order: Order,
        position: Option<Position>,
        visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>,
    ) {
        let window = Window { run: self.history.run(), from, below };
        let walk = Walk { question: self.question, window, order, from: position, stop: self.stop };
        // A store that cannot be read is no reason to keep back what memory has.
        if let Err(error) = self.history.scan(&walk, visit) {
            tracing::warn!(%error, "the history is not read to its end");
        }
    }
}
