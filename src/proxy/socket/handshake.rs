//! The opening handshake (RFC 6455 4), forwarded: the client's key goes to the provider and its answer is checked here,
//! so that both ends have agreed with each other and not with us.
//!
//! Two things are not passed as they came. Of extensions only `permessage-deflate` is offered on, since we could read
//! no other; and the client is told to compress each message by itself (`client_no_context_takeover`, RFC 7692 7.1.1):
//! a message that is refused or renamed is missing from the provider's window then, without harm to the next. And a
//! subprotocol that is a credential (`openai-insecure-api-key.…`, for browsers) stays here like any other credential.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::llm::dialect::Dialect;
use crate::llm::dialect::paths::Route;
use crate::llm::socket::model_in_query;
use crate::proxy::fault::{Fault, Kind};
use crate::proxy::heads;
use crate::wire::base64;
use crate::wire::h1::{Framing, Request, Response, is_hop_by_hop, list_members, write_field};
use crate::wire::head::{Fields, Version};
use crate::wire::ws::Deflate;

/// Appended to the client's key before hashing (RFC 6455 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CREDENTIAL_PROTOCOLS: [&str; 1] = ["openai-insecure-api-key."];

/// A client's half, checked.
pub(super) struct Offer {
    /// The request as it goes on.
    pub(super) request: Request,
    /// Fields that make it an upgrade.
    pub(super) added: Vec<(String, String)>,
    /// The model that the address names.
    pub(super) model: Option<String>,
    accept: String,
    deflate: bool,
    protocols: Vec<Vec<u8>>,
}

/// A provider's half, checked.
pub(super) struct Agreed {
    /// In the direction from the client.
    pub(super) up: Option<Deflate>,
    /// In the direction to the client.
    pub(super) down: Option<Deflate>,
    /// Extensions as the client is told of them.
    extensions: Option<String>,
}

impl Offer {
    /// Check the client's half.
    pub(super) fn read(request: &Request, route: &Route) -> Result<Offer, Fault> {
        let fields = &request.head.fields;
        if !request.wants_upgrade || !names(fields, "upgrade", "websocket") {
            return Err(Fault::new(Kind::WantsSocket));
        }
        if request.head.version != Version::Http11 {
            return Err(Fault::new(Kind::Opening("HTTP/1.1 is needed (RFC 6455 4.1)")));
        }
        if !matches!(request.framing, Framing::None) {
            return Err(Fault::new(Kind::Opening("a body (RFC 6455 4.1)")));
        }
        if only(fields, "sec-websocket-version") != Some(b"13") {
            return Err(Fault::new(Kind::WantsSocket));
        }
        let key = only(fields, "sec-websocket-key").filter(|key| is_key(key));
        let key = key.ok_or(Fault::new(Kind::Opening("no key of 16 bytes (RFC 6455 4.1)")))?;
        let named = route.dialect == Dialect::Realtime;
        let model = request.head.query().filter(|_| named).map(model_in_query).transpose()?.flatten();
        let deflate: Vec<_> = members(fields, "sec-websocket-extensions").filter(|m| is_deflate(m)).collect();
        let protocols: Vec<_> = members(fields, "sec-websocket-protocol")
            .filter(|p| !is_credential(p) && !heads::is_of_weir(p))
            .map(<[u8]>::to_vec)
            .collect();
        let mut added =
            vec![("Connection".to_owned(), "Upgrade".to_owned()), ("Upgrade".into(), "websocket".into())];
        let mut offer = |name: &str, members: &[&[u8]]| {
            if !members.is_empty() {
                added.push((name.into(), String::from_utf8_lossy(&members.join(&b", "[..])).into_owned()));
            }
        };
        offer("Sec-WebSocket-Extensions", &deflate);
        offer("Sec-WebSocket-Protocol", &protocols.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let accept = accept(key);
        let deflate = !deflate.is_empty();
        Ok(Offer { request: without_offers(request), added, model, accept, deflate, protocols })
    }

    /// The address with the provider's own name for the model.
    pub(super) fn rename(&mut self, name: &str) {
        let Some(model) = &self.model else { return };
        let (path, query) = self.request.head.target.split_once('?').unwrap_or_default();
        let written = |pair: &&str| model_in_query(pair).ok().flatten().as_ref() == Some(model);
        let renamed = |pair| match Some(pair).filter(written).and_then(|pair| pair.split_once('=')) {
            Some((key, _)) => format!("{key}={}", percent_encoded(name)),
            None => pair.to_owned(),
        };
        let query: Vec<String> = query.split('&').map(renamed).collect();
        self.request.head.target = format!("{path}?{}", query.join("&"));
    }

    /// Check the provider's half against it.
    pub(super) fn agree(&self, response: &Response) -> Result<Agreed, Fault> {
        let bad = |why: &str| Err(Fault::because(Kind::BadAnswer, why));
        let fields = &response.head.fields;
        let upgrade = response.connection_names.iter().any(|name| name.eq_ignore_ascii_case(b"upgrade"));
        if !upgrade || !names(fields, "upgrade", "websocket") {
            return bad("101 to something else than a WebSocket");
        }
        if only(fields, "sec-websocket-accept") != Some(self.accept.as_bytes()) {
            return bad("101 with a wrong sec-websocket-accept");
        }
        let mut protocols = members(fields, "sec-websocket-protocol");
        let chosen = protocols.next();
        if chosen.is_some_and(|one| !self.protocols.iter().any(|own| own == one))
            || protocols.next().is_some()
        {
            return bad("101 with a subprotocol that was not offered");
        }
        let mut extensions = members(fields, "sec-websocket-extensions");
        match (extensions.next(), extensions.next()) {
            (None, _) => Ok(Agreed { up: None, down: None, extensions: None }),
            (Some(one), None) if self.deflate && is_deflate(one) => Agreed::deflate(one),
            _ => bad("101 with an extension that was not offered"),
        }
    }
}

impl Agreed {
    fn deflate(written: &[u8]) -> Result<Agreed, Fault> {
        let written = String::from_utf8_lossy(written).into_owned();
        let (mut no_context, mut told) = (false, false);
        for parameter in written.split(';').skip(1) {
            match parameter.split('=').next().unwrap_or_default().trim() {
                "server_no_context_takeover" => no_context = true,
                "client_no_context_takeover" => told = true,
                // A smaller window is read with a larger one.
                "server_max_window_bits" | "client_max_window_bits" => {}
                _ => {
                    return Err(Fault::because(
                        Kind::BadAnswer,
                        "permessage-deflate with an unknown parameter",
                    ));
                }
            }
        }
        let extensions = if told { written } else { format!("{written}; client_no_context_takeover") };
        Ok(Agreed {
            up: Some(Deflate { no_context: true }),
            down: Some(Deflate { no_context }),
            extensions: Some(extensions),
        })
    }

