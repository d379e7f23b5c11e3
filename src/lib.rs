//! debros: replicated SQL, keys and values, and an HTTP gateway with wallet login, in one process.
//!
//! This is for somebody who is about to read the code: what it is built on, in which order to read it, and what happens
//! to a request. What users are promised stands in `docs/guarantees.md`.
//!
//! # Six ideas
//!
//! **One replicated command.** Whatever changes (SQL, namespaces, keys, invitations) is a [`types::Command`]. It goes
//! through one log and is carried out by one apply thread. There is no second way to change anything.
//!
//! **SQL is run as it was sent, and made deterministic around it.** Nothing rewrites the text. The entry carries time
//! and random seed, SQLite's clock and `random()` answer from them, and what could still differ between replicas is
//! refused or counted in steps of SQLite's machine. [`sql`] lists every such thing with its guard.
//!
//! **A file knows how far it has come.** The index of the last applied entry is written in the same SQLite transaction
//! as its effects, in every file that it touches. So replay is harmless, a restart is opening files and replaying a
//! tail, and a snapshot may contain files that are newer than its index.
//!
//! **Identity is a key, membership is a list in the log.** A node is its Ed25519 key; a connection that was set up is a
//! peer that was authenticated. Who may speak what is decided per stream, by the members of the committed
//! configuration.
//!
//! **Handle and owner.** Every part that runs is a handle that is cheap to clone, and one task or thread that owns the
//! state behind a bounded inbox. What decides is synchronous code over values; sockets, disks and clocks are at the
//! edge.
//!
//! **Every limit is written down once**, in [`types::limits`], with its unit and its reason.
//!
//! # In reading order
//!
//! | module | what it answers |
//! |---|---|
//! | [`types`] | what the words mean: node id, namespace, statement, command, outcome, limits. No I/O |
//! | [`tasks`], [`telemetry`] | who joins a task; what the process says about itself. Usable from everywhere |
//! | [`sql`] | one SQLite file: apply entries, answer queries, back up. Synchronous, knows no Raft; alone has `unsafe` |
//! | [`auth`] | who may do what: wallet signatures, tokens, keys, roles. Pure: time and randomness are arguments |
//! | [`mesh`] | streams between nodes over one TCP port. The only place that names libp2p |
//! | [`raft`] | log, state machine, snapshots, traffic between members. The only place that names openraft |
//! | [`cluster`] | submit, read, join: here if possible, else one hop. The face that everything above uses |
//! | [`accounts`] | who may do what: namespaces, members, logins, API keys, over [`cluster`] |
//! | [`kv`] | keys and values of a namespace: put, get, list, watch, over [`cluster`] |
//! | [`pubsub`] | topics of a namespace: messages that are stored, over [`cluster`] |
//! | [`pubsub`] | messages to whoever listens, over the mesh's gossip, and durable topics, over [`cluster`] |
//! | [`http`] | the serving loop that listeners share: bounds, timeouts, draining |
//! | [`rqlite_api`] | rqlite's HTTP contract over [`cluster`] |
//! | [`gateway`] | the gateway's HTTP contract: one table of routes, who may come, what every answer carries |
//! | [`mod@bench`] | the load generator behind `debros bench` |
//! | [`config`] | every setting, where it came from, and what is wrong with it |
//! | [`daemon`] | which parts a role has, in which order they start and stop |
//! | [`cli`] | what an operator types and reads |
//!
//! Imports go up in this table, never down and never sideways. What peers send travels as data instead: [`mesh`] yields
//! a bounded stream of inbound streams, and [`daemon`] hands them to [`raft`] or [`cluster`] by their protocol.
//!
//! # A write
//!
//! `rqlite_api::execute` reads the statements and makes a command of them; the namespace comes from the caller's key.
//! [`cluster::Cluster::submit`] finds the leader. If it is elsewhere, the command goes there in one message; what may
//! have arrived is not sent again unless it has an idempotency key or only stores messages, which have names. On the
//! leader [`raft::Raft::propose`] stamps it with time and seed and encodes it. The log thread commits everything that waits in one transaction and one fsync,
//! while followers do the same with what they were sent. When a quorum has it, the apply thread takes the batch, sorts
//! it by namespace, and runs one SQLite transaction per file. An idempotency key that the file knows gets its old
//! answer. The outcome goes back to whoever waits, with the log index.
//!
//! # A read
//!
//! A read never enters the log, unless it asks to (`strong`). For `linearizable` the node that was asked gets a read
//! index from the leader, which first makes sure that a quorum still follows it; one such question serves all reads
//! that were waiting. When the local replica has applied that index, the read runs on one of the namespace's read-only
//! connections. It is first tried on the thread that received it, with a budget of about a millisecond, and moves to a
//! thread of low priority when that was not enough, in a turn that is fair between namespaces. `weak` is the
//! leader's copy, `none` the local one.
//!
//! # Without data
//!
//! A gateway has no replica. Its [`cluster::RemoteCluster`] asks every connected node each second who belongs to the
//! cluster and who leads; of two answers the newer one counts, and a node that was found dead is not believed in because
//! others still name it. Writes go to the leader, reads that anybody can answer to the best node, and on to the next one
//! as soon as a stream ends or falls silent. Who serves users takes a [`cluster::AnyCluster`] and sees no difference.
//!
//! # A message
//!
//! [`pubsub::PubSub::publish`] puts it into the queues of those who subscribe at this process, and, if other processes
//! listen on its topic's shard, into the outbox: what waits for a shard travels in one signed gossip frame. A receiver
//! puts frames into their sender's order, and tells its subscribers where one is missing. A message of a durable topic is
//! a [`types::Command`] first; its readers follow the log's effects in the namespace's file and never the gossip.
//!
//! # A join
//!
//! `debros cluster invite` puts the hash of a secret into the log and prints a token: the secret, the cluster's id, and
//! where members listen with the ids that must answer there. The newcomer dials one; the mesh proves who both are. It
//! shows the secret; the log decides, once, whether it is good, and for which node, and the answer carries the cluster's
//! own secret. The leader adds the node as a
//! learner, replication catches it up, with a snapshot if the log no longer reaches back, and `cluster::keep` gives it
//! a vote while there are fewer voters than wanted.
//!
//! # The data directory
//!
//! ```text
//! LOCK  identity.key  cluster.json        one process, one node, one cluster, for its whole life
//! cluster.key                             the cluster's secret, the same for all who were let in
//! raft/log.sqlite                         votes and entries, fsynced; a checksum in every row
//! db/_system.sqlite                       namespaces, invitations; how far everything is applied
//! db/_accounts.sqlite                     owners, members, hashes of keys and tokens; written by SQL as a tenant's file is
//! db/<namespace>.sqlite                   not fsynced per write: the log brings back what a crash took
//! snapshots/  tmp/                        what is being received, what is being sent to a client
//! addresses.json  admin.sock              only while the process runs
//! ```
//!
//! The log is cut only behind an index whose effects were fsynced in every file.
//!
//! # When something goes wrong
//!
//! A statement's error is a result, the same on every replica. A refusal by the state machine is an outcome. What a
//! caller can act on is a variant of its module's error enum; [`cluster::ClusterError::outcome`] says whether a failed
//! write may have happened. Each listener turns errors into HTTP in one place. But when the disk says no while the log
//! is applied, or an invariant is broken, there is no right answer to give: the process says why and ends, and its
//! supervisor starts it again. A panic is logged and aborts for the same reason. Nothing is ever repaired by cutting it
//! off.

pub mod types;
pub mod tasks;
pub mod telemetry;
pub mod sql;
pub mod auth;
pub mod mesh;
pub mod raft;
pub mod cluster;
pub mod kv;
pub mod accounts;
pub mod pubsub;
pub mod http;
pub mod gateway;
pub mod rqlite_api;
pub mod bench;
pub mod config;
pub mod daemon;
pub mod cli;
