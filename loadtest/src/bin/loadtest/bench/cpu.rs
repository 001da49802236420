//! What a process tree has used, read from `/proc`.

use std::collections::HashMap;
use std::fs;

/// The name the gateway gives its serving threads.
const SERVING: &str = "weir-core";

/// Since the start of the processes.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Used {
    /// By serving threads; everything, where no thread bears their name.
    pub(crate) serving_ns: u64,
    pub(crate) whole_ns: u64,
}

/// Processor time of a process and its descendants, the dead included.
///
/// `schedstat` counts in ns but forgets threads that have ended; `stat` remembers them (and waited-for children) but
/// counts in ticks. The first is taken, unless the second says that more than rounding is missing.
pub(crate) fn used(pid: u32) -> Used {
    let (mut serving, mut whole, mut ticked) = (0, 0, 0);
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let tree = tree(pid);
    for pid in &tree {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let path = task.path();
            let ran = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            let ran: u64 = ran.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            whole += ran;
            serving += if name.starts_with(SERVING) { ran } else { 0 };
        }
        // utime, stime, cutime, cstime; children still alive are counted by themselves.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ticked +=
            after_name(&stat).skip(11).take(4).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>() * tick_ns;
    }
    let rounding = 4 * tick_ns * tree.len() as u64;
    let whole = if ticked > whole + rounding { ticked } else { whole };
    Used { serving_ns: if serving > 0 { serving } else { whole }, whole_ns: whole }
}

/// Resident bytes of a process and its descendants, of everything (`VmRSS:`) or of what is its own (`RssAnon:`, without
/// the pages of programs and libraries).
pub(crate) fn resident(pid: u32, what: &str) -> u64 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix(what)).unwrap_or("").trim();
        line.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    tree(pid).iter().map(of).sum()
}

pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    after_name(&stat).next().is_some_and(|state| state != "Z")
}

fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = after_name(&stat).nth(1).and_then(|p| p.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut all, mut at) = (vec![root], 0);
    while at < all.len() {
        all.extend(children.remove(&all[at]).unwrap_or_default());
        at += 1;
    }
    all
}

/// The fields of `stat` after the name, which may itself hold spaces and parentheses.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_work_is_seen() {
        let before = used(std::process::id());
        let mut x = 1_u64;
        let start = loadtest::clock::stamp_ns();
        while loadtest::clock::stamp_ns() - start < 50_000_000 {
            x = loadtest::http::mix(x);
        }
        let after = used(std::process::id());
        assert!(after.whole_ns > before.whole_ns + 5_000_000, "{before:?} {after:?} {x}");
        let own = resident(std::process::id(), "RssAnon:");
        assert!((100_000..resident(std::process::id(), "VmRSS:")).contains(&own));
        assert!(alive(std::process::id()) && !alive(u32::MAX));
    }
}
