//! The harness of all benches: many interleaved passes, the median told, the answer checked by the bench itself.

use std::hint::black_box;

use weir::base::clock;

/// Passes per case; the median of them is told.
const PASSES: usize = 61;

/// Median nanoseconds of one call of `work`, called `calls` times per pass.
pub(crate) fn median_ns<T>(calls: u32, mut work: impl FnMut() -> T) -> f64 {
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
    passes[PASSES / 2]
}

/// One line: the case, its cost per unit, its throughput.
pub(crate) fn tell(case: &str, ns: f64, units: usize, unit: &str, bytes: usize) {
    println!("{case:<44} {:>9.2} ns/{unit:<6} {:>7.2} GB/s", ns / units as f64, bytes as f64 / ns);
}