    /// The head that tells the client.
    pub(super) fn write_head(&self, out: &mut Vec<u8>, response: &Response, id: &[u8]) {
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in response.head.fields.iter() {
            let ours = ["content-length", "x-weir-id", "sec-websocket-extensions"];
            let replaced = ours.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()));
            if !replaced && !is_hop_by_hop(name, &response.connection_names) {
                write_field(out, name, value);
            }
        }
        write_field(out, b"Upgrade", b"websocket");
        write_field(out, b"Connection", b"Upgrade");
        if let Some(extensions) = &self.extensions {
            write_field(out, b"Sec-WebSocket-Extensions", extensions.as_bytes());
        }
        write_field(out, b"x-weir-id", id);
        out.extend_from_slice(b"\r\n");
    }
}

/// The request without what is offered anew. Its connection serves nothing else: what stands behind it are frames, or
/// else bytes that must not be taken for another request.
fn without_offers(request: &Request) -> Request {
    let replaced = ["sec-websocket-extensions", "sec-websocket-protocol"];
    let kept = |name: &[u8]| !replaced.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()));
    let mut request = request.clone();
    request.head.fields = request.head.fields.iter().filter(|(name, _)| kept(name)).collect();
    request.keep_alive = false;
    request
}

/// What the server has to answer to a key (RFC 6455 4.2.2).
fn accept(key: &[u8]) -> String {
    base64::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, KEY_SUFFIX].concat()).as_ref())
}

fn is_key(key: &[u8]) -> bool {
    key.len() == 24 && base64::decode(key).is_some_and(|bytes| bytes.len() == 16)
}

/// A field that may come only once.
fn only<'a>(fields: &'a Fields, name: &'a str) -> Option<&'a [u8]> {
    let mut all = fields.all(name);
    all.next().filter(|_| all.next().is_none())
}

fn members<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.all(name).flat_map(list_members)
}

fn names(fields: &Fields, name: &str, member: &str) -> bool {
    members(fields, name).any(|one| one.eq_ignore_ascii_case(member.as_bytes()))
}

fn is_deflate(extension: &[u8]) -> bool {
    extension.split(|b| *b == b';').next().is_some_and(|name| name.trim_ascii() == b"permessage-deflate")
}

fn is_credential(protocol: &[u8]) -> bool {
    CREDENTIAL_PROTOCOLS.iter().any(|start| protocol.starts_with(start.as_bytes()))
}

