//! Find a few fields in passing bytes without building a tree.
