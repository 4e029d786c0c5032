//! From the ring, and from what is kept of what left it, to one client; then perhaps what comes.
//!
//! Each stream has a thread of its own, because waiting for records blocks. Between the thread and the client are a
//! few chunks; when they are full the thread waits, and the ring goes on without it.

use crate::convert;
use crate::mask::Mask;
use crate::node::Node;
use crate::proto::flow::{LostEvent, LostEventSource};
use crate::proto::observer::GetFlowsResponse;
use crate::proto::observer::get_flows_response::ResponseTypes;
use crate::request::{Range, Start};
use crate::time;
use flowlog::api::Past;
use flowlog::filter::CompiledFilters;
use flowlog::record::{Record, Time};
use flowlog::store::{Batch, Cursor};
use flowlog::{Filters, Store};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// Responses handed over at once.
pub(crate) const CHUNK: usize = 128;

/// Chunks in flight to one client.
const CHUNKS: usize = 4;

/// How often a thread without news looks whether its client is still there.
const TICK: Duration = Duration::from_millis(500);

/// What the thread hands over.
pub(crate) type Chunk<T> = Vec<Result<T, Status>>;

/// The client's end.
#[derive(Debug)]
pub struct Responses<T> {
    chunks: mpsc::Receiver<Chunk<T>>,
    ready: std::vec::IntoIter<Result<T, Status>>,
}

/// Both ends of a stream.
pub(crate) fn channel<T>() -> (mpsc::Sender<Chunk<T>>, Responses<T>) {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    (sender, Responses { chunks, ready: Vec::new().into_iter() })
}

impl<T> tokio_stream::Stream for Responses<T>
where
    T: Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(response) = self.ready.next() {
                return Poll::Ready(Some(response));
            }
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.ready = chunk.into_iter(),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// One client's reader.
pub(crate) struct Reader {
    pub(crate) store: Arc<Store>,
    pub(crate) wanted: Filters,
    /// The same, ready to run.
    pub(crate) filters: CompiledFilters,
    pub(crate) range: Range,
    pub(crate) mask: Option<Mask>,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) out: mpsc::Sender<Chunk<GetFlowsResponse>>,
}

/// What is left to do.
struct Left {
    /// Matching records to pass over.
    skip: usize,
    /// Records to send.
    limit: Option<u64>,
}

/// `Break`: the stream is over.
type Step = ControlFlow<()>;

impl Reader {
    /// Sends what is asked for; returns when that is all, when the client has gone, or when the log is closed.
    pub(crate) fn run(&self) {
        let _ = self.steps();
    }

    fn steps(&self) -> Step {
        // What the packet path shed before now is history; only what it sheds while we follow is news.
        let mut shed = self.store.lost();
        let (mut cursor, mut left) = match self.node.past() {
            Some(past) => (self.kept(past)?, Left { skip: 0, limit: None }),
            None => self.remembered()?,
        };
        if !self.range.follow {
            return ControlFlow::Break(());
        }
        loop {
            let batch = self.store.wait(&mut cursor, TICK);
            let now_shed = self.store.lost();
            if now_shed > shed {
                self.hand_over(vec![Ok(self.lost(LostEventSource::PerfEventRingBuffer, now_shed - shed))])?;
                shed = now_shed;
            }
            self.send(&batch, &mut left)?;
            let over = self.out.is_closed() || batch.closed || self.range.is_over(Some(time::now()));
            if batch.records.is_empty() && over {
                return ControlFlow::Break(());
            }
        }
    }

    /// Sends what is in memory; answers where it ended.
    fn remembered(&self) -> ControlFlow<(), (Cursor, Left)> {
        let end = self.store.newest();
        let (mut cursor, skip) = self.start(end)?;
        let mut left = Left { skip, limit: self.range.limit() };
        while cursor < end {
            let batch = self.store.read(&mut cursor);
            self.send(&batch, &mut left)?;
        }
        ControlFlow::Continue((cursor, left))
    }

