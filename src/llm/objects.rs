//! Things that stay at a provider under an id: which ids a request names, and which a response makes known.
//!
//! A request that names none, as most do, costs a look at each of its keys while it is scanned; one that may is walked
//! whole. What lies inside tool calls and schemas is the agent's own and names nothing; results may hold files, and are
//! walked.
//!
//! Deliberately absent: items of stored responses (`item_reference`), which are many and whose ids nobody is told but who
//! was given them.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::packed;
use memchr::memmem;

use super::dialect::Dialect;
use crate::wire::json::scan::{Key, Scan, Watch};
use crate::wire::json::{DEPTH_MAX, Raw, unescape};

/// Keys whose value is an id, a list of ids, a container or the address of a file; none where objects have no names.
fn naming(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Messages | Dialect::Invoke => &["file_id", "file_ids", "input_file_id", "container"],
        Dialect::Chat | Dialect::Images => &["file_id", "file_ids", "input_file_id"],
        Dialect::Gemini | Dialect::CodeAssist | Dialect::Live => {
            &["cachedContent", "cached_content", "fileUri", "file_uri"]
        }
        Dialect::Responses | Dialect::Realtime => &[
            "previous_response_id",
            "conversation",
            "file_id",
            "file_ids",
            "input_file_id",
            "vector_store_id",
            "vector_store_ids",
            "container",
        ],
        Dialect::Interactions => &["previous_interaction_id", "file_id", "file_ids", "input_file_id"],
        _ => &[],
    }
}

/// Keys below which everything is somebody's own data.
const OPAQUE: [&str; 9] = [
    "arguments",
    "args",
    "parameters",
    "input_schema",
    "inputSchema",
    "schema",
    "metadata",
    "functionCall",
    "functionResponse",
];

/// Whether a key names objects of the dialect's provider, or may once the escapes in it are undone.
#[inline]
pub(super) fn may_name(dialect: Dialect, key: Key<'_>) -> bool {
    // None of them is shorter, and most keys are.
    if key.written.len() < "file_id".len() {
        return false;
    }
    let names = naming(dialect);
    names.iter().any(|name| name.as_bytes() == key.written) || (key.escaped && !names.is_empty())
}

/// Looks at the keys of a body that nobody else scans.
struct Keys {
    dialect: Dialect,
    may_name: bool,
}

impl Watch for Keys {
    fn depth(&self) -> u32 {
        0
    }
    fn key(&mut self, key: Key<'_>, _: u32) -> bool {
        self.may_name |= may_name(self.dialect, key);
        true
    }
    fn open(&mut self, _: &[u8], _: u32, _: usize) {}
    fn value(&mut self, _: &[u8], _: u32, _: Range<usize>) {}
}

/// Whether a letter of a name may be hidden behind an escape anywhere: letters and underscores lie from U+0040 to U+007F,
/// and no key has a digit.
pub(super) fn may_hide_a_name(text: &[u8]) -> bool {
    const LETTERS: [&str; 4] = ["\\u004", "\\u005", "\\u006", "\\u007"];
    /// All in one pass, where the processor has what it takes.
    static PACKED: LazyLock<Option<packed::Searcher>> = LazyLock::new(|| packed::Searcher::new(LETTERS));
    match &*PACKED {
        Some(packed) => packed.find(text).is_some(),
        None => LETTERS.iter().any(|escape| memmem::find(text, escape.as_bytes()).is_some()),
    }
}

/// Ids of provider-side objects that a whole, well-formed body names.
#[must_use]
pub fn named(dialect: Dialect, body: &[u8]) -> Vec<String> {
    let mut keys = Keys { dialect, may_name: false };
    match Scan::default().finish(body, &mut keys) {
        Ok(()) if !keys.may_name => Vec::new(),
        _ => named_by_keys(dialect, body),
    }
}

/// The same of a body that has keys which [`may_name`].
pub(super) fn named_by_keys(dialect: Dialect, body: &[u8]) -> Vec<String> {
    let mut ids = Vec::new();
    if let Some(whole) = Raw::whole(body) {
        walk(dialect, whole, 0, &mut ids);
        ids.sort_unstable();
        ids.dedup();
    }
    ids
}

fn walk(dialect: Dialect, value: Raw<'_>, depth: u32, ids: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    for (key, inner) in value.members() {
        let Some(key) = unescape(key.written()) else { continue };
        // Anthropic's tool calls carry their arguments as an object under this name.
        let opaque = OPAQUE.contains(&&*key)
            || (key == "input" && matches!(dialect, Dialect::Messages | Dialect::Invoke));
        // There it says whether to join the socket's own conversation, and names none.
        let opaque = opaque || (key == "conversation" && dialect == Dialect::Realtime);
        if opaque {
            continue;
        }
        match &*key {
            "fileUri" | "file_uri" => ids.extend(inner.string().and_then(|uri| own_file(&uri))),
            // One that is opened anew says so, and which files go into it.
            "container" if !inner.is_string() => {
                ids.extend(inner.at("id").and_then(Raw::string));
                walk(dialect, inner, depth + 1, ids);
            }
            "container" => ids.extend(inner.string().filter(|id| id != "auto")),
            key if naming(dialect).contains(&key) => take(inner, ids),
            _ => walk(dialect, inner, depth + 1, ids),
        }
    }
    for element in value.elements() {
        walk(dialect, element, depth + 1, ids);
    }
}

/// The id of a file of Gemini's own, behind any of its versions: `files/ID`. Others are addresses of elsewhere.
fn own_file(uri: &str) -> Option<String> {
    let (before, id) = uri.rsplit_once("files/")?;
    let version = before.strip_suffix('/').and_then(|path| path.rsplit('/').next());
    let own = before.is_empty() || version.is_some_and(|version| version.starts_with("v1"));
    own.then(|| format!("files/{id}"))
}

