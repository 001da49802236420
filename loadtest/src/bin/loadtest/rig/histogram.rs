//! Times in buckets whose width grows with the value: 32 to each doubling, so at most three percent off.

const STEPS: usize = 32;

#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; STEPS * 60], total: 0, max: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    pub(crate) fn clear(&mut self) {
        *self = Histogram::default();
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value that `part` (0 to 1) of all are at or below; 0 if there are none.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let rank = (self.total as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - STEPS.ilog2();
    (shift as usize + 1) * STEPS + (value >> shift) as usize - STEPS
}

fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    // The last bucket's end is past the number's range: wrapping makes it the greatest number.
    (((bucket % STEPS + STEPS + 1) as u64) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_three_percent() {
        let mut all = Histogram::default();
        (1..=100_000).for_each(|v| all.add(v * 7));
        for part in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let (got, exact) = (all.quantile(part) as f64, part * 700_000.0);
            assert!((got - exact).abs() / exact < 0.035, "{part}: {got} for {exact}");
        }
        assert_eq!(Histogram::default().quantile(0.5), 0);
        all.add(u64::MAX);
        assert_eq!(all.quantile(1.0), u64::MAX);
    }
}
