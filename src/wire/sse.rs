//! Event-stream splitter, any chunking.
