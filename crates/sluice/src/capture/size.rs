//! Sizes and times as people type and read them.

use std::time::Duration;

/// Units, each 1024 times the one before.
const UNITS: [char; 3] = ['K', 'M', 'G'];

/// `500K`, `64M`, `2G`, or a number of bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(['B', 'b']).trim_end_matches('i');
    let unit = number.chars().last().map(|c| c.to_ascii_uppercase());
    let power = unit.and_then(|unit| UNITS.iter().position(|known| *known == unit));
    let (digits, factor) = match power {
        Some(power) => (&number[..number.len() - 1], 1024_u64.pow(power as u32 + 1)),
        None => (number, 1),
    };
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    size.filter(|size| *size > 0).ok_or_else(|| "write a number and K, M or G, as in `64M`".to_owned())
}

/// `10s`, `5m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().ok();
    let time = span.and_then(|span| Duration::try_from(span).ok()).filter(|time| !time.is_zero());
    time.ok_or_else(|| "write a number and ms, s, m or h, as in `10s`".to_owned())
}

/// A size for people.
pub(super) fn show(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut shown = None;
    for unit in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        shown = Some(unit);
    }
    match shown {
        Some(unit) => format!("{size:.1} {unit}iB"),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_and_shown() {
        for (text, size) in
            [("1", 1), ("500K", 500 << 10), ("64M", 64 << 20), ("2GiB", 2 << 30), ("3kb", 3 << 10)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for wrong in ["", "0", "K", "-1", "1.5M", "64T", "99999999999G", "ü"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "10", "-1s", "0s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!([17, 2048, 3 << 20].map(show), ["17 B", "2.0 KiB", "3.0 MiB"]);
    }
}
