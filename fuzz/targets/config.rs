//! Configuration files: any text gives problems with places inside it, or a configuration; never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::config::compile::{self, Options};

fuzz_target!(|text: &str| {
    let none = |_: &str| None;
    let no_files = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    if let Err(problems) = compile::load(text, &none, &no_files, &Options::default()) {
        assert!(!problems.is_empty(), "refused without a word");
    }
});
