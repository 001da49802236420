//! Multipart bodies (RFC 7578): which fields decide something, read from the whole of it.
//!
//! Parsers of forms differ in what they forgive, so nothing is forgiven here: a body that could be taken apart in another
//! way than this is refused. Files in it are passed over, not read, but for a batch's lines.

use std::ops::Range;

use memchr::memmem;

use super::ask::{Ask, AskFault, USER_MESSAGE_BYTES_MAX};

/// Parts of one form.
const PARTS_MAX: usize = 256;
/// Bytes of a part's own head.
const PART_HEAD_BYTES_MAX: usize = 4096;

/// A form taken apart.
#[derive(Debug, Default)]
pub struct Form {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    is_file: bool,
    content: Range<usize>,
}

/// What a content type says of the body behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// JSON, whatever it is called: providers hardly look.
    #[default]
    Json,
    /// JSON that is called a form, as curl does unasked: a provider that looks would read it as one.
    JsonOrQuery,
    /// A form; its boundary.
    Parts(String),
}

/// How a body is written, by its content types. Two of them are refused where one is of a form, and so is a charset in
/// which the bytes would read otherwise than they do here.
pub fn written<'a>(kinds: impl Iterator<Item = &'a [u8]>) -> Result<Written, AskFault> {
    let mut found = None;
    for kind in kinds {
        let kind =
            std::str::from_utf8(kind).map_err(|_| AskFault::NotAForm("its content type is no text"))?;
        let one = of_kind(kind)?;
        if found.as_ref().is_some_and(|other| *other != one || one != Written::Json) {
            return Err(AskFault::NotAForm("it has two content types"));
        }
        found = Some(one);
    }
    Ok(found.unwrap_or_default())
}

fn of_kind(text: &str) -> Result<Written, AskFault> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut boundaries = Vec::new();
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
        if name.starts_with("charset") && !reads_as_ascii(value) {
            return Err(AskFault::NotAForm("its charset is not UTF-8"));
        }
        if name.starts_with("boundary") {
            boundaries.push((name, value.to_owned()));
        }
    }
    if kind == "application/x-www-form-urlencoded" {
        return Ok(Written::JsonOrQuery);
    }
    if !kind.starts_with("multipart/") && !kind.contains(',') {
        return Ok(Written::Json);
    }
    if kind != "multipart/form-data" {
        return Err(AskFault::NotAForm("its content type is not one multipart/form-data"));
    }
    match boundaries.as_slice() {
        [(name, value)] if name == "boundary" && is_boundary(value) => Ok(Written::Parts(value.clone())),
        _ => Err(AskFault::NotAForm("its content type has not one plain boundary")),
    }
}

/// RFC 2046 5.1.1, without the space.
fn is_boundary(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    (1..=70).contains(&value.len()) && value.bytes().all(plain)
}

/// Whether the bytes that JSON is made of mean the same in a charset (RFC 8259 8.1 knows UTF-8 alone, and no parameter).
fn reads_as_ascii(charset: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    matches!(charset.as_str(), "" | "utf-8" | "utf8" | "us-ascii" | "ascii" | "latin1" | "windows-1252")
        || charset.starts_with("iso-8859-")
}

impl Form {
    /// Take a whole body apart.
    pub fn read(body: &[u8], boundary: &str) -> Result<Self, AskFault> {
        let broken = AskFault::NotAForm;
        let line = format!("--{boundary}");
        let finder = memmem::Finder::new(line.as_bytes());
        let mut form = Form::default();
        let mut at = line.len();
        if !body.starts_with(line.as_bytes()) {
            return Err(broken("it does not begin with its boundary"));
        }
        loop {
            match body.get(at..).unwrap_or_default() {
                // The end: nothing may follow but a line's end.
                b"--" | b"--\r\n" => return Ok(form),
                [b'\r', b'\n', ..] => at += 2,
                _ => return Err(broken("a boundary is followed by something else")),
            }
            let next = finder.find(&body[at..]).ok_or(broken("it does not end with its boundary"))? + at;
            // Some take it for the end of a part wherever it stands, or behind half a line's end.
            let whole =
                body[at..next].strip_suffix(b"\r\n").ok_or(broken("its boundary is within a part"))?;
            form.part(body, at..at + whole.len())?;
            at = next + line.len();
        }
    }

    fn part(&mut self, body: &[u8], whole: Range<usize>) -> Result<(), AskFault> {
        let bytes = &body[whole.clone()];
        let head_end = memmem::find(&bytes[..bytes.len().min(PART_HEAD_BYTES_MAX)], b"\r\n\r\n");
        let head_end = head_end.ok_or(AskFault::NotAForm("a part has no head"))?;
        let head = std::str::from_utf8(&bytes[..head_end]);
        let head = head.map_err(|_| AskFault::NotAForm("a part's head is no text"))?;
        let (name, is_file) = disposition(head)?;
        if self.parts.len() >= PARTS_MAX {
            return Err(AskFault::NotAForm("it has more than 256 parts"));
        }
        self.parts.push(Part { name, is_file, content: whole.start + head_end + 4..whole.end });
        Ok(())
    }

