//! A course in one line of text.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last `width` values, from 0 to the largest of `most` and themselves.
pub fn line(values: &[f64], width: usize, most: f64) -> String {
    let values = values
        .get(values.len().saturating_sub(width)..)
        .unwrap_or_default();
    let most = values.iter().copied().fold(most, f64::max);
    values
        .iter()
        .map(|value| {
            let share = if most > 0.0 { value / most } else { 0.0 };
            let level = (share * 7.0).round().clamp(0.0, 7.0) as usize;
            LEVELS.get(level).copied().unwrap_or(' ')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_values_fit_between_nothing_and_the_most() {
        assert_eq!(line(&[9.0, 0.0, 50.0, 100.0], 3, 100.0), "▁▅█");
        assert_eq!(line(&[50.0], 10, 100.0), "▅");
        assert_eq!(line(&[0.0, 0.0], 10, 0.0), "▁▁");
        assert_eq!(line(&[], 10, 1.0), "");
    }
}
