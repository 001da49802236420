//! The loop: drain rings → batch → segment → index.
