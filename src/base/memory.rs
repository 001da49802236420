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
