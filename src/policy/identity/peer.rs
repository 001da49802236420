//! Source `peer`: the kernel's word about the other end of a unix socket or of a loopback connection.

use super::{Evidence, Principal};
use crate::base::fields::is_spelled;

/// The local user behind the connection, if the kernel names one.
#[must_use]
pub fn judge(evidence: &Evidence) -> Option<Principal> {
    let uid = evidence.uid.filter(|_| evidence.here)?;
    let name = evidence.login.clone().unwrap_or_else(|| format!("uid:{uid}"));
    Some(Principal { name, source: "peer", loopback: true, ..Principal::default() })
}

/// Fields that only a front sets. Behind a front the peer is the front and not the asker, so `peer` refuses them.
pub const FRONT_FIELDS: [&str; 5] = ["forwarded", "via", "x-forwarded-", "cf-", "tailscale-"];

/// Whether a field name (any case) betrays a front.
#[must_use]
pub fn is_front_field(name: &[u8]) -> bool {
    // Most fields are told from these by their first letter.
    name.first().is_some_and(|first| b"fvxct".contains(&(first | 0x20)))
        && FRONT_FIELDS.iter().any(|front| match front.strip_suffix('-') {
            Some(_) => name.get(..front.len()).is_some_and(|start| is_spelled(start, front)),
            None => is_spelled(name, front),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(peer: &str, uid: Option<u32>) -> Evidence {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        Evidence { peer: Some(peer), here: peer.ip().to_canonical().is_loopback(), uid, login: None }
    }

    #[test]
    fn only_loopback_with_a_uid_is_somebody() {
        assert_eq!(judge(&evidence("127.0.0.1:5", Some(7))).unwrap().name, "uid:7");
        assert!(judge(&evidence("[::ffff:127.0.0.1]:5", Some(7))).is_some());
        assert!(judge(&evidence("127.0.0.1:5", None)).is_none());
        assert!(judge(&evidence("192.0.2.1:5", Some(7))).is_none());
        let through_a_balancer = Evidence { here: false, ..evidence("127.0.0.1:5", Some(7)) };
        assert!(judge(&through_a_balancer).is_none());
    }

    #[test]
    fn fields_of_fronts_are_known_in_any_case() {
        for front in
            ["Forwarded", "VIA", "X-Forwarded-For", "cf-ray", "Tailscale-User-Login", "X_Forwarded_For"]
        {
            assert!(is_front_field(front.as_bytes()), "{front}");
        }
        for plain in ["x-forwarded", "viaduct", "cfoo", "accept"] {
            assert!(!is_front_field(plain.as_bytes()), "{plain}");
        }
    }
}
