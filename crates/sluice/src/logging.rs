//! The log: `tracing` to standard error, as text or as one JSON object a line.

use crate::config::{Log, LogFormat, LogLevel};
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

/// Puts another filter in force.
type Change = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// Once the log is started.
static CHANGE: OnceLock<Change> = OnceLock::new();

/// Writes from this level on; `SLUICE_LOG` still has the last word.
pub fn set_level(level: LogLevel) {
    if let Some(change) = CHANGE.get() {
        change(filter(level));
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // The netlink library's own tracing is of no use to anybody here.
    EnvFilter::try_from_env("SLUICE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},netlink_proto=warn,netlink_packet_core=warn")))
}

/// Starts logging as configured; `SLUICE_LOG` (`debug`, `sluice::run=trace`) has the last word.
pub fn start(log: &Log) {
    let builder = Subscriber::builder()
        .with_env_filter(filter(log.level))
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start (tests) changes nothing, and neither does a filter for a log that is gone.
    match log.format {
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = CHANGE.set(Box::new(move |filter| drop(handle.reload(filter))));
            let _ = tracing::subscriber::set_global_default(builder.finish());
        }
        LogFormat::Text => {
            let builder = builder.with_ansi(colours(&std::io::stderr())).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = CHANGE.set(Box::new(move |filter| drop(handle.reload(filter))));
            let _ = tracing::subscriber::set_global_default(builder.finish());
        }
    }
}

/// Whether to colour what goes to `stream`: only on a terminal, and not when `NO_COLOR` says otherwise.
#[must_use]
pub fn colours(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
