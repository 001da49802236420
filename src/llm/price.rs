//! Usage × model → cost.
