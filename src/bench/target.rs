//! A listener, and how to be let in.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`.
    pub(super) address: String,
    /// The value of the header, when there is one.
    pub(super) authorization: Option<String>,
}

impl Target {
    pub(super) fn new(address: impl Into<String>) -> Target {
        Target { address: address.into(), authorization: None }
    }

    /// The same with credentials, `namespace:api-key`.
    #[must_use]
    pub fn with_user(self, user: &str) -> Target {
        Target { authorization: Some(format!("Basic {}", BASE64.encode(user))), ..self }
    }

    /// The same with an API key of the gateway.
    #[must_use]
    pub fn with_key(self, key: &str) -> Target {
        Target { authorization: Some(format!("ApiKey {key}")), ..self }
    }

    /// The same with an access token of the gateway.
    #[must_use]
    pub(super) fn with_token(self, token: &str) -> Target {
        Target { authorization: Some(format!("Bearer {token}")), ..self }
    }
}

/// Reads `http://host:port`, with or without the scheme and a last slash.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        let valid = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_graphic() && !"/@?#".contains(c))
                && port.parse::<u16>().is_ok()
        });
        if valid { Ok(Target::new(address)) } else { Err(format!("`{text}` is not like http://127.0.0.1:5001")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_named_by_its_url() {
        for url in ["http://127.0.0.1:5001", "http://127.0.0.1:5001/", "127.0.0.1:5001"] {
            assert_eq!(url.parse::<Target>().expect(url).address, "127.0.0.1:5001");
        }
        for url in ["", "https://a:1", "http://a", "http://a:1/db", "http://u:p@a:1", "http://a:99999", "http://:1"] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
        let target = Target::new("a:1").with_user("chat:ak_1:chat");
        assert_eq!(target.authorization.as_deref(), Some("Basic Y2hhdDpha18xOmNoYXQ="));
    }
}
