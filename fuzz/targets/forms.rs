//! Forms and batches: what is read out of one stands in it once; every model that another parser would see is named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weir::llm::ask::AskFault;
use weir::llm::batch::Batch;
use weir::llm::form::{self, Form, Written};

/// A form; its boundary is the first line.
fn form(text: &[u8]) {
    let at = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (kind, body) = (&text[..at], text.get(at + 1..).unwrap_or_default());
    let kind = [b"multipart/form-data; boundary=", kind].concat();
    let Ok(Written::Parts(boundary)) = form::written([&kind[..]].into_iter()) else { return };
    let Ok(read) = Form::read(body, &boundary) else { return };
    if let Ok(Some(file)) = read.file("file") {
        assert!(file.start <= file.end && file.end <= body.len());
    }
    let (Ok(ask), Some(span)) = (read.ask(body), read.model_span()) else { return };
    assert_eq!(ask.model.as_deref().map(str::as_bytes), Some(&body[span.clone()]));
    // An alias goes exactly there: the form is the same but for it.
    let renamed = [&body[..span.start], b"another", &body[span.end..]].concat();
    let again = Form::read(&renamed, &boundary).and_then(|read| read.ask(&renamed)).expect("as well-formed as before");
    assert_eq!(again.model.as_deref(), Some("another"));
    assert_eq!((again.stream, again.user, again.user_message), (ask.stream, ask.user, ask.user_message));
}

/// What a parser that takes the last of equal keys would run.
fn model_of(request: &[u8], body: &str) -> Option<String> {
    let request: Value = serde_json::from_slice(request).ok()?;
    Some(request.get(body)?.get("model")?.as_str()?.to_owned())
}

fn named(batch: &Result<Batch, AskFault>, model: Option<String>) {
    if let (Ok(batch), Some(model)) = (batch, model) {
        assert!(batch.models.contains(&model), "{model:?} would run unseen");
    }
}

fn messages(body: &[u8]) {
    let batch = Batch::of_messages(body);
    let Ok(whole) = serde_json::from_slice::<Value>(body) else { return };
    for request in whole.get("requests").and_then(Value::as_array).into_iter().flatten() {
        named(&batch, model_of(request.to_string().as_bytes(), "params"));
    }
}

/// Lines: the same read together and one by one.
fn lines(file: &[u8]) {
    let whole = Batch::of_lines(file);
    let (mut models, mut readable) = (std::collections::BTreeSet::new(), true);
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        named(&whole, model_of(line, "body"));
        match Batch::of_lines(line) {
            Ok(one) => models.extend(one.models),
            Err(_) => readable = false,
        }
    }
    if let Ok(whole) = whole {
        assert!(readable && models == whole.models);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, _, bytes)) = weir_fuzz::parts(input) else { return };
    match choice % 3 {
        0 => form(bytes),
        1 => messages(bytes),
        _ => lines(bytes),
    }
});
