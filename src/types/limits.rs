//! Every limit of the system, written down once: its unit in the name, its reason beside it.
//!
//! A limit that decides what `apply` does travels inside the command, so replicas with other builds or settings still
//! agree; the constants here are what the proposing node puts there.

use std::time::Duration;

/// Longest namespace name. A DNS label's length, so a namespace can become a host name.
pub const NAMESPACE_BYTES_MAX: usize = 63;

/// Largest SQL text of one statement. SQLite's own default is 1 GB; nobody writes a megabyte by hand.
pub const SQL_TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Largest single value or row that SQL may make (`SQLITE_LIMIT_LENGTH`): a value of 8 MiB and the rest of its row. One
/// function call on such a value takes some 10 ms, during which nothing stops it.
pub const SQL_VALUE_BYTES_MAX: usize = 9 * 1024 * 1024;

/// Largest value or row that a read may meet on the thread that received it: one call on it takes microseconds.
pub const SQL_QUICK_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Longest pattern of LIKE and GLOB. They compare each place of a value with all of the pattern: with the largest value
/// that is two seconds, with SQLite's own 50 000 it would be ten minutes. And each wildcard is a call within a call: 20 000
/// of them overflow the stack of a thread, which ends each node that applies the statement.
pub const SQL_PATTERN_BYTES_MAX: usize = 200;

/// Most memory that one statement may hold in large values: a few of the largest. SQLite holds a copy per column, and
/// builds JSON of up to two gigabytes before it finds it too long.
pub const SQL_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Deepest expression tree; bounds the parser's stack.
pub const SQL_EXPRESSION_DEPTH_MAX: usize = 500;

/// Most terms of a compound SELECT.
pub const SQL_COMPOUND_TERMS_MAX: usize = 500;

/// Most VM instructions a prepared statement may hold; bounds memory, not time.
pub const SQL_PROGRAM_OPS_MAX: usize = 250_000;

/// Most bound parameters of one statement (SQLite's own default).
pub const SQL_PARAMETERS_MAX: usize = 32_766;

/// Deepest trigger recursion.
pub const SQL_TRIGGER_DEPTH_MAX: usize = 100;

/// Most statements in one request.
pub const STATEMENTS_PER_REQUEST_MAX: usize = 10_000;

/// VM steps that one write command may take on every replica: about half a minute of work on a small machine.
pub const WRITE_STEPS_MAX: u64 = 2_000_000_000;

/// VM steps that stand for one millisecond of a caller's deadline on a write, where wall-clock time may not decide.
pub const WRITE_STEPS_PER_MILLISECOND: u64 = 50_000;

/// Most rows that one statement may return; beyond it the statement fails rather than cut its answer.
pub const RESULT_ROWS_MAX: usize = 1_000_000;

/// Most bytes that the results of one request may hold in memory.
pub const RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest encoded answer: the largest results in their usual forms, as base64 or with short names. Other forms can be
/// twenty times as large, and are held in memory until the client has taken them.
pub const ANSWER_BYTES_MAX: usize = 2 * RESULT_BYTES_MAX;

/// Longest a read may run when its caller names no deadline.
pub const READ_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// Largest encoded command, database loads excepted: bounds what one log entry costs each node.
pub const COMMAND_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Largest database file that `/db/load` and `/boot` accept: it travels as one log entry held in memory by each node.
pub const LOAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// How long an idempotency key is remembered, by the log's clock.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest key of the key-value store: a path of some depth fits, and an index page still holds several.
pub const KV_KEY_BYTES_MAX: usize = 1024;

/// Largest value of the key-value store. What is larger is cheaper kept elsewhere than in a log and on every replica. As
/// part of what an entry means it cannot change without a new envelope version.
pub const KV_VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Longest content type that is stored beside a value. Part of what an entry means, as [`KV_VALUE_BYTES_MAX`].
pub const KV_CONTENT_TYPE_BYTES_MAX: usize = 255;

/// Most changes of one key-value request: it is one turn of the thread that applies the log. Part of what an entry means,
/// as [`KV_VALUE_BYTES_MAX`].
pub const KV_OPS_PER_REQUEST_MAX: usize = 1000;

/// Most keys that one key-value query names or lists.
pub const KV_KEYS_PER_QUERY_MAX: usize = 1000;

/// Changes of keys that a namespace remembers for watchers, at least: a watcher that was away for longer lists the keys
/// again. Part of what an entry means.
pub const KV_CHANGES_KEPT: u64 = 10_000;

/// Read-only connections kept open per namespace: reads run on as many threads as there are cores, small servers have few.
pub const READERS_PER_NAMESPACE_MAX: usize = 16;

/// Namespace files held open at once; the least recently used one is closed first.
pub const OPEN_NAMESPACES_MAX: usize = 256;

/// Prepared statements cached per connection.
pub const STATEMENT_CACHE_MAX: usize = 128;

/// Most voters of a cluster; five survive two failures, more only slow each write.
pub const VOTERS_MAX_DEFAULT: usize = 5;

