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
use super::query::{Order, Position, Question, Window};
use flowlog::api::{ObserveRequest, ResponseLine, follow};
use flowlog::store::Cursor;
use flowlog::{Record, Store};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

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
    let end = store.newest();
    let mut merge = Merge { store, history, question: &question, end, cursor: store.oldest() };
    match request.last {
        Some(0) => merge.cursor = end,
        Some(last) => merge.last(usize::try_from(last).unwrap_or(usize::MAX), out)?,
        None => merge.all(request.first.unwrap_or(u64::MAX), out)?,
    }
    out.flush()?;
    if request.follow {
        follow(store, merge.cursor.max(end), shed, question.selection(), out)
    } else {
        Ok(())
    }
}

struct Merge<'a> {
    store: &'a Store,
    history: &'a History,
    question: &'a Question,
    /// Where memory ended when the client asked: what comes later is for followers.
    end: Cursor,
    cursor: Cursor,
}

impl Merge<'_> {
    /// Oldest first, `most` at most.
    fn all(&mut self, most: u64, out: &mut dyn Write) -> io::Result<()> {
        let mut left = most;
        let mut send = |record: Arc<Record>| -> io::Result<ControlFlow<()>> {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            ResponseLine::from(record).write(out)?;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let written = self.history.sync(self.end.number());
        self.cursor = Cursor::at(written.min(self.end.number()));
        if self.stored(0, self.cursor.number(), None, &mut send)?.is_break() {
            return Ok(());
        }
        self.memory(&mut send)
    }

    /// The newest `last`, oldest of them first.
    fn last(&mut self, last: usize, out: &mut dyn Write) -> io::Result<()> {
        // Those in memory are no more than memory holds.
        let begin = self.cursor.number();
        let mut kept: VecDeque<Arc<Record>> = VecDeque::new();
        self.memory(&mut |record| {
            if kept.len() == last {
                kept.pop_front();
            }
            kept.push_back(record);
            Ok(ControlFlow::Continue(()))
        })?;
        let missing = last - kept.len();
        if missing > 0 {
            self.history.sync(begin);
            // How far back they are is found without keeping them.
            let (mut found, mut from) = (0, None);
            let back = self.history.scan(
                self.question,
                self.window(0, begin),
                Order::NewestFirst,
                None,
                &mut |at, _| {
                    found += 1;
                    from = Some(at);
                    if found == missing { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            );
            if let Err(error) = back {
                tracing::warn!(%error, "the history is not read to its end");
            }
            if from.is_some() {
                let mut send =
                    |record| ResponseLine::from(record).write(out).map(|()| ControlFlow::Continue(()));
                // Whether all of it was sent makes no difference: nothing is counted here.
                let _ = self.stored(0, begin, from, &mut send)?;
            }
        }
        kept.into_iter().try_for_each(|record| ResponseLine::from(record).write(out))
    }

    /// From where the cursor is to the end. What is overwritten before it is read comes from the store.
    fn memory(&mut self, send: &mut dyn FnMut(Arc<Record>) -> io::Result<ControlFlow<()>>) -> io::Result<()> {
        while self.cursor < self.end {
            let before = self.cursor.number();
            let batch = self.store.read(&mut self.cursor);
            if batch.lost > 0 {
                let gap = (before + batch.lost).min(self.end.number());
                self.history.sync(gap);
                if self.stored(before, gap, None, send)?.is_break() {
                    return Ok(());
                }
            }
            let first = self.cursor.number() - batch.records.len() as u64;
            for (seq, record) in (first..).zip(batch.records) {
                if seq < self.end.number()
                    && self.question.selection().matches(&record)
                    && send(record)?.is_break()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Out of the store.
    fn stored(
        &self,
        from: u64,
        below: u64,
        position: Option<Position>,
        send: &mut dyn FnMut(Arc<Record>) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<ControlFlow<()>> {
        let mut outcome = Ok(ControlFlow::Continue(()));
        let window = self.window(from, below);
        let scanned =
            self.history.scan(self.question, window, Order::OldestFirst, position, &mut |_, record| {
                outcome = send(Arc::new(record));
                match outcome {
                    Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            });
        // A store that cannot be read is no reason to keep back what memory has.
        if let Err(error) = scanned {
            tracing::warn!(%error, "the history is not read to its end");
        }
        outcome
    }

    fn window(&self, from: u64, below: u64) -> Window {
        Window { run: self.history.run(), from, below }
    }
}
