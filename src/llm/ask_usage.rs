//! Usage that the client did not ask for: asked for in its place, and the extra chunk kept from it.
//!
//! ```text
//!   request   {"model":…,"stream":true}        ─▶ {"stream_options":{"include_usage":true},"model":…,"stream":true}
//!   response  … data: {…,"choices":[],"usage":{…}}  read, and not passed on …
//! ```
//!
//! Chat and Completions only: elsewhere usage comes unasked. Only where the configuration says so (`ask_usage`).
//! Deliberately absent: any other change. Other chunks gain a `"usage":null`, which clients of this API know.

use crate::wire::json::Raw;

const OPTION: &[u8] = br#""include_usage":true"#;

/// The body with `stream_options.include_usage` set; none where it is set already, or where the body leaves a doubt of
/// which member would count.
#[must_use]
pub fn splice(body: &[u8]) -> Option<Vec<u8>> {
    let whole = Raw::whole(body)?;
    if !whole.is_object() {
        return None;
    }
    let mut options = whole.members().filter(|(key, _)| key.is("stream_options")).map(|(_, value)| value);
    let (found, second) = (options.next(), options.next());
    if second.is_some() {
        return None;
    }
    let Some(options) = found else {
        let member = [br#""stream_options":{"#.as_slice(), OPTION, b"}"].concat();
        return Some(with_first_member(body, whole, &member));
    };
    if options.is_null() {
        return Some(replaced(body, options, &[b"{".as_slice(), OPTION, b"}"].concat()));
    }
    if !options.is_object() {
        return None;
    }
    let mut asked = options.members().filter(|(key, _)| key.is("include_usage")).map(|(_, value)| value);
    match (asked.next(), asked.next()) {
        (None, _) => Some(with_first_member(body, options, OPTION)),
        (Some(asked), None) if !asked.is_true() => Some(replaced(body, asked, b"true")),
        _ => None,
    }
}

/// Where a value cut out of the body lies in it.
fn place(body: &[u8], value: Raw<'_>) -> std::ops::Range<usize> {
    let start = value.bytes().as_ptr().addr() - body.as_ptr().addr();
    start..start + value.bytes().len()
}

fn replaced(body: &[u8], value: Raw<'_>, by: &[u8]) -> Vec<u8> {
    let place = place(body, value);
    [&body[..place.start], by, &body[place.end..]].concat()
}

/// The body with one more member at the beginning of one of its objects.
fn with_first_member(body: &[u8], object: Raw<'_>, member: &[u8]) -> Vec<u8> {
    let behind_brace = place(body, object).start + 1;
    let comma: &[u8] = if object.members().next().is_some() { b"," } else { b"" };
    [&body[..behind_brace], member, comma, &body[behind_brace..]].concat()
}

/// Longest event that is held to see what it is; a longer one is no usage chunk and passes.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Takes the usage chunk out of an event stream. An event is held until it is whole; everything else passes as it came.
#[derive(Debug, Default)]
pub struct Hider {
    /// Of the event that is not whole yet.
    held: Vec<u8>,
    /// Bytes since the last line feed, without a carriage return at their end.
    line_is_empty: bool,
    /// The event was too long to be held and passes as it comes.
    passing: bool,
}

impl Hider {
    /// A stream begins.
    #[must_use]
    pub fn new() -> Hider {
        Hider { line_is_empty: true, ..Hider::default() }
    }

    /// Take content as it comes; what may be passed on now is appended to `out`.
    pub fn pass(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let mut rest = data;
        while let Some(end) = self.event_end(rest) {
            let (event, behind) = rest.split_at(end);
            self.held.extend_from_slice(event);
            if self.passing || !is_usage_chunk(&self.held) {
                out.extend_from_slice(&self.held);
            }
            self.held.clear();
            self.passing = false;
            rest = behind;
        }
        self.held.extend_from_slice(rest);
        if self.passing || self.held.len() > HELD_BYTES_MAX {
            self.passing = true;
            out.append(&mut self.held);
        }
    }

    /// The end of the stream: what is left is no whole event.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// Behind the blank line that ends the event, if it ends in `data`.
    fn event_end(&mut self, data: &[u8]) -> Option<usize> {
        for (at, byte) in data.iter().enumerate() {
            match byte {
                b'\n' if std::mem::replace(&mut self.line_is_empty, true) => return Some(at + 1),
                b'\n' | b'\r' => {}
                _ => self.line_is_empty = false,
            }
        }
        None
    }
}

/// No choices, and a usage object: what `include_usage` adds, and nothing else has.
fn is_usage_chunk(event: &[u8]) -> bool {
    let mut data = event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    let (Some(first), None) = (data.next(), data.next()) else { return false };
    let Some(chunk) = Raw::whole(first.trim_ascii()) else { return false };
    let empty = |choices: Raw<'_>| choices.is_array() && choices.elements().next().is_none();
    chunk.at("choices").is_some_and(empty) && chunk.at("usage").is_some_and(Raw::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_set_where_there_is_no_doubt() {
        for (before, after) in [
            (r#"{"model":"m"}"#, Some(r#"{"stream_options":{"include_usage":true},"model":"m"}"#)),
            (
                " {\n \"model\":\"m\"}",
                Some(" {\"stream_options\":{\"include_usage\":true},\n \"model\":\"m\"}"),
            ),
            (r#"{}"#, Some(r#"{"stream_options":{"include_usage":true}}"#)),
            (r#"{"stream_options":null,"a":1}"#, Some(r#"{"stream_options":{"include_usage":true},"a":1}"#)),
            (r#"{"a":1,"stream_options":{}}"#, Some(r#"{"a":1,"stream_options":{"include_usage":true}}"#)),
            (
                r#"{"stream_options":{ "x": 1 }}"#,
                Some(r#"{"stream_options":{"include_usage":true, "x": 1 }}"#),
            ),
            (
                r#"{"stream_options":{"include_usage":false}}"#,
                Some(r#"{"stream_options":{"include_usage":true}}"#),
            ),
            (r#"{"stream_options":{"include_usage":true}}"#, None),
            (r#"{"stream_options":{},"stream_options":{"include_usage":true}}"#, None),
            (r#"{"stream_options":{"include_usage":false,"include_usage":true}}"#, None),
            (r#"{"stream_options":7}"#, None),
            (r#"[1]"#, None),
            (r#"{"a":"#, None),
        ] {
            let spliced = splice(before.as_bytes()).map(|body| String::from_utf8(body).unwrap());
            assert_eq!(spliced.as_deref(), after, "{before}");
            if let Some(spliced) = spliced {
                assert!(serde_json::from_str::<serde_json::Value>(&spliced).is_ok(), "{spliced}");
            }
        }
    }

    const USAGE: &str =
        "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";

    #[test]
    fn only_the_usage_chunk_is_hidden_in_any_split() {
        let kept = [
            "data: {\"choices\":[],\"prompt_filter_results\":[],\"usage\":null}\n\n",
            ": comment\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\\n\\n\"}}],\"usage\":null}\r\n\r\n",
            "data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n",
            "data: [DONE]\n\n",
            "data: cut",
        ];
        let stream = [kept[0], kept[1], kept[2], kept[3], USAGE, kept[4], kept[5]].concat();
        for size in 1..=stream.len() {
            let (mut hider, mut out) = (Hider::new(), Vec::new());
            stream.as_bytes().chunks(size).for_each(|piece| hider.pass(piece, &mut out));
            hider.finish(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), kept.concat(), "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_event_passes_and_is_not_held() {
        let (mut hider, mut out) = (Hider::new(), Vec::new());
        let piece = vec![b'x'; HELD_BYTES_MAX / 4 + 1];
        for _ in 0..8 {
            hider.pass(&piece, &mut out);
            assert!(hider.held.len() <= HELD_BYTES_MAX);
        }
        hider.pass(b"\n\n", &mut out);
        hider.pass(USAGE.as_bytes(), &mut out);
        assert_eq!(out.len(), piece.len() * 8 + 2, "what follows it is judged again");
    }
}
