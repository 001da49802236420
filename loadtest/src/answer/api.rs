//! Which method and path mean what: the provider's own table of endpoints.

/// A language of request and answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dialect {
    Messages,
    Chat,
    Completions,
    Responses,
    Embeddings,
    Moderations,
    Gemini,
    GeminiEmbed,
    Converse,
    Invoke,
    Ollama,
    OllamaEmbed,
}

/// Whose manners errors and credentials have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Vendor {
    Anthropic,
    OpenAi,
    Google,
    Aws,
    Ollama,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    Generate,
    Count,
    Compact,
    /// An answer made before, by its id.
    Retrieve(String),
    Models,
    /// A Google access token.
    Token,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Api {
    pub(super) dialect: Dialect,
    pub(super) call: Call,
    /// Named by the path.
    pub(super) model: Option<String>,
    /// Said by the path; otherwise the body says it.
    pub(super) stream: Option<bool>,
    /// Gemini: `alt=sse`; otherwise its stream is one JSON array.
    pub(super) sse: bool,
    /// Of a stream fetched anew: events up to this number have been seen.
    pub(super) after: Option<u64>,
}

impl Dialect {
    pub(super) fn name(self) -> &'static str {
        match self {
            Dialect::Messages => "messages",
            Dialect::Chat => "chat",
            Dialect::Completions => "completions",
            Dialect::Responses => "responses",
            Dialect::Embeddings | Dialect::OllamaEmbed | Dialect::GeminiEmbed => "embeddings",
            Dialect::Moderations => "moderations",
            Dialect::Gemini => "gemini",
            Dialect::Converse => "converse",
            Dialect::Invoke => "invoke",
            Dialect::Ollama => "ollama",
        }
    }

    /// What ids of answers and of tool calls begin with.
    pub(super) fn prefixes(self) -> (&'static str, &'static str) {
        match self {
            Dialect::Messages => ("msg_", "toolu_"),
            Dialect::Invoke => ("msg_bdrk_", "toolu_bdrk_"),
            Dialect::Converse => ("", "tooluse_"),
            Dialect::Chat => ("chatcmpl-", "call_"),
            Dialect::Completions => ("cmpl-", ""),
            Dialect::Responses => ("resp_", "call_"),
            Dialect::Moderations => ("modr-", ""),
            Dialect::Gemini | Dialect::GeminiEmbed | Dialect::Embeddings => ("", ""),
            Dialect::Ollama | Dialect::OllamaEmbed => ("", "call_"),
        }
    }

    /// Cached input is counted beside the input, not inside it.
    pub(super) fn cache_beside(self) -> bool {
        matches!(self, Dialect::Messages | Dialect::Invoke | Dialect::Converse)
    }
}

impl Vendor {
    pub(super) fn of(path: &str) -> Vendor {
        let last = path.rsplit('/').next().unwrap_or("");
        match () {
            () if path.contains("/model/") => Vendor::Aws,
            () if path.contains("/api/") => Vendor::Ollama,
            () if last.contains(":rawPredict") || last.contains(":streamRawPredict") => Vendor::Anthropic,
            () if last.contains(':') || path.contains("/v1beta") => Vendor::Google,
            () if OPENAI.iter().any(|part| path.contains(part)) => Vendor::OpenAi,
            () => Vendor::Anthropic,
        }
    }
}

const OPENAI: [&str; 5] = ["/chat/", "/completions", "/responses", "/embeddings", "/moderations"];

