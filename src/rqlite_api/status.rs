//! `/status`: the keys that rqlite's clients and tools read, with true values. What debros does not have (disk layout of
//! another log, Go's runtime) is not made up.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::access::AnonymousAccess;
use super::call::Call;
use super::counters::Counter;
use super::failure::Failure;
use super::nodes::{answer, peer_address};
use super::reply::{RQLITE_VERSION, Reply};
use crate::cluster::{Level, Member, RaftState, RaftStatus, Read, Suffrage};
use crate::http::go_duration;
use crate::types::{Statement, StatementResult};

/// Answers `/status`; `key` picks a part by its dotted path, `{}` when there is none.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    call.face.counters.add(Counter::Status, 1);
    let whole = document(call).await;
    let part = call
        .parameters
        .key
        .as_deref()
        .filter(|key| !key.is_empty())
        .map_or(Some(&whole), |key| key.split('.').try_fold(&whole, |value, step| value.get(step)));
    Ok(answer(call, part.unwrap_or(&json!({}))))
}

async fn document(call: &Call<'_>) -> Value {
    let raft = call.face.cluster.raft_status();
    let face = call.face;
    let own_address = raft.members.iter().find(|m| m.node == raft.node).map_or_else(String::new, address);
    json!({
        "build": {
            "version": RQLITE_VERSION,
            "debros": env!("CARGO_PKG_VERSION"),
            "commit": "unknown",
            "build_time": "unknown",
            "compiler_toolchain": "rustc",
        },
        "cluster": { "addr": own_address, "api_addr": face.advertised, "https": "false" },
        "disco": { "mode": "none" },
        "extensions": { "names": [] },
        "http": {
            "auth": if face.anonymous == AnonymousAccess::Never { "enabled" } else { "disabled" },
            "bind_addr": face.bound.to_string(),
            "cluster": { "local_node_addr": own_address, "timeout": "30s" },
            "queue": {
                "_default": {
                    "batch_size": call.face.queue_options.batch_requests_max,
                    "max_size": call.face.queue_options.requests_max,
                    "sequence_number": face.queue.sequence_number(),
                    "timeout": go_duration::format(call.face.queue_options.batch_wait),
                },
            },
            "tls": { "enabled": "false" },
        },
        "mux": { "addr": own_address, "tls": "noise" },
        "node": {
            "current_time": rfc3339(SystemTime::now()),
            "start_time": rfc3339(face.started_at),
            "uptime": go_duration::format(face.started.elapsed()),
        },
        "os": {
            "executable": std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
            "pid": std::process::id(),
        },
        "runtime": {
            "GOARCH": std::env::consts::ARCH,
            "GOOS": std::env::consts::OS,
            "num_cpu": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "version": "rust",
        },
        "store": store(call, &raft, own_address).await,
    })
}

async fn store(call: &Call<'_>, raft: &RaftStatus, own_address: String) -> Value {
    let leader = raft.leader.and_then(|id| raft.members.iter().find(|member| member.node == id));
    let nodes: Vec<Value> = raft
        .members
        .iter()
        .filter(|member| member.suffrage != Suffrage::Gateway)
        .map(|member| json!({ "id": member.node.to_string(), "addr": address(member), "suffrage": suffrage(member) }))
        .collect();
    let database = call.face.cluster.database_file(call.namespace());
    let folder = database.as_ref().and_then(|(path, ..)| path.parent()).map(|path| path.display().to_string());
    json!({
        "addr": own_address,
        "node_id": raft.node.to_string(),
        "ready": raft.leader.is_some(),
        "open": {},
        "dir": folder.unwrap_or_default(),
        "leader": {
            "node_id": raft.leader.map_or_else(String::new, |id| id.to_string()),
            "addr": leader.map_or_else(String::new, address),
        },
        "nodes": nodes,
        "fsm_index": raft.applied_index,
        "db_applied_index": raft.applied_index,
        "db_conf": { "fk_constraints": false },
        "snapshot_store": { "snapshots": [] },
        "raft": raft_document(raft),
        "sqlite3": sqlite(call, database).await,
    })
}

