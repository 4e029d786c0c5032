//! The log: `tracing` to standard error, as text or as one JSON object a line.

use crate::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

/// Starts logging as configured; `SLUICE_LOG` (`debug`, `sluice::run=trace`) has the last word.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // The netlink library's own tracing is of no use to anybody here.
    let filter = EnvFilter::try_from_env("SLUICE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},netlink_proto=warn,netlink_packet_core=warn")));
    let builder =
        Subscriber::builder().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start (tests) changes nothing.
    let _ = match log.format {
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().finish()),
        LogFormat::Text => {
            tracing::subscriber::set_global_default(builder.with_ansi(colours(&std::io::stderr())).finish())
        }
    };
}

/// Whether to colour what goes to `stream`: only on a terminal, and not when `NO_COLOR` says otherwise.
#[must_use]
pub fn colours(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
