//! Which program is calling and which session it is.
