//! Confusion and spoofing: each row is an attempt, and what must come of it.

use super::settings::{HeaderName, HeadersSettings, Network, TailnetSettings, TailscaleServeSettings};
use super::*;
use crate::base::settings::Place;

const FRONT: &str = "10.0.0.5:4000";

fn headers() -> SourceSettings {
    SourceSettings::Headers(HeadersSettings {
        place: Place::default(),
        source: SourceKind::Headers,
        trusted: vec![Network::parse("10.0.0.0/24").expect("network")],
        user: HeaderName("x-auth-email".into()),
        groups: Some(HeaderName("x-auth-groups".into())),
        on_behalf_of: None,
    })
}

fn serve() -> SourceSettings {
    SourceSettings::TailscaleServe(TailscaleServeSettings {
        place: Place::default(),
        source: SourceKind::TailscaleServe,
        uid: 0,
    })
}

fn tailnet() -> SourceSettings {
    SourceSettings::Tailnet(TailnetSettings {
        place: Place::default(),
        source: SourceKind::Tailnet,
        socket: String::new(),
        ttl: std::time::Duration::ZERO,
    })
}

fn from(peer: &str) -> Evidence {
    let peer: SocketAddr = peer.parse().expect(peer);
    Evidence { peer: Some(peer), here: peer.ip().is_loopback(), uid: None, login: None }
}

struct Bench {
    keys: key::KeyRing,
    good: String,
    revoked: String,
}

fn bench() -> Bench {
    let good = key::mint("ci", 0, None, Vec::new()).expect("minted");
    let revoked = key::mint("old", 0, None, Vec::new()).expect("minted");
    let rows = [good.row, key::KeyRow { revoked: Some(1), ..revoked.row }];
    Bench { keys: key::KeyRing::over(rows), good: good.key, revoked: revoked.key }
}

impl Bench {
    fn judge(&self, order: &[SourceKind], evidence: &Evidence, fields: &[(&str, &str)]) -> Judged {
        let sources = [headers(), serve(), tailnet()];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let (key_sets, seen) = (jwt::KeySets::default(), jwt::Seen::default());
        let known = Known { sources: &sources, keys: &self.keys, key_sets: &key_sets, seen: &seen };
        judge(order, known, &Shown::of(evidence, &fields), 10)
    }
}

fn name(judged: &Judged) -> &str {
    match judged {
        Judged::Known(vouched) => &vouched.principal.name,
        Judged::Nobody => "nobody",
        Judged::Refused(..) => "refused",
        Judged::NeedsLookup(_) => "lookup",
    }
}

/// Sources in order, what the connection shows, fields, and who that must be.
type Attempt<'a> = (&'a [SourceKind], Evidence, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn attempts() {
    use SourceKind::{Headers, Key, Peer, TailscaleServe};
    let bench = bench();
    let (good, revoked) = (bench.good.as_str(), bench.revoked.as_str());
    let local = Evidence { login: Some("me".into()), uid: Some(1000), ..from("127.0.0.1:5") };
    let socket = |uid| Evidence { peer: None, here: true, uid: Some(uid), login: Some("somebody".into()) };
    let bearer = format!("Bearer {good}");
    let upper = good.to_uppercase();
    let rows: &[Attempt<'_>] = &[
        // What is meant to work.
        (&[Peer], local.clone(), &[], "me"),
        (&[Key], from("192.0.2.1:1"), &[("Authorization", &bearer)], "ci"),
        (&[Key], from("192.0.2.1:1"), &[("x-api-key", good)], "ci"),
        (&[Key, Headers], from(FRONT), &[("X-Auth-Email", "a@example.com")], "a@example.com"),
        (&[TailscaleServe], socket(0), &[("Tailscale-User-Login", "a@example.com")], "a@example.com"),
        // A strange credential is nothing to go by: the next source is asked.
        (&[Key, Headers], from(FRONT), &[("authorization", "Bearer sk-x"), ("x-auth-email", "a@x")], "a@x"),
        (&[Key], from("192.0.2.1:1"), &[("authorization", "Bearer -")], "nobody"),
        // A revoked key with a weaker source behind it.
        (&[Key, Headers], from(FRONT), &[("x-api-key", revoked), ("x-auth-email", "a@x")], "refused"),
        (&[Key, Headers], from(FRONT), &[("x-api-key", "weir_nonsense"), ("x-auth-email", "a@x")], "refused"),
        // Two keys, and which of them counts.
        (&[Key], from("192.0.2.1:1"), &[("x-api-key", good), ("authorization", revoked)], "refused"),
        (&[Key], from("192.0.2.1:1"), &[("x-api-key", good), ("x-api-key", revoked)], "refused"),
        // Mixed case in names is the same field, in keys another key.
        (&[Key], from("192.0.2.1:1"), &[("X-API-KEY", good)], "ci"),
        (&[Key], from("192.0.2.1:1"), &[("x-api-key", &upper)], "nobody"),
        // Identity fields from peers that are no front.
        (&[Headers], from("192.0.2.1:1"), &[("x-auth-email", "admin@x")], "nobody"),
        (&[Headers], from("10.0.1.5:1"), &[("x-auth-email", "admin@x")], "nobody"),
        (&[Headers, Key], from("192.0.2.1:1"), &[("x-auth-email", "admin@x"), ("x-api-key", good)], "ci"),
        // Two people behind one front: each exchange is judged by its own fields, a doubled field is neither.
        (&[Headers], from(FRONT), &[("x-auth-email", "a@x"), ("X-Auth-Email", "b@x")], "refused"),
        (&[Headers], from(FRONT), &[("x-auth-email", "a@x\rb")], "refused"),
        (&[Headers], from(FRONT), &[("x-auth-email", "")], "nobody"),
        (&[Headers], from(FRONT), &[], "nobody"),
        // A front on a listener that believes the kernel.
        (&[Peer], local.clone(), &[("x-forwarded-for", "127.0.0.1")], "refused"),
        (&[Peer], local.clone(), &[("Via", "1.1 nginx")], "refused"),
        (&[Peer], from("127.0.0.1:5"), &[], "nobody"),
        (&[Peer], from("192.0.2.1:5"), &[], "nobody"),
        // The tailnet front's fields from anybody else.
        (&[TailscaleServe], socket(1000), &[("tailscale-user-login", "admin@x")], "nobody"),
        (&[TailscaleServe], from("127.0.0.1:5"), &[("tailscale-user-login", "admin@x")], "nobody"),
        (
            &[TailscaleServe],
            socket(0),
            &[("tailscale-user-login", "a@x"), ("tailscale-user-login", "b@x")],
            "refused",
        ),
        // No source, no identity.
        (&[], local, &[("x-api-key", good)], "nobody"),
    ];
    for (at, (order, evidence, fields, expected)) in rows.iter().enumerate() {
        let judged = bench.judge(order, evidence, fields);
        assert_eq!(name(&judged), *expected, "row {at}: {order:?} {fields:?} -> {judged:?}");
    }
}

