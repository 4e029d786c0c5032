//! Times as people type them, and formats as Hubble names them. A time without a zone is in UTC, as Hubble reads it
//! and as times are printed.

use anyhow::{Result, bail};
use flowlog::format::DEFAULT_TIME_FORMAT;
use flowlog::record::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil, fmt::strtime};

/// Stamps that Hubble reads beside RFC 3339, with a zone.
const ZONED: [&str; 3] = ["%Y-%m-%dT%H%:z", "%Y-%m-%dT%H:%M%:z", "%a, %d %b %Y %H:%M:%S %z"];

/// Names of Hubble's formats, in lower case.
const FORMATS: [(&str, &str); 9] = [
    ("stampmilli", DEFAULT_TIME_FORMAT),
    ("yearmonthday", "%Y-%m-%d"),
    ("yearmonthdayhour", "%Y-%m-%dT%HZ"),
    ("yearmonthdayhourminute", "%Y-%m-%dT%H:%MZ"),
    ("rfc3339", "%Y-%m-%dT%H:%M:%SZ"),
    ("rfc3339milli", "%Y-%m-%dT%H:%M:%S%.3fZ"),
    ("rfc3339micro", "%Y-%m-%dT%H:%M:%S%.6fZ"),
    ("rfc3339nano", "%Y-%m-%dT%H:%M:%S%.9fZ"),
    ("rfc1123z", "%a, %d %b %Y %H:%M:%S %z"),
];

/// A duration back from `now`, or a point in time.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Time> {
    let text = text.trim();
    if let Some(ago) = duration(text) {
        return Ok(Time(now.checked_sub(ago)?));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Time(at));
    }
    // Hubble writes UTC as Z where the others want an offset.
    let offset = text.strip_suffix('Z').map(|text| format!("{text}+00:00"));
    let offset = offset.as_deref().unwrap_or(text);
    let zoned = |format: &&str| strtime::parse(format, offset).and_then(|at| at.to_timestamp()).ok();
    let hour = |format: &&str| {
        let parsed = strtime::parse(format, offset).ok()?;
        let at = civil::date(parsed.year()?, parsed.month()?, parsed.day()?);
        let at = at.at(parsed.hour()?, parsed.minute().unwrap_or(0), parsed.second().unwrap_or(0), 0);
        Some(at.to_zoned(TimeZone::fixed(parsed.offset()?)).ok()?.timestamp())
    };
    if let Some(at) = ZONED.iter().find_map(|format| zoned(format).or_else(|| hour(format))) {
        return Ok(Time(at));
    }
    if let Ok(at) = text.parse::<civil::DateTime>() {
        return Ok(Time(at.to_zoned(TimeZone::UTC)?.timestamp()));
    }
    if let Some(at) = stamp(text, now) {
        return Ok(Time(at));
    }
    bail!(
        "{text:?} is neither a duration (5m, 1h30m, 2d) nor a time (2025-01-31, 2025-01-31T10:00Z, \
         2025-01-31T10:00:00.5+01:00, \"Fri, 31 Jan 2025 10:00:00 +0000\", \"Jan 31 10:00:00.500\")"
    )
}

/// `5m`, `1h30m`, `1.5h`; also days and weeks, which Hubble does not know.
fn duration(text: &str) -> Option<SignedDuration> {
    if let Ok(duration) = text.parse::<SignedDuration>() {
        // An ISO 8601 time that is a duration too does not exist; a bare number is none of either.
        return Some(duration.abs());
    }
    let (number, hours) = match text.strip_suffix('d') {
        Some(days) => (days, 24),
        None => (text.strip_suffix('w')?, 24 * 7),
    };
    SignedDuration::from_secs(3600 * hours).checked_mul(number.parse().ok()?)
}

/// A stamp as the compact layout prints it, of the last year.
fn stamp(text: &str, now: Timestamp) -> Option<Timestamp> {
    let today = now.to_zoned(TimeZone::UTC);
    let of_year = |year: i16| {
        ["%Y %b %e %H:%M:%S%.f", "%Y %b %e %H:%M:%S"].iter().find_map(|format| {
            let at = civil::DateTime::strptime(format, format!("{year} {text}")).ok()?;
            Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
        })
    };
    let at = of_year(today.year())?;
    // A clock a little ahead is no reason to look a year back.
    if at > now.checked_add(24.hours()).ok()? { of_year(today.year() - 1) } else { Some(at) }
}

/// A format's name in any case, or a `strftime` format.
pub(crate) fn parse_format(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    if let Some((_, format)) = FORMATS.iter().find(|(known, _)| *known == name) {
        return Ok((*format).to_owned());
    }
    if !text.contains('%') {
        return Err(format!("unknown time format {text:?}"));
    }
    let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    strtime::format(text, &sample).map_err(|error| format!("time format {text:?}: {error}"))?;
    Ok(text.to_owned())
}
