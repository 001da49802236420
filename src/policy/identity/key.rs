//! Source `key`: keys minted by weir. Shown once, kept as SHA-256, expiring, revocable.
//!
//! ```text
//!   weir_ 3f9k2m7q _ 8w…(40 letters)
//!   mark  id         secret, 200 random bits
//! ```
//!
//! The id finds the row, the hash of the whole key decides, compared in constant time. A string that begins with the
//! mark is meant for weir: a bad one is 401 and ends the search, whatever stands behind it.

use foldhash::HashMap;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Kind, Principal};
use crate::base::clock::Wall;
use crate::base::fields::Names;

/// What every key begins with.
pub const MARK: &str = "weir_";
const ID_LETTERS: usize = 8;
const SECRET_LETTERS: usize = 40;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Header fields a key may stand in.
pub const FIELDS: [&str; 4] = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];
const IN_FIELDS: Names = Names::of(&FIELDS);

/// One key, as kept. Holds nothing that could be shown as the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Public part.
    pub id: String,
    /// Who it is: `key:NAME` in grants. Several keys may share it (rotation).
    pub name: String,
    /// SHA-256 of the whole key, in hex.
    pub sha256: String,
    /// When it was minted.
    pub created: Wall,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Wall>,
    /// Whether what runs under it ends with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Groups it brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// A key that has just been minted: the only moment its text exists.
pub struct Minted {
    /// The key. Show it once.
    pub key: String,
    /// What is kept.
    pub row: KeyRow,
}

/// Why a key is refused. Clients are told only that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// It has not the form of a key.
    Malformed,
    /// No such key, or the wrong secret.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

/// Mint a key.
pub fn mint(
    name: &str,
    now: Wall,
    expires: Option<Wall>,
    groups: Vec<String>,
) -> Result<Minted, &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err("a key's name has up to 64 letters, digits, - _ . @");
    }
    let mut random = [0u8; ID_LETTERS + SECRET_LETTERS];
    SystemRandom::new().fill(&mut random).map_err(|_| "the system has no random numbers")?;
    let letters: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
    let (id, secret) = letters.split_at(ID_LETTERS);
    let key = format!("{MARK}{id}_{secret}");
    let row = KeyRow {
        id: id.to_owned(),
        name: name.to_owned(),
        sha256: hex(&sha256(key.as_bytes())),
        created: now,
        expires,
        revoked: None,
        cut: false,
        groups,
    };
    Ok(Minted { key, row })
}

/// Every key there is, for looking up. Made anew when a row changes.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    by_id: HashMap<Box<str>, (KeyRow, [u8; 32])>,
}

impl KeyRing {
    /// Over rows from the store; rows whose hash is no hash can let nobody in.
    #[must_use]
    pub fn over(rows: impl IntoIterator<Item = KeyRow>) -> Self {
        let entry = |row: KeyRow| unhex(&row.sha256).map(|hash| (row.id.clone().into(), (row, hash)));
        Self { by_id: rows.into_iter().filter_map(entry).collect() }
    }

    /// Whether streams that this key began must end: it was taken back so, or is gone altogether.
    #[must_use]
    pub fn cuts(&self, id: &str) -> bool {
        self.by_id.get(id).is_none_or(|(row, _)| row.revoked.is_some() && row.cut)
    }

    /// Whether a key that was good once still is.
    #[must_use]
    pub fn holds(&self, id: &str, now: Wall) -> bool {
        self.by_id
            .get(id)
            .is_some_and(|(row, _)| row.revoked.is_none() && row.expires.is_none_or(|expires| now < expires))
    }

    /// Whose key this is.
    pub fn judge(&self, key: &str, now: Wall) -> Result<Principal, BadKey> {
        let rest = key.strip_prefix(MARK).ok_or(BadKey::Malformed)?;
        let (id, secret) = rest.split_once('_').ok_or(BadKey::Malformed)?;
        if id.len() != ID_LETTERS || secret.len() != SECRET_LETTERS {
            return Err(BadKey::Malformed);
        }
        let shown = sha256(key.as_bytes());
        let (row, kept) = self.by_id.get(id).ok_or(BadKey::Unknown)?;
        if !bool::from(shown.ct_eq(kept)) {
            return Err(BadKey::Unknown);
        }
        // Only the holder learns that a key was good once.
        if row.revoked.is_some() {
            return Err(BadKey::Revoked);
        }
        if row.expires.is_some_and(|expires| now >= expires) {
            return Err(BadKey::Expired);
        }
        Ok(Principal {
            name: row.name.clone(),
            source: "key",
            kind: Kind::Key,
            groups: row.groups.clone(),
            ..Principal::default()
        })
    }
}

