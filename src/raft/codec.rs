//! Our byte formats of what openraft makes: log ids, votes, entries, memberships. They stand in the log file and in
//! frames between peers; openraft's own serialisation may change with every release, these do not.
//!
//! All integers are little-endian. `Option` is one byte, 0 or 1, before the value.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::{Buf, BufMut, Bytes};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};

use super::type_config::{Entry, LeaderId, LogData, LogId, Membership, Peer, StoredMembership, Vote};
use crate::types::NodeId;

const PAYLOAD_BLANK: u8 = 0;
const PAYLOAD_COMMAND: u8 = 1;
const PAYLOAD_MEMBERSHIP: u8 = 2;

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "record is cut short")
}

fn unknown(what: &str, tag: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} has unknown tag {tag}"))
}

pub(crate) fn take_u8(bytes: &mut Bytes) -> io::Result<u8> {
    bytes.try_get_u8().map_err(|_| truncated())
}

pub(crate) fn take_u32(bytes: &mut Bytes) -> io::Result<u32> {
    bytes.try_get_u32_le().map_err(|_| truncated())
}

pub(crate) fn take_u64(bytes: &mut Bytes) -> io::Result<u64> {
    bytes.try_get_u64_le().map_err(|_| truncated())
}

/// Takes `length` bytes without copying them.
pub(crate) fn take_bytes(bytes: &mut Bytes, length: usize) -> io::Result<Bytes> {
    if bytes.len() < length { Err(truncated()) } else { Ok(bytes.split_to(length)) }
}

pub(crate) fn take_node(bytes: &mut Bytes) -> io::Result<NodeId> {
    let mut key = [0; 32];
    bytes.try_copy_to_slice(&mut key).map_err(|_| truncated())?;
    Ok(NodeId::from_public_key(key))
}

pub(crate) fn put_log_id(out: &mut impl BufMut, id: &LogId) {
    out.put_u64_le(id.leader_id.term);
    out.put_slice(id.leader_id.node_id.public_key());
    out.put_u64_le(id.index);
}

pub(crate) fn take_log_id(bytes: &mut Bytes) -> io::Result<LogId> {
    let term = take_u64(bytes)?;
    let node = take_node(bytes)?;
    Ok(LogId { leader_id: LeaderId::new(term, node), index: take_u64(bytes)? })
}

pub(crate) fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    match value {
        None => out.put_u8(0),
        Some(value) => {
            out.put_u8(1);
            put(out, value);
        }
    }
}

pub(crate) fn take_option<T>(
    bytes: &mut Bytes,
    take: impl FnOnce(&mut Bytes) -> io::Result<T>,
) -> io::Result<Option<T>> {
    match take_u8(bytes)? {
        0 => Ok(None),
        1 => take(bytes).map(Some),
        tag => Err(unknown("option", tag)),
    }
}

pub(crate) fn put_vote(out: &mut impl BufMut, vote: &Vote) {
    out.put_u64_le(vote.leader_id().term());
    out.put_slice(vote.leader_id().node_id().public_key());
    out.put_u8(u8::from(vote.is_committed()));
}

pub(crate) fn take_vote(bytes: &mut Bytes) -> io::Result<Vote> {
    let term = take_u64(bytes)?;
    let node = take_node(bytes)?;
    match take_u8(bytes)? {
        0 => Ok(Vote::new(term, node)),
        1 => Ok(Vote::new_committed(term, node)),
        tag => Err(unknown("vote", tag)),
    }
}

/// An entry without its length: it ends where its record ends.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_log_id(out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => out.put_u8(PAYLOAD_BLANK),
        EntryPayload::Normal(LogData(data)) => {
            out.put_u8(PAYLOAD_COMMAND);
            out.put_slice(data);
        }
        EntryPayload::Membership(membership) => {
            out.put_u8(PAYLOAD_MEMBERSHIP);
            put_membership(out, membership);
        }
    }
}

/// How many bytes [`put_entry`] adds, memberships excepted (they are rare and small).
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(LogData(data)) => data.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    8 + 32 + 8 + 1 + payload
}

pub(crate) fn take_entry(mut bytes: Bytes) -> io::Result<Entry> {
    let log_id = take_log_id(&mut bytes)?;
    let payload = match take_u8(&mut bytes)? {
        PAYLOAD_BLANK => EntryPayload::Blank,
        PAYLOAD_COMMAND => EntryPayload::Normal(LogData(bytes)),
        PAYLOAD_MEMBERSHIP => EntryPayload::Membership(take_membership(&bytes)?),
        tag => return Err(unknown("log entry", tag)),
    };
    Ok(Entry::new(log_id, payload))
}

/// The stable shape of a membership; encoded with postcard, preceded by a version byte.
#[derive(Serialize, Deserialize)]
struct MembershipRecord {
    configs: Vec<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, Peer>,
}

const MEMBERSHIP_VERSION: u8 = 1;

pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let record = MembershipRecord {
        configs: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect(),
    };
    out.put_u8(MEMBERSHIP_VERSION);
    let encoded = postcard::to_stdvec(&record).expect("a membership has no unserialisable part");
    out.extend_from_slice(&encoded);
}

pub(crate) fn take_membership(bytes: &[u8]) -> io::Result<Membership> {
    match bytes.split_first() {
        Some((&MEMBERSHIP_VERSION, body)) => {
            let record: MembershipRecord =
                postcard::from_bytes(body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            if record.configs.is_empty() && record.nodes.is_empty() {
                return Ok(Membership::default());
            }
            Membership::new(record.configs, record.nodes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        }
        Some((&tag, _)) => Err(unknown("membership", tag)),
        None => Err(truncated()),
    }
}

pub(crate) fn put_stored_membership(out: &mut Vec<u8>, stored: &StoredMembership) {
    put_option(out, stored.log_id().as_ref(), put_log_id);
    put_membership(out, stored.membership());
}

pub(crate) fn take_stored_membership(mut bytes: Bytes) -> io::Result<StoredMembership> {
    let log_id = take_option(&mut bytes, take_log_id)?;
    Ok(StoredMembership::new(log_id, take_membership(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, node: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId::new(term, NodeId::from(node)), index }
    }

    #[test]
    fn entries_of_every_kind_survive() {
        let members = Membership::new(
            vec![BTreeSet::from([NodeId::from(1)])],
            BTreeMap::from([(NodeId::from(1), Peer { sql_address: "127.0.0.1:5001".into(), ..Peer::default() })]),
        )
        .expect("valid");
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(LogData(Bytes::from_static(b"abc"))),
            EntryPayload::Membership(members),
        ] {
            let entry = Entry::new(log_id(3, 7, 9), payload);
            let mut bytes = Vec::new();
            put_entry(&mut bytes, &entry);
            assert_eq!(take_entry(Bytes::from(bytes)).expect("decodes"), entry);
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error_not_a_panic() {
        let entry = Entry::new(log_id(3, 7, 9), EntryPayload::Blank);
        let mut bytes = Vec::new();
        put_entry(&mut bytes, &entry);
        for length in 0..bytes.len() {
            assert!(take_entry(Bytes::copy_from_slice(&bytes[..length])).is_err(), "{length} bytes were enough");
        }
    }

    #[test]
    fn votes_survive() {
        for vote in [Vote::new(4, NodeId::from(2)), Vote::new_committed(4, NodeId::from(2))] {
            let mut bytes = Vec::new();
            put_vote(&mut bytes, &vote);
            assert_eq!(take_vote(&mut Bytes::from(bytes)).expect("decodes"), vote);
        }
    }
}
