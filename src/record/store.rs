//! Index and reader of the account.
