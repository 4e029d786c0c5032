//! Signals: reload, end, and end at once.

use super::bell::{Bell, Reason};
use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code after a second request to end.
const FORCED: i32 = 130;

/// Rings the bell for signals. The second request to end exits without cleaning up: what is pinned stays, so traffic
/// meets the configured fallback.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen(bell: Bell) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("install signal handlers")?;
    let listen = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                bell.ring(Reason::Reload);
                continue;
            }
            if asked {
                tracing::warn!("second request to end: leaving without cleaning up");
                std::process::exit(FORCED);
            }
            asked = true;
            bell.ring(Reason::Stop);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).context("start the signal thread")?;
    Ok(())
}
