//! What Raft says on the wire: the bodies of frames between members.
//!
//! Every stream begins with a [`Hello`]; the peer's identity is already proven by the connection, the hello says which
//! cluster, which group and which version of these formats it is about.

use std::io;

use bytes::{BufMut, Bytes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::codec::{
    put_entry, put_log_id, put_option, put_vote, take_bytes, take_entry, take_log_id, take_option, take_u8, take_u32,
    take_u64, take_vote,
};
use super::type_config::TypeConfig;
use crate::types::ClusterId;

/// The version of everything in this file.
const WIRE_VERSION: u8 = 1;

/// The one group so far.
const GROUP: u32 = 0;

pub(super) type Append = AppendEntriesRequest<TypeConfig>;

/// The first frame of every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) cluster: ClusterId,
}

impl Hello {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(WIRE_VERSION);
        out.put_u32_le(GROUP);
        out.put_slice(self.cluster.as_bytes());
    }

    /// Checks the other side's hello against ours.
    pub(super) fn check(&self, mut frame: Bytes) -> io::Result<()> {
        let refuse = |message: String| Err(io::Error::new(io::ErrorKind::InvalidData, message));
        let version = take_u8(&mut frame)?;
        if version != WIRE_VERSION {
            return refuse(format!("peer speaks wire version {version}, this build speaks {WIRE_VERSION}"));
        }
        let group = take_u32(&mut frame)?;
        if group != GROUP {
            return refuse(format!("peer asks for group {group}, this node has only {GROUP}"));
        }
        if frame != self.cluster.as_bytes()[..] {
            return refuse("peer belongs to another cluster".to_owned());
        }
        Ok(())
    }
}

pub(super) fn put_append(out: &mut Vec<u8>, request: &Append) {
    put_vote(out, &request.vote);
    put_option(out, request.prev_log_id.as_ref(), put_log_id);
    put_option(out, request.leader_commit.as_ref(), put_log_id);
    out.put_u32_le(request.entries.len() as u32);
    for entry in &request.entries {
        let start = out.len();
        out.put_u32_le(0);
        put_entry(out, entry);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

pub(super) fn take_append(mut frame: Bytes) -> io::Result<Append> {
    let vote = take_vote(&mut frame)?;
    let prev_log_id = take_option(&mut frame, take_log_id)?;
    let leader_commit = take_option(&mut frame, take_log_id)?;
    let count = take_u32(&mut frame)? as usize;
    let mut entries = Vec::with_capacity(count.min(frame.len() / 4));
    for _ in 0..count {
        let length = take_u32(&mut frame)? as usize;
        entries.push(take_entry(take_bytes(&mut frame, length)?)?);
    }
    Ok(Append { vote, prev_log_id, entries, leader_commit })
}

const MATCHED: u8 = 0;
const CONFLICT: u8 = 1;
const HIGHER_VOTE: u8 = 2;
const PARTIAL: u8 = 3;

pub(super) fn put_stream_append_result(out: &mut Vec<u8>, result: &StreamAppendResult<TypeConfig>) {
    match result {
        Ok(matched) => {
            out.put_u8(MATCHED);
            put_option(out, matched.as_ref(), put_log_id);
        }
        Err(StreamAppendError::Conflict(id)) => {
            out.put_u8(CONFLICT);
            put_log_id(out, id);
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            out.put_u8(HIGHER_VOTE);
            put_vote(out, vote);
        }
    }
}

pub(super) fn take_stream_append_result(mut frame: Bytes) -> io::Result<StreamAppendResult<TypeConfig>> {
    match take_u8(&mut frame)? {
        MATCHED => Ok(Ok(take_option(&mut frame, take_log_id)?)),
        CONFLICT => Ok(Err(StreamAppendError::Conflict(take_log_id(&mut frame)?))),
        HIGHER_VOTE => Ok(Err(StreamAppendError::HigherVote(take_vote(&mut frame)?))),
        tag => Err(unknown_tag("append answer", tag)),
    }
}

/// A question on a control stream.
pub(super) enum Control {
    Append(Append),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
}

const CONTROL_APPEND: u8 = 0;
const CONTROL_VOTE: u8 = 1;
const CONTROL_PRE_VOTE: u8 = 2;
const CONTROL_TRANSFER: u8 = 3;

impl Control {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Control::Append(request) => {
                out.put_u8(CONTROL_APPEND);
                put_append(out, request);
            }
            Control::Vote(request) => {
                out.put_u8(CONTROL_VOTE);
                put_vote_request(out, request);
            }
            Control::PreVote(request) => {
                out.put_u8(CONTROL_PRE_VOTE);
                put_vote_request(out, request);
            }
            Control::TransferLeader(request) => {
                out.put_u8(CONTROL_TRANSFER);
                put_vote(out, request.from_leader());
                out.put_slice(request.to_node_id().public_key());
                put_option(out, request.last_log_id(), put_log_id);
            }
        }
    }

    pub(super) fn take(mut frame: Bytes) -> io::Result<Control> {
        match take_u8(&mut frame)? {
            CONTROL_APPEND => take_append(frame).map(Control::Append),
            CONTROL_VOTE => take_vote_request(frame).map(Control::Vote),
            CONTROL_PRE_VOTE => take_vote_request(frame).map(Control::PreVote),
            CONTROL_TRANSFER => {
                let from = take_vote(&mut frame)?;
                let to = super::codec::take_node(&mut frame)?;
                let last = take_option(&mut frame, take_log_id)?;
                Ok(Control::TransferLeader(TransferLeaderRequest::new(from, to, last)))
            }
            tag => Err(unknown_tag("control message", tag)),
        }
    }
}

