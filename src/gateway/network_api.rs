//! The cluster's nodes as this process sees them, and connections by hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::error::{ApiError, Code};
use super::reply::{self, Reply};
use super::route::{Content, Policy, Route, Tag};
use super::schema::{any_of, boolean, count, like, list, moment, nullable, object, one_of, string};
use crate::cluster::{ConnectError, PeerView};
use crate::types::{Action, NodeId};

/// How long a peer has to answer.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Largest body: an address and its name.
const ADDRESS_BODY_BYTES_MAX: usize = 4 * 1024;

const ADDRESS: &str = "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

/// The routes of this chapter.
pub(super) fn routes() -> Vec<Route> {
    let done = || Content::json(object(&[("status", one_of(&["ok"]))]));
    let peer = object(&[
        ("id", string()),
        ("addresses", list(string())),
        ("connected", boolean()),
        ("member", boolean()),
        ("last_seen", nullable(moment())),
    ]);
    vec![
        Route::new(Method::GET, "/v1/network/status", "getNetworkStatus", status)
            .about(Tag::Network, "How this process is connected.")
            .policy(Policy::Namespace(Action::ReadNetwork))
            .answers(
                200,
                "The status.",
                Content::json(object(&[
                    ("node_id", string()),
                    ("peer_id", string()),
                    ("connected", boolean()),
                    ("peer_count", count()),
                    ("database_size", count()),
                    ("uptime", count()),
                ])),
            ),
        Route::new(Method::GET, "/v1/network/peers", "getNetworkPeers", peers)
            .about(Tag::Network, "The members of the cluster, and who else is connected.")
            .policy(Policy::Namespace(Action::ReadNetwork))
            .answers(
                200,
                "The peers, this one first.",
                Content::json(object(&[
                    ("peers", list(like(ADDRESS))),
                    ("peer_details", list(peer)),
                    ("count", count()),
                ])),
            ),
        Route::new(Method::POST, "/v1/network/connect", "connectPeer", connect)
            .about(Tag::Network, "Connects to a peer. It becomes no member by that.")
            .policy(Policy::Operator)
            .body_max(ADDRESS_BODY_BYTES_MAX)
            .takes(Content::json(any_of(
                &[("multiaddr?", like(ADDRESS)), ("peer_addr?", like(ADDRESS))],
                &["multiaddr", "peer_addr"],
            )))
            .answers(200, "It is connected.", done())
            .fails(&[Code::InvalidBody, Code::PeerUnreachable]),
        Route::new(Method::POST, "/v1/network/disconnect", "disconnectPeer", disconnect)
            .about(Tag::Network, "Closes the connections to a peer. A member is dialled again.")
            .policy(Policy::Operator)
            .body_max(ADDRESS_BODY_BYTES_MAX)
            .takes(Content::json(any_of(&[("peer_id?", string()), ("peerId?", string())], &["peer_id", "peerId"])))
            .answers(200, "It is disconnected.", done())
            .fails(&[Code::InvalidBody]),
    ]
}

