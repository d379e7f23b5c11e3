//! Reads that take longer than the first attempt on the worker that received them: threads of their own, and turns on
//! them.
//!
//! The threads have a low priority and leave one core alone, so that quick requests, the log and the apply thread hardly
//! notice how many slow reads there are: a thread that wakes up finds a core that is idle, or takes one from them. They
//! share among themselves what is left, so more may run at once than there are cores, and a read of ten seconds does not
//! hold up one of ten milliseconds.
//!
//! A free turn goes to the waiting namespace that has the fewest, within it to who came first. A namespace never has
//! all of them, so another's read need not wait for any of its own.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::ClusterError;
use crate::types::Namespace;
use crate::types::limits::READERS_PER_NAMESPACE_MAX;

/// Turns on a small machine. Each may hold the memory of a statement.
const TURNS_MIN: usize = 8;

/// Turns for each core of a larger one.
const TURNS_PER_CORE: usize = 2;

/// How long a thread stays that has nothing to do.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// About a tenth of a core's time where others want it: little enough to give them the core when they wake, enough to
/// get done beside a flood of quick requests.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Who may read slowly, and on what.
pub(super) struct SlowReads {
    turns: Arc<Turns>,
    threads: Threads,
}

impl SlowReads {
    pub(super) fn new() -> SlowReads {
        SlowReads::for_cores(available_parallelism().map_or(1, NonZero::get))
    }

    fn for_cores(cores: usize) -> SlowReads {
        let turns = TURNS_MIN.max(TURNS_PER_CORE * cores);
        // Some of its connections are left to its quick reads.
        let per_namespace = turns.min(READERS_PER_NAMESPACE_MAX) * 3 / 4;
        let turns = Turns { max: turns, per_namespace, lines: Mutex::default() };
        SlowReads { threads: Threads::at_most(turns.max), turns: Arc::new(turns) }
    }

    /// Waits for a turn. Cancel safe.
    ///
    /// # Errors
    /// [`ClusterError::Overloaded`] when there is none before the deadline.
    pub(super) async fn turn(&self, namespace: &Namespace, deadline: Instant) -> Result<Turn, ClusterError> {
        let (ready, turn) = oneshot::channel();
        let _place = Turns::stand_in_line(&self.turns, namespace, ready);
        let turn = timeout_at(deadline.into(), turn).await.map_err(|_| ClusterError::Overloaded)?;
        turn.map_err(|_| ClusterError::Stopping)
    }

    /// Reads on one of the threads and gives the turn back with the result. When nobody waits for that any more, the
    /// turn still lasts until the thread is done.
    ///
    /// # Errors
    /// [`ClusterError::Storage`] when the read panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        turn: Turn,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(Turn, T), ClusterError> {
        let done = self.threads.0.as_ref().expect("it is taken when it is dropped").spawn_blocking(|| {
            let found = read();
            (turn, found)
        });
        done.await.map_err(super::read::storage)
    }
}

/// A runtime that runs no tasks: what it has is threads that are made when they are needed and end when they are not.
struct Threads(Option<Runtime>);

impl Threads {
    fn at_most(threads_max: usize) -> Threads {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(threads_max)
            .thread_keep_alive(IDLE_MAX)
            .thread_name("slow-read")
            .on_thread_start(yield_to_others)
            .build();
        Threads(Some(runtime.expect("it has no drivers that could fail, and no threads yet")))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Does not wait: a read may go on until its deadline.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of this thread and keeps it off one core. Elsewhere than on Linux the priority would be the whole
/// process's.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "a thread for slow reads keeps its priority");
        }
        if let Err(error) = leave_a_core() {
            tracing::debug!(%error, "a thread for slow reads runs on all cores");
        }
    }
}

/// Keeps this thread off the first core that it may run on, when there is another one. A low priority alone is not
/// enough: when all cores are busy, the kernel lets a running thread finish its time slice before one that wakes up.
#[cfg(target_os = "linux")]
fn leave_a_core() -> rustix::io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let mut cores = sched_getaffinity(None)?;
    if let Some(first) = (0..CpuSet::MAX_CPU).find(|core| cores.is_set(*core))
        && cores.count() > 1
    {
        cores.unset(first);
        sched_setaffinity(None, &cores)?;
    }
    Ok(())
}

/// Somebody's turn, until it is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    namespace: Namespace,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().end(&self.namespace);
        Turns::give(&self.turns);
    }
}

/// Somebody's place in a line, until it is dropped.
struct Place<'a> {
    turns: &'a Turns,
    namespace: &'a Namespace,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.lock().leave(self.namespace, self.number);
    }
}

struct Turns {
    max: usize,
    per_namespace: usize,
    lines: Mutex<Lines>,
}

/// Who has a turn and who waits for one.
#[derive(Default)]
struct Lines {
    running: usize,
    arrived: u64,
    /// Of the namespaces that read or wait now.
    namespaces: HashMap<Namespace, Line>,
}

#[derive(Default)]
struct Line {
    running: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

impl Turns {
    fn stand_in_line<'a>(turns: &'a Arc<Turns>, namespace: &'a Namespace, ready: oneshot::Sender<Turn>) -> Place<'a> {
        let number = turns.lock().join(namespace, ready);
        Turns::give(turns);
        Place { turns, namespace, number }
    }