    /// The one field of that name: in any case and dress it may come only once.
    fn field(&self, name: &str) -> Result<Option<&Part>, AskFault> {
        let mut found = self.parts.iter().filter(|part| bare(&part.name).eq_ignore_ascii_case(name));
        let (first, second) = (found.next(), found.next());
        match second {
            Some(_) => Err(AskFault::DuplicateKey(name.to_owned())),
            // Another spelling is nobody's field to us, but some servers would take it.
            None => Ok(first.filter(|part| part.name == name)),
        }
    }

    fn text(&self, body: &[u8], name: &str) -> Result<Option<String>, AskFault> {
        let Some(part) = self.field(name)? else { return Ok(None) };
        if part.is_file {
            return Err(AskFault::NotAForm("a field that decides something is a file"));
        }
        let text = String::from_utf8(body[part.content.clone()].to_vec());
        text.map(Some).map_err(|_| AskFault::NotAForm("a field is no text"))
    }

    /// Where the model's name stands, bare.
    #[must_use]
    pub fn model_span(&self) -> Option<Range<usize>> {
        self.parts.iter().find(|part| part.name == "model").map(|part| part.content.clone())
    }

    /// The content of an uploaded file.
    pub fn file(&self, name: &str) -> Result<Option<Range<usize>>, AskFault> {
        Ok(self.field(name)?.map(|part| part.content.clone()))
    }

    /// A field's text.
    pub fn value(&self, body: &[u8], name: &str) -> Result<Option<String>, AskFault> {
        self.text(body, name)
    }

