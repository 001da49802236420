//! Declaring what may be set: [`settings!`](crate::settings) for objects, [`choices!`](crate::choices) for closed lists.

/// Declare a struct that is read from an object.
///
/// ```text
/// settings! {
///     /// Doc comments become the reference and the schema.
///     pub struct Limits {
///         /// Required, since it has no default.
///         pub name: String,
///         /// Optional.
///         pub head_bytes: usize = 64 * 1024,
///         /// Written under another key.
///         pub target as "as": Option<String> = None,
///     }
/// }
/// ```
///
/// Each gains a field `place` with where it stands.
#[macro_export]
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                pub $field:ident $(as $key:literal)? : $type:ty $(= $default:expr)?,
            )*
        }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// Where it stands in the file.
            pub place: $crate::base::settings::Place,
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// Every key it may hold.
            pub const KEYS: &'static [&'static str] = &[$($crate::settings!(@key $field $($key)?)),*];
        }

        impl $crate::base::settings::Setting for $name {
            fn read(
                tree: &$crate::base::settings::Tree,
                reader: &mut $crate::base::settings::Reader<'_>,
            ) -> Option<Self> {
                let mut object = $crate::base::settings::Object::open(tree, Self::KEYS, reader)?;
                // Every field is read before any missing one ends it, so that all problems show at once.
                $(let $field: Option<$type> =
                    $crate::settings!(@read object, $crate::settings!(@key $field $($key)?) $(, $default)?);)*
                let place = object.place.clone();
                Some(Self { place, $($field: $field?,)* })
            }

            fn schema(
                defs: &mut std::collections::BTreeMap<String, serde_json::Value>,
            ) -> serde_json::Value {
                let name = stringify!($name);
                if !defs.contains_key(name) {
                    // Reserved first: a struct may hold itself.
                    defs.insert(name.to_owned(), serde_json::Value::Null);
                    let mut object = $crate::base::settings::ObjectSchema::new(concat!($($doc),*));
                    $({
                        let schema = <$type as $crate::base::settings::Setting>::schema(defs);
                        let required = $crate::settings!(@required $($default)?);
                        let key = $crate::settings!(@key $field $($key)?);
                        object.property(key, schema, concat!($($field_doc),*), required);
                    })*
                    defs.insert(name.to_owned(), object.done());
                }
                serde_json::json!({"$ref": format!("#/$defs/{name}")})
            }
        }
    )*};
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@read $object:ident, $key:expr) => { $object.required($key) };
    (@read $object:ident, $key:expr, $default:expr) => { Some($object.optional($key, || $default)) };
    (@required) => { true };
    (@required $default:expr) => { false };
}

/// Declare an enum that is read from a string out of a closed list.
#[macro_export]
macro_rules! choices {
    ($(
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $( $(#[doc = $variant_doc:literal])* $variant:ident = $text:literal, )*
        }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( $(#[doc = $variant_doc])* $variant, )* }

        impl $name {
            /// Every choice, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As written in the file.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// From what is written in the file.
            #[must_use]
            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::base::settings::Setting for $name {
            fn read(
                tree: &$crate::base::settings::Tree,
                reader: &mut $crate::base::settings::Reader<'_>,
            ) -> Option<Self> {
                let text = <String as $crate::base::settings::Setting>::read(tree, reader)?;
                let choice = Self::from_name(&text);
                if choice.is_none() {
                    reader.not_a_choice(tree, &text, &[$($text),*]);
                }
                choice
            }

            fn schema(
                _: &mut std::collections::BTreeMap<String, serde_json::Value>,
            ) -> serde_json::Value {
                serde_json::json!({"enum": [$($text),*]})
            }
        }
    )*};
}

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Entry, Kind, Place, Problem, Reader, Setting, Tree};

/// An object being read by [`settings!`](crate::settings): unknown keys are noted as it is opened.
#[derive(Debug)]
pub struct Object<'o, 'r, 't> {
    entries: &'o [Entry],
    reader: &'r mut Reader<'t>,
    /// Where the object stands.
    pub place: Place,
}

impl<'o, 'r, 't> Object<'o, 'r, 't> {
    /// Open `tree` as an object that may hold `keys`.
    pub fn open(tree: &'o Tree, keys: &[&str], reader: &'r mut Reader<'t>) -> Option<Self> {
        let Kind::Map(entries) = &tree.kind else {
            reader.wrong_type(tree, "an object");
            return None;
        };
        for entry in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            let place = reader.under(&entry.key, |reader| reader.place(entry.at));
            reader.unknown_name(&place, "unknown key", &entry.key, keys);
        }
        Some(Self { place: reader.place(tree.at), entries, reader })
    }

    /// The value of a key that must be there.
    pub fn required<T: Setting>(&mut self, key: &str) -> Option<T> {
        if let Some(read) = self.read(key) {
            return read;
        }
        let problem = Problem::error(&self.place, format!("\"{key}\" is missing"));
        self.reader.problems.push(problem);
        None
    }

    /// The value of a key, or the default where it is absent or could not be read (which has then been noted).
    pub fn optional<T: Setting>(&mut self, key: &str, default: impl FnOnce() -> T) -> T {
        self.read(key).flatten().unwrap_or_else(default)
    }

    fn read<T: Setting>(&mut self, key: &str) -> Option<Option<T>> {
        // Duplicates have been noted when the tree was made; the first is as good as any.
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.reader.under(key, |reader| T::read(&entry.value, reader)))
    }
}

