//! Who may do what: whole files through the pure functions.

mod cases;
mod examples;
mod explain;
mod property;
mod sampled;