    /// Gives away what turns are free.
    fn give(turns: &Arc<Turns>) {
        loop {
            // Not locked any more when the turn goes: one that nobody takes ends by locking again.
            let Some((namespace, ready)) = turns.lock().next(turns.max, turns.per_namespace) else { return };
            let _ = ready.send(Turn { turns: turns.clone(), namespace });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("nobody panics while holding it")
    }
}

impl Lines {
    fn join(&mut self, namespace: &Namespace, ready: oneshot::Sender<Turn>) -> u64 {
        self.arrived += 1;
        self.namespaces.entry(namespace.clone()).or_default().waiting.push_back((self.arrived, ready));
        self.arrived
    }

    fn leave(&mut self, namespace: &Namespace, number: u64) {
        let Some(line) = self.namespaces.get_mut(namespace) else { return };
        if let Ok(place) = line.waiting.binary_search_by_key(&number, |(number, _)| *number) {
            line.waiting.remove(place);
        }
        self.forget_if_done(namespace);
    }

    /// Whose turn it is, now counted as running.
    fn next(&mut self, max: usize, per_namespace: usize) -> Option<(Namespace, oneshot::Sender<Turn>)> {
        if self.running >= max {
            return None;
        }
        let in_line = self.namespaces.iter_mut().filter(|(_, line)| line.running < per_namespace);
        let first = in_line.filter_map(|(namespace, line)| {
            let (number, _) = line.waiting.front()?;
            Some(((line.running, *number), namespace, line))
        });
        let (_, namespace, line) = first.min_by_key(|(order, ..)| *order)?;
        let (_, ready) = line.waiting.pop_front()?;
        line.running += 1;
        self.running += 1;
        Some((namespace.clone(), ready))
    }

    fn end(&mut self, namespace: &Namespace) {
        self.running -= 1;
        if let Some(line) = self.namespaces.get_mut(namespace) {
            line.running -= 1;
        }
        self.forget_if_done(namespace);
    }

    fn forget_if_done(&mut self, namespace: &Namespace) {
        if self.namespaces.get(namespace).is_some_and(|line| line.running == 0 && line.waiting.is_empty()) {
            self.namespaces.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_ms(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    fn named(name: &str) -> Namespace {
        name.parse().expect("a name")
    }

    #[tokio::test]
    async fn a_namespace_leaves_turns_to_others() {
        for cores in [1, 2, 4, 64] {
            let reads = SlowReads::for_cores(cores);
            let (loud, quiet) = (named("loud"), named("quiet"));
            let mut held = Vec::new();
            for _ in 0..reads.turns.per_namespace {
                held.push(reads.turn(&loud, in_ms(1000)).await.expect("its share"));
            }
            assert!(matches!(reads.turn(&loud, in_ms(20)).await, Err(ClusterError::Overloaded)), "{cores} cores");
            drop(reads.turn(&quiet, in_ms(1000)).await.expect("there is one left"));
            held.pop();
            held.push(reads.turn(&loud, in_ms(1000)).await.expect("it is free again"));
            drop(held);
            let lines = reads.turns.lock();
            assert_eq!((lines.running, lines.namespaces.len()), (0, 0), "who is done is forgotten");
        }
    }

    #[test]
    fn a_free_turn_goes_to_who_has_the_fewest_and_then_to_who_came_first() {
        let mut lines = Lines::default();
        for name in ["a", "a", "a", "b", "c", "b"] {
            lines.join(&named(name), oneshot::channel().0);
        }
        let order: Vec<_> = std::iter::from_fn(|| lines.next(5, 2)).map(|(name, _)| name.to_string()).collect();
        assert_eq!(order, ["a", "b", "c", "a", "b"], "a third of `a` is over its share");
        lines.end(&named("c"));
        assert!(lines.next(5, 2).is_none(), "`a` has its share, nobody else waits");
        lines.end(&named("a"));
        assert_eq!(lines.next(5, 2).expect("a turn").0, named("a"));
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_line_and_a_read_keeps_its_turn_when_nobody_waits() {
        let reads = SlowReads::for_cores(1);
        let loud = named("loud");
        let (go_on, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let turn = reads.turn(&loud, in_ms(1000)).await.expect("a turn");
        {
            let read = reads.run(turn, move || wait.recv());
            tokio::select! {
                biased;
                _ = read => panic!("it waits"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(reads.turns.lock().running, 1);
        let mut held = Vec::new();
        for _ in 1..reads.turns.per_namespace {
            held.push(reads.turn(&loud, in_ms(1000)).await.expect("a turn"));
        }
        assert!(reads.turn(&loud, in_ms(1)).await.is_err());
        assert!(reads.turns.lock().namespaces[&loud].waiting.is_empty(), "nobody waits");
        go_on.send(()).expect("it reads");
        drop(reads.turn(&loud, in_ms(5000)).await.expect("the abandoned read is done"));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_the_threads_of_slow_reads_have_a_low_priority_and_leave_a_core() {
        let own = || {
            let niceness = rustix::process::getpriority_process(None).expect("a thread's own");
            (niceness, rustix::thread::sched_getaffinity(None).expect("a thread's own").count())
        };
        let reads = SlowReads::for_cores(1);
        let (niceness, cores) = own();
        let turn = reads.turn(&named("a"), in_ms(1000)).await.expect("a turn");
        let (_, there) = reads.run(turn, own).await.expect("reads");
        assert_eq!(there, ((niceness + NICENESS).min(19), (cores - 1).max(1)));
        assert_eq!(own(), (niceness, cores));
    }
}
