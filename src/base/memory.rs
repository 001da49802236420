//! Giving memory back to the system when a thread has become quiet.
//!
//! The allocator keeps what a thread has freed, for that thread to use again; a core that was busy and now holds a
//! thousand silent streams would keep its busiest moment for ever.

/// Use small pages only: a huge page behind each thread's heap is most of what an idle gateway would weigh. For before
/// `main`: what the allocator has touched by then it has touched as a huge page.
pub extern "C" fn prefer_small_pages() {
    // Where the kernel does not know the request, it has no huge pages to give either.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Return this thread's free memory. Costs a walk over its heap, and page faults later: only for a quiet thread.
#[expect(unsafe_code, reason = "the allocator's own call has no safe face")]
pub fn release() {
    // SAFETY: mi_collect takes no pointers and may be called by any thread at any time; it frees nothing in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Let go of the pages of the program's own code and constants: most of those touched by now only its start needed, or
/// its last flood, and they would be weighed as ours for ever. What is needed again comes back from the page cache, at a
/// microsecond for 64 KiB.
///
/// For quiet moments. Nothing happens where the kernel does not tell its mappings.
#[expect(unsafe_code, reason = "the kernel is told about addresses")]
pub fn let_go_of_program() {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (start, bytes) in pages_of_files(&maps) {
        let start = std::ptr::with_exposed_provenance_mut::<std::ffi::c_void>(start);
        // SAFETY: the mapping is private, of a file, cannot be written and has no page of its own, so its pages are the
        // file's bytes and come back as they were; addresses are not dereferenced here. Refused, nothing has changed.
        let _ = unsafe { rustix::mm::madvise(start, bytes, rustix::mm::Advice::LinuxDontNeed) };
    }
}

/// Start and length of the mappings that are nothing but unchanged pages of a file, by `/proc/self/smaps`
/// (proc_pid_smaps(5)). Pages that the dynamic linker has written count as anonymous.
fn pages_of_files(smaps: &str) -> Vec<(usize, usize)> {
    let (mut found, mut last) = (Vec::new(), None);
    for line in smaps.lines() {
        match line.strip_prefix("Anonymous:") {
            Some(own) if own.trim() == "0 kB" => found.extend(last.take()),
            Some(_) => last = None,
            None => last = read_only_file(line).or(last),
        }
    }
    found
}

fn read_only_file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let reads = matches!(words.next()?, "r-xp" | "r--p");
    let path = words.nth(3)?;
    let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).ok());
    (reads && path.starts_with('/')).then_some((start?, end?.checked_sub(start?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_holds_is_told_from_what_is_ours() {
        let smaps = "\
55d0c8000000-55d0c8004000 r-xp 00010000 fe:00 1234    /usr/bin/weir
Rss:                  16 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
55d0c8004000-55d0c8005000 r--p 00014000 fe:00 1234    /usr/bin/weir
Anonymous:             4 kB
55d0c8005000-55d0c8007000 rw-p 00015000 fe:00 1234    /usr/bin/weir
Anonymous:             0 kB
7ffd1f1e6000-7ffd1f1e8000 r-xp 00000000 00:00 0       [vdso]
Anonymous:             0 kB
7f6c2c000000-7f6c2c021000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f6c2d000000-7f6c2d002000 r--p 00000000 fe:00 99      /usr/lib/libm.so.6
Anonymous:             0 kB
";
        assert_eq!(pages_of_files(smaps), [(0x55d0_c800_0000, 0x4000), (0x7f6c_2d00_0000, 0x2000)]);
    }

    #[test]
    fn code_and_constants_work_after_being_let_go() {
        let before = format!("{} {:?}", 7, "seven");
        let_go_of_program();
        assert_eq!(format!("{} {:?}", 7, "seven"), before);
        release();
    }
}
