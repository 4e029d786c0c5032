//! Short and long schedules.

use super::rng::Rng;

/// How much is said on one connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Length {
    /// A few requests with little in them: what matters is their order, their cuts and the weather, so that many more
    /// of them can be played.
    Short,
    /// Up to sixteen, some larger than windows and buffers.
    Long,
}

impl Length {
    /// One of `short` or `long`.
    pub fn pick<T: Copy>(self, rng: &mut Rng, short: &[T], long: &[T]) -> T {
        rng.pick(if self == Self::Short { short } else { long })
    }
}
