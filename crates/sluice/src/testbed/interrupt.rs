//! Ctrl-C, SIGTERM and SIGHUP as a flag, so that a testbed is taken down by its owner and not by the kernel.
//!
//! Invariant: once [`watch`] was called, these signals no longer end the process by themselves; every wait of the
//! testbed looks at [`requested`] and gives up early.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts turning the three signals into the flag; calling it again changes nothing.
///
/// # Errors
/// The handler could not be installed.
pub fn watch() -> std::io::Result<()> {
    if FLAG.get().is_some() {
        return Ok(());
    }
    let flag = Arc::new(AtomicBool::new(false));
    if FLAG.set(Arc::clone(&flag)).is_ok() {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
    }
    Ok(())
}

/// True once one of the signals has arrived.
pub fn requested() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}
