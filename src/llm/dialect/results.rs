//! What a batch has written: a line for each of its requests, with a whole answer in some API's language.
//!
//! ```text
//!   Anthropic   {"custom_id":…,"result":{"type":"succeeded","message":{…}}}        or errored, canceled, expired
//!   OpenAI      {"custom_id":…,"response":{"status_code":200,"body":{…}},"error":null}
//! ```
//!
//! All of it is billed at the batch tier, whatever a body says of tiers. Counts are added up by model and step of its
//! price, and of the lines themselves the first are named, so that a record has a bound however long the file is.
//!
//! Other files come by the same paths: one without such a line says nothing.

use super::{Dialect, Draft, Effect, error_in};
use crate::llm::price::{Terms, rate};
use crate::llm::reading::{BatchLine, BatchReading, BilledRun, Reading};
use crate::llm::usage::Usage;
use crate::wire::head::Fields;
use crate::wire::json::Raw;

/// Lines that a record names.
const NAMED_MAX: usize = 200;
/// Tool calls that a record keeps.
const TOOLS_MAX: usize = 1_000;
/// Models and steps told apart; at the bound the rest is a run of no model, whose price nobody knows.
const RUNS_MAX: usize = 64;

/// Reads one file.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    batch: BatchReading,
    total: Usage,
    runs: Vec<Run>,
}

/// Requests that are priced alike.
#[derive(Debug)]
struct Run {
    model: Option<String>,
    step: u64,
    usage: Usage,
    longest: u64,
}

impl Reader {
    pub(crate) fn event(&mut self, _name: &[u8], data: &[u8]) -> Effect {
        let line = Raw::whole(data);
        // The last word is whether the last line was whole.
        self.draft.complete = line.is_some();
        let Some(line) = line else { return Effect::Unreadable };
        self.line(line);
        Effect::Read
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        self.draft.error = error_in(body);
        self.draft.complete = true;
    }

    pub(crate) fn finish(mut self) -> Reading {
        if self.batch.lines == 0 {
            return Reading { complete: true, error: self.draft.error, ..Reading::default() };
        }
        self.draft.model = self.runs.first().and_then(|run| run.model.clone());
        self.draft.terms = Terms { service_tier: Some("batch".into()), ..Terms::default() };
        let run = |run: Run| BilledRun { model: run.model, usage: run.usage, prompt: Some(run.longest) };
        Reading {
            usage: self.total,
            billed_runs: self.runs.into_iter().map(run).collect(),
            batch: Some(self.batch),
            ..self.draft.reading()
        }
    }

    /// A line of results. One of requests, which looks much the same, has none.
    fn line(&mut self, line: Raw<'_>) {
        let Some(custom_id) = line.at("custom_id").and_then(Raw::string) else { return };
        let (result, response, error) = (line.at("result"), line.at("response"), line.at("error"));
        if result.or(response).or(error).is_none() {
            return;
        }
        let message = result.and_then(|result| result.at("message")).map(|body| (Dialect::Messages, body));
        let body = || response.and_then(|response| response.at("body")).map(|body| (language(body), body));
        let reading = message.or_else(body).map(|(dialect, body)| read(dialect, body)).unwrap_or_default();
        let failure = failure(result, response, error);
        self.batch.lines += 1;
        self.batch.failed += u64::from(failure.is_some());
        if self.batch.first.len() < NAMED_MAX {
            self.batch.first.push(BatchLine {
                custom_id,
                model: reading.model.clone(),
                usage: reading.usage,
                stop_reason: reading.stop_reason.clone(),
                failure,
            });
        }
        self.add(reading);
    }

    fn add(&mut self, reading: Reading) {
        self.total = self.total.plus(&reading.usage);
        let room = TOOLS_MAX.saturating_sub(self.draft.tools.len());
        self.draft.tools.extend(reading.tool_uses.into_iter().take(room));
        if reading.billed_runs.is_empty() {
            return self.add_run(reading.model, &reading.usage);
        }
        // Searches stand at the top level only, and are billed with the first.
        let mut searches = reading.usage.web_searches;
        for run in reading.billed_runs {
            let usage = Usage { web_searches: searches.take(), ..run.usage };
            self.add_run(run.model.or_else(|| reading.model.clone()), &usage);
        }
    }

    fn add_run(&mut self, model: Option<String>, usage: &Usage) {
        if usage.is_unknown() {
            return;
        }
        let longest = usage.input_tokens.unwrap_or(0);
        let step = rate::step_of(model.as_deref().unwrap_or_default(), longest);
        let run = Run { model, step, usage: *usage, longest };
        let full = self.runs.len() >= RUNS_MAX;
        let same = |known: &&mut Run| known.step == run.step && known.model == run.model;
        match self.runs.iter_mut().find(same) {
            Some(known) => known.add(&run),
            None if !full => self.runs.push(run),
            None => {
                let Some(last) = self.runs.last_mut() else { return };
                last.model = Some(SEVERAL.into());
                last.add(&run);
            }
        }
    }
}

/// In place of a model's name, where there are too many.
const SEVERAL: &str = "(several)";

impl Run {
    fn add(&mut self, other: &Run) {
        self.usage = self.usage.plus(&other.usage);
        self.longest = self.longest.max(other.longest);
    }
}

fn read(dialect: Dialect, body: Raw<'_>) -> Reading {
    let mut reader = super::Reader::new(dialect, &Fields::new());
    reader.body(body);
    reader.finish()
}

