//! Gossip written by hand: what no library would send.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use futures::AsyncWriteExt as _;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Transport as _};
use libp2p::{Multiaddr, noise, tcp, yamux};

use super::gossip::{SHARD, listener, listeners, next};
use super::{Node, config, members, start};
use crate::mesh::gossip::topic;
use crate::mesh::{GossipFrame, GossipInbox, Identity};
use crate::types::limits::GOSSIP_FRAME_BYTES_MAX;

/// How long is written to a node that takes no more.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// Protocol buffers: a number, and a field that has a length.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn field(number: usize, content: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2), &varint(content.len()), content].concat()
}

/// gossipsub's `Message`.
#[derive(Clone)]
struct Forged {
    from: Option<Vec<u8>>,
    data: Vec<u8>,
    seqno: Option<Vec<u8>>,
    topic: String,
    signature: Option<Vec<u8>>,
}

impl Forged {
    fn signed(identity: &Identity, number: u64, data: &[u8]) -> Forged {
        let unsigned = Forged {
            from: Some(identity.keypair().public().to_peer_id().to_bytes()),
            data: data.to_vec(),
            seqno: Some(number.to_be_bytes().to_vec()),
            topic: topic(SHARD).hash().into_string(),
            signature: None,
        };
        unsigned.sign(identity)
    }

    /// Signs what it says now.
    fn sign(mut self, identity: &Identity) -> Forged {
        self.signature = None;
        let bytes = [b"libp2p-pubsub:".as_slice(), &self.encode()].concat();
        self.signature = Some(identity.keypair().sign(&bytes).expect("signed"));
        self
    }

    fn encode(&self) -> Vec<u8> {
        let fields = [
            (1, self.from.as_deref()),
            (2, Some(self.data.as_slice())),
            (3, self.seqno.as_deref()),
            (4, Some(self.topic.as_bytes())),
            (5, self.signature.as_deref()),
        ];
        fields.into_iter().filter_map(|(number, content)| Some(field(number, content?))).flatten().collect()
    }

    /// A whole RPC that publishes it.
    fn rpc(&self) -> Vec<u8> {
        field(2, &self.encode())
    }
}

/// A connection with one stream on which gossip is spoken.
struct Connection {
    muxer: StreamMuxerBox,
    stream: SubstreamBox,
}

impl Connection {
    async fn open(node: &Node, identity: &Identity) -> Connection {
        let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(identity.keypair()).expect("a key"))
            .multiplex(yamux::Config::default())
            .boxed();
        let address: Multiaddr = node.mesh.advertised_addresses()[0].parse().expect("an address");
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let (_, mut muxer) = transport.dial(address, options).expect("a dial").await.expect("a connection");
        let stream = poll_fn(|cx| {
            let _ = muxer.poll_unpin(cx);
            muxer.poll_outbound_unpin(cx)
        });
        let stream = stream.await.expect("a stream");
        let mut connection = Connection { muxer, stream };
        let lines = ["/multistream/1.0.0\n", "/meshsub/1.1.0\n"];
        connection.write(&lines.map(|line| [&varint(line.len()), line.as_bytes()].concat()).concat()).await;
        connection
    }

    /// Sends RPCs; `false` when the node takes no more.
    async fn send(&mut self, rpcs: impl IntoIterator<Item = Vec<u8>>) -> bool {
        for rpc in rpcs {
            if !self.write(&[varint(rpc.len()), rpc].concat()).await {
                return false;
            }
        }
        true
    }

    async fn write(&mut self, bytes: &[u8]) -> bool {
        let Connection { muxer, stream } = self;
        let writing = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        driven(muxer, tokio::time::timeout(GIVEN_UP, writing)).await.is_ok_and(|written| written.is_ok())
    }

    /// What was written goes out while the connection is polled.
    async fn linger(&mut self) {
        driven(&mut self.muxer, tokio::time::sleep(Duration::from_millis(300))).await;
    }
}

async fn driven<T>(muxer: &mut StreamMuxerBox, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx);
        work.as_mut().poll(cx)
    })
    .await
}

/// A node that listens, a member that behaves, and the identity of a member that may not.
struct Scene {
    node: Node,
    friend: Node,
    forger: Identity,
    inbox: GossipInbox,
}

impl Scene {
    async fn set() -> Scene {
        let (mut node, friend, forger) = (start(config()).await, start(config()).await, Identity::ephemeral());
        let mut roster = members(&[&node, &friend]);
        roster.insert(forger.node_id(), Vec::new());
        node.mesh.set_members(roster, HashMap::new());
        friend.mesh.set_members(members(&[&node, &friend]), HashMap::new());
        let inbox = listener(&mut node).await;
        listeners(&friend, 1).await;
        Scene { node, friend, forger, inbox }
    }

    /// What the node hears before it hears the friend.
    async fn heard(&mut self) -> Vec<GossipFrame> {
        self.friend.mesh.gossip(SHARD, b"proper".to_vec()).await;
        let mut heard = Vec::new();
        loop {
            let frame = next(&mut self.inbox).await;
            if frame.from == self.friend.id() {
                return heard;
            }
            heard.push(frame);
        }
    }

    async fn end(self) {
        self.node.stop().await;
        self.friend.stop().await;
    }
}

