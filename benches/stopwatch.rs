//! The harness of all benches: many passes, median and minimum told, the answer checked by the bench itself.
//! The minimum is what the code costs; how far the median lies above it is what the machine did meanwhile.

use std::hint::black_box;

use weir::base::clock;

/// Passes per case.
const PASSES: usize = 61;

/// Median and minimum nanoseconds of one call of `work`, called `calls` times per pass.
pub(crate) fn spend_ns<T>(calls: u32, mut work: impl FnMut() -> T) -> (f64, f64) {
    let mut passes: Vec<f64> = (0..PASSES)
        .map(|_| {
            let start = clock::now();
            for _ in 0..calls {
                black_box(work());
            }
            let took = u64::try_from(clock::now().since(start).as_nanos()).unwrap_or(u64::MAX);
            took as f64 / f64::from(calls)
        })
        .collect();
    passes.sort_by(f64::total_cmp);
    (passes[PASSES / 2], passes[0])
}

/// One line: the case, its cost per unit, the throughput of the minimum.
pub(crate) fn tell(case: &str, (median, least): (f64, f64), units: usize, unit: &str, bytes: usize) {
    let (median, per_unit) = (median / units as f64, least / units as f64);
    println!(
        "{case:<36} median {median:>9.2}, least {per_unit:>9.2} ns/{unit}, {:>6.2} GB/s",
        bytes as f64 / least
    );
}
