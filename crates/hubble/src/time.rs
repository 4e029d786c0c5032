//! Timestamps of protobuf and of the flow log.

use flowlog::record::Time;
use prost_types::Timestamp;

const SECOND: i128 = 1_000_000_000;

/// As protobuf has it: nanoseconds count upwards also before 1970.
pub(crate) fn to_proto(time: Time) -> Timestamp {
    let nanos = time.0.as_nanosecond();
    Timestamp {
        seconds: i64::try_from(nanos.div_euclid(SECOND)).unwrap_or_default(),
        nanos: i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or_default(),
    }
}

/// From a client; `None` if that is no time (protobuf: years 1 to 9999, less than a second of nanoseconds).
pub(crate) fn from_proto(time: &Timestamp) -> Option<Time> {
    let year_1_to_9999 = -62_135_596_800..=253_402_300_799_i64;
    let whole = (0..1_000_000_000).contains(&time.nanos) && year_1_to_9999.contains(&time.seconds);
    whole.then(|| Time::from_nanos(i128::from(time.seconds) * SECOND + i128::from(time.nanos)))
}

/// The wall clock.
pub(crate) fn now() -> Time {
    Time(jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_there_and_back() {
        for nanos in [0, 1, -1, 1_763_719_200_123_456_789, -SECOND, -SECOND - 1] {
            let time = Time::from_nanos(nanos);
            let proto = to_proto(time);
            assert!((0..1_000_000_000).contains(&proto.nanos), "{nanos}: {proto:?}");
            assert_eq!(from_proto(&proto), Some(time));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert_eq!(from_proto(&Timestamp { seconds, nanos }), None, "{seconds} {nanos}");
        }
    }
}