/// In which of its languages OpenAI has answered.
fn language(body: Raw<'_>) -> Dialect {
    let object = body.at("object").and_then(Raw::string).unwrap_or_default();
    match object.as_str() {
        kind if kind.starts_with("response") => Dialect::Responses,
        "list" => Dialect::Embeddings,
        _ if body.at("results").is_some() => Dialect::Moderations,
        _ => Dialect::Chat,
    }
}

/// Why a request came to nothing, if it did.
fn failure(result: Option<Raw<'_>>, response: Option<Raw<'_>>, error: Option<Raw<'_>>) -> Option<String> {
    let kind = result.and_then(|result| result.at("type")?.string());
    let status = response.and_then(|response| response.at("status_code")?.count());
    let error =
        || error.map(|error| error.at("code").and_then(Raw::string).unwrap_or_else(|| "error".into()));
    kind.filter(|kind| kind != "succeeded")
        .or_else(|| status.filter(|status| *status >= 400).map(|status| status.to_string()))
        .or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lines(lines: &[&str]) -> Reading {
        let mut reader = Reader::default();
        for line in lines {
            reader.event(b"", line.as_bytes());
        }
        reader.finish()
    }

    #[test]
    fn every_line_counts_at_its_own_model_and_all_at_the_batch_tier() {
        let reading = read_lines(&[
            r#"{"custom_id":"a","result":{"type":"succeeded","message":{"id":"m1","type":"message","model":"claude-x","stop_reason":"tool_use","content":[{"type":"tool_use","id":"t","name":"f","input":{}}],"usage":{"input_tokens":10,"output_tokens":3,"cache_read_input_tokens":5,"service_tier":"batch"}}}}"#,
            r#"{"custom_id":"b","result":{"type":"succeeded","message":{"id":"m2","type":"message","model":"claude-y","content":[],"usage":{"input_tokens":7,"output_tokens":1}}}}"#,
            r#"{"custom_id":"c","result":{"type":"expired"}}"#,
            r#"{"id":"x","custom_id":"d","response":{"status_code":200,"body":{"id":"c","object":"chat.completion","model":"gpt-z","service_tier":"default","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":2}}},"error":null}"#,
            r#"{"id":"x","custom_id":"e","response":{"status_code":429,"body":{"error":{"message":"no"}}},"error":null}"#,
        ]);
        assert_eq!((reading.usage.input_tokens, reading.usage.output_tokens), (Some(26), Some(6)));
        assert_eq!(reading.terms.service_tier.as_deref(), Some("batch"));
        assert_eq!((reading.tool_uses.len(), reading.complete), (1, true));
        let batch = reading.batch.expect("a batch");
        assert_eq!((batch.lines, batch.failed), (5, 2));
        let named = |line: &BatchLine| (line.custom_id.clone(), line.failure.clone());
        let told: Vec<_> = batch.first.iter().map(named).collect();
        let failed = |id: &str, why: &str| (id.to_owned(), Some(why.to_owned()));
        assert_eq!((&told[2], &told[4]), (&failed("c", "expired"), &failed("e", "429")));
        let runs: Vec<_> =
            reading.billed_runs.iter().map(|run| (run.model.clone(), run.usage.input_tokens)).collect();
        let run = |model: &str, input: u64| (Some(model.to_owned()), Some(input));
        assert_eq!(runs, [run("claude-x", 15), run("claude-y", 7), run("gpt-z", 4)]);
    }

    #[test]
    fn requests_that_are_priced_alike_are_one_run_and_others_are_not() {
        let line = |input: u64| {
            format!(
                r#"{{"custom_id":"a","result":{{"type":"succeeded","message":{{"content":[],"model":"claude-x","usage":{{"input_tokens":{input},"output_tokens":1}}}}}}}}"#
            )
        };
        let lines = [line(10), line(250_000), line(20), line(201_000)];
        let reading = read_lines(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let runs: Vec<_> =
            reading.billed_runs.iter().map(|run| (run.usage.input_tokens, run.prompt)).collect();
        assert_eq!(runs, [(Some(30), Some(20)), (Some(451_000), Some(250_000))]);
    }

    #[test]
    fn any_other_file_says_nothing_and_a_long_one_has_a_bound() {
        let requests = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","usage":{"prompt_tokens":9}}}"#;
        for lines in [&[requests][..], &["{}"], &["{\"usage\":{\"input_tokens\":9}}"], &[]] {
            let reading = read_lines(lines);
            assert_eq!(
                (reading.batch, reading.usage, reading.billed_runs.len()),
                (None, Usage::default(), 0)
            );
        }
        let mut reader = Reader::default();
        for n in 0..5_000 {
            let line = format!(
                r#"{{"custom_id":"{n}","result":{{"type":"succeeded","message":{{"content":[{{"type":"tool_use","name":"f"}}],"model":"m{n}","usage":{{"input_tokens":1,"output_tokens":1}}}}}}}}"#
            );
            reader.event(b"", line.as_bytes());
        }
        let reading = reader.finish();
        assert_eq!((reading.usage.input_tokens, reading.billed_runs.len()), (Some(5_000), RUNS_MAX));
        let batch = reading.batch.expect("a batch");
        assert_eq!((batch.lines, batch.first.len(), reading.tool_uses.len()), (5_000, NAMED_MAX, TOOLS_MAX));
        let billed: u64 = reading.billed_runs.iter().filter_map(|run| run.usage.input_tokens).sum();
        assert_eq!(billed, 5_000, "nothing is lost at the bound");
    }
}
