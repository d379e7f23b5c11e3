//! Where a browser is sent with a new API key.
//!
//! Two programs read such an address: debros decides whether it may be used, the browser goes there. An address that they
//! read differently would let the one approve what the other does not do, and there are many ways: user information, tabs
//! that browsers drop, backslashes that they take for slashes, `0x7f.1` for `127.0.0.1`. So only the plain form is taken,
//! in which every reader finds the same host, port and path; everything else is refused, never corrected.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An absolute `http` or `https` URL without user information, fragment, escapes in the host or dot segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackUrl {
    text: String,
    /// Where the path begins, or the query if there is no path.
    path_at: usize,
}

/// Why a text is no callback URL. The text is not repeated: a page shows the reason, and the text may be an attack.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidCallbackUrl {
    /// Another scheme, or none.
    #[error("it does not begin with http:// or https://")]
    Scheme,
    /// Spaces, control characters, backslashes, quotes, letters beyond ASCII.
    #[error("it has a character that a URL cannot have unescaped")]
    Character,
    /// `#`.
    #[error("it has a fragment (what follows a #)")]
    Fragment,
    /// `user@host`.
    #[error("it has a user name (what precedes an @)")]
    UserInfo,
    /// No host, or one that some readers take for another.
    #[error("its host is not a name in lower case or an IP address in the usual form")]
    Host,
    /// Not a number from 1 to 65535 in the usual form.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// `.` or `..` as a part of the path.
    #[error("its path has a part that is `.` or `..`")]
    DotSegment,
}

impl CallbackUrl {
    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port, as written.
    pub fn origin(&self) -> &str {
        &self.text[..self.path_at]
    }

    /// The path without the query; `/` when there is none.
    pub fn path(&self) -> &str {
        let path = self.text[self.path_at..].split('?').next().unwrap_or_default();
        if path.is_empty() { "/" } else { path }
    }

    /// Whether it has a query.
    pub fn has_query(&self) -> bool {
        self.text.contains('?')
    }

    /// Whether it is plain `http` to the machine that the browser runs on.
    pub fn is_loopback(&self) -> bool {
        let Some(authority) = self.origin().strip_prefix("http://") else { return false };
        let host = authority.rsplit_once(':').filter(|_| !authority.ends_with(']')).map_or(authority, |(host, _)| host);
        host == "localhost" || host == "[::1]" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for CallbackUrl {
    type Err = InvalidCallbackUrl;

    fn from_str(text: &str) -> Result<CallbackUrl, InvalidCallbackUrl> {
        let after_scheme = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let after_scheme = after_scheme.ok_or(InvalidCallbackUrl::Scheme)?;
        if text.contains('#') {
            return Err(InvalidCallbackUrl::Fragment);
        }
        // RFC 3986's characters; brackets stand for themselves only around a host.
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&b)) {
            return Err(InvalidCallbackUrl::Character);
        }
        let end = after_scheme.find(['/', '?']).unwrap_or(after_scheme.len());
        let (authority, rest) = after_scheme.split_at(end);
        check_authority(authority)?;
        if rest.contains(['[', ']']) {
            return Err(InvalidCallbackUrl::Character);
        }
        let path = rest.split('?').next().unwrap_or_default();
        if path.split('/').any(is_dot_segment) {
            return Err(InvalidCallbackUrl::DotSegment);
        }
        Ok(CallbackUrl { text: text.to_owned(), path_at: text.len() - rest.len() })
    }
}

fn check_authority(authority: &str) -> Result<(), InvalidCallbackUrl> {
    if authority.contains('@') {
        return Err(InvalidCallbackUrl::UserInfo);
    }
    let host_end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if !is_host(host) {
        return Err(InvalidCallbackUrl::Host);
    }
    if port.is_empty() {
        return Ok(());
    }
    let number = port.strip_prefix(':').filter(|number| !number.starts_with(['0', '+']));
    let number = number.and_then(|number| number.parse::<u16>().ok());
    number.map(|_| ()).ok_or(InvalidCallbackUrl::Port)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        // Only as it is usually written, so that equal addresses are equal texts.
        let address = address.strip_suffix(']').unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let labels_ok = host.split('.').all(|label| !label.is_empty() && label.bytes().all(allowed));
    // Browsers take a host whose last part is a number for an address, in octal and hexadecimal too.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
    labels_ok && host.len() <= 253 && (!is_number || host.parse::<Ipv4Addr>().is_ok())
}

/// Browsers resolve these, escaped or not, so the path would become another one.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

