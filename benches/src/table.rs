//! Figures as people read them.

use std::time::Duration;

/// The value below which a part `at` of these lies; `None`, if there are none. It sorts them.
pub fn quantile(samples: &mut [Duration], at: f64) -> Option<Duration> {
    samples.sort_unstable();
    let last = samples.len().checked_sub(1)?;
    Some(samples[(last as f64 * at).round() as usize])
}

/// The value in the middle; zero, if there are none.
pub fn median(samples: &mut [Duration]) -> Duration {
    quantile(samples, 0.5).unwrap_or_default()
}

/// In microseconds, with as many digits as mean something.
pub fn micros(span: Duration) -> String {
    grouped(span.as_secs_f64() * 1e6)
}

/// With as many digits as mean something, and commas between thousands.
pub fn grouped(number: f64) -> String {
    if number < 10.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How evenly something was shared out: 1 if all had the same, 1/n if one had it all.
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (squares * shares.len() as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_and_a_fair_share_is_one() {
        let mut samples: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(quantile(&mut samples, 0.99), Some(Duration::from_micros(99)));
        assert_eq!(median(&mut samples[..3]), Duration::from_micros(2));
        assert_eq!(quantile(&mut [], 0.5), None);
        assert_eq!((jain(&[5, 5, 5, 5]), jain(&[8, 0, 0, 0])), (1.0, 0.25));
        let texts = [9.876, 12.3, 1_234.5, 1_234_567.0].map(grouped);
        assert_eq!(texts, ["9.88", "12", "1,234", "1,234,567"]);
    }
}