fn take(value: Raw<'_>, ids: &mut Vec<String>) {
    ids.extend(value.string().filter(|id| !id.is_empty()));
    ids.extend(value.elements().filter_map(Raw::string));
    // A conversation may be an object that holds its id.
    ids.extend(value.members().filter(|(key, _)| key.is("id")).filter_map(|(_, id)| id.string()));
}

/// Ids that a response body makes known: its own, and those of the files that a batch has written.
#[must_use]
pub fn made(body: Raw<'_>) -> Vec<String> {
    let keys = ["id", "output_file_id", "error_file_id"];
    let mut ids: Vec<String> = keys.iter().filter_map(|key| body.at(key)?.string()).collect();
    // Gemini calls its caches by a path.
    ids.extend(body.at("name").and_then(Raw::string).filter(|name| name.starts_with("cachedContents/")));
    ids.retain(|id| !id.is_empty());
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(dialect: Dialect, body: &str) -> String {
        named(dialect, body.as_bytes()).join(" ")
    }

    #[test]
    fn ids_are_found_wherever_an_api_lets_them_stand() {
        let responses = r#"{"model":"m","previous_response_id":"resp_1","conversation":{"id":"conv_1"},
            "tools":[{"type":"file_search","vector_store_ids":["vs_1","vs_2"]}],
            "input":[{"role":"user","content":[{"type":"input_file","file_id":"file_1"}]}]}"#;
        assert_eq!(ids(Dialect::Responses, responses), "conv_1 file_1 resp_1 vs_1 vs_2");
        assert_eq!(ids(Dialect::Responses, r#"{"conversation":"conv_2"}"#), "conv_2");
        assert_eq!(ids(Dialect::Realtime, r#"{"response":{"conversation":"none"}}"#), "");
        let messages = r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_2"}},
            {"type":"container_upload","file_id":"file_3"}]}]}"#;
        assert_eq!(ids(Dialect::Messages, messages), "file_2 file_3");
        assert_eq!(ids(Dialect::Gemini, r#"{"cachedContent":"cachedContents/a"}"#), "cachedContents/a");
        assert_eq!(
            ids(Dialect::Chat, r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"file_4"}}]}]}"#),
            "file_4"
        );
    }

    #[test]
    fn a_key_in_disguise_or_twice_is_found_and_data_of_tools_is_not() {
        assert_eq!(ids(Dialect::Messages, r#"{"messages":[{"file\u005fid":"file_1"}]}"#), "file_1");
        assert_eq!(
            ids(Dialect::Responses, r#"{"previous_response_id":"a","x":{"file_id":"b","file_id":"c"}}"#),
            "a b c"
        );
        let tools = r#"{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"mine"}}]}],
            "tools":[{"input_schema":{"properties":{"file_id":{"type":"string"}}}}]}"#;
        assert_eq!(ids(Dialect::Messages, tools), "");
        assert_eq!(ids(Dialect::Chat, r#"{"messages":[{"content":"the file_id is \"file_9\""}]}"#), "");
    }

    #[test]
    fn containers_results_of_tools_and_files_by_their_address() {
        for (dialect, body, expected) in [
            (Dialect::Responses, r#"{"tools":[{"type":"code_interpreter","container":"cntr_1"}]}"#, "cntr_1"),
            (
                Dialect::Responses,
                r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file_1"]}}]}"#,
                "file_1",
            ),
            (Dialect::Responses, r#"{"tools":[{"container":"auto"}]}"#, ""),
            (
                Dialect::Responses,
                r#"{"input":[{"type":"function_call_output","output":[{"type":"input_file","file_id":"file_2"}]}]}"#,
                "file_2",
            ),
            (
                Dialect::Responses,
                r#"{"input":[{"type":"computer_call_output","output":{"file_id":"file_3"}}]}"#,
                "file_3",
            ),
            (Dialect::Messages, r#"{"container":"container_1"}"#, "container_1"),
            (Dialect::Messages, r#"{"container":{"id":"container_2","skills":[]}}"#, "container_2"),
            (Dialect::Messages, r#"{"container":null,"messages":[{"content":"a \"container\""}]}"#, ""),
            (Dialect::Images, r#"{"images":[{"file_id":"file_4"}]}"#, "file_4"),
            (
                Dialect::Gemini,
                r#"{"contents":[{"parts":[{"fileData":{"fileUri":"https://g.example/v1beta/files/a"}}]}]}"#,
                "files/a",
            ),
            (
                Dialect::Gemini,
                r#"{"contents":[{"parts":[{"file_data":{"file_uri":"files/b"}}]}]}"#,
                "files/b",
            ),
            (
                Dialect::Gemini,
                r#"{"a":{"fileUri":"gs://bucket/files/c"},"b":{"fileUri":"https://x/files/d"}}"#,
                "",
            ),
        ] {
            assert_eq!(ids(dialect, body), expected, "{body}");
        }
    }

    #[test]
    fn what_a_response_makes_known() {
        let of = |body: &str| made(Raw::whole(body.as_bytes()).expect("JSON")).join(" ");
        assert_eq!(
            of(r#"{"id":"batch_1","output_file_id":"file_1","error_file_id":null}"#),
            "batch_1 file_1"
        );
        assert_eq!(of(r#"{"name":"cachedContents/a"}"#), "cachedContents/a");
        assert_eq!(of(r#"{"name":"models/a"}"#), "");
    }
}
