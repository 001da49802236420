//! Floor 4: the file as written becomes the [`Snapshot`](crate::policy::snapshot::Snapshot) the data plane reads.
//!
//! ```text
//!  text ─ hujson ─▶ Tree ─ file ─▶ File (typed, places kept) ─ compile ─▶ Snapshot + Install + warnings
//!                                                              embedded ─▶ the same, without a file
//! ```
//!
//! Invariants of absence: nothing here opens a socket; the environment and files are handed in; a secret's value
//! appears in no problem and no `Debug`.

pub mod certificates;
pub mod clients;
pub mod compile;
pub mod embedded;
pub mod file;
pub mod force;
pub mod hujson;
pub mod keys;
pub mod masked;
pub mod provider;
pub mod reload;
pub mod save;
pub mod secret;
pub mod sections;
pub mod urls;

pub use compile::{Install, Loaded, Options, load};
pub use embedded::embedded;