/// Largest body of a request to an HTTP listener, loads excepted.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Largest message between peers: the largest log entry and its framing.
pub const FRAME_BYTES_MAX: usize = LOAD_BYTES_MAX + 1024 * 1024;

/// Write-ahead logs may grow to this while a snapshot is being sent; beyond it the transfer is given up and begins
/// again, rather than fill the disk.
pub const FENCED_WAL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Inbound mesh streams waiting to be taken: a restart makes every member open a handful at once.
pub const MESH_INBOUND_STREAMS_MAX: usize = 256;

/// Streams being opened to one peer at once; more means that it does not answer.
pub const MESH_OPENS_PER_PEER_MAX: usize = 64;

/// Topics are hashed onto so many gossip topics. gossipsub ignores a peer with more than 100 subscriptions; a cluster has
/// few nodes, so more shards would not spread more.
pub const GOSSIP_SHARDS: usize = 32;

/// Largest gossip frame: the largest message with what is said about it.
pub const GOSSIP_FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 4096;

/// Frames waiting for the mesh's event loop, and from there for us. Frames of many messages have at most 64 KiB.
pub const GOSSIP_QUEUE_MAX: usize = 512;

/// Calls waiting for the mesh's event loop, which answers in microseconds.
pub const MESH_COMMANDS_MAX: usize = 256;

/// Streams that one stranger's connection may hold open: a join and a question for peers, twice.
pub const MESH_STREAMS_PER_STRANGER_MAX: usize = 4;

/// Connections that one stranger may have: two, since both sides may dial at the same time.
pub const MESH_CONNECTIONS_PER_STRANGER_MAX: u32 = 2;

/// Inbound connections whose handshake is not finished. Each costs a socket and a few KiB for at most
/// [`MESH_HANDSHAKE_TIMEOUT`].
pub const MESH_PENDING_INBOUND_MAX: u32 = 128;

/// Outbound connections to strangers whose handshake is not finished.
pub const MESH_PENDING_OUTBOUND_MAX: u32 = 64;

/// Share of the machine's memory above which strangers are turned away.
pub const MESH_MEMORY_SHARE_MAX: f64 = 0.8;

/// Time for name lookup, TCP connect, Noise and Yamux: four round trips of a satellite link fit.
pub const MESH_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a stranger's connection stays open without a stream.
pub const MESH_IDLE_STRANGER_TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two pings of a connection, and the longest wait for an answer. Two lost pings close the connection, so
/// a cut cable is noticed within 20 s.
pub const MESH_PING_INTERVAL: Duration = Duration::from_secs(5);

/// Addresses kept per peer and source: a host with more interfaces than this publishes its own choice.
pub const MESH_ADDRESSES_PER_PEER_MAX: usize = 8;

/// Peers whose addresses were heard from other peers or used before; a bound on memory, not on the cluster.
pub const MESH_HEARD_PEERS_MAX: usize = 1000;

/// How long a heard address is believed.
pub const MESH_HEARD_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Connection changes kept for a slow watcher; a watcher that lost some reads the whole list again.
pub const MESH_CHANGES_MAX: usize = 256;

/// Largest message of the peer exchange, either way.
pub const PEER_EXCHANGE_BYTES_MAX: usize = 16 * 1024;

/// Most peers in an answer of the peer exchange.
pub const PEER_EXCHANGE_PEERS_MAX: usize = 50;

/// Time for one peer exchange from the first byte to the last.
pub const PEER_EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Peer exchanges running at once, served and asked together.
pub const PEER_EXCHANGES_MAX: usize = 16;

/// How long a credential that was found good is believed without another look. Revoking one takes effect everywhere
/// within this and the time that replication takes.
pub const CREDENTIAL_CACHE_MAX: Duration = Duration::from_secs(2);

/// Credentials remembered at once: about 500 bytes each.
pub const CREDENTIALS_CACHED_MAX: usize = 50_000;

/// Keys that sign access tokens and still verify: the one in use and the one before it.
pub const SIGNING_KEYS_LIVE: i64 = 2;

/// After this a new signing key is made.
pub const SIGNING_KEY_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Time between two reads of the signing keys because of tokens that name an unknown one; anybody can make such tokens.
pub const SIGNING_KEYS_REREAD_MIN: Duration = Duration::from_millis(250);

/// Challenges of one wallet that can be answered at a time; the newest ones. Somebody else's challenges for a wallet
/// push out the wallet's own only that fast.
pub const OPEN_NONCES_PER_WALLET_MAX: i64 = 5;

/// Logins of one wallet in one namespace; the oldest end.
pub const SESSIONS_PER_MEMBER_MAX: i64 = 50;

/// Used refresh tokens of a session that are kept, so that one that comes back is noticed.
pub const USED_REFRESH_TOKENS_KEPT: i64 = 100;

/// Namespaces that one wallet may own: each is a file on every node.
pub const NAMESPACES_PER_WALLET_MAX: i64 = 10;

/// Members of a namespace.
pub const MEMBERS_PER_NAMESPACE_MAX: i64 = 1000;

