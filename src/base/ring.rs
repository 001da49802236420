//! Crossing 3: two lock-free lanes per core, with counted loss.
