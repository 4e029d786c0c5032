//! The demo without privileges: the same conversations as frames through the same pipeline, over the memory backend.

use anyhow::{Result, bail};

/// Has every conversation in memory; true when all went as expected.
pub(super) fn run() -> Result<bool> {
    bail!("the memory backend is not wired up")
}
