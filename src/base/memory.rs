//! Giving memory back to the system when a thread has become quiet.
//!
//! The allocator keeps what a thread has freed, for that thread to use again; a core that was busy and now holds a
//! thousand silent streams would keep its busiest moment for ever.

/// Use small pages only: a huge page behind each thread's heap is most of what an idle gateway would weigh.
pub fn prefer_small_pages() {
    // Where the kernel does not know the request, it has no huge pages to give either.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Return this thread's free memory. Costs a walk over its heap, and page faults later: only for a quiet thread.
#[expect(unsafe_code, reason = "the allocator's own call has no safe face")]
pub fn release() {
    // SAFETY: mi_collect takes no pointers and may be called by any thread at any time; it frees nothing in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Let go of the pages of the program's own code: most of those touched by now only its start needed, and they would be
/// weighed as ours for ever. What is needed again comes back from the page cache, at a microsecond for 64 KiB.
///
/// For the end of the start, once. Nothing happens where the kernel does not tell its mappings.
#[expect(unsafe_code, reason = "the kernel is told about addresses")]
pub fn let_go_of_start() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, bytes) in maps.lines().filter_map(code_of_a_file) {
        let start = std::ptr::with_exposed_provenance_mut::<std::ffi::c_void>(start);
        // SAFETY: the mapping is private, of a file, and was never writable, so its pages are the file's own bytes and
        // come back as they were; addresses are not dereferenced here. Refused, nothing has changed.
        let _ = unsafe { rustix::mm::madvise(start, bytes, rustix::mm::Advice::LinuxDontNeed) };
    }
}

/// Start and length of a mapping of code from a file, by its line in `/proc/self/maps` (proc_pid_maps(5)).
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp";
    let path = words.nth(3)?;
    let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).ok());
    (is_code && path.starts_with('/')).then_some((start?, end?.checked_sub(start?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_everything_else() {
        let code = "55d0c8000000-55d0c8004000 r-xp 00010000 fe:00 1234    /usr/bin/weir";
        assert_eq!(code_of_a_file(code), Some((0x55d0_c800_0000, 0x4000)));
        for other in [
            "55d0c8004000-55d0c8005000 r--p 00014000 fe:00 1234    /usr/bin/weir",
            "7ffd1f1e6000-7ffd1f1e8000 r-xp 00000000 00:00 0       [vdso]",
            "7f6c2c000000-7f6c2c021000 rw-p 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code_of_a_file(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_let_go_of_runs_on() {
        let_go_of_start();
        assert_eq!(std::hint::black_box(code_of_a_file)(""), None);
    }
}
