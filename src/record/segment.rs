//! zstd blocks, checksums, recovery of a torn tail.
