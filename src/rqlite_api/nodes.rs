//! `/nodes`: every member of the cluster, asked now whether it answers.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::failure::Failure;
use super::parameters::Flag;
use super::reply::{self, Reply};
use super::{go_value, indent};
use crate::cluster::{MemberStatus, Suffrage};
use crate::http::go_duration;

/// Longest wait for a member; a client that lists nodes wants to know which are gone.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Answers `/nodes`: an object by node id, or with `ver=2` a list. Learners only with `nonvoters`.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let members = call.face.cluster.members(call.parameters.timeout().min(PROBE_MAX)).await;
    let learners = call.parameters.has(Flag::NonVoters);
    let shown = members.iter().filter(|status| match status.member.suffrage {
        Suffrage::Voter => true,
        Suffrage::Learner => learners,
        Suffrage::Gateway => false,
    });
    let body = match call.parameters.ver.as_deref() {
        Some("2") => json!({ "nodes": shown.map(describe).collect::<Vec<_>>() }),
        _ => Value::Object(shown.map(|status| (status.member.node.to_string(), describe(status))).collect()),
    };
    Ok(answer(call, &body))
}

/// A status as an answer, laid out as asked.
pub(super) fn answer(call: &Call<'_>, body: &Value) -> Reply {
    let mut out = Vec::new();
    go_value::write(&mut out, body);
    reply::json(if call.parameters.has(Flag::Pretty) { indent::indented(&out) } else { out })
}

/// A member in rqlite's words. What is empty is left out.
pub(super) fn describe(status: &MemberStatus) -> Value {
    let member = &status.member;
    let mut node = Map::new();
    let mut set = |key: &str, value: Value| node.insert(key.to_owned(), value);
    set("id", member.node.to_string().into());
    set("voter", (member.suffrage == Suffrage::Voter).into());
    set("reachable", status.reachable.is_ok().into());
    set("leader", status.leader.into());
    if let Some(address) = peer_address(&member.addresses) {
        set("addr", address.into());
    }
    if !member.sql_address.is_empty() {
        set("api_addr", format!("http://{}", member.sql_address).into());
    }
    match &status.reachable {
        Ok(took) => {
            set("version", member.version.as_str().into());
            set("time", took.as_secs_f64().into());
            set("time_s", go_duration::format(*took).into());
        }
        Err(reason) => {
            set("version", "".into());
            set("error", reason.as_str().into());
        }
    }
    Value::Object(node)
}

/// The first address as `host:port`.
pub(super) fn peer_address(multiaddrs: &[String]) -> Option<String> {
    multiaddrs.iter().find_map(|address| host_and_port(address))
}

/// `/ip4/192.0.2.1/tcp/4001` as `192.0.2.1:4001`.
fn host_and_port(multiaddr: &str) -> Option<String> {
    let mut parts = multiaddr.strip_prefix('/')?.split('/');
    let (kind, host, transport, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    match (kind, transport) {
        ("ip6", "tcp" | "udp") => Some(format!("[{host}]:{port}")),
        ("ip4" | "dns" | "dns4" | "dns6", "tcp" | "udp") => Some(format!("{host}:{port}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Member;
    use crate::types::NodeId;

    fn status(reachable: Result<Duration, String>) -> MemberStatus {
        let member = Member {
            node: NodeId::from(7),
            suffrage: Suffrage::Voter,
            addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
            sql_address: "192.0.2.1:5001".to_owned(),
            version: "0.1.0".to_owned(),
        };
        MemberStatus { member, leader: true, reachable }
    }

    #[test]
    fn a_member_is_described_in_rqlites_words() {
        let id = NodeId::from(7).to_string();
        assert_eq!(
            describe(&status(Ok(Duration::from_micros(1500)))),
            json!({
                "id": id, "voter": true, "reachable": true, "leader": true, "addr": "192.0.2.1:4001",
                "api_addr": "http://192.0.2.1:5001", "version": "0.1.0", "time": 0.0015, "time_s": "1.5ms",
            })
        );
        assert_eq!(
            describe(&status(Err("connection refused".to_owned()))),
            json!({
                "id": id, "voter": true, "reachable": false, "leader": true, "addr": "192.0.2.1:4001",
                "api_addr": "http://192.0.2.1:5001", "version": "", "error": "connection refused",
            })
        );
    }

    #[test]
    fn multiaddrs_become_host_and_port() {
        assert_eq!(host_and_port("/ip6/::1/tcp/4001").as_deref(), Some("[::1]:4001"));
        assert_eq!(host_and_port("/dns4/n1.example/tcp/4001").as_deref(), Some("n1.example:4001"));
        for other in ["", "/ip4/1.2.3.4", "/unix/x/tcp/1", "1.2.3.4:5"] {
            assert_eq!(host_and_port(other), None);
        }
    }
}
