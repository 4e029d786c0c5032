//! What is served beside the API socket: Hubble's API, metrics, the web page; and what takes records away from memory.
//!
//! They all read the flow log like any other reader: one that is slow loses records and is told so, and none of them
//! can hold the worker up.

use super::shared::Shared;
use crate::config::Config;
use anyhow::Result;
use std::sync::Arc;

/// All that runs; dropping it stops it.
#[derive(Debug, Default)]
pub struct Services {}

impl Services {
    /// Starts what is configured.
    ///
    /// # Errors
    /// When something that is configured cannot be started (an address in use, a folder that cannot be written).
    pub fn start(_config: &Config, _shared: &Arc<Shared>) -> Result<Self> {
        Ok(Self::default())
    }
}
