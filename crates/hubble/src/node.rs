//! What the API says about the node that serves it.

use flowlog::api::Past;
use std::time::Duration;

/// The node.
pub trait Node: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &str;
    /// Its cluster.
    fn cluster(&self) -> &str;
    /// Version of the node service.
    fn version(&self) -> &str;
    /// Since its start.
    fn uptime(&self) -> Duration;
    /// Namespaces with pods on it.
    fn namespaces(&self) -> Vec<String>;
    /// Records beyond those in memory, where somebody keeps them.
    fn past(&self) -> Option<&dyn Past> {
        None
    }
}