fn put_vote_request(out: &mut Vec<u8>, request: &VoteRequest<TypeConfig>) {
    put_vote(out, &request.vote);
    put_option(out, request.last_log_id.as_ref(), put_log_id);
    out.put_u8(u8::from(request.leadership_transfer));
}

fn take_vote_request(mut frame: Bytes) -> io::Result<VoteRequest<TypeConfig>> {
    let vote = take_vote(&mut frame)?;
    let last_log_id = take_option(&mut frame, take_log_id)?;
    let leadership_transfer = take_u8(&mut frame)? == 1;
    Ok(VoteRequest { vote, last_log_id, leadership_transfer })
}

pub(super) fn put_vote_response(out: &mut Vec<u8>, response: &VoteResponse<TypeConfig>) {
    put_vote(out, &response.vote);
    out.put_u8(u8::from(response.vote_granted));
    put_option(out, response.last_log_id.as_ref(), put_log_id);
}

pub(super) fn take_vote_response(mut frame: Bytes) -> io::Result<VoteResponse<TypeConfig>> {
    let vote = take_vote(&mut frame)?;
    let vote_granted = take_u8(&mut frame)? == 1;
    Ok(VoteResponse { vote, vote_granted, last_log_id: take_option(&mut frame, take_log_id)? })
}

pub(super) fn put_append_response(out: &mut Vec<u8>, response: &AppendEntriesResponse<TypeConfig>) {
    match response {
        AppendEntriesResponse::Success => out.put_u8(MATCHED),
        AppendEntriesResponse::Conflict => out.put_u8(CONFLICT),
        AppendEntriesResponse::HigherVote(vote) => {
            out.put_u8(HIGHER_VOTE);
            put_vote(out, vote);
        }
        AppendEntriesResponse::PartialSuccess(matched) => {
            out.put_u8(PARTIAL);
            put_option(out, matched.as_ref(), put_log_id);
        }
    }
}

pub(super) fn take_append_response(mut frame: Bytes) -> io::Result<AppendEntriesResponse<TypeConfig>> {
    match take_u8(&mut frame)? {
        MATCHED => Ok(AppendEntriesResponse::Success),
        CONFLICT => Ok(AppendEntriesResponse::Conflict),
        HIGHER_VOTE => Ok(AppendEntriesResponse::HigherVote(take_vote(&mut frame)?)),
        PARTIAL => Ok(AppendEntriesResponse::PartialSuccess(take_option(&mut frame, take_log_id)?)),
        tag => Err(unknown_tag("append answer", tag)),
    }
}

/// A length-prefixed block inside a frame.
pub(super) fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    out.put_u64_le(block.len() as u64);
    out.put_slice(block);
}

pub(super) fn take_block(frame: &mut Bytes) -> io::Result<Bytes> {
    let length = take_u64(frame)?;
    take_bytes(frame, usize::try_from(length).unwrap_or(usize::MAX))
}

pub(super) fn unknown_tag(what: &str, tag: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} has unknown tag {tag}"))
}

const TRANSFER_ACCEPTED: u8 = 0;
const TRANSFER_VOTE_CHANGED: u8 = 1;
const TRANSFER_NOT_FLUSHED: u8 = 2;

pub(super) fn put_transfer_response(out: &mut Vec<u8>, response: &TransferLeaderResponse<TypeConfig>) {
    match response {
        Ok(()) => out.put_u8(TRANSFER_ACCEPTED),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.put_u8(TRANSFER_VOTE_CHANGED);
            put_vote(out, expected);
            put_vote(out, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.put_u8(TRANSFER_NOT_FLUSHED);
            put_option(out, expected.as_ref(), put_log_id);
            put_option(out, actual.as_ref(), put_log_id);
        }
    }
}

pub(super) fn take_transfer_response(mut frame: Bytes) -> io::Result<TransferLeaderResponse<TypeConfig>> {
    match take_u8(&mut frame)? {
        TRANSFER_ACCEPTED => Ok(Ok(())),
        TRANSFER_VOTE_CHANGED => {
            let expected = take_vote(&mut frame)?;
            Ok(Err(TransferLeaderError::VoteChanged { expected, actual: take_vote(&mut frame)? }))
        }
        TRANSFER_NOT_FLUSHED => {
            let expected = take_option(&mut frame, take_log_id)?;
            Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual: take_option(&mut frame, take_log_id)? }))
        }
        tag => Err(unknown_tag("transfer answer", tag)),
    }
}
