//! Several measurements of the same thing, and statistics of them. It does no I/O.

/// Measurements of the same thing, in the order of the rounds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Returns the median.
    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// Returns pairs of measurements from the same rounds.
    pub fn pairs(&self, other: &Self) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().copied().zip(other.0.iter().copied())
    }

    /// Returns the smallest value that this percentage of the measurements does not exceed
    /// (nearest rank).
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

/// Returns how much more one case takes than another: the median of the differences within a
/// round, whose measurements shared whatever else the machine did.
pub fn added(samples: &[Samples], case: usize, to: usize) -> f64 {
    let pairs = samples[case].pairs(&samples[to]);
    let differences: Samples = pairs.map(|(with, without)| with - without).collect();
    differences.median()
}

/// Returns the ratio of two things: the median of the ratios within a round.
pub fn ratio(one: &Samples, other: &Samples) -> f64 {
    let ratios: Samples = one.pairs(other).map(|(one, other)| one / other).collect();
    ratios.median()
}

/// Measures each case in turn, round after round, so that whatever else the machine does affects
/// all of them. Returns one result per case.
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