fn percent_encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::dialect::paths;
    use crate::wire::h1::{HeadLimits, parse_request, parse_response};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn offer(target: &str, more: &str) -> Result<Offer, Fault> {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n{more}\r\n"
        );
        let request = parse_request(head.as_bytes(), &HeadLimits::default()).unwrap();
        Offer::read(&request, &paths::endpoint("GET", request.head.path()).unwrap())
    }

    fn sound(more: &str) -> Offer {
        let both = format!("Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}");
        offer("/v1/realtime?model=openai%2Fm&x=1", &both).unwrap()
    }

    fn answered(offer: &Offer, more: &str) -> Result<String, Fault> {
        let head = format!("HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{more}\r\n");
        let response = parse_response(head.as_bytes(), "GET", &HeadLimits::default()).unwrap();
        let mut out = Vec::new();
        offer.agree(&response)?.write_head(&mut out, &response, b"id");
        Ok(String::from_utf8(out).unwrap())
    }

    /// The example of RFC 6455 1.3.
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    #[test]
    fn a_handshake_is_checked_on_both_sides() {
        let offer = sound("");
        let head = answered(&offer, &format!("{ACCEPT}openai-model: m\r\nx-weir-id: forged\r\n")).unwrap();
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}openai-model: m\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nx-weir-id: id\r\n\r\n"
            )
        );
        for (more, why) in [
            ("Sec-WebSocket-Accept: AAAA\r\n".to_owned(), "accept"),
            (String::new(), "accept"),
            (format!("{ACCEPT}{ACCEPT}"), "accept"),
            (format!("{ACCEPT}Sec-WebSocket-Protocol: never\r\n"), "subprotocol"),
            (format!("{ACCEPT}Sec-WebSocket-Extensions: permessage-deflate\r\n"), "extension"),
        ] {
            let fault = answered(&offer, &more).unwrap_err();
            assert!(fault.kind == Kind::BadAnswer && fault.cause.contains(why), "{more}: {}", fault.cause);
        }
    }

    #[test]
    fn of_extensions_only_what_can_be_read_is_offered_on() {
        let offers = "Sec-WebSocket-Extensions: x-other, permessage-deflate; client_max_window_bits\r\n";
        let offer = sound(offers);
        let offered =
            |name: &str| offer.added.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(offered("Sec-WebSocket-Extensions"), Some("permessage-deflate; client_max_window_bits"));
        assert!(offer.request.head.fields.get("sec-websocket-extensions").is_none());
        let told = |agreed: &str| {
            answered(&offer, &format!("{ACCEPT}Sec-WebSocket-Extensions: permessage-deflate{agreed}\r\n"))
        };
        let line = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; client_no_context_takeover\r\n";
        assert!(told("; server_max_window_bits=10").unwrap().contains(line));
        assert!(told("; server_max_window_bits=10; client_no_context_takeover").unwrap().contains(line));
        assert!(told("; unheard_of").is_err());
        assert!(told(", permessage-deflate").is_err());
    }

    #[test]
    fn a_credential_among_the_subprotocols_stays_here() {
        let offer = sound(
            "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-x, openai-beta.realtime-v1\r\n",
        );
        let offered = offer.added.iter().find(|(name, _)| name == "Sec-WebSocket-Protocol").unwrap();
        assert_eq!(offered.1, "realtime, openai-beta.realtime-v1");
        assert!(answered(&offer, &format!("{ACCEPT}Sec-WebSocket-Protocol: realtime\r\n")).is_ok());
    }

    #[test]
    fn a_model_in_the_address_is_read_and_renamed() {
        let mut offer = sound("");
        assert_eq!(offer.model.as_deref(), Some("openai/m"));
        offer.rename("other one");
        assert_eq!(offer.request.head.target, "/v1/realtime?model=other%20one&x=1");
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
        for (more, kind) in [
            (format!("{key}Sec-WebSocket-Version: 8\r\n"), Kind::WantsSocket),
            (key.clone(), Kind::WantsSocket),
            ("Sec-WebSocket-Version: 13\r\n".into(), Kind::Opening("no key of 16 bytes (RFC 6455 4.1)")),
            (
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n".into(),
                Kind::Opening("no key of 16 bytes (RFC 6455 4.1)"),
            ),
            (
                format!("{key}Sec-WebSocket-Version: 13\r\nContent-Length: 3\r\n"),
                Kind::Opening("a body (RFC 6455 4.1)"),
            ),
        ] {
            assert_eq!(offer("/v1/responses", &more).err().map(|fault| fault.kind), Some(kind), "{more}");
        }
    }
}