async fn status(call: Call) -> Result<Reply, ApiError> {
    let face = &call.face;
    let seen = face.look().await;
    let node = face.cluster().node_id().to_string();
    let namespace = call.grant()?.namespace();
    let uptime = u64::try_from(face.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(reply::ok(&json!({
        "node_id": node,
        "peer_id": node,
        "connected": seen.leader_known,
        "peer_count": face.cluster().peers_connected(),
        "database_size": face.cluster().database_bytes(namespace),
        "uptime": uptime,
    })))
}

async fn peers(call: Call) -> Result<Reply, ApiError> {
    let now = jiff::Timestamp::now().to_string();
    let peers = call.face.cluster().peers();
    let addresses: Vec<String> = peers
        .iter()
        .flat_map(|peer| {
            let id = format!("/p2p/{}", peer.node);
            let full: Vec<String> = peer.addresses.iter().map(|address| with_id(address, &id)).collect();
            std::iter::once(id).chain(full)
        })
        .collect();
    let details: Vec<Value> = peers
        .iter()
        .map(|peer| {
            json!({
                "id": peer.node.to_string(),
                "addresses": peer.addresses,
                "connected": peer.connected,
                "member": peer.member,
                "last_seen": peer.connected.then_some(&now),
            })
        })
        .collect();
    Ok(reply::ok(&json!({ "peers": addresses, "peer_details": details, "count": details.len() })))
}

fn with_id(address: &str, id: &str) -> String {
    if address.contains("/p2p/") { address.to_owned() } else { format!("{address}{id}") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Connect {
    multiaddr: Option<String>,
    peer_addr: Option<String>,
}

async fn connect(call: Call) -> Result<Reply, ApiError> {
    let Connect { multiaddr, peer_addr } = call.json()?;
    let address = multiaddr.or(peer_addr);
    let address = address.ok_or_else(|| ApiError::new(Code::InvalidBody, "invalid body: expected {multiaddr}"))?;
    check_target(&address, &call.face.cluster().peers())?;
    let wait = call.deadline.saturating_duration_since(Instant::now()).min(CONNECT_MAX);
    let connected = call.face.cluster().connect(&address, wait).await;
    match connected {
        Ok(_) => Ok(reply::ok(&json!({ "status": "ok" }))),
        Err(ConnectError::Address(text)) => Err(ApiError::new(Code::InvalidBody, text)),
        Err(ConnectError::Unreachable(text)) => Err(ApiError::new(Code::PeerUnreachable, text)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    peer_id: Option<String>,
    #[serde(rename = "peerId")]
    peer_id_camel: Option<String>,
}

async fn disconnect(call: Call) -> Result<Reply, ApiError> {
    let Disconnect { peer_id, peer_id_camel } = call.json()?;
    let text = peer_id.or(peer_id_camel);
    let text = text.ok_or_else(|| ApiError::new(Code::InvalidBody, "invalid body: expected {peer_id}"))?;
    let node: NodeId = text.parse().map_err(|error| ApiError::new(Code::InvalidBody, format!("peer_id: {error}")))?;
    call.face.cluster().disconnect(node).await;
    Ok(reply::ok(&json!({ "status": "ok" })))
}

/// Where an operator may send this process: to a peer that must prove its identity there, and neither to services of
/// this machine or of the cloud that it runs in, nor to a name, which may point elsewhere when it is dialled. Addresses
/// of members are dialled anyway.
fn check_target(address: &str, peers: &[PeerView]) -> Result<(), ApiError> {
    let refuse = |reason: &str| Err(ApiError::new(Code::InvalidBody, format!("multiaddr: {reason}")));
    let Some((transport, id)) = address.split_once("/p2p/") else {
        return refuse("/p2p/<peer id> must say who has to answer");
    };
    let Ok(id) = id.parse::<NodeId>() else { return refuse("what follows /p2p/ is no peer id") };
    let known = |peer: &&PeerView| peer.member && peer.node == id;
    if peers.iter().find(known).is_some_and(|peer| peer.addresses.iter().any(|other| other == transport)) {
        return Ok(());
    }
    let mut parts = transport.split('/').skip(1);
    let ip = match (parts.next(), parts.next()) {
        (Some("ip4"), Some(text)) => text.parse().map(IpAddr::V4),
        (Some("ip6"), Some(text)) => text.parse().map(IpAddr::V6),
        _ => return refuse("it must begin with /ip4/ or /ip6/"),
    };
    match ip {
        Ok(ip) if is_reachable(ip) => Ok(()),
        _ => refuse("that address is not one to connect to"),
    }
}

fn is_reachable(ip: IpAddr) -> bool {
    /// What some clouds serve credentials at, beside the link-local one.
    const METADATA: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];
    let ip = ip.to_canonical();
    let special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || METADATA.contains(&ip);
    !special
        && match ip {
            IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_broadcast() && ip.octets()[0] != 0,
            IpAddr::V6(ip) => !ip.is_unicast_link_local() && ip.to_ipv4().is_none(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(address: &str, peers: &[PeerView]) -> bool {
        check_target(address, peers).is_ok()
    }

    #[test]
    fn an_operator_cannot_be_used_to_reach_what_only_this_machine_reaches() {
        let id = NodeId::from(7);
        let to = |ip: &str| format!("{ip}/tcp/4001/p2p/{id}");
        for good in ["/ip4/203.0.113.7", "/ip4/10.0.0.7", "/ip6/2001:db8::7"] {
            assert!(allowed(&to(good), &[]), "{good}");
        }
        for bad in [
            "/ip4/127.0.0.1",
            "/ip4/127.8.8.8",
            "/ip4/0.0.0.0",
            "/ip4/0.1.2.3",
            "/ip4/169.254.169.254",
            "/ip4/100.100.100.200",
            "/ip4/255.255.255.255",
            "/ip4/224.0.0.1",
            "/ip4/0x7f000001",
            "/ip6/::1",
            "/ip6/::",
            "/ip6/::ffff:127.0.0.1",
            "/ip6/::127.0.0.1",
            "/ip6/fe80::1",
            "/ip6/fd00:ec2::254",
            "/dns/localhost",
            "/dns4/rebind.example.org",
        ] {
            assert!(!allowed(&to(bad), &[]), "{bad}");
        }
        assert!(!allowed("/ip4/203.0.113.7/tcp/4001", &[]), "nobody says who must answer");
        assert!(!allowed("/ip4/203.0.113.7/tcp/4001/p2p/nobody", &[]));
    }

    #[test]
    fn a_member_may_be_reconnected_wherever_it_is() {
        let (id, other) = (NodeId::from(7), NodeId::from(8));
        let addresses = vec!["/ip4/127.0.0.1/tcp/4001".to_owned()];
        let member = PeerView { node: id, addresses, connected: false, member: true };
        assert!(allowed(&format!("/ip4/127.0.0.1/tcp/4001/p2p/{id}"), std::slice::from_ref(&member)));
        assert!(!allowed(&format!("/ip4/127.0.0.1/tcp/4002/p2p/{id}"), std::slice::from_ref(&member)));
        assert!(!allowed(&format!("/ip4/127.0.0.1/tcp/4001/p2p/{other}"), &[member]));
    }
}
