//! Medians with the least and the most.

use serde::{Deserialize, Serialize};

/// A median with the least and the most that was seen.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// The spread of what is there.
#[must_use]
pub fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let mid = values.len() / 2;
    let median =
        if values.len() % 2 == 1 { values[mid] } else { f64::midpoint(values[mid - 1], values[mid]) };
    Some(Spread { median, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let found = spread([4.0, 1.0, f64::NAN, 3.0, 2.0].into_iter());
        assert_eq!(found, Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(spread(std::iter::empty()), None);
    }
}
