//! Where a request comes from. What a header says about that counts only when a proxy says it that the operator named.

use std::net::IpAddr;

use hyper::header::{HeaderMap, HeaderName};

use crate::types::IpRange;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the last one in the chain of `X-Forwarded-For` that is no trusted proxy. Each proxy appends
/// the address that it saw, so only what trusted ones appended is known; what stands before may be invented.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpRange]) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|range| range.contains(address));
    let mut client = peer.to_canonical();
    if !trusted(client) {
        return client;
    }
    let values = headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    for text in chain.into_iter().rev() {
        // Some proxies add the port.
        let address = text.parse::<IpAddr>().or_else(|_| text.parse().map(|socket: std::net::SocketAddr| socket.ip()));
        let Ok(address) = address else { break };
        client = address.to_canonical();
        if !trusted(client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().expect("a value"));
        }
        let proxies: Vec<IpRange> = proxies.iter().map(|range| range.parse().expect("a range")).collect();
        client_address(peer.parse().expect("an address"), &headers, &proxies).to_string()
    }

    #[test]
    fn only_a_named_proxy_is_believed_and_only_what_it_saw() {
        assert_eq!(client("198.51.100.1", &["203.0.113.9"], &[]), "198.51.100.1");
        assert_eq!(client("198.51.100.1", &["203.0.113.9"], &["10.0.0.0/8"]), "198.51.100.1");
        let proxies = &["10.0.0.0/8"];
        assert_eq!(client("10.0.0.1", &[], proxies), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9"], proxies), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, 10.0.0.2"], proxies), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["127.0.0.1, 203.0.113.9"], proxies), "203.0.113.9", "the first is invented");
        assert_eq!(client("10.0.0.1", &["127.0.0.1", "203.0.113.9:4711"], proxies), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, nonsense"], proxies), "10.0.0.1");
    }
}
