//! Batches: many requests in one body, or in the lines of a file. Each names a model, and all of them count.

use std::collections::BTreeSet;

use super::ask::{AskFault, AskReader};
use super::dialect::Dialect;
use super::dialect::paths::{self, Endpoint, Flag};
use crate::wire::json::Raw;

/// Lines of one file, or requests of one body (OpenAI's and Anthropic's own bounds lie below).
const REQUESTS_MAX: usize = 200_000;

/// What all requests of a batch want together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Every model that one of them may run.
    pub models: BTreeSet<String>,
    /// Flags that open their endpoints.
    pub flags: BTreeSet<Flag>,
    /// Ids of what stays at a provider that one of them names.
    pub objects: BTreeSet<String>,
    count: usize,
}

impl Batch {
    /// Anthropic's: `{"requests": [{"custom_id": …, "params": {…}}, …]}`.
    pub fn of_messages(body: &[u8]) -> Result<Self, AskFault> {
        let whole = Raw::whole(body).ok_or(AskFault::NotJson { at: 0 })?;
        let mut batch = Batch::default();
        batch.flags.insert(Flag::AnthropicMessages);
        for request in only(whole, "requests")?.elements() {
            batch.add(Dialect::Messages, only(request, "params")?, None)?;
        }
        batch.some()
    }

    /// OpenAI's file: one `{"custom_id": …, "method": "POST", "url": …, "body": {…}}` a line.
    pub fn of_lines(file: &[u8]) -> Result<Self, AskFault> {
        let mut batch = Batch::default();
        for line in file.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let line = Raw::whole(line.trim_ascii()).ok_or(AskFault::BatchLine("is not JSON"))?;
            let text = |key| Ok(only(line, key)?.string().unwrap_or_default());
            let route = paths::endpoint(&text("method")?, &text("url")?);
            let runs = |endpoint| {
                use Endpoint::{Make, Models, Object, Results, Socket};
                !matches!(endpoint, Make | Object | Results | Models | Socket)
            };
            let route =
                route.filter(|route| runs(route.endpoint)).ok_or(AskFault::BatchLine("names no endpoint"))?;
            batch.flags.insert(route.flag);
            batch.add(route.dialect, only(line, "body")?, route.model_in_path)?;
        }
        batch.some()
    }

    fn add(
        &mut self,
        dialect: Dialect,
        body: Raw<'_>,
        model_in_path: Option<String>,
    ) -> Result<(), AskFault> {
        self.count += 1;
        if self.count > REQUESTS_MAX {
            return Err(AskFault::BatchLine("is one too many"));
        }
        let ask = AskReader::new(dialect).with_model_in_path(model_in_path).finish(body.bytes())?;
        self.objects.extend(ask.objects);
        self.models.extend(ask.model.into_iter().chain(ask.other_models));
        Ok(())
    }

    fn some(self) -> Result<Self, AskFault> {
        if self.count == 0 { Err(AskFault::BatchLine("is missing")) } else { Ok(self) }
    }
}

/// The one member of that name; none, or another of that name in any spelling or case, is a fault.
fn only<'a>(object: Raw<'a>, name: &str) -> Result<Raw<'a>, AskFault> {
    let same = |written: &[u8]| {
        let text = crate::wire::json::unescape(written);
        text.is_some_and(|key| key.eq_ignore_ascii_case(name))
    };
    let mut found = object.members().filter(|(key, _)| same(key.written()));
    match (found.next(), found.next()) {
        (Some((key, value)), None) if key.is(name) => Ok(value),
        (Some(_), Some(_)) => Err(AskFault::DuplicateKey(name.to_owned())),
        _ => Err(AskFault::BatchLine("lacks a member that it needs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(batch: Result<Batch, AskFault>) -> Result<String, AskFault> {
        batch.map(|batch| batch.models.into_iter().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn every_model_of_a_messages_batch() {
        let batch = br#"{"requests":[{"custom_id":"1","params":{"model":"a","messages":[]}},
            {"custom_id":"2","params":{"model":"b","tools":[{"type":"advisor","name":"x","model":"c"}]}}]}"#;
        assert_eq!(names(Batch::of_messages(batch)), Ok("a b c".into()));
        for bad in [
            &br#"{"requests":[]}"#[..],
            br#"{"requests":[{"params":{"model":"a"},"params":{"model":"b"}}]}"#,
            br#"{"requests":[{"params":{"model":"a"}}],"request\u0073":[{"params":{"model":"b"}}]}"#,
            br#"{"requests":[{"params":{"model":"a"},"PARAMS":{"model":"b"}}]}"#,
            br#"{"requests":[{"params":{"model":"a","model":"b"}}]}"#,
            br#"{"requests":[{"params":{}}]}"#,
            b"[]",
            b"",
        ] {
            assert!(Batch::of_messages(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn every_model_and_endpoint_of_a_file() {
        let file = b"{\"custom_id\":\"1\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"a\"}}\n\
            {\"custom_id\":\"2\",\"method\":\"POST\",\"url\":\"/v1/embeddings\",\"body\":{\"model\":\"b\",\"input\":\"x\"}}\n\
            {\"method\":\"POST\",\"url\":\"/v1/responses\",\"body\":{\"model\":\"a\",\"previous_response_id\":\"resp_1\"}}\n\n";
        let batch = Batch::of_lines(file).expect("readable");
        assert_eq!(
            batch.flags.iter().copied().collect::<Vec<_>>(),
            [Flag::OpenaiChat, Flag::OpenaiResponses, Flag::OpenaiOther]
        );
        assert_eq!(batch.objects.iter().collect::<Vec<_>>(), ["resp_1"]);
        assert_eq!(names(Ok(batch)), Ok("a b".into()));
        for bad in [
            &b""[..],
            b"{\"method\":\"POST\",\"url\":\"/v1/files\",\"body\":{\"model\":\"a\"}}",
            b"{\"method\":\"GET\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"a\"}}",
            b"{\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{}}",
            b"{\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"a\"}} {}",
        ] {
            assert!(Batch::of_lines(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
