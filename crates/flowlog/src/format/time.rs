//! Times in the wanted format, a second at a time: records come in order, so most differ in their fraction only.

use crate::record::Time;
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// What stands for a record without a time.
const NONE: &str = "N/A";

/// Nanoseconds in a second.
const SECOND: i32 = 1_000_000_000;

/// Writes times in one format and zone.
#[derive(Clone, Debug)]
pub(super) struct Times {
    zone: TimeZone,
    /// Before and after the fraction.
    parts: (String, String),
    /// Digits of the fraction; `None` if the format is not one that can be cut at a fraction.
    digits: Option<u32>,
    /// The second whose parts are `written`.
    second: Option<i64>,
    written: (String, String),
}

impl Times {
    pub(super) fn new(format: &str, zone: TimeZone) -> Self {
        let (parts, digits) = split(format);
        Self { zone, parts, digits, second: None, written: <(String, String)>::default() }
    }

    /// Adds `time` to `out`.
    pub(super) fn push(&mut self, time: Option<Time>, out: &mut String) {
        let Some(time) = time else { return out.push_str(NONE) };
        let nanos = time.0.subsec_nanosecond();
        let Some(digits) = self.digits.filter(|_| nanos >= 0) else {
            return self.format(&self.parts.0, time, out);
        };
        let second = time.0.as_second();
        if self.second != Some(second) {
            let mut written = std::mem::take(&mut self.written);
            written.0.clear();
            written.1.clear();
            self.format(&self.parts.0, time, &mut written.0);
            self.format(&self.parts.1, time, &mut written.1);
            self.written = written;
            self.second = Some(second);
        }
        out.push_str(&self.written.0);
        if digits > 0 {
            let width = usize::try_from(digits).unwrap_or(9);
            let _ = write!(out, ".{:0width$}", nanos / (SECOND / 10_i32.pow(digits)));
        }
        out.push_str(&self.written.1);
    }

    /// A format that cannot be printed (a bad directive) must not end the program.
    fn format(&self, format: &str, time: Time, out: &mut String) {
        let zoned = time.0.to_zoned(self.zone.clone());
        match jiff::fmt::strtime::format(format, &zoned) {
            Ok(text) => out.push_str(&text),
            Err(_) => {
                let _ = write!(out, "{}", time.0);
            }
        }
    }
}

/// The parts around `%.3f`, `%.6f` or `%.9f`, and the digits; the whole format where that is not all there is to it.
fn split(format: &str) -> ((String, String), Option<u32>) {
    let whole = (format.to_owned(), String::new());
    let below_a_second =
        |text: &str| ["%f", "%N", "%.", "%3", "%6", "%9", "%c"].iter().any(|d| text.contains(d));
    for (directive, digits) in [("%.3f", 3), ("%.6f", 6), ("%.9f", 9)] {
        if let Some((before, after)) = format.split_once(directive) {
            if below_a_second(before) || below_a_second(after) {
                return (whole, None);
            }
            return ((before.to_owned(), after.to_owned()), Some(digits));
        }
    }
    let digits = (!below_a_second(format)).then_some(0);
    (whole, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_library_formats_them() {
        let at = |nanos: i128| Time::from_nanos(1_763_719_200_000_000_000 + nanos);
        let times = [
            0,
            1,
            999_999_999,
            123_456_789,
            1_000_000_000,
            999_999,
            86_400_000_000_000,
            -2_000_000_000_000_000_000,
        ];
        for format in [
            "%b %e %H:%M:%S%.3f",
            "%FT%T%.9fZ",
            "%FT%T%.6f%:z",
            "%FT%TZ",
            "%F",
            "%s",
            "%T%.f",
            "%f x",
            "%.3f %.3f",
        ] {
            let mut printer = Times::new(format, TimeZone::UTC);
            for nanos in times {
                let mut out = String::new();
                printer.push(Some(at(nanos)), &mut out);
                let expected = jiff::fmt::strtime::format(format, &at(nanos).0.to_zoned(TimeZone::UTC));
                assert_eq!(out, expected.expect("a format"), "{format} of {nanos}");
            }
        }
        let mut out = String::new();
        Times::new("%!", TimeZone::UTC).push(Some(at(0)), &mut out);
        Times::new("%T", TimeZone::UTC).push(None, &mut out);
        assert_eq!(out, "2025-11-21T10:00:00ZN/A");
    }
}
