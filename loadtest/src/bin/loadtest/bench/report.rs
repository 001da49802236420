//! What a run of the benchmark says: a table, or JSON. Ratios and differences are within the run.

use loadtest::json::quote;

use super::{BenchArgs, Row, Sample};

impl Row {
    pub(super) fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect()).unwrap_or(0.0)
    }

    fn range(&self, of: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let all = self.samples.iter().map(of);
        all.fold((f64::MAX, 0.0), |(low, high), v| (low.min(v), high.max(v)))
    }

    /// The median of the ratios to another subject, window by window: neighbours in time are compared. Of several with
    /// that beginning (nginx set up in two ways) the cheapest is the yardstick.
    pub(super) fn ratio(&self, rows: &[Row], to: &str, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        if !self.measured {
            return None;
        }
        let others = rows.iter().filter(|r| r.workload == self.workload && r.subject.starts_with(to));
        let other = others.min_by(|a, b| a.median(&of).total_cmp(&b.median(&of)))?;
        median(self.samples.iter().zip(&other.samples).map(|(a, b)| of(a) / of(b)).collect())
    }

    /// The same beside subject `weir`: what another build, driver or configuration of it costs.
    fn to_weir(&self, rows: &[Row], of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let weir = rows.iter().find(|r| r.workload == self.workload && r.subject == "weir")?;
        if !self.measured || self.subject == "weir" {
            return None;
        }
        median(self.samples.iter().zip(&weir.samples).map(|(a, b)| of(a) / of(b)).collect())
    }

    /// What the subject adds to the delay of an event: beside `direct` in the same run.
    fn added(&self, rows: &[Row], of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let direct = rows.iter().find(|r| r.workload == self.workload && r.subject == "direct");
        direct.filter(|_| self.measured).map(|direct| self.median(&of) - direct.median(&of))
    }

    pub(super) fn wrong(&self) -> u64 {
        self.samples.iter().map(|s| s.wrong).sum()
    }
}

/// Of the finite ones: a subject that did nothing has no ratio.
pub(super) fn median(mut all: Vec<f64>) -> Option<f64> {
    all.retain(|v| v.is_finite());
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => None,
        n if n % 2 == 1 => Some(all[n / 2]),
        n => Some((all[n / 2 - 1] + all[n / 2]) / 2.0),
    }
}

pub(super) fn print_table(args: &BenchArgs, rows: &[Row]) {
    let added = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{us:.0}"));
    let times = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |r| format!("{r:.2}"));
    let mut last = "";
    for row in rows {
        let memory = row.workload == "memory";
        if row.workload != last {
            last = row.workload;
            let what = match row.unit {
                "stream" => "KiB per stream; idle MiB".to_owned(),
                unit => format!(
                    "µs of processor per {unit}, medians of {} windows of {} s",
                    args.repeats, args.seconds
                ),
            };
            println!("\n{last}: {what}");
            if memory {
                println!("  {:<12} {:>12} {:>10}", "", "KiB/stream", "idle MiB");
            } else {
                println!(
                    "  {:<12} {:>9} {:>15} {:>9} {:>7} {:>7} {:>7} {:>10} {:>7} {:>9} {:>9} {:>7} {:>7}",
                    "",
                    "serving",
                    "(min-max)",
                    "whole",
                    "×floor",
                    "×nginx",
                    "×weir",
                    "per s",
                    "reads",
                    "p50 µs",
                    "p99 µs",
                    "+p50",
                    "+p99"
                );
            }
        }
        let wrong = if row.wrong() > 0 { format!("  WRONG: {}", row.wrong()) } else { String::new() };
        if memory {
            let (kib, idle) = (row.median(|s| s.stream_kib), row.median(|s| s.idle_mib));
            println!("  {:<12} {kib:>12.2} {idle:>10.2}{wrong}", row.subject);
        } else {
            let (low, high) = row.range(|s| s.serving_us);
            let number = |value: f64| if row.measured { format!("{value:.2}") } else { "-".to_owned() };
            let ratio = |to: &str| row.ratio(rows, to, |s| s.serving_us);
            println!(
                "  {:<12} {:>9} {:>15} {:>9} {:>7} {:>7} {:>7} {:>10.0} {:>7.3} {:>9.0} {:>9.0} {:>7} {:>7}{wrong}",
                row.subject,
                number(row.median(|s| s.serving_us)),
                if row.measured { format!("({low:.2}-{high:.2})") } else { String::new() },
                number(row.median(|s| s.whole_us)),
                times(ratio("floor")),
                times(ratio("nginx")),
                times(row.to_weir(rows, |s| s.serving_us)),
                row.median(|s| s.units_per_s),
                row.median(|s| s.reads),
                row.median(|s| s.delay_p50_us),
                row.median(|s| s.delay_p99_us),
                added(row.added(rows, |s| s.delay_p50_us)),
                added(row.added(rows, |s| s.delay_p99_us))
            );
        }
        let first = row.samples.iter().find_map(|s| s.complaints.first());
        if let Some(complaint) = first {
            println!("      {complaint}");
        }
    }
}

