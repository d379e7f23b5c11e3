//! One shape of publishers and subscribers, driven twice: as fast as nothing is lost, then one message at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::BenchError;
use super::flight::{Flight, FlightTally};
use super::messenger::{Place, Publisher, Subscriber};
use super::pubsub_workload::PubSubWorkload;
use super::stamp::{Clock, Stamp};
use crate::tasks::Tasks;

/// Rounds; the first is not counted.
const PROBES: u32 = 0;
const FULL_LOAD: u32 = 1;
const ONE_AT_A_TIME: u32 = 2;

/// How long it may take until every subscriber is known wherever messages are published.
const KNOWN_MAX: Duration = Duration::from_secs(30);

/// Between two looks at that.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// How long the last messages may take, and any message when there is no other.
const LAST_DELIVERY_MAX: Duration = Duration::from_secs(10);

/// Longest time for latencies: some thousand messages are enough.
const ONE_AT_A_TIME_MAX: Duration = Duration::from_secs(2);

/// Dropping a connection takes no time.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Where publishers and subscribers are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) publish: Place,
    /// Subscribers are spread over these.
    pub(super) subscribe: Vec<Place>,
}

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub(super) struct PubSubLoad {
    pub(super) workload: PubSubWorkload,
    pub(super) clients: usize,
    pub(super) size_bytes: usize,
    pub(super) duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct PubSubTally {
    /// How long the full load took.
    pub(super) elapsed: Duration,
    /// At its end.
    pub(super) in_time: FlightTally,
    /// When nothing more came.
    pub(super) full_load: FlightTally,
    /// One message at a time.
    pub(super) one_at_a_time: FlightTally,
}

/// A topic with its publishers.
struct Channel {
    flight: Arc<Flight>,
    publishers: Vec<Publisher>,
}

/// Connects everybody, publishes, and counts.
pub(super) async fn drive(places: &Places, load: PubSubLoad) -> Result<PubSubTally, BenchError> {
    let (tasks, clock) = (Tasks::new(), Clock::start());
    let tally = rounds(places, load, &tasks, clock).await;
    tasks.stop(STOP_MAX).await;
    tally
}

async fn rounds(places: &Places, load: PubSubLoad, tasks: &Tasks, clock: Clock) -> Result<PubSubTally, BenchError> {
    let mut channels = connect(places, load, tasks, clock).await?;
    wait_until_known(&mut channels, clock).await?;
    let window = load.workload.shape(load.clients).window(load.size_bytes);
    channels.iter().for_each(|channel| channel.flight.begin(FULL_LOAD, window));
    let started = Instant::now();
    let in_time = publish_all(&mut channels, tasks, clock, started + load.duration).await;
    let elapsed = started.elapsed();
    all_landed(&channels).await;
    let full_load = sum(&channels);
    channels.iter().for_each(|channel| channel.flight.begin(ONE_AT_A_TIME, 1));
    publish_singly(&mut channels, clock, Instant::now() + load.duration.min(ONE_AT_A_TIME_MAX)).await;
    Ok(PubSubTally { elapsed, in_time, full_load, one_at_a_time: sum(&channels) })
}

async fn connect(places: &Places, load: PubSubLoad, tasks: &Tasks, clock: Clock) -> Result<Vec<Channel>, BenchError> {
    let shape = load.workload.shape(load.clients);
    let mut subscribe_at = places.subscribe.iter().cycle();
    let mut channels = Vec::with_capacity(shape.topics);
    for number in 0..shape.topics {
        let topic = format!("bench.{}.{number}", std::process::id());
        let flight = Arc::new(Flight::new(shape.subscribers));
        for (subscriber, place) in (&mut subscribe_at).take(shape.subscribers).enumerate() {
            let connected = Subscriber::connect(place, &topic).await?;
            tasks.spawn_until_cancelled(listen(connected, flight.clone(), subscriber, load.size_bytes, clock));
        }
        let mut publishers = Vec::with_capacity(shape.publishers);
        for _ in 0..shape.publishers {
            publishers.push(Publisher::connect(&places.publish, &topic, load.size_bytes).await?);
        }
        channels.push(Channel { flight, publishers });
    }
    Ok(channels)
}

/// Takes what comes for one subscriber.
async fn listen(mut subscriber: Subscriber, flight: Arc<Flight>, number: usize, size_bytes: usize, clock: Clock) {
    loop {
        let heard = subscriber.next().await.and_then(|message| match Stamp::of(&message) {
            Some(stamp) if message.len() == size_bytes => Ok(stamp),
            _ => Err(format!("a message of {} bytes came, where all have {size_bytes}", message.len())),
        });
        match heard {
            Ok(stamp) => flight.land(number, stamp.round, clock.age(stamp)),
            Err(error) => return flight.fail(&format!("subscriber: {error}")),
        }
    }
}

/// Publishes until every subscriber has got something: nodes tell each other of their subscribers in their own time.
async fn wait_until_known(channels: &mut [Channel], clock: Clock) -> Result<(), BenchError> {
    let deadline = Instant::now() + KNOWN_MAX;
    loop {
        for channel in channels.iter_mut() {
            for publisher in &mut channel.publishers {
                publish_one(publisher, &channel.flight, clock.stamp(PROBES)).await;
            }
        }
        tokio::time::sleep(PROBE_EVERY).await;
        if let Some(error) = channels.iter().find_map(|channel| channel.flight.tally().first_error) {
            return Err(BenchError::Prepare(error));
        }
        if channels.iter().all(|channel| channel.flight.everyone_heard()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let reason = format!("not every subscriber got a message within {} s", KNOWN_MAX.as_secs());
            return Err(BenchError::Prepare(reason));
        }
    }
}

/// Publishes what fits into the windows until `end`; what was there then.
async fn publish_all(channels: &mut [Channel], tasks: &Tasks, clock: Clock, end: Instant) -> FlightTally {
    let mut running = Vec::new();
    for (number, channel) in channels.iter_mut().enumerate() {
        for publisher in channel.publishers.drain(..) {
            running.push((number, tasks.spawn(publish_until(publisher, channel.flight.clone(), clock, end))));
        }
    }
    tokio::time::sleep_until(end.into()).await;
    let in_time = sum(channels);
    let last = tokio::time::Instant::from_std(end + LAST_DELIVERY_MAX);
    for (number, mut task) in running {
        match tokio::time::timeout_at(last, &mut task).await {
            Ok(Ok(publisher)) => channels[number].publishers.push(publisher),
            Ok(Err(_)) | Err(_) => {
                task.abort();
                channels[number].flight.fail("publisher: the server takes nothing more");
            }
        }
    }
    in_time
}

async fn publish_until(mut publisher: Publisher, flight: Arc<Flight>, clock: Clock, end: Instant) -> Publisher {
    let published = async {
        let mut ended = std::pin::pin!(tokio::time::sleep_until(end.into()));
        while Instant::now() < end {
            if !flight.take_off_now() {
                publisher.flush().await?;
                tokio::select! {
                    took_off = flight.take_off() => if !took_off { return Ok(()) },
                    reason = publisher.refusal() => return Err(reason),
                    () = &mut ended => return Ok(()),
                }
            }
            publisher.feed(clock.stamp(flight.round())).await?;
        }
        publisher.flush().await
    };
    if let Err(error) = published.await {
        flight.fail(&format!("publisher: {error}"));
    }
    publisher
}

/// Publishes, each publisher in turn, when the message before is with everybody.
async fn publish_singly(channels: &mut [Channel], clock: Clock, end: Instant) {
    while Instant::now() < end {
        for Channel { flight, publishers } in channels.iter_mut() {
            for publisher in publishers {
                if !flight.take_off_now() {
                    return;
                }
                publish_one(publisher, flight, clock.stamp(ONE_AT_A_TIME)).await;
                let landed = tokio::time::timeout(LAST_DELIVERY_MAX, flight.all_landed()).await;
                if landed.is_err() || Instant::now() >= end {
                    return;
                }
            }
        }
    }
}

async fn publish_one(publisher: &mut Publisher, flight: &Flight, stamp: Stamp) {
    let mut published = publisher.feed(stamp).await;
    if published.is_ok() {
        published = publisher.flush().await;
    }
    if let Err(error) = published {
        flight.fail(&format!("publisher: {error}"));
    }
}

/// Waits for the last messages, as long as they may take.
async fn all_landed(channels: &[Channel]) {
    let landed = async {
        for channel in channels {
            channel.flight.all_landed().await;
        }
    };
    // What did not come is counted as lost.
    let _ = tokio::time::timeout(LAST_DELIVERY_MAX, landed).await;
}

fn sum(channels: &[Channel]) -> FlightTally {
    let mut total = FlightTally::default();
    channels.iter().for_each(|channel| total.merge(channel.flight.tally()));
    total
}
