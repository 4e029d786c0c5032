//! Times as people type them, and formats as Hubble names them.

use anyhow::{Result, bail};
use flowlog::format::DEFAULT_TIME_FORMAT;
use flowlog::record::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};

/// A duration back from `now`, or a point in time (in the local zone where none is named).
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Time> {
    if let Ok(ago) = text.parse::<SignedDuration>() {
        return Ok(Time(now.checked_sub(ago.abs())?));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Time(at));
    }
    if let Ok(at) = text.parse::<civil::DateTime>() {
        return Ok(Time(at.to_zoned(TimeZone::system())?.timestamp()));
    }
    bail!("{text:?} is neither a duration (5m, 1h30m) nor a time (2025-01-31, 2025-01-31T10:00:00Z)")
}

/// A format's name, or a `strftime` format.
pub(super) fn parse_format(text: &str) -> Result<String, String> {
    let format = match text {
        "StampMilli" => DEFAULT_TIME_FORMAT,
        "RFC3339" => "%Y-%m-%dT%H:%M:%SZ",
        "RFC3339Milli" => "%Y-%m-%dT%H:%M:%S%.3fZ",
        "RFC3339Micro" => "%Y-%m-%dT%H:%M:%S%.6fZ",
        "RFC3339Nano" => "%Y-%m-%dT%H:%M:%S%.9fZ",
        "RFC1123Z" => "%a, %d %b %Y %H:%M:%S %z",
        other if other.contains('%') => other,
        other => return Err(format!("unknown time format {other:?}")),
    };
    Ok(format.to_owned())
}
