//! Arguments → command. Nothing else lives here.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run before the allocator's first page is touched, which the standard library does before `main`.
// SAFETY: the section holds pointers to functions that the loader calls once each, in one thread; this one takes what it
// is called with as nothing, makes one system call and neither allocates nor panics.
#[used]
#[expect(unsafe_code, reason = "the section is given a meaning by the loader")]
#[unsafe(link_section = ".init_array")]
static FIRST: extern "C" fn() = weir::base::memory::prefer_small_pages;

fn main() -> std::process::ExitCode {
    weir::cli::run()
}