#[tokio::test]
async fn a_frame_that_was_changed_after_it_was_signed_is_dropped() {
    let mut scene = Scene::set().await;
    let good = Forged::signed(&scene.forger, 1, b"good");
    let friend = scene.friend.id().to_peer_id_bytes().to_vec();
    let next_number = Some(2u64.to_be_bytes().to_vec());
    let base = Forged::signed(&scene.forger, 2, b"forged");
    let forged = [
        Forged { data: b"changed".to_vec(), ..base.clone() },
        Forged { topic: topic(SHARD + 1).hash().into_string(), ..base.clone() },
        Forged { seqno: Some(3u64.to_be_bytes().to_vec()), ..base.clone() },
        Forged { from: Some(friend.clone()), ..base.clone() },
        // Signed by the one that sends it, in the name of another.
        Forged { from: Some(friend), ..base.clone() }.sign(&scene.forger),
        Forged { signature: None, ..base.clone() },
        Forged { signature: Some(vec![0; 64]), ..base.clone() },
        Forged { signature: Some(Vec::new()), ..base.clone() },
        Forged { from: None, ..base.clone() }.sign(&scene.forger),
        Forged { from: Some(vec![0; 38]), ..base.clone() }.sign(&scene.forger),
        // In order but for the number, that keeps what is played back apart from what is new.
        Forged { seqno: None, ..base.clone() }.sign(&scene.forger),
        Forged { seqno: Some(vec![2; 4]), ..base.clone() }.sign(&scene.forger),
        Forged { seqno: next_number, signature: None, ..base },
    ];
    let mut connection = Connection::open(&scene.node, &scene.forger).await;
    connection.send([good.rpc()]).await;
    connection.send(forged.iter().map(Forged::rpc)).await;
    // The same one again is the same.
    connection.send([good.rpc(), good.rpc()]).await;
    connection.linger().await;
    let heard = scene.heard().await;
    assert_eq!(heard, [GossipFrame { from: scene.forger.node_id(), shard: SHARD, bytes: b"good".to_vec() }]);
    scene.end().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_dropped_and_others_are_heard() {
    let mut scene = Scene::set().await;
    let forged = |number, bytes: usize| Forged::signed(&scene.forger, number, &vec![7; bytes]).rpc();
    // One that is as large as it may be, before one that is not: that ends the stream.
    let rpcs = [forged(1, GOSSIP_FRAME_BYTES_MAX), forged(2, 2 * GOSSIP_FRAME_BYTES_MAX)];
    let mut connection = Connection::open(&scene.node, &scene.forger).await;
    connection.send(rpcs).await;
    connection.linger().await;
    let heard: Vec<usize> = scene.heard().await.iter().map(|frame| frame.bytes.len()).collect();
    assert_eq!(heard, [GOSSIP_FRAME_BYTES_MAX]);
    // A length without end, and nothing of it.
    let mut connection = Connection::open(&scene.node, &scene.forger).await;
    connection.write(&varint(usize::MAX)).await;
    connection.linger().await;
    assert_eq!(scene.heard().await, []);
    scene.end().await;
}

#[tokio::test]
async fn a_storm_of_a_member_leaves_the_others_heard() {
    let mut scene = Scene::set().await;
    let shard = topic(SHARD).hash().into_string();
    let subscription = |name: &str| field(1, &[&[8, 1], field(2, name.as_bytes()).as_slice()].concat());
    let ids = |count: usize| (0..count).flat_map(|n| field(2, &n.to_be_bytes())).collect::<Vec<u8>>();
    let ihave = field(3, &field(1, &[field(1, shard.as_bytes()), ids(1000)].concat()));
    let iwant = field(3, &field(2, &(0..1000usize).flat_map(|n| field(1, &n.to_be_bytes())).collect::<Vec<u8>>()));
    let graft = field(3, &field(3, &field(1, shard.as_bytes())).repeat(200));
    let prune = field(3, &field(4, &field(1, shard.as_bytes())).repeat(200));
    let names: Vec<String> = (0..10_000).map(|n| format!("debros.shard.{n:05}")).collect();
    let all_of = |names: &[String]| names.iter().flat_map(|name| subscription(name)).collect::<Vec<u8>>();
    let storms = [
        ("subscriptions", names.chunks(100).map(all_of).collect()),
        ("subscriptions at once", vec![all_of(&names)]),
        ("the same subscription", vec![subscription(&shard).repeat(1000); 20]),
        ("IHAVE", vec![ihave; 200]),
        ("IWANT", vec![iwant; 200]),
        ("GRAFT", vec![graft; 200]),
        ("PRUNE", vec![prune; 200]),
        ("nothing", vec![Vec::new(); 1000]),
    ];
    for (name, storm) in storms {
        let mut connection = Connection::open(&scene.node, &scene.forger).await;
        connection.send(storm).await;
        connection.linger().await;
        assert_eq!(scene.heard().await, [], "{name}");
    }
    let known = scene.node.mesh.watch_shard_listeners().borrow().clone();
    let elsewhere: usize = known.iter().enumerate().filter(|(n, _)| *n != usize::from(SHARD)).map(|(_, c)| c).sum();
    assert_eq!(elsewhere, 0, "only shards count: {known:?}");
    assert!(known[usize::from(SHARD)] <= 1, "once, however often it is said: {known:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_frame_of_a_stranger_is_not_taken() {
    let mut scene = Scene::set().await;
    let stranger = Identity::ephemeral();
    let mut connection = Connection::open(&scene.node, &stranger).await;
    // Its own, and one that a member signed.
    let frames = [Forged::signed(&stranger, 1, b"own"), Forged::signed(&scene.forger, 1, b"of a member")];
    connection.send(frames.iter().map(Forged::rpc)).await;
    connection.linger().await;
    assert_eq!(scene.heard().await, []);
    assert_eq!(scene.node.mesh.counters().gossip_rejected, 0, "it was not even looked at");
    scene.end().await;
}