/// API keys of a namespace.
pub const API_KEYS_PER_NAMESPACE_MAX: i64 = 200;

/// Registered applications of a namespace.
pub const APPS_PER_NAMESPACE_MAX: i64 = 1000;
/// How long a challenge may be answered: time to open a wallet on another device and read what is signed.
pub const CHALLENGE_TTL: Duration = Duration::from_secs(5 * 60);

/// Life of an access token: also the longest that a gateway cut off from its cluster would still believe a revoked one.
pub const ACCESS_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

/// Life of a refresh token: who returns within a month need not take the wallet out.
pub const REFRESH_TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Life of a ticket that opens one socket. It travels in a URL, where logs may keep it.
pub const WS_TICKET_TTL: Duration = Duration::from_secs(30);

/// Tickets of one credential that wait to be used; the oldest give way. A server may fetch them for the pages of all its
/// users.
pub const OPEN_TICKETS_PER_CREDENTIAL_MAX: i64 = 1000;

/// How far the clocks of two gateways may differ before one refuses what the other has just issued.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);

/// Longest access token that is looked at; ours have about 500 bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Longest text of a wallet's signature: `0x` and 130 hex digits fit, and so does every encoding of 64 bytes.
pub const SIGNATURE_TEXT_BYTES_MAX: usize = 132;

/// Longest purpose of a challenge: a word or two, shown on one line of a wallet's dialogue.
pub const PURPOSE_BYTES_MAX: usize = 64;

/// Longest domain of a challenge: a DNS name and a port.
pub const DOMAIN_BYTES_MAX: usize = 253 + 6;

/// Longest URI of a challenge; what browsers and proxies commonly take.
pub const URI_BYTES_MAX: usize = 2048;

/// Largest secret that is sealed. Seeds of keys have 32 bytes; no file is kept this way.
pub const SEALED_SECRET_BYTES_MAX: usize = 4 * 1024;

/// Longest topic or pattern; NATS recommends no more for its subjects.
pub const TOPIC_BYTES_MAX: usize = 256;

/// Largest message: what go-libp2p's pub/sub takes by default, and NATS.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Most topics in which a publisher's messages are counted apart; one more, and it is counted as another publisher.
pub const PUBLISHER_TOPICS_MAX: usize = 1024;

/// Most messages that wait for one subscriber: some milliseconds of a busy topic.
pub const MAILBOX_MESSAGES_MAX: usize = 256;

/// Most bytes that wait for one subscriber. Messages are shared between subscribers, so this is rarely what they cost.
pub const MAILBOX_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// Most subscriptions of one connection; patterns subscribe to more topics than that.
pub const SUBSCRIPTIONS_PER_SUBSCRIBER_MAX: usize = 64;

/// Most subscriptions of one namespace at one node.
pub const SUBSCRIPTIONS_PER_NAMESPACE_MAX: usize = 100_000;

/// Most topics of one namespace with a subscriber at one node: they are told to all nodes.
pub const TOPICS_PER_NAMESPACE_MAX: usize = 5_000;

/// Largest gossip frame that is made of several messages: what a link takes at once anyway.
pub const GOSSIP_BATCH_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of messages that wait on one shard for the mesh; more are dropped, and the subscribers elsewhere told.
pub const GOSSIP_PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most frames that wait for one before them.
pub const GOSSIP_REORDER_MAX: usize = 64;

/// Longest name of a member who is present.
pub const PRESENCE_ID_BYTES_MAX: usize = 128;

/// Most that may be said of a member: it is told to every node every few seconds.
pub const PRESENCE_META_BYTES_MAX: usize = 1024;
/// Longest name of who published a stored message: a wallet address or a key's name fits many times. Part of what an
/// entry means, as [`KV_VALUE_BYTES_MAX`].
pub const PUBLISHER_BYTES_MAX: usize = 256;

/// Durable topics of a namespace: a question that matches a pattern looks at all of them.
pub const DURABLE_TOPICS_MAX: u64 = 1000;

/// Topics that are no longer durable and of which a namespace still knows up to which number their messages are gone.
/// Part of what an entry means.
pub const REMOVED_TOPICS_KEPT: u64 = 1000;

/// Most messages that a durable topic keeps: removing them is one turn of the thread that applies the log, about a
/// second. Part of what an entry means.
pub const RETAIN_MESSAGES_MAX: u64 = 100_000;

/// Most bytes that a durable topic keeps, for the same reason. Part of what an entry means.
pub const RETAIN_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Longest time that a durable topic keeps a message. Part of what an entry means.
pub const RETAIN_AGE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What a stored message takes beside its data and publisher: its row, and its places in two indexes. It counts, so that
/// empty messages are bounded too. Part of what an entry means.
pub const MESSAGE_ROW_BYTES: u64 = 100;

/// Most changes of durable topics in one request: it is one turn of the thread that applies the log. Part of what an
/// entry means.
pub const TOPIC_OPS_PER_REQUEST_MAX: usize = 1000;

/// Most stored messages that one query gives.
pub const MESSAGES_PER_QUERY_MAX: usize = 1000;
