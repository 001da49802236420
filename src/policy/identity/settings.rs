//! Identity sources as written: `identity[]`, each with the key `source`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::settings::{At, Kind, Problem, Reader, Setting, Tree};
use crate::policy::glob::Glob;
use crate::{choices, settings};

choices! {
    /// Who vouches.
    pub enum SourceKind {
        /// The kernel's word about a loopback or unix-socket peer.
        Peer = "peer",
        /// Keys minted by weir.
        Key = "key",
        /// Client certificates.
        Mtls = "mtls",
        /// JSON web tokens.
        Jwt = "jwt",
        /// Header fields from trusted networks.
        Headers = "headers",
        /// The tailnet daemon's word.
        Tailnet = "tailnet",
        /// Header fields of the tailnet daemon's own front.
        TailscaleServe = "tailscale_serve",
    }

    /// A name in a certificate.
    pub enum SanKind {
        /// `spiffe://…`
        Spiffe = "spiffe",
        /// E-mail address.
        Email = "email",
        /// DNS name.
        Dns = "dns",
    }
}

settings! {
    /// The kernel's word: unix-socket peer credentials, or the uid behind a loopback connection. Takes no other source beside it.
    pub struct PeerSettings {
        /// `peer`.
        pub source: SourceKind,
    }

    /// Keys minted by `weir key create`.
    pub struct KeySettings {
        /// `key`.
        pub source: SourceKind,
    }

    /// Client certificates; the listener's `tls.client_ca` says whose.
    pub struct MtlsSettings {
        /// `mtls`.
        pub source: SourceKind,
        /// Which names of the certificate are taken, the first present wins.
        pub names: Vec<SanKind> = vec![SanKind::Spiffe, SanKind::Email, SanKind::Dns],
    }

    /// JSON web tokens: people through an OIDC front, CI runners, access proxies.
    pub struct JwtSettings {
        /// `jwt`.
        pub source: SourceKind,
        /// Field the token stands in; `Bearer ` before it is taken off.
        pub header: HeaderName = HeaderName("authorization".into()),
        /// `iss`, compared whole.
        pub issuer: At<String>,
        /// `aud`: one of these.
        pub audience: OneOrMore,
        /// Where the issuer's keys are (JWKS).
        pub jwks: At<String>,
        /// Private networks that `jwks` may stand in, beside its own literal address.
        pub private_networks: Vec<Network> = Vec::new(),
        /// Claim that names the principal.
        pub user_claim: String = "email".into(),
        /// Claim that lists groups.
        pub groups_claim: Option<String> = None,
        /// Claims that must match; mandatory for issuers that serve everyone.
        pub require: Vec<(At<String>, Glob)> = Vec::new(),
        /// Tolerance for clocks.
        pub leeway: Duration = Duration::from_secs(30),
    }

    /// Header fields set by a front that serves this organisation alone.
    pub struct HeadersSettings {
        /// `headers`.
        pub source: SourceKind,
        /// Networks the front connects from.
        pub trusted: Vec<Network>,
        /// Field with the login.
        pub user: HeaderName = HeaderName("x-forwarded-email".into()),
        /// Field with groups, separated by commas.
        pub groups: Option<HeaderName> = None,
        /// Field that names whom the principal acts for.
        pub on_behalf_of: Option<HeaderName> = None,
    }

    /// The tailnet daemon's local API.
    pub struct TailnetSettings {
        /// `tailnet`.
        pub source: SourceKind,
        /// Its unix socket.
        pub socket: String = "/var/run/tailscale/tailscaled.sock".into(),
        /// How long an answer holds.
        pub ttl: Duration = Duration::from_secs(60),
    }

    /// Header fields of the tailnet daemon's front, on a unix socket.
    pub struct TailscaleServeSettings {
        /// `tailscale_serve`.
        pub source: SourceKind,
        /// Uid the front runs as.
        pub uid: u32 = 0,
    }
}

/// One source as written.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// See [`PeerSettings`].
    Peer(PeerSettings),
    /// See [`KeySettings`].
    Key(KeySettings),
    /// See [`MtlsSettings`].
    Mtls(MtlsSettings),
    /// See [`JwtSettings`].
    Jwt(JwtSettings),
    /// See [`HeadersSettings`].
    Headers(HeadersSettings),
    /// See [`TailnetSettings`].
    Tailnet(TailnetSettings),
    /// See [`TailscaleServeSettings`].
    TailscaleServe(TailscaleServeSettings),
}