/// The schema of an object, being gathered.
#[derive(Debug)]
pub struct ObjectSchema {
    doc: &'static str,
    properties: serde_json::Map<String, Value>,
    required: Vec<Value>,
}

impl ObjectSchema {
    /// Begin with the struct's own doc comment.
    #[must_use]
    pub fn new(doc: &'static str) -> Self {
        Self { doc, properties: serde_json::Map::new(), required: Vec::new() }
    }

    /// Add a key.
    pub fn property(&mut self, key: &str, schema: Value, doc: &str, required: bool) {
        let mut schema = schema;
        if let Some(object) = schema.as_object_mut() {
            object.insert("description".into(), Value::String(doc.trim().to_owned()));
        }
        self.properties.insert(key.to_owned(), schema);
        if required {
            self.required.push(Value::String(key.to_owned()));
        }
    }

    /// The schema.
    #[must_use]
    pub fn done(self) -> Value {
        json!({
            "type": "object",
            "description": self.doc.trim(),
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        })
    }
}

impl Reader<'_> {
    /// Note a string that is not in a closed list.
    pub fn not_a_choice(&mut self, tree: &Tree, written: &str, valid: &[&str]) {
        let problem = Problem::error(&self.place(tree.at), format!("is {written:?}"))
            .expected(format!("expected one of {}", valid.join(", ")))
            .near(written, valid.iter().copied());
        self.problems.push(problem);
    }

    /// Note a name at `place` that is not among the valid ones.
    pub fn unknown_name(&mut self, place: &Place, what: &str, written: &str, valid: &[&str]) {
        let problem = Problem::error(place, what).near(written, valid.iter().copied());
        let expected = format!("expected one of {}", valid.join(", "));
        self.problems.push(if problem.nearest.is_some() { problem } else { problem.expected(expected) });
    }

    /// The schemas of everything a type refers to, and its own.
    #[must_use]
    pub fn schema_of<T: Setting>() -> (Value, BTreeMap<String, Value>) {
        let mut defs = BTreeMap::new();
        let own = T::schema(&mut defs);
        (own, defs)
    }
}

/// The valid name nearest to what was written, if any is near enough to be meant.
#[must_use]
pub fn nearest<'a>(written: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names are short; a huge key must not cost quadratic time.
    if written.len() > 64 {
        return None;
    }
    let near = |name: &&str| name.len() <= 64;
    let (distance, name) =
        valid.into_iter().filter(near).map(|name| (distance(written, name), name)).min_by_key(|(d, _)| *d)?;
    let letters = |text: &str| text.chars().count();
    (distance <= letters(written).max(letters(name)).div_ceil(3)).then_some(name)
}

/// Edits between two names (insert, drop, replace, swap neighbours), letters' case and separators nearly free.
fn distance(a: &str, b: &str) -> usize {
    let plain = |text: &str| -> Vec<char> {
        text.chars().filter(|c| !"_- ".contains(*c)).map(|c| c.to_ascii_lowercase()).collect()
    };
    let (a, b) = (plain(a), plain(b));
    let width = b.len() + 1;
    let mut cells: Vec<usize> = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            cells[i * width + j] = cell(&a, &b, &cells, i, j);
        }
    }
    cells[a.len() * width + b.len()]
}

fn cell(a: &[char], b: &[char], cells: &[usize], i: usize, j: usize) -> usize {
    let width = b.len() + 1;
    if i == 0 || j == 0 {
        return i + j;
    }
    let replace = cells[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
    let edit = replace.min(cells[(i - 1) * width + j] + 1).min(cells[i * width + j - 1] + 1);
    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
    if swapped { edit.min(cells[(i - 2) * width + j - 2] + 1) } else { edit }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_name_that_was_meant() {
        let valid = ["models", "baseurl", "apikey", "add_headers"];
        for (written, meant) in [
            ("modles", "models"),
            ("base_url", "baseurl"),
            ("ApiKey", "apikey"),
            ("addheader", "add_headers"),
        ] {
            assert_eq!(nearest(written, valid), Some(meant), "{written}");
        }
        assert_eq!(nearest("colour", valid), None);
        assert_eq!(nearest(&"m".repeat(1_000_000), valid), None);
    }
}