    /// What the form asks for.
    pub fn ask(&self, body: &[u8]) -> Result<Ask, AskFault> {
        let model = self.text(body, "model")?;
        if model.as_deref() == Some("") {
            return Err(AskFault::ModelNotAString);
        }
        let mut prompt = self.text(body, "prompt")?;
        if let Some(text) = &mut prompt {
            let cut =
                (0..=text.len().min(USER_MESSAGE_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
        }
        Ok(Ask {
            model,
            stream: self.text(body, "stream")?.as_deref() == Some("true"),
            user: self.text(body, "user")?,
            user_message: prompt,
            ..Ask::default()
        })
    }
}

/// A field's name without what some frameworks take off it: quotes of the other kind, space, `[]` of a list.
fn bare(name: &str) -> &str {
    let name = name.split('[').next().unwrap_or_default();
    name.trim_matches(|c: char| c.is_whitespace() || c == '\'')
}

/// Name of a part, and whether it is a file.
fn disposition(head: &str) -> Result<(String, bool), AskFault> {
    let broken = AskFault::NotAForm;
    let mut value = None;
    for line in head.split("\r\n") {
        let (name, rest) = line.split_once(':').ok_or(broken("a part's head is no list of fields"))?;
        if line.bytes().any(|b| b < 0x20 && b != b'\t')
            || name.ends_with([' ', '\t'])
            || line.starts_with([' ', '\t'])
        {
            return Err(broken("a part's head is folded or has control characters"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if value.replace(rest.trim()).is_some() => {
                return Err(broken("a part has two dispositions"));
            }
            // RFC 7578 4.7: no encoding here, so that all see the same bytes.
            "content-transfer-encoding"
                if !matches!(rest.trim().to_ascii_lowercase().as_str(), "binary" | "8bit" | "7bit") =>
            {
                return Err(broken("a part is encoded"));
            }
            _ => {}
        }
    }
    let value = value.ok_or(broken("a part has no disposition"))?;
    let mut rest = value
        .get(..9)
        .filter(|kind| kind.eq_ignore_ascii_case("form-data"))
        .map(|_| &value[9..])
        .ok_or(broken("a part is no form data"))?;
    let (mut name, mut is_file) = (None, false);
    while let Some(parameter) = rest.trim_start().strip_prefix(';') {
        let (key, after) = parameter.split_once('=').ok_or(broken("a part's disposition is malformed"))?;
        let (text, left) = quoted(after)?;
        rest = left;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" if name.replace(text).is_some() => return Err(broken("a part has two names")),
            "name" => {}
            "filename" | "filename*" => is_file = true,
            _ => return Err(broken("a part's disposition has an unknown parameter")),
        }
    }
    match (name, rest.trim()) {
        (Some(name), "") => Ok((name, is_file)),
        _ => Err(broken("a part has no name")),
    }
}

/// A quoted text, or a token; escapes in names are refused, since servers undo them differently.
fn quoted(text: &str) -> Result<(String, &str), AskFault> {
    let text = text.trim_start();
    match text.strip_prefix('"') {
        Some(inside) => {
            let (value, rest) = inside.split_once('"').ok_or(AskFault::NotAForm("a quote is open"))?;
            if value.contains('\\') {
                return Err(AskFault::NotAForm("a name is escaped"));
            }
            Ok((value.to_owned(), rest))
        }
        None => {
            let end = text.find([';', ' ']).unwrap_or(text.len());
            Ok((text[..end].to_owned(), &text[end..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: &str = "xYzZy";

    fn form(parts: &[&str]) -> Vec<u8> {
        let parts: String = parts.iter().map(|part| format!("--{B}\r\n{part}\r\n")).collect();
        format!("{parts}--{B}--\r\n").into_bytes()
    }

    fn field(name: &str, value: &str) -> String {
        format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}")
    }

    fn ask(parts: &[&str]) -> Result<Ask, AskFault> {
        let body = form(parts);
        Form::read(&body, B)?.ask(&body)
    }

    #[test]
    fn a_transcription_is_read() {
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\0\r\n--x\r\n";
        let (model, stream) = (field("model", "whisper-1"), field("stream", "true"));
        let body = form(&[file, &model, &stream]);
        let read = Form::read(&body, B).expect("a form");
        let ask = read.ask(&body).expect("readable");
        assert_eq!((ask.model.as_deref(), ask.stream), (Some("whisper-1"), true));
        assert_eq!(&body[read.model_span().expect("a model")], b"whisper-1");
        assert_eq!(&body[read.file("file").expect("once").expect("a file")], b"\0\r\n--x\r\n");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let model = field("model", "a");
        assert!(ask(&[&model]).is_ok());
        for (name, parts) in [
            ("twice", vec![model.clone(), field("model", "b")]),
            ("other case", vec![model.clone(), field("Model", "b")]),
            ("empty", vec![field("model", "")]),
            ("two names", vec!["Content-Disposition: form-data; name=\"x\"; name=\"model\"\r\n\r\nb".into()]),
            ("extended name", vec!["Content-Disposition: form-data; name*=utf-8''model\r\n\r\nb".into()]),
            ("escaped", vec!["Content-Disposition: form-data; name=\"mod\\el\"\r\n\r\nb".into()]),
            ("two dispositions", vec!["Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nb".into()]),
            ("folded", vec!["Content-Disposition: form-data;\r\n name=\"model\"\r\n\r\nb".into()]),
            ("encoded", vec!["Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64\r\n\r\nYg==".into()]),
            ("a file", vec!["Content-Disposition: form-data; name=\"model\"; filename=\"m\"\r\n\r\nb".into()]),
            ("a list", vec![model.clone(), field("model[]", "b")]),
            ("other quotes", vec![model.clone(), field("'model'", "b")]),
            ("spaced", vec![model.clone(), field("Model ", "b")]),
            ("no head", vec!["b".into()]),
        ] {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            assert!(ask(&parts).is_err(), "{name}");
        }
        let body = form(&[&model]);
        assert!(Form::read(&[b"preamble\r\n", &*body].concat(), B).is_err());
        assert!(Form::read(&[&*body, b"--xYzZy\r\n"].concat(), B).is_err());
        assert!(Form::read(&body[..body.len() - 6], B).is_err());
    }

    #[test]
    fn a_boundary_stands_between_parts_alone() {
        let model = field("model", "a");
        for inside in ["z\n--xYzZy\nz", "z\r--xYzZy\rz", "z--xYzZy", "z\r\n--xYzZyz"] {
            assert!(ask(&[&model, &field("prompt", inside)]).is_err(), "{inside:?}");
        }
        assert!(ask(&[&model, &field("prompt", "z\r\n--xYzZ\r\n--")]).is_ok());
    }

    #[test]
    fn content_types() {
        let of = |kinds: &[&str]| written(kinds.iter().map(|kind| kind.as_bytes()));
        for plain in [
            "",
            "application/json",
            "text/plain",
            "application/json;charset=\"UTF-8\"",
            "application/json; charset=latin1",
        ] {
            assert_eq!(of(&[plain]), Ok(Written::Json), "{plain}");
        }
        assert_eq!(of(&[]), Ok(Written::Json));
        assert_eq!(of(&["application/json", "application/json"]), Ok(Written::Json));
        assert_eq!(of(&["Application/x-www-form-urlencoded"]), Ok(Written::JsonOrQuery));
        assert_eq!(of(&["multipart/form-data; boundary=abc"]), Ok(Written::Parts("abc".into())));
        assert_eq!(of(&["Multipart/Form-Data;Boundary=\"a\""]), Ok(Written::Parts("a".into())));
        for kinds in [
            &["multipart/form-data"][..],
            &["Multipart/Form-Data;Boundary=\"a b\""],
            &["multipart/form-data; boundary=a; boundary=b"],
            &["multipart/form-data; boundary=a; boundary*=utf-8''b"],
            &["multipart/form-data; boundary=a", "application/json"],
            &["application/json", "multipart/form-data; boundary=a"],
            &["application/json", "application/x-www-form-urlencoded"],
            &["application/json, multipart/form-data; boundary=a"],
            &["multipart/mixed; boundary=a"],
            &["application/json; charset=utf-7"],
            &["application/json; charset=utf-16"],
            &["application/json; charset*=utf-8''utf-7"],
        ] {
            assert!(of(kinds).is_err(), "{kinds:?}");
        }
    }
}
