//! `--watch`: the same question again and again, its answer redrawn in place.

use crate::cli;
use anyhow::Result;
use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::time::Duration;

/// Home, and everything below it empty (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows what `page` answers every `seconds`, until somebody stops it or it fails.
///
/// # Errors
/// Those of `page`, and when standard output is closed.
pub fn repeat(seconds: f64, mut page: impl FnMut() -> Result<String>) -> Result<Infallible> {
    let terminal = std::io::stdout().is_terminal();
    loop {
        let text = page()?;
        // Without a terminal, as in a log: one page below the other.
        cli::print(&if terminal { format!("{CLEAR}{text}") } else { format!("{text}\n") })?;
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }
}
