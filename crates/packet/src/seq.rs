//! TCP sequence numbers: comparison and distance modulo 2^32 (RFC 9293 §3.4).

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number.
///
/// There is no `Ord`: "before" is not transitive round the circle. Compare with the methods here; they are right
/// for numbers less than 2^31 apart, which windows of at most 2^30 bytes ensure (RFC 7323 §2.3).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether `self` comes before `other`.
    #[must_use]
    pub const fn lt(self, other: Self) -> bool {
        self.diff(other) < 0
    }

    /// Whether `self` comes before `other` or is the same.
    #[must_use]
    pub const fn le(self, other: Self) -> bool {
        self.diff(other) <= 0
    }

    /// Whether `self` comes after `other`.
    #[must_use]
    pub const fn gt(self, other: Self) -> bool {
        self.diff(other) > 0
    }

    /// Whether `self` comes after `other` or is the same.
    #[must_use]
    pub const fn ge(self, other: Self) -> bool {
        self.diff(other) >= 0
    }

    /// How far `self` lies beyond `other`; negative if before it. Two numbers exactly 2^31 apart are each before
    /// the other.
    #[must_use]
    pub const fn diff(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// The later of the two.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of the two.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if other.lt(self) { other } else { self }
    }

    /// Whether `self` lies in the `len` numbers that start at `start`.
    #[must_use]
    pub const fn within(self, start: Self, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, rhs: u32) -> Self {
        Self(self.0.wrapping_add(rhs))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, rhs: u32) {
        *self = *self + rhs;
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    fn sub(self, rhs: u32) -> Self {
        Self(self.0.wrapping_sub(rhs))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seq({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_number_after_the_last_is_zero() {
        assert!(Seq(u32::MAX).lt(Seq(0)));
        assert_eq!(Seq(u32::MAX) + 1, Seq(0));
        assert_eq!(Seq(0) - 1, Seq(u32::MAX));
        assert_eq!(Seq(5).diff(Seq(u32::MAX)), 6);
        assert_eq!(Seq(u32::MAX).max(Seq(3)), Seq(3));
        assert_eq!(Seq(u32::MAX).min(Seq(3)), Seq(u32::MAX));
    }

    #[test]
    fn a_window_may_straddle_the_wrap() {
        assert!(Seq(2).within(Seq(u32::MAX - 1), 5));
        assert!(!Seq(3).within(Seq(u32::MAX - 1), 5));
        assert!(!Seq(7).within(Seq(7), 0));
    }

    proptest! {
        #[test]
        fn agrees_with_plain_integers_on_an_unwrapped_line(start: u32, a in 0_u32..1 << 30, b in 0_u32..1 << 30) {
            let (x, y) = (Seq(start) + a, Seq(start) + b);
            prop_assert_eq!(x.lt(y), a < b);
            prop_assert_eq!(x.le(y), a <= b);
            prop_assert_eq!(x.gt(y), a > b);
            prop_assert_eq!(x.ge(y), a >= b);
            prop_assert_eq!(i64::from(x.diff(y)), i64::from(a) - i64::from(b));
            prop_assert_eq!(x.max(y), Seq(start) + a.max(b));
            prop_assert_eq!(x.min(y), Seq(start) + a.min(b));
            prop_assert_eq!(x.within(Seq(start), b), a < b);
        }
    }
}
