//! What a stream between two nodes of one machine costs: round trip of a small message, and throughput.
//!
//! `cargo bench --bench mesh_streams` prints one line per measurement; compare ratios within a run, not between machines.

use std::time::{Duration, Instant};

use debros::mesh::{GossipSources, Identity, InboundStream, Mesh, MeshConfig, MeshStream, PeerExchange, Protocol};
use debros::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TIMEOUT: Duration = Duration::from_secs(10);
const ROUND_TRIPS: usize = 20_000;
const PIPELINED_BYTES: usize = 256 * 1024 * 1024;

fn config() -> MeshConfig {
    MeshConfig {
        identity: Identity::ephemeral(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        advertise: Vec::new(),
        bootstrap_peers: Vec::new(),
        connections_max: 10,
        agent_version: "debros/bench".into(),
        peer_exchange: PeerExchange::Off,
        gossip_sources: GossipSources::Roster,
    }
}

#[tokio::main]
async fn main() {
    let tasks = Tasks::new();
    let (near, _inbound) = Mesh::bind(config(), &tasks).await.expect("bound");
    let (far, mut inbound) = Mesh::bind(config(), &tasks).await.expect("bound");
    for (mesh, other) in [(&near, &far), (&far, &near)] {
        mesh.set_members([(other.node_id(), other.advertised_addresses())].into(), Default::default());
    }
    let serving = tasks.clone();
    tasks.spawn_until_cancelled(async move {
        while let Some(InboundStream { protocol, stream, .. }) = inbound.next().await {
            serving.spawn_until_cancelled(serve(protocol, stream));
        }
    });
    let open = async |protocol| near.open(far.node_id(), protocol, TIMEOUT).await.expect("opened");

    let mut stream = open(Protocol::RaftControl).await;
    report("64 B round trip on an open stream", round_trips(ROUND_TRIPS, async || ping(&mut stream).await).await);
    let fresh = async || ping(&mut open(Protocol::RaftControl).await).await;
    report("64 B round trip on a new stream", round_trips(ROUND_TRIPS / 10, fresh).await);
    for frame_bytes in [256, 4 * 1024, 64 * 1024, 1024 * 1024] {
        let bytes = PIPELINED_BYTES.min(frame_bytes * 200_000);
        let seconds = pipeline(open(Protocol::RaftAppend).await, frame_bytes, bytes / frame_bytes).await;
        println!(
            "pipelined {frame_bytes:>7} B frames: {:6.0} MB/s, {:7.0} frames/s",
            bytes as f64 / seconds / 1e6,
            (bytes / frame_bytes) as f64 / seconds
        );
    }
    assert!(tasks.stop(TIMEOUT).await, "every task ends");
}

/// Echoes small messages; counts bytes on the append protocol and says at the end that all are there.
async fn serve(protocol: Protocol, stream: MeshStream) {
    let (mut reader, mut writer) = stream.split();
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(read @ 1..) = reader.read(&mut buffer).await {
        if protocol == Protocol::RaftControl && writer.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = writer.write_all(b"!").await;
    let _ = writer.shutdown().await;
}

async fn ping(stream: &mut MeshStream) {
    let mut message = [7; 64];
    stream.write_all(&message).await.expect("written");
    stream.read_exact(&mut message).await.expect("read");
}

async fn round_trips(count: usize, mut round_trip: impl AsyncFnMut()) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        round_trip().await;
        times.push(begin.elapsed());
    }
    times.sort();
    times
}

fn report(what: &str, times: Vec<Duration>) {
    println!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}

async fn pipeline(mut stream: MeshStream, frame_bytes: usize, frames: usize) -> f64 {
    let frame = vec![7; frame_bytes];
    let begin = Instant::now();
    for _ in 0..frames {
        stream.write_all(&frame).await.expect("written");
    }
    stream.shutdown().await.expect("closed");
    stream.read_exact(&mut [0]).await.expect("confirmed");
    begin.elapsed().as_secs_f64()
}