impl Api {
    /// A base path before the API's own is somebody's route to here.
    pub(super) fn of(method: &str, path: &str, query: &str) -> Option<Api> {
        let (before, last) = path.rsplit_once('/')?;
        let has = |pair: &str| query.split('&').any(|p| p == pair);
        let plain = |dialect, call| Api {
            dialect,
            call,
            model: None,
            stream: None,
            sse: has("alt=sse"),
            after: None,
        };
        if method == "GET" {
            return match last {
                "models" if path.contains("/v1beta") => Some(plain(Dialect::Gemini, Call::Models)),
                "models" => Some(plain(Dialect::Chat, Call::Models)),
                "tags" if before.ends_with("/api") => Some(plain(Dialect::Ollama, Call::Models)),
                "token" if before.contains("/service-accounts/") => Some(plain(Dialect::Gemini, Call::Token)),
                id if before.ends_with("/responses") => {
                    let after =
                        query.split('&').find_map(|p| p.strip_prefix("starting_after=")?.parse().ok());
                    let retrieve = Call::Retrieve(id.to_owned());
                    Some(Api {
                        stream: Some(has("stream=true")),
                        after,
                        ..plain(Dialect::Responses, retrieve)
                    })
                }
                _ => None,
            };
        }
        if method != "POST" {
            return None;
        }
        if let Some((model, verb)) = last.split_once(':') {
            return google(model, verb, plain);
        }
        if let Some((_, model)) = before.rsplit_once("/model/") {
            return aws(model, last, plain);
        }
        Some(match (before.rsplit('/').next()?, last) {
            (_, "messages") => plain(Dialect::Messages, Call::Generate),
            ("messages", "count_tokens") => plain(Dialect::Messages, Call::Count),
            ("chat", "completions") => plain(Dialect::Chat, Call::Generate),
            (_, "completions") => plain(Dialect::Completions, Call::Generate),
            (_, "responses") => plain(Dialect::Responses, Call::Generate),
            ("responses", "input_tokens") => plain(Dialect::Responses, Call::Count),
            ("responses", "compact") => plain(Dialect::Responses, Call::Compact),
            (id, "cancel") if before.contains("/responses/") => {
                plain(Dialect::Responses, Call::Retrieve(id.to_owned()))
            }
            (_, "embeddings") => plain(Dialect::Embeddings, Call::Generate),
            (_, "moderations") => plain(Dialect::Moderations, Call::Generate),
            ("api", "chat" | "generate") => plain(Dialect::Ollama, Call::Generate),
            ("api", "embed") => plain(Dialect::OllamaEmbed, Call::Generate),
            (_, "token") => plain(Dialect::Gemini, Call::Token),
            _ => return None,
        })
    }
}

/// `…/models/MODEL:VERB`, on the Gemini API and under Vertex.
fn google(model: &str, verb: &str, plain: impl Fn(Dialect, Call) -> Api) -> Option<Api> {
    let (dialect, call, stream) = match (model, verb) {
        ("count-tokens", "rawPredict") => return Some(plain(Dialect::Messages, Call::Count)),
        (_, "generateContent") => (Dialect::Gemini, Call::Generate, false),
        (_, "streamGenerateContent") => (Dialect::Gemini, Call::Generate, true),
        (_, "countTokens") => (Dialect::Gemini, Call::Count, false),
        (_, "embedContent" | "batchEmbedContents") => (Dialect::GeminiEmbed, Call::Generate, false),
        (_, "rawPredict") => (Dialect::Messages, Call::Generate, false),
        (_, "streamRawPredict") => (Dialect::Messages, Call::Generate, true),
        _ => return None,
    };
    Some(Api { model: Some(decode(model)), stream: Some(stream), ..plain(dialect, call) })
}

/// `/model/MODEL/OPERATION`
fn aws(model: &str, operation: &str, plain: impl Fn(Dialect, Call) -> Api) -> Option<Api> {
    let (dialect, call, stream) = match operation {
        "converse" => (Dialect::Converse, Call::Generate, false),
        "converse-stream" => (Dialect::Converse, Call::Generate, true),
        "invoke" => (Dialect::Invoke, Call::Generate, false),
        "invoke-with-response-stream" => (Dialect::Invoke, Call::Generate, true),
        "count-tokens" => (Dialect::Converse, Call::Count, false),
        _ => return None,
    };
    Some(Api { model: Some(decode(model)), stream: Some(stream), ..plain(dialect, call) })
}

/// Percent-decoded once; what is not well-formed stands for itself.
fn decode(written: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), written.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            (byte, _) => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let of = |path| Api::of("POST", path, "").map(|api| (api.dialect, api.call, api.model, api.stream));
        let model = |name: &str| Some(name.to_owned());
        let vertex = |rest: &str| format!("/v1/projects/p/locations/l/publishers/{rest}");
        let (claude, gemini) =
            (vertex("anthropic/models/c@1:streamRawPredict"), vertex("google/models/g:generateContent"));
        for (path, dialect, call, named, stream) in [
            ("/base/v1/messages", Dialect::Messages, Call::Generate, None, None),
            ("/v1/messages/count_tokens", Dialect::Messages, Call::Count, None, None),
            ("/v1/completions", Dialect::Completions, Call::Generate, None, None),
            ("/v1/responses/resp_1/cancel", Dialect::Responses, Call::Retrieve("resp_1".into()), None, None),
            ("/model/a%3A0/converse-stream", Dialect::Converse, Call::Generate, model("a:0"), Some(true)),
            ("/v1beta/models/g:countTokens", Dialect::Gemini, Call::Count, model("g"), Some(false)),
            (&claude, Dialect::Messages, Call::Generate, model("c@1"), Some(true)),
            (&gemini, Dialect::Gemini, Call::Generate, model("g"), Some(false)),
        ] {
            assert_eq!(of(path), Some((dialect, call, named, stream)), "{path}");
        }
        assert_eq!(of("/v1/unheard/of"), None);
        assert_eq!(
            Api::of("GET", "/v1/responses/r", "stream=true&starting_after=4").and_then(|a| a.after),
            Some(4)
        );
    }
}
