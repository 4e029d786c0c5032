//! The history as the node service keeps it, and as it is read without one.

use crate::config;
use anyhow::{Context as _, Result};
use archive::history::{History, Order, Question, Settings};
use flowlog::api::ObserveRequest;
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
