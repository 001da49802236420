//! What a hostile client and its clever agent would try, over real sockets: refused, recorded with who and why, and
//! nothing of it reaches a provider. Attempts to pass for somebody else stand in `identity`, broken framing in `bad_input`.

mod browser;
mod budgets;
mod files;
mod heads;
mod models;

use serde_json::Value;

use crate::gate::{Gate, wait_for};

/// The record of an answer as it came.
fn recorded(gate: &Gate, answer: &str) -> Value {
    let id = answer.lines().find_map(|line| line.strip_prefix("x-weir-id: ")).expect("an id").trim();
    wait_for("the record", || {
        let (status, body) = gate.control(&format!("/api/requests/{id}"));
        (status == 200).then(|| serde_json::from_str(&body).expect("JSON"))
    })
}
