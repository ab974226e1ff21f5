//! Measurements of one thing, and what they come to. Pure.

/// Measurements of the same thing.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// One more.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value that half of them do not exceed.
    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// Those of the same rounds.
    pub fn pairs(&self, other: &Self) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().copied().zip(other.0.iter().copied())
    }

    /// The smallest value that so many percent of them do not exceed (nearest rank).
    pub fn percentile(&self, percent: f64) -> f64 {
        assert!(!self.0.is_empty(), "nothing was measured");
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

/// What one case takes more than another one: the median of the differences within a round,
/// which shared whatever the machine did meanwhile.
pub fn added(samples: &[Samples], case: usize, to: usize) -> f64 {
    let pairs = samples[case].pairs(&samples[to]);
    let differences: Samples = pairs.map(|(with, without)| with - without).collect();
    differences.median()
}

/// How much of another one a thing is: the median of the ratios within a round.
pub fn ratio(one: &Samples, other: &Samples) -> f64 {
    let ratios: Samples = one.pairs(other).map(|(one, other)| one / other).collect();
    ratios.median()
}

/// Measures each case in turn, round after round, so that whatever the machine does besides
/// meets all of them; one result per case.
pub fn interleaved<C>(
    rounds: usize,
    cases: &mut [C],
    mut measure: impl FnMut(&mut C) -> f64,
) -> Vec<Samples> {
    let mut samples = vec![Samples::default(); cases.len()];
    for _ in 0..rounds {
        for (case, samples) in cases.iter_mut().zip(&mut samples) {
            samples.push(measure(case));
        }
    }
    samples
}
