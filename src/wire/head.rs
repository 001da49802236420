//! A message head as received.

pub use crate::base::fields::Fields;

/// HTTP/1 minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0: no chunked coding towards it, no keep-alive unless asked.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// A request head.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Method as spelled (case-sensitive, RFC 9110 9.1).
    pub method: String,
    /// Path and query, always beginning with `/` (or `*`); an absolute form has been taken apart.
    pub target: String,
    /// Authority of an absolute-form target, which overrides `Host` (RFC 9112 3.2.2).
    pub authority: Option<String>,
    /// Version of the message.
    pub version: Version,
    /// Fields in order.
    pub fields: Fields,
}

impl RequestHead {
    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What follows the first `?`, if anything does.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

/// A response head.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Version of the message.
    pub version: Version,
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase, kept for faithful forwarding.
    pub reason: String,
    /// Fields in order.
    pub fields: Fields,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_comes_apart() {
        let head = RequestHead { target: "/v1/messages?beta=true".into(), ..RequestHead::default() };
        assert_eq!((head.path(), head.query()), ("/v1/messages", Some("beta=true")));
    }
}
