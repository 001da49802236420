//! Buffers that a core reuses.
