//! The history as the node service keeps it, and as it is read without one.

use crate::api::flows::Flows;
use crate::config;
use crate::export::Archive;
use anyhow::{Context as _, Result};
use archive::history::{self, History, Order, Question, Settings};
use flowlog::api::{ObserveRequest, Past, Visit};
use flowlog::filter::FilterError;
use flowlog::store::Cursor;
use flowlog::{Record, Store};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often what came in is committed: less than the second that a crash may cost.
const FLUSH: Duration = Duration::from_millis(500);

/// Starts it, if there is to be one.
///
/// # Errors
/// When the folder cannot be used.
pub fn start(config: &config::History, store: &Arc<Store>) -> Result<Option<History>> {
    if config.dir.as_os_str().is_empty() {
        return Ok(None);
    }
    let settings = Settings {
        dir: config.dir.clone(),
        max_bytes: u64::from(config.max_size_mib) << 20,
        max_age: config.max_age.get(),
        flush_interval: FLUSH,
    };
    Ok(Some(History::start(settings, Arc::clone(store))?))
}

/// The flow log and the history as one, for what serves them to others.
#[derive(Debug)]
pub struct Kept(Flows);

impl Kept {
    /// Of this node, if it keeps a history.
    #[must_use]
    pub fn of(flows: &Flows) -> Option<Self> {
        flows.archive().and_then(Archive::history).map(|_| Self(flows.clone()))
    }

    /// There is one wherever this type is.
    fn history(&self) -> Option<&History> {
        self.0.archive().and_then(Archive::history)
    }
}

impl Past for Kept {
    fn read(
        &self,
        request: &ObserveRequest,
        stop: &dyn Fn() -> bool,
        visit: Visit<'_>,
    ) -> Result<Cursor, FilterError> {
        let store = self.0.store();
        self.history()
            .map_or(Ok(store.oldest()), |history| history::read(store, history, request, stop, visit))
    }

    fn newest(
        &self,
        request: &ObserveRequest,
        stop: &dyn Fn() -> bool,
        visit: Visit<'_>,
    ) -> Result<(), FilterError> {
        let store = self.0.store();
        self.history().map_or(Ok(()), |history| history::newest(store, history, request, stop, visit))
    }
}

/// Answers a question from the store of a service that does not run, without following.
///
/// # Errors
/// When there is no store, a service writes it, a filter is wrong, or `each` fails.
pub fn offline(
    dir: &Path,
    request: &ObserveRequest,
    each: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<()> {
    let history = History::open(dir)?;
    let question = Question::new(request)?;
    let mut outcome = Ok(());
    let found = match request.last {
        Some(last) => {
            let most = usize::try_from(last).unwrap_or(usize::MAX);
            let mut kept = VecDeque::new();
            let found = history.query(&question, Order::NewestFirst, &mut |record| {
                if kept.len() == most {
                    return ControlFlow::Break(());
                }
                kept.push_front(record);
                ControlFlow::Continue(())
            });
            outcome = kept.into_iter().try_for_each(each);
            found
        }
        None => {
            let mut left = request.first.unwrap_or(u64::MAX);
            history.query(&question, Order::OldestFirst, &mut |record| {
                if left == 0 {
                    return ControlFlow::Break(());
                }
                left -= 1;
                outcome = each(record);
                if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        }
    };
    outcome?;
    for error in history.errors() {
        eprintln!("{error}");
    }
    found.with_context(|| format!("read {}", dir.display()))
}