fn raft_document(raft: &RaftStatus) -> Value {
    let state = match raft.state {
        RaftState::Leader => "Leader",
        RaftState::Follower | RaftState::Learner => "Follower",
        RaftState::Candidate => "Candidate",
        RaftState::Shutdown => "Shutdown",
    };
    let voters: Vec<&Member> = raft.members.iter().filter(|m| m.suffrage == Suffrage::Voter).collect();
    let voter = voters.iter().any(|member| member.node == raft.node);
    let configuration: Vec<String> = raft
        .members
        .iter()
        .filter(|member| member.suffrage != Suffrage::Gateway)
        .map(|member| {
            let suffrage = if member.suffrage == Suffrage::Voter { "Voter" } else { "Nonvoter" };
            format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", member.node, address(member))
        })
        .collect();
    let leader = raft.leader.and_then(|id| raft.members.iter().find(|member| member.node == id));
    json!({
        "state": state,
        "voter": voter,
        "term": raft.term,
        "commit_index": raft.commit_index,
        "applied_index": raft.applied_index,
        "fsm_pending": raft.commit_index.saturating_sub(raft.applied_index),
        "last_log_index": raft.last_log_index,
        "last_snapshot_index": raft.snapshot_index,
        "num_peers": voters.len().saturating_sub(usize::from(voter)),
        "last_contact": match raft.last_contact {
            Some(Duration::ZERO) => json!(0),
            Some(ago) => json!(go_duration::format(ago)),
            None => json!("never"),
        },
        "latest_configuration": format!("[{}]", configuration.join(" ")),
        "log_size": raft.log_bytes,
        "leader_id": raft.leader.map_or_else(String::new, |id| id.to_string()),
        "leader_addr": leader.map_or_else(String::new, address),
    })
}

/// What SQLite says of itself here; a part that cannot be read is left out.
async fn sqlite(call: &Call<'_>, database: Option<(std::path::PathBuf, u64, u64)>) -> Value {
    const PRAGMAS: [&str; 5] = ["busy_timeout", "foreign_keys", "journal_mode", "synchronous", "wal_autocheckpoint"];
    let mut statements = vec![Statement::new("SELECT sqlite_version()")];
    statements.extend(PRAGMAS.iter().map(|name| Statement::new(format!("PRAGMA {name}"))));
    let read = Read::new(call.namespace().clone(), statements, Level::None);
    let answers = call.face.cluster.read(read, call.deadline()).await.map_or_else(|_| Vec::new(), |a| a.results);
    let mut texts = answers.iter().map(single_value);
    let version = texts.next().flatten();
    let pragmas: serde_json::Map<String, Value> =
        PRAGMAS.iter().zip(texts).filter_map(|(name, text)| Some(((*name).to_owned(), text?.into()))).collect();
    let (path, size, wal_size) =
        database.map_or((String::new(), 0, 0), |(path, size, wal)| (path.display().to_string(), size, wal));
    json!({
        "path": path,
        "size": size,
        "wal_size": wal_size,
        "version": version,
        "pragmas": { "ro": pragmas },
    })
}

/// The only value of a result, as text.
fn single_value(result: &StatementResult) -> Option<String> {
    use crate::types::Value as Sql;
    let StatementResult::Rows(rows) = result else { return None };
    match rows.values.first()?.first()? {
        Sql::Text(text) => Some(text.clone()),
        Sql::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn suffrage(member: &Member) -> &'static str {
    match member.suffrage {
        Suffrage::Voter => "voter",
        Suffrage::Learner | Suffrage::Gateway => "nonvoter",
    }
}

fn address(member: &Member) -> String {
    peer_address(&member.addresses).unwrap_or_default()
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}