pub(super) fn print_json(args: &BenchArgs, rows: &[Row]) {
    let ratio = |r: Option<f64>| r.filter(|r| r.is_finite()).map_or("null".to_owned(), |r| format!("{r:.4}"));
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let samples: Vec<String> = row
                .samples
                .iter()
                .map(|s| {
                    format!(
                        "{{\"serving_us\":{:.4},\"whole_us\":{:.4},\"units_per_s\":{:.1},\"reads_per_unit\":{:.4},\
                         \"delay_p50_us\":{:.1},\"delay_p99_us\":{:.1},\"stream_kib\":{:.3},\"idle_mib\":{:.3},\
                         \"wrong\":{}}}",
                        s.serving_us,
                        s.whole_us,
                        s.units_per_s,
                        s.reads,
                        s.delay_p50_us,
                        s.delay_p99_us,
                        s.stream_kib,
                        s.idle_mib,
                        s.wrong
                    )
                })
                .collect();
            let complaints: Vec<String> =
                row.samples.iter().flat_map(|s| &s.complaints).take(8).map(|c| quote(c)).collect();
            format!(
                "{{\"workload\":\"{}\",\"unit\":\"{}\",\"subject\":{},\"measured\":{},\"serving_us\":{:.4},\
                 \"whole_us\":{:.4},\"serving_to_floor\":{},\"serving_to_nginx\":{},\"whole_to_nginx\":{},\
                 \"serving_to_weir\":{},\"whole_to_weir\":{},\
                 \"added_p50_us\":{},\"added_p99_us\":{},\
                 \"stream_kib\":{:.3},\"idle_mib\":{:.3},\"wrong\":{},\"samples\":[{}],\"complaints\":[{}]}}",
                row.workload,
                row.unit,
                quote(&row.subject),
                row.measured,
                row.median(|s| s.serving_us),
                row.median(|s| s.whole_us),
                ratio(row.ratio(rows, "floor", |s| s.serving_us)),
                ratio(row.ratio(rows, "nginx", |s| s.serving_us)),
                ratio(row.ratio(rows, "nginx", |s| s.whole_us)),
                ratio(row.to_weir(rows, |s| s.serving_us)),
                ratio(row.to_weir(rows, |s| s.whole_us)),
                ratio(row.added(rows, |s| s.delay_p50_us)),
                ratio(row.added(rows, |s| s.delay_p99_us)),
                row.median(|s| s.stream_kib),
                row.median(|s| s.idle_mib),
                row.wrong(),
                samples.join(","),
                complaints.join(",")
            )
        })
        .collect();
    println!(
        "{{\"seconds\":{},\"repeats\":{},\"event_bytes\":{},\"rows\":[\n{}\n]}}",
        args.seconds,
        args.repeats,
        args.bytes,
        rows.join(",\n")
    );
}
