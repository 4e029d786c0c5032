//! Tells the kernel program that all workers are alive; without that, frames meet the fallback.
//!
//! A thread of its own, so that a long build on the control thread is not mistaken for a hung worker.

use super::clock::Clock;
use super::ports::lock;
use super::workers::Workers;
use anyhow::{Context as _, Result};
use std::sync::{Mutex, Weak};
use std::time::Duration;
use xdp_redirect::{Redirect, monotonic_ns};

/// Beats within the limit: a few may be late.
const BEATS: u32 = 8;

/// Whether every worker polled within `limit`.
#[must_use]
pub fn is_alive(workers: &Workers, clock: &Clock, limit: Duration) -> bool {
    clock.now().saturating_since(workers.last_poll()) < limit
}

/// Beats until the loader is gone.
///
/// # Errors
/// When the thread cannot be made.
pub fn start(redirect: Weak<Mutex<Redirect>>, workers: Workers, clock: Clock, limit: Duration) -> Result<()> {
    let beat = move || {
        let mut failed = false;
        loop {
            std::thread::sleep(limit / BEATS);
            if !is_alive(&workers, &clock, limit / 2) {
                continue;
            }
            let Some(redirect) = redirect.upgrade() else { return };
            let outcome = lock(&redirect).heartbeat(monotonic_ns());
            if let Err(error) = &outcome
                && !failed
            {
                tracing::error!(%error, "the heartbeat is not written");
            }
            failed = outcome.is_err();
        }
    };
    std::thread::Builder::new().name("heartbeat".into()).spawn(beat).context("start the heartbeat")?;
    Ok(())
}
