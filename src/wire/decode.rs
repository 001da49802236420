//! Content codings on the side, capped.
