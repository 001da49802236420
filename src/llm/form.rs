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

/// The boundary, where the content type says that a body is a form. Several content types are refused.
pub fn boundary<'a>(mut kinds: impl Iterator<Item = &'a [u8]>) -> Result<Option<String>, AskFault> {
    let Some(kind) = kinds.next() else { return Ok(None) };
    let text = std::str::from_utf8(kind).map_err(|_| AskFault::NotAForm("its content type is no text"))?;
    let mut parts = text.split(';').map(str::trim);
    let of_parts = |kind: &str| kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
    if !parts.next().is_some_and(of_parts) {
        return Ok(None);
    }
    if kinds.next().is_some()
        || !text.trim_start().get(..19).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data"))
    {
        return Err(AskFault::NotAForm("its content type is not one multipart/form-data"));
    }
    let named = parts.filter_map(|part| part.split_once('='));
    let mut boundaries = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let (Some((_, value)), None) = (boundaries.next(), boundaries.next()) else {
        return Err(AskFault::NotAForm("its content type has not one boundary"));
    };
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
    // RFC 2046 5.1.1, without the space.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    match (1..=70).contains(&value.len()) && value.bytes().all(plain) {
        true => Ok(Some(value.to_owned())),
        false => Err(AskFault::NotAForm("its boundary is none")),
    }
}

impl Form {
    /// Take a whole body apart.
    pub fn read(body: &[u8], boundary: &str) -> Result<Self, AskFault> {
        let broken = AskFault::NotAForm;
        let line = format!("--{boundary}");
        let between = format!("\r\n{line}");
        let finder = memmem::Finder::new(between.as_bytes());
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
            let end = finder.find(&body[at..]).ok_or(broken("it does not end with its boundary"))? + at;
            form.part(body, at..end)?;
            at = end + between.len();
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

    /// The one field of that name: in any case it may come only once.
    fn field(&self, name: &str) -> Result<Option<&Part>, AskFault> {
        let mut found = self.parts.iter().filter(|part| part.name.eq_ignore_ascii_case(name));
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
    fn boundaries() {
        let of = |kinds: &[&str]| boundary(kinds.iter().map(|kind| kind.as_bytes()));
        assert_eq!(of(&["multipart/form-data; boundary=abc"]), Ok(Some("abc".into())));
        assert!(of(&["Multipart/Form-Data;Boundary=\"a b\""]).is_err());
        assert_eq!(of(&["application/json"]), Ok(None));
        assert_eq!(of(&[]), Ok(None));
        for kinds in [
            &["multipart/form-data"][..],
            &["multipart/form-data; boundary=a; boundary=b"],
            &["multipart/form-data; boundary=a", "application/json"],
            &["multipart/mixed; boundary=a"],
        ] {
            assert!(of(kinds).is_err(), "{kinds:?}");
        }
    }
}
