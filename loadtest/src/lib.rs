//! Synthetic provider and byte-checking client. Without features: std only.