impl fmt::Display for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for CallbackUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for CallbackUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CallbackUrl, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_addresses_are_taken_apart() {
        for (text, origin, path, loopback) in [
            ("http://localhost", "http://localhost", "/", true),
            ("http://localhost:3000/callback?x=1", "http://localhost:3000", "/callback", true),
            ("http://127.0.0.1:65535?x=/y", "http://127.0.0.1:65535", "/", true),
            ("http://127.255.3.4/a/b", "http://127.255.3.4", "/a/b", true),
            ("http://[::1]:80/", "http://[::1]:80", "/", true),
            ("http://[::1]", "http://[::1]", "/", true),
            ("https://localhost:3000/", "https://localhost:3000", "/", false),
            ("http://128.0.0.1/", "http://128.0.0.1", "/", false),
            ("http://[::2]/", "http://[::2]", "/", false),
            ("http://localhost.evil.example/", "http://localhost.evil.example", "/", false),
            ("http://127.0.0.1.evil.example/", "http://127.0.0.1.evil.example", "/", false),
            ("https://app.example/auth/done@x?a=b:c", "https://app.example", "/auth/done@x", false),
            ("http://evil.example/?http://localhost", "http://evil.example", "/", false),
            ("http://evil.example/http://127.0.0.1", "http://evil.example", "/http://127.0.0.1", false),
        ] {
            let url: CallbackUrl = text.parse().expect(text);
            assert_eq!((url.origin(), url.path(), url.is_loopback()), (origin, path, loopback), "{text}");
            assert_eq!(url.as_str(), text);
        }
    }

    #[test]
    fn what_readers_could_take_for_different_things_is_refused() {
        use InvalidCallbackUrl::*;
        for (text, reason) in [
            ("", Scheme),
            ("//evil.example", Scheme),
            ("/callback", Scheme),
            ("localhost:3000", Scheme),
            ("javascript:alert(1)", Scheme),
            ("javascript://localhost/%0aalert(1)", Scheme),
            ("data:text/html,x", Scheme),
            ("file:///etc/passwd", Scheme),
            ("ws://localhost/", Scheme),
            ("HTTP://localhost/", Scheme),
            (" http://localhost/", Scheme),
            ("\u{feff}http://localhost/", Scheme),
            ("http:/localhost", Scheme),
            ("http:localhost", Scheme),
            ("http:\\\\localhost", Scheme),
            ("ht\ntp://localhost", Scheme),
            ("http://localhost/\n", Character),
            ("http://local\thost/", Character),
            ("http://localhost\\@evil.example/", Character),
            ("http://evil.example\\.localhost/", Character),
            ("http://localhost/ x", Character),
            ("http://localhost/\"><script>", Character),
            ("http://localhost/\0", Character),
            ("http://l\u{f6}calhost/", Character),
            ("http://127\u{3002}0.0.1/", Character),
            ("http://\u{ff4c}ocalhost/", Character),
            ("http://localhost/?a[b]=c", Character),
            ("http://localhost/#x", Fragment),
            ("http://localhost#@evil.example/", Fragment),
            ("http://127.0.0.1@evil.example/", UserInfo),
            ("http://localhost:80@evil.example/", UserInfo),
            ("http://user:pass@localhost/", UserInfo),
            ("http://@localhost/", UserInfo),
            ("http://[::1]@evil.example/", UserInfo),
            ("http://", Host),
            ("http:///localhost", Host),
            ("http://?localhost", Host),
            ("http://:80/", Host),
            ("http://LOCALHOST/", Host),
            ("http://localhost./", Host),
            ("http://.localhost/", Host),
            ("http://local%68ost/", Host),
            ("http://127.1/", Host),
            ("http://127.0.0.01/", Host),
            ("http://0177.0.0.1/", Host),
            ("http://0x7f.0.0.1/", Host),
            ("http://0x7f000001/", Host),
            ("http://2130706433/", Host),
            ("http://127.0.0.1.0x1/", Host),
            ("http://127.0.0.256/", Host),
            ("http://127.0.0.1./", Host),
            ("http://[::1/", Host),
            ("http://[::1]x]/", Port),
            ("http://::1/", Host),
            ("http://[0:0:0:0:0:0:0:1]/", Host),
            ("http://[::1%25lo]/", Host),
            ("http://[127.0.0.1]/", Host),
            ("http://[::1].evil.example/", Port),
            ("http://[::1]evil.example/", Port),
            ("http://localhost:/", Port),
            ("http://localhost:0/", Port),
            ("http://localhost:080/", Port),
            ("http://localhost:+80/", Port),
            ("http://localhost:65536/", Port),
            ("http://localhost:80:80/", Port),
            ("http://localhost:evil.example/", Port),
            ("http://localhost/a/../b", DotSegment),
            ("http://localhost/%2e%2E/b", DotSegment),
            ("http://localhost/.%2e?x", DotSegment),
            ("http://localhost/.", DotSegment),
        ] {
            assert_eq!(text.parse::<CallbackUrl>(), Err(reason), "{text:?}");
        }
    }
}
