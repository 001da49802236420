//! One file per vendor.
