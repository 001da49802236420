//! Names of buckets: templates filled with what is known of an exchange.
//!
//! A part that a client chooses must not make its bucket another's: what could be read as another name is replaced, and
//! told apart by a hash.

/// What fills the templates of bucket names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill<'a> {
    /// `<user>`: the principal.
    pub user: &'a str,
    /// `<node>`
    pub node: Option<&'a str>,
    /// `<group>`: every group has its own bucket, and all of them count.
    pub groups: &'a [&'a str],
    /// `<agent>`: a claim of the client.
    pub agent: Option<&'a str>,
    /// `<session>`: a claim of the client.
    pub session: Option<&'a str>,
    /// `<model>`
    pub model: Option<&'a str>,
}

/// Longest part that fills a template, in characters.
const PART_CHARS_MAX: usize = 128;

/// How many buckets a name stands for: one, or with `<group>` one a group.
pub(super) fn count(template: &str, fill: &Fill<'_>) -> usize {
    if is_by_group(template) { fill.groups.len().max(1) } else { 1 }
}

/// Whether every group has a bucket of its own.
#[must_use]
pub fn is_by_group(template: &str) -> bool {
    template.contains('<') && template.contains("<group>")
}

/// Write the `nth` full name into `out`. What is not known stands as `-`, which all who lack it share.
pub(super) fn write(out: &mut String, template: &str, fill: &Fill<'_>, nth: usize) {
    fill_in(out, template, fill, nth, |out, _| out.push('-'));
}

/// The name as far as it is known: what is not stands as in the template.
#[must_use]
pub fn as_far_as_known(template: &str, fill: &Fill<'_>) -> String {
    let mut out = String::new();
    fill_in(&mut out, template, fill, 0, |out, what| out.extend(["<", what, ">"]));
    out
}

fn fill_in(
    out: &mut String,
    template: &str,
    fill: &Fill<'_>,
    nth: usize,
    unknown: impl Fn(&mut String, &str),
) {
    out.clear();
    if !template.contains('<') {
        return out.push_str(template);
    }
    let several = template.matches('<').count() > 1;
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('<') {
        out.push_str(before);
        let Some((what, after)) = behind.split_once('>') else {
            out.push('<');
            rest = behind;
            continue;
        };
        let text = match what {
            "user" => Some(fill.user),
            "node" => fill.node,
            "group" => fill.groups.get(nth).copied(),
            "agent" => fill.agent,
            "session" => fill.session,
            "model" => fill.model,
            _ => None,
        };
        match text.filter(|text| !text.is_empty()) {
            Some(text) => push_part(out, text, |c| several && !c.is_alphanumeric() && template.contains(c)),
            None => unknown(out, what),
        }
        rest = after;
    }
    out.push_str(rest);
}

/// Whether a full name is one of the template's buckets and belongs to that principal alone.
#[must_use]
pub fn is_of(template: &str, full: &str, user: &str) -> bool {
    if !template.contains("<user>") {
        return false;
    }
    // Parts never hold what separates them, so each ends where the text behind it begins.
    let mut part = String::new();
    let several = template.matches('<').count() > 1;
    match user {
        "" => part.push('-'),
        user => push_part(&mut part, user, |c| several && !c.is_alphanumeric() && template.contains(c)),
    }
    let (mut rest, mut full) = (template, full);
    while let Some((before, behind)) = rest.split_once('<') {
        let (Some(left), Some((what, after))) = (full.strip_prefix(before), behind.split_once('>')) else {
            return false;
        };
        let end = match after.split('<').next().filter(|text| !text.is_empty()) {
            Some(text) if after.contains('<') => left.find(text),
            Some(text) => left.len().checked_sub(text.len()),
            None => Some(left.len()),
        };
        let Some((filled, left)) = end.and_then(|end| left.split_at_checked(end)) else { return false };
        if what == "user" && filled != part {
            return false;
        }
        (rest, full) = (after, left);
    }
    rest == full
}

/// A part that cannot be taken for a template or reach into the next part, and has a bound.
fn push_part(out: &mut String, text: &str, separates: impl Fn(char) -> bool) {
    if text.len() <= PART_CHARS_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return out.push_str(text);
    }
    let odd = |c: char| c.is_control() || "<>".contains(c) || separates(c);
    let mut changed = false;
    for (nth, c) in text.chars().enumerate() {
        if nth == PART_CHARS_MAX {
            changed = true;
            break;
        }
        changed |= odd(c);
        out.push(if odd(c) { '_' } else { c });
    }
    if changed {
        out.push_str(&format!("~{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(template: &str, fill: &Fill<'_>) -> Vec<String> {
        let name = |nth| {
            let mut out = String::new();
            write(&mut out, template, fill, nth);
            out
        };
        (0..count(template, fill)).map(name).collect()
    }

    #[test]
    fn names_are_filled_and_cannot_be_forged() {
        let fill = |user, session| Fill { user, session, ..Fill::default() };
        assert_eq!(all("plain", &fill("a", None)), ["plain"]);
        assert_eq!(all("d:<user>", &fill("a:b", None)), ["d:a:b"]);
        assert_eq!(all("s:<session>:<user>", &fill("a", None)), ["s:-:a"]);
        let forged = all("d:<user>:<session>", &fill("a", Some("<user>")));
        assert!(forged[0].starts_with("d:a:_user_~"), "{forged:?}");
        let of = |session: &str| all("d:<session>", &Fill { session: Some(session), ..Fill::default() });
        let long = of(&"x".repeat(10_000));
        assert!(long[0].len() < 200);
        assert_ne!(long, of(&"x".repeat(9_999)));
        let groups = Fill { groups: &["eng", "ops"], ..Fill::default() };
        assert_eq!(all("g:<group>", &groups), ["g:eng", "g:ops"]);
        assert_eq!(all("g:<group>", &Fill::default()), ["g:-"]);
        let known = all("d:<user>:<model>", &fill("a:b", None))[0].replace(":-", ":<model>");
        assert_eq!(as_far_as_known("d:<user>:<model>", &fill("a:b", None)), known);
    }

    #[test]
    fn a_name_says_whose_it_is() {
        for (template, full, user, theirs) in [
            ("d:<user>", "d:ada", "ada", true),
            ("d:<user>", "d:ada:x", "ada", false),
            ("d:<user>:<model>", "d:ada:m/1", "ada", true),
            ("d:<model>:<user>", "d:m:ada", "ada", true),
            ("d:<model>:<user>", "d:ada:bob", "ada", false),
            ("<user>/day", "ada/day", "ada", true),
            ("<user>/day", "bada/day", "ada", false),
            ("all", "all", "ada", false),
        ] {
            assert_eq!(is_of(template, full, user), theirs, "{template} {full}");
        }
    }

    #[test]
    fn a_part_never_reaches_into_the_next() {
        let of = |user, model| all("d:<user>:<model>", &Fill { user, model: Some(model), ..Fill::default() });
        assert_ne!(of("a", "b:c"), of("a:b", "c"));
        assert_eq!(of("a@x.example", "m"), ["d:a@x.example:m"]);
    }
}
