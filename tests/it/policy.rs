//! Who may do what: whole files through the pure functions.

mod explain;
