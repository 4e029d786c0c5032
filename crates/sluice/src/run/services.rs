//! What is served beside the API socket: Hubble's API, metrics, the web page; and what takes records away from memory.
//!
//! They all read the flow log like any other reader: one that is slow loses records and is told so, and none of them
//! can hold the worker up.

use super::shared::Shared;
use crate::config::Config;
use anyhow::Result;
use std::sync::Arc;

/// All that runs; dropping it stops it.
#[derive(Debug)]
pub struct Services {
    _archive: crate::export::Running,
    _ui: Option<ui::Running>,
    _metrics: crate::metrics::server::Endpoint,
    _hubble: crate::hubble::Endpoint,
}

impl Services {
    /// Starts what is configured.
    ///
    /// # Errors
    /// When something that is configured cannot be started (an address in use, a folder that cannot be written).
    pub fn start(config: &Config, shared: &Arc<Shared>) -> Result<Self> {
        let archive = shared.flows.start_archive(config, &shared.dir, &shared.node.name)?;
        let metrics = crate::metrics::server::start(shared, &config.metrics)?;
        let ui = crate::ui::start(config, shared)?;
        let hubble = crate::hubble::start(shared, &config.hubble)?;
        Ok(Self { _archive: archive, _ui: ui, _metrics: metrics, _hubble: hubble })
    }
}
