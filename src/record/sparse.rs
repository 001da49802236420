//! JSON without what says nothing: a record has a hundred members, and most exchanges have something to say in half of
//! them. A line of the log leaves out what is absent, empty, zero or false; reading, everything has that for its default.
//!
//! Left out are members of structures, and of the outermost maps, which is how serde writes a structure that has
//! another flattened into it. What lists and inner maps hold is somebody else's JSON and stays as it is.

use std::fmt::{self, Display};

use serde::ser::{Error, Impossible, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

/// A value that is written without its empty members, with so many levels of maps that are structures.
pub(super) struct Sparse<T> {
    pub(super) value: T,
    pub(super) maps: u8,
}

impl<T: Serialize> Serialize for Sparse<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Thinning { to, maps: self.maps })
    }
}

/// A serializer that hands on everything but empty members.
struct Thinning<S> {
    to: S,
    maps: u8,
}

/// The members of a structure, or of a map that is one if `maps` is not zero.
struct Members<M> {
    to: M,
    maps: u8,
}

macro_rules! hand_on {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $(fn $name(self, $($arg: $kind),*) -> Result<S::Ok, S::Error> {
            self.to.$name($($arg),*)
        })*
    };
}

impl<S: Serializer> Serializer for Thinning<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = S::SerializeSeq;
    type SerializeTuple = S::SerializeTuple;
    type SerializeTupleStruct = S::SerializeTupleStruct;
    type SerializeTupleVariant = S::SerializeTupleVariant;
    type SerializeMap = Members<S::SerializeMap>;
    type SerializeStruct = Members<S::SerializeStruct>;
    type SerializeStructVariant = S::SerializeStructVariant;

    hand_on! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_u128(v: u128);
        serialize_f32(v: f32);
        serialize_f64(v: f64);
        serialize_char(v: char);
        serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.to.collect_str(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.to.serialize_some(&Sparse { value, maps: self.maps })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.to.serialize_newtype_struct(name, &Sparse { value, maps: self.maps })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.to.serialize_newtype_variant(name, index, variant, &Sparse { value, maps: self.maps })
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<S::SerializeSeq, S::Error> {
        self.to.serialize_seq(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<S::SerializeTuple, S::Error> {
        self.to.serialize_tuple(len)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<S::SerializeTupleStruct, S::Error> {
        self.to.serialize_tuple_struct(name, len)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<S::SerializeTupleVariant, S::Error> {
        self.to.serialize_tuple_variant(name, index, variant, len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        // How many will be left is not known yet.
        let len = len.filter(|_| self.maps == 0);
        Ok(Members { to: self.to.serialize_map(len)?, maps: self.maps })
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        Ok(Members { to: self.to.serialize_struct(name, len)?, maps: 0 })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<S::SerializeStructVariant, S::Error> {
        self.to.serialize_struct_variant(name, index, variant, len)
    }
}

impl<M: SerializeStruct> SerializeStruct for Members<M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        if says_nothing(value) { Ok(()) } else { self.to.serialize_field(key, &Sparse { value, maps: 0 }) }
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.to.end()
    }
}

impl<M: SerializeMap> SerializeMap for Members<M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), M::Error> {
        self.to.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), M::Error> {
        self.to.serialize_value(value)
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), M::Error> {
        match self.maps {
            0 => self.to.serialize_entry(key, value),
            _ if says_nothing(value) => Ok(()),
            maps => self.to.serialize_entry(key, &Sparse { value, maps: maps - 1 }),
        }
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.to.end()
    }
}

/// Whether a value is what it would be by default: nothing, zero, false, or empty.
fn says_nothing<T: Serialize + ?Sized>(value: &T) -> bool {
    matches!(value.serialize(Probe), Err(Said::Nothing))
}

/// A serializer that only looks at the first thing it is told.
struct Probe;

#[derive(Debug)]
enum Said {
    Nothing,
    Something,
}

type Never = Impossible<(), Said>;

impl Said {
    fn unless(nothing: bool) -> Result<(), Said> {
        Err(if nothing { Said::Nothing } else { Said::Something })
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Said {}

impl Error for Said {
    fn custom<T: Display>(_: T) -> Said {
        Said::Something
    }
}

macro_rules! numbers {
    ($($name:ident: $kind:ty;)*) => {
        $(fn $name(self, v: $kind) -> Result<(), Said> {
            Said::unless(v == <$kind>::default())
        })*
    };
}

impl Serializer for Probe {
    type Ok = ();
    type Error = Said;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    numbers! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_f32: f32;
        serialize_f64: f64;
        serialize_char: char;
        serialize_str: &str;
        serialize_bytes: &[u8];
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Said> {
        Err(Said::Something)
    }

    fn serialize_none(self) -> Result<(), Said> {
        Err(Said::Nothing)
    }

    fn serialize_unit(self) -> Result<(), Said> {
        Err(Said::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Said> {
        Err(Said::Something)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Said> {
        Err(Said::Something)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Said> {
        Err(Said::Something)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<(), Said> {
        Err(Said::Something)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Said> {
        Err(Said::Something)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Never, Said> {
        Err(if len == Some(0) { Said::Nothing } else { Said::Something })
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, Said> {
        Err(Said::Something)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, Said> {
        Err(Said::Something)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, Said> {
        Err(Said::Something)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, Said> {
        Err(Said::Something)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Never, Said> {
        Err(Said::Something)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, Said> {
        Err(Said::Something)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
    #[serde(default)]
    struct Outer {
        name: String,
        count: u64,
        known: Option<u64>,
        list: Vec<Inner>,
        inner: Inner,
        #[serde(flatten)]
        flat: Flat,
    }

    #[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
    #[serde(default)]
    struct Inner {
        yes: bool,
        text: Option<String>,
    }

    #[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
    #[serde(default)]
    struct Flat {
        theirs: Option<Value>,
        none: Option<u64>,
    }

    fn written(outer: &Outer) -> Value {
        let text = serde_json::to_string(&Sparse { value: outer, maps: 1 }).unwrap();
        assert_eq!(&serde_json::from_str::<Outer>(&text).unwrap(), outer, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_says_nothing_is_left_out_and_comes_back() {
        assert_eq!(written(&Outer::default()), json!({"inner": {}}));
        let zero = Outer { known: Some(0), ..Outer::default() };
        assert_eq!(written(&zero), json!({"known": 0, "inner": {}}), "a known zero is no unknown");
    }

    #[test]
    fn the_json_of_others_is_not_touched() {
        let theirs = json!({"a": null, "b": "", "c": {"d": null, "e": 0}, "f": [null, {"g": false}]});
        let outer = Outer {
            list: vec![Inner::default()],
            flat: Flat { theirs: Some(theirs.clone()), none: None },
            ..Outer::default()
        };
        let list = json!([{"yes": false, "text": null}]);
        assert_eq!(written(&outer), json!({"list": list, "inner": {}, "theirs": theirs}));
    }
}