/// The public part of a key.
#[must_use]
pub fn id_in(key: &str) -> Option<&str> {
    key.strip_prefix(MARK)?.split_once('_').map(|(id, _)| id)
}

/// A field that a key may stand in, by its own name, and the key of ours that stands in it.
#[must_use]
pub fn of_field<'v>(name: &[u8], value: &'v [u8]) -> Option<(&'static str, &'v str)> {
    if !IN_FIELDS.has(name) {
        return None;
    }
    let name = FIELDS.into_iter().find(|own| name.eq_ignore_ascii_case(own.as_bytes()))?;
    Some((name, in_field(name, value)?))
}

/// The key in a field's value, if it is one of ours: `Bearer weir_…` or bare.
#[must_use]
pub fn in_field<'v>(name: &str, value: &'v [u8]) -> Option<&'v str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let text = match name {
        "authorization" => super::bearer(text).unwrap_or(text),
        _ => text,
    };
    text.starts_with(MARK).then_some(text)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_opens_until_it_expires_or_is_revoked() {
        let minted = mint("ci", 10, Some(100), vec!["bots".into()]).expect("minted");
        assert!(!format!("{:?}", minted.row).contains(&minted.key[14..]));
        let ring = KeyRing::over([minted.row.clone()]);
        let who = ring.judge(&minted.key, 99).expect("good");
        assert_eq!(
            (who.name.as_str(), who.kind, who.groups.as_slice()),
            ("ci", Kind::Key, &["bots".to_owned()][..])
        );
        assert_eq!(ring.judge(&minted.key, 100), Err(BadKey::Expired));
        assert!(ring.holds(&minted.row.id, 99) && !ring.holds(&minted.row.id, 100) && !ring.holds("", 1));
        let revoked = KeyRing::over([KeyRow { revoked: Some(50), ..minted.row.clone() }]);
        assert_eq!(revoked.judge(&minted.key, 60), Err(BadKey::Revoked));
        let json = serde_json::to_string(&minted.row).expect("json");
        assert_eq!(serde_json::from_str::<KeyRow>(&json).expect("row"), minted.row);
    }

    #[test]
    fn nothing_but_the_key_opens() {
        let minted = mint("ci", 0, None, Vec::new()).expect("minted");
        let other = mint("ci", 0, None, Vec::new()).expect("minted");
        assert_ne!(minted.key, other.key);
        let ring = KeyRing::over([minted.row.clone()]);
        let swapped = format!("{}{}", &minted.key[..14], &other.key[14..]);
        let cut = &minted.key[..minted.key.len() - 1];
        for key in [
            "",
            "weir_",
            "weir_x_y",
            "sk-x",
            cut,
            &swapped,
            &other.key,
            &minted.key.to_uppercase(),
            &format!("{} ", minted.key),
        ] {
            assert!(ring.judge(key, 0).is_err(), "{key}");
        }
        let broken = KeyRow { sha256: "not hex".into(), ..minted.row };
        assert_eq!(KeyRing::over([broken]).judge(&minted.key, 0), Err(BadKey::Unknown));
    }

    #[test]
    fn keys_are_found_in_fields() {
        for (name, value, expected) in [
            ("authorization", "Bearer weir_a_b", Some("weir_a_b")),
            ("authorization", "bearer  weir_a_b", Some("weir_a_b")),
            ("authorization", "weir_a_b", Some("weir_a_b")),
            ("authorization", "Bearer sk-x", None),
            ("x-api-key", "weir_a_b", Some("weir_a_b")),
            ("x-api-key", "-", None),
        ] {
            assert_eq!(in_field(name, value.as_bytes()), expected, "{name}: {value}");
        }
    }
}