    /// Sends what is in memory and what is kept beyond it; answers where memory ended.
    fn kept(&self, past: &dyn Past) -> ControlFlow<(), Cursor> {
        let (mut chunk, mut outcome) = (Vec::new(), ControlFlow::Continue(()));
        let mut take = |record: Arc<Record>| {
            chunk.push(Ok(self.flow(&record)));
            if chunk.len() >= CHUNK {
                outcome = self.hand_over(std::mem::take(&mut chunk));
            }
            outcome
        };
        let request = self.range.of(self.wanted.clone());
        let read = past.read(&request, &|| self.out.is_closed(), &mut take);
        outcome?;
        if !chunk.is_empty() {
            self.hand_over(chunk)?;
        }
        match read {
            Ok(cursor) => ControlFlow::Continue(cursor),
            // They were compiled before.
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Where to begin, and how many matching records to pass over from there.
    fn start(&self, end: Cursor) -> ControlFlow<(), (Cursor, usize)> {
        let oldest = self.store.oldest();
        let wanted = match self.range.start() {
            Start::Newest => return ControlFlow::Continue((end, 0)),
            Start::Last(wanted) if wanted < self.store.len_and_capacity().0 => wanted,
            Start::Oldest | Start::Last(_) => return ControlFlow::Continue((oldest, 0)),
        };
        // Records are not kept but counted, batch by batch, and read again from the batch that has the first of them.
        let (mut marks, mut cursor) = (Vec::new(), oldest);
        while cursor < end {
            if self.out.is_closed() {
                return ControlFlow::Break(());
            }
            let mark = cursor;
            let batch = self.store.read(&mut cursor);
            marks.push((mark, batch.records.iter().filter(|record| self.wants(record)).count()));
        }
        let mut found = 0;
        for (mark, matches) in marks.into_iter().rev() {
            found += matches;
            if found >= wanted {
                return ControlFlow::Continue((mark, found - wanted));
            }
        }
        ControlFlow::Continue((oldest, 0))
    }

    fn wants(&self, record: &Record) -> bool {
        self.range.has_begun(record.time) && !self.range.is_over(record.time) && self.filters.matches(record)
    }

    fn send(&self, batch: &Batch, left: &mut Left) -> Step {
        let mut chunk = Vec::new();
        if batch.lost > 0 {
            chunk.push(Ok(self.lost(LostEventSource::HubbleRingBuffer, batch.lost)));
        }
        let mut over = ControlFlow::Continue(());
        for record in &batch.records {
            // Records come in the order of their times.
            if left.limit == Some(0) || self.range.is_over(record.time) {
                over = ControlFlow::Break(());
                break;
            }
            if !self.wants(record) {
                continue;
            }
            if left.skip > 0 {
                left.skip -= 1;
                continue;
            }
            left.limit = left.limit.map(|limit| limit - 1);
            chunk.push(Ok(self.flow(record)));
            if chunk.len() >= CHUNK {
                self.hand_over(std::mem::take(&mut chunk))?;
            }
        }
        if !chunk.is_empty() {
            self.hand_over(chunk)?;
        }
        over
    }

    /// Waits while the client is slow.
    fn hand_over(&self, chunk: Chunk<GetFlowsResponse>) -> Step {
        match self.out.blocking_send(chunk) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn flow(&self, record: &Record) -> GetFlowsResponse {
        let extensions = self.mask.as_ref().is_none_or(Mask::wants_extensions);
        let mut flow = convert::flow(record, extensions);
        if let Some(mask) = &self.mask {
            flow = mask.apply(&flow);
        }
        self.response(ResponseTypes::Flow(flow), record.time)
    }

    fn lost(&self, source: LostEventSource, num_events_lost: u64) -> GetFlowsResponse {
        let lost = LostEvent { source: source.into(), num_events_lost, cpu: None };
        self.response(ResponseTypes::LostEvents(lost), Some(time::now()))
    }

    fn response(&self, what: ResponseTypes, time: Option<Time>) -> GetFlowsResponse {
        GetFlowsResponse {
            response_types: Some(what),
            node_name: self.node.name().to_owned(),
            time: time.map(time::to_proto),
        }
    }
}
