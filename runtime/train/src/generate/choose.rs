//! Which token comes next, given logits and a random number.

use super::{GenerateError, Sampling};

pub(super) fn check(sampling: &Sampling) -> Result<(), GenerateError> {
    let wrong = |what: String| Err(GenerateError::Setting(what));
    if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
        return wrong(format!("temperature of {}", sampling.temperature));
    }
    if sampling.top_k == Some(0) {
        return wrong("choice among the 0 most likely tokens".into());
    }
    match sampling.top_p {
        Some(p) if !(p > 0.0 && p <= 1.0) => wrong(format!("top-p of {p}; it lies above 0 and is at most 1")),
        _ => Ok(()),
    }
}

/// The token that a uniform number in \[0, 1) chooses. Ties go to the lowest token; a NaN is never chosen before a number.
pub(super) fn choose(logits: &[f64], sampling: &Sampling, number: f64) -> u32 {
    let key = |t: usize| if logits[t].is_nan() { f64::NEG_INFINITY } else { logits[t] };
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(a.cmp(&b)));
    let first = order.first().copied().unwrap_or(0);
    if sampling.temperature == 0.0 {
        return first as u32;
    }
    order.truncate(sampling.top_k.unwrap_or(usize::MAX));
    let highest = key(first);
    let mut weights: Vec<f64> = order.iter().map(|&t| ((key(t) - highest) / sampling.temperature).exp()).collect();
    if let Some(p) = sampling.top_p {
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let enough = weights.iter().position(|w| {
            sum += w;
            sum >= p * total
        });
        weights.truncate(enough.map_or(weights.len(), |i| i + 1));
    }
    let mut left = number * weights.iter().sum::<f64>();
    for (&token, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return token as u32;
        }
    }
    first as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f64; 5] = [1.0, 3.0, f64::NAN, 3.0, 0.0];

    fn sampling(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampling {
        Sampling { temperature, top_k, top_p, seed: 0 }
    }

    fn chosen(sampling: &Sampling) -> Vec<u32> {
        let mut all: Vec<u32> = (0..1000).map(|i| choose(&LOGITS, sampling, f64::from(i) / 1000.0)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn temperature_zero_takes_the_lowest_of_the_most_likely() {
        assert_eq!(chosen(&sampling(0.0, None, None)), [1]);
    }

    #[test]
    fn top_k_and_top_p_narrow_the_choice() {
        assert_eq!(chosen(&sampling(1.0, None, None)), [0, 1, 3, 4]);
        assert_eq!(chosen(&sampling(1.0, Some(2), None)), [1, 3]);
        assert_eq!(chosen(&sampling(1.0, None, Some(0.4))), [1]);
        assert_eq!(chosen(&sampling(1.0, None, Some(0.5))), [1, 3]);
    }

    #[test]
    fn tokens_are_chosen_as_often_as_they_are_likely() {
        let s = sampling(1.0, None, None);
        let twos = (0..10_000).filter(|&i| choose(&[0.0, 2f64.ln()], &s, f64::from(i) / 10_000.0) == 1).count();
        assert!((6_600..6_700).contains(&twos), "{twos}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for bad in
            [sampling(-1.0, None, None), sampling(f64::NAN, None, None), sampling(1.0, Some(0), None), sampling(1.0, None, Some(0.0))]
        {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
