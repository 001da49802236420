//! What a hostile client and its clever agent would try, over real sockets: refused, recorded with who and why, and
//! nothing of it reaches a provider. Attempts to pass for somebody else stand in `identity`, broken framing in `bad_input`.

mod models;
