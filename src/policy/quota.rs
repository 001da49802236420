//! How much: budgets that requests draw on.

pub mod settings;
