//! Median and spread: with a handful of pairs nothing finer would be honest.

/// Middle and ends of some numbers; all 0 when there are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub lowest: f64,
    pub median: f64,
    pub highest: f64,
}

impl Spread {
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0.0);
        let last = numbers.len().saturating_sub(1);
        Self {
            lowest: at(0),
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            highest: at(last),
        }
    }
}

/// The number below which a share of sorted numbers lies; 0 when there is none.
pub fn at_share(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}

/// Slope of a line through points, by least squares; 0 when there is none.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (sum_x, sum_y) = points
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), (x, y)| {
        (
            above + (x - mean_x) * (y - mean_y),
            below + (x - mean_x).powi(2),
        )
    });
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(
            spread,
            Spread {
                lowest: 1.0,
                median: 2.0,
                highest: 3.0
            }
        );
        assert!((Spread::of([4.0, 1.0, 2.0, 3.0]).median - 2.5).abs() < 1e-9);
        assert_eq!(
            Spread::of([]),
            Spread {
                lowest: 0.0,
                median: 0.0,
                highest: 0.0
            }
        );
    }

    #[test]
    fn a_share_is_found_by_its_rank() {
        let numbers: Vec<f64> = (0..=100).map(f64::from).collect();
        assert!((at_share(&numbers, 0.99) - 99.0).abs() < 1e-9);
        assert!(at_share(&[], 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_slope_of_a_line_is_its_slope() {
        let line: Vec<_> = (0..10)
            .map(|x| (f64::from(x), 3.0 - 2.0 * f64::from(x)))
            .collect();
        assert!((slope(&line) + 2.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 1.0)]).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }
}