#[test]
fn what_was_evidence_never_leaves() {
    let bench = bench();
    let fields = [("Authorization", bench.good.as_str()), ("x-api-key", bench.good.as_str())];
    let Judged::Known(vouched) = bench.judge(&[SourceKind::Key], &from("192.0.2.1:1"), &fields) else {
        panic!()
    };
    assert_eq!(vouched.consumed, ["authorization", "x-api-key"]);
    assert_eq!(vouched.key.as_deref(), bench.good.get(5..13));
    assert_eq!(vouched.principal.label(), "key:ci");
    for name in [
        "Cookie",
        "X-Auth-Email",
        "x-auth-groups",
        "X-Forwarded-For",
        "x-forwarded-user",
        "Forwarded",
        "Tailscale-User-Login",
        "Proxy-Authorization",
        "Cf-Access-Jwt-Assertion",
    ] {
        assert!(is_withheld(name.as_bytes(), &[headers()]), "{name}");
    }
    for name in ["authorization", "anthropic-beta", "x-api-key", "user-agent", "x-stainless-lang"] {
        assert!(!is_withheld(name.as_bytes(), &[headers()]), "{name}");
    }
}

#[test]
fn the_tailnet_is_asked_once_and_silence_is_a_refusal() {
    let sources = [tailnet()];
    let (keys, key_sets, seen) = (key::KeyRing::default(), jwt::KeySets::default(), jwt::Seen::default());
    let known = Known { sources: &sources, keys: &keys, key_sets: &key_sets, seen: &seen };
    let evidence = from("100.64.0.1:5");
    let ask = |whois| judge(&[SourceKind::Tailnet], known, &Shown { whois, ..Shown::of(&evidence, &[]) }, 0);
    assert_eq!(ask(None), Judged::NeedsLookup(Lookup::Whois));
    assert_eq!(ask(Some(&tailnet::Whois::Stranger)), Judged::Nobody);
    assert!(matches!(ask(Some(&tailnet::Whois::Silent("gone"))), Judged::Refused(..)));
    let who = Principal { name: "a@x".into(), source: "tailnet", ..Principal::default() };
    assert_eq!(name(&ask(Some(&tailnet::Whois::Known(Box::new(who))))), "a@x");
}

#[test]
fn the_tailnets_front_passes_on_what_its_policy_grants() {
    let bench = bench();
    let front = Evidence { peer: None, here: true, uid: Some(0), login: Some("root".into()) };
    let carried = |capabilities: &str| {
        let fields =
            [("tailscale-user-login", "Ada@Example.com"), ("tailscale-app-capabilities", capabilities)];
        match bench.judge(&[SourceKind::TailscaleServe], &front, &fields) {
            Judged::Known(vouched) => {
                assert_eq!(vouched.principal.name, "ada@example.com", "one person in any case");
                vouched.principal.carried.len()
            }
            other => panic!("{other:?}"),
        }
    };
    let cap = "tailscale.com/cap/aperture";
    assert_eq!(
        carried(&format!(r#"{{"{cap}": [{{"role": "user"}}, {{"models": "a/**"}}], "other": [1]}}"#)),
        2
    );
    for broken in ["", "{", "[]", r#"{"tailscale.com/cap/aperture": [{"rolle": "admin"}]}"#] {
        assert_eq!(carried(broken), 0, "{broken}");
    }
}

#[test]
fn nobody_is_called_like_something_else() {
    let bench = bench();
    for odd in ["key:ci", "tag:ci", "group:eng", "spiffe://x/y", "a@x\u{85}b"] {
        let judged = bench.judge(&[SourceKind::Headers], &from(FRONT), &[("x-auth-email", odd)]);
        assert_eq!(name(&judged), "refused", "{odd}");
    }
}
