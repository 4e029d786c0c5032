//! Numbers and times as protobuf's JSON writes them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// protobuf's JSON writes 64-bit numbers as strings; both forms are read.
pub mod u64_string {
    use super::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }

    /// As text.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    /// From text or a number.
    ///
    /// # Errors
    ///
    /// What is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        match Either::deserialize(d)? {
            Either::Number(n) => Ok(n),
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A point in time, written as RFC 3339 with nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Time(pub Timestamp);

impl Time {
    /// From nanoseconds since 1970; held to what a timestamp can say (years -9999 to 9999).
    #[must_use]
    pub fn from_nanos(nanos: i128) -> Self {
        let limit = if nanos < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Self(Timestamp::from_nanosecond(nanos).unwrap_or(limit))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:.9}", self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}