impl SourceKind {
    /// How strong its word is, for the record: whether it holds for the connection itself, is signed by somebody else,
    /// is a secret that was shown, or is another's assertion.
    #[must_use]
    pub fn strength(self) -> &'static str {
        match self {
            SourceKind::Peer | SourceKind::Mtls | SourceKind::Tailnet => "connection",
            SourceKind::Jwt => "signed",
            SourceKind::Key => "secret",
            SourceKind::Headers | SourceKind::TailscaleServe => "asserted",
        }
    }
}

impl SourceSettings {
    /// Which source it configures.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Peer(_) => SourceKind::Peer,
            Self::Key(_) => SourceKind::Key,
            Self::Mtls(_) => SourceKind::Mtls,
            Self::Jwt(_) => SourceKind::Jwt,
            Self::Headers(_) => SourceKind::Headers,
            Self::Tailnet(_) => SourceKind::Tailnet,
            Self::TailscaleServe(_) => SourceKind::TailscaleServe,
        }
    }
}

impl Setting for SourceSettings {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Map(entries) = &tree.kind else {
            reader.wrong_type(tree, "an object with the key \"source\"");
            return None;
        };
        let Some(entry) = entries.iter().find(|entry| entry.key == "source") else {
            reader.problems.push(Problem::error(&reader.place(tree.at), "\"source\" is missing"));
            return None;
        };
        match reader.under("source", |reader| SourceKind::read(&entry.value, reader))? {
            SourceKind::Peer => PeerSettings::read(tree, reader).map(Self::Peer),
            SourceKind::Key => KeySettings::read(tree, reader).map(Self::Key),
            SourceKind::Mtls => MtlsSettings::read(tree, reader).map(Self::Mtls),
            SourceKind::Jwt => JwtSettings::read(tree, reader).map(Self::Jwt),
            SourceKind::Headers => HeadersSettings::read(tree, reader).map(Self::Headers),
            SourceKind::Tailnet => TailnetSettings::read(tree, reader).map(Self::Tailnet),
            SourceKind::TailscaleServe => {
                TailscaleServeSettings::read(tree, reader).map(Self::TailscaleServe)
            }
        }
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        let kinds = [
            PeerSettings::schema(defs),
            KeySettings::schema(defs),
            MtlsSettings::schema(defs),
            JwtSettings::schema(defs),
            HeadersSettings::schema(defs),
            TailnetSettings::schema(defs),
            TailscaleServeSettings::schema(defs),
        ];
        json!({"anyOf": kinds})
    }
}

/// A string or several.
#[derive(Clone, Debug, Default)]
pub struct OneOrMore(pub Vec<At<String>>);

impl Setting for OneOrMore {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        match tree.kind {
            Kind::List(_) => Vec::read(tree, reader).map(Self),
            _ => At::read(tree, reader).map(|one| Self(vec![one])),
        }
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}

/// Name of a header field, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(pub String);

impl Setting for HeaderName {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(tree, reader)?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || !text.bytes().all(token) {
            reader.bad_value(
                tree,
                format!("{text:?} is no field name"),
                "expected the name of a header field",
            );
            return None;
        }
        Some(Self(text.to_ascii_lowercase()))
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string"})
    }
}

/// Addresses with a common prefix: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// From `address/bits` or one address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    /// Is the address in it? Addresses of the older kind are recognised when mapped into the newer.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let bits = if self.address.is_ipv4() { self.bits } else { self.bits.saturating_sub(96) };
                same_prefix(u128::from(ours.to_bits()) << 96, u128::from(theirs.to_bits()) << 96, bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                same_prefix(ours.to_bits(), theirs.to_bits(), self.bits)
            }
            _ => false,
        }
    }

    /// Whether it holds every address there is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.bits == 0
    }
}

fn same_prefix(a: u128, b: u128, bits: u8) -> bool {
    let shift = 128 - u32::from(bits.min(128));
    shift == 128 || (a ^ b) >> shift == 0
}

impl Setting for Network {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(tree, reader)?;
        let network = Network::parse(&text);
        if network.is_none() {
            reader.bad_value(tree, format!("{text:?} is no network"), "expected an address or address/bits");
        }
        network
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string", "description": "an address, or address/bits"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "fe80::1", true),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert_eq!(parsed.contains(address.parse().expect(address)), expected, "{network} {address}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
