//! The starter: threads that start and reap ports for as long as the node lives.
//!
//!   [Process] ──start──▶ queue ──▶ "ports" thread ──▶ child
//!       ▲                  └─▶ one more thread, once the first hangs in a start
//!       └── late ──────────────┘
//!
//! Threads of their own, because the death signal of a child follows the thread that started it, and because a
//! child must be reaped also when the runtime is gone or busy. One thread does it all, until the system does not come
//! back from loading a program, as from a network disk that hangs: that thread cannot be called back.

use super::process::{Offspring, Owned};
use super::pulse::in_looks;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Starts and ends of ports that wait for a thread; who comes later waits for room. One takes a millisecond.
const ORDERS_MAX: usize = 64;
/// All of them hang if so many programs do; whoever comes then is told that he waits in vain.
const THREADS_MAX: usize = 4;
/// A killed process is gone within moments; one that waits for a disk may take longer and holds nobody up.
const REAP_EVERY: Duration = Duration::from_millis(10);
/// How often one who waits for room looks for it.
const ROOM_EVERY: Duration = Duration::from_millis(5);

type Spawn = Box<dyn Fn(&mut Command) -> io::Result<Child> + Send + Sync>;

pub(super) struct Starter {
    orders: SyncSender<Order>,
    inbox: Mutex<Receiver<Order>>,
    at_work: Mutex<AtWork>,
    spawn: Spawn,
}

enum Order {
    Start(Start),
    /// There is one more that has [`ended`].
    Reap,
}

struct Start {
    number: u64,
    command: Box<Command>,
    program: &'static str,
    reply: oneshot::Sender<io::Result<Owned>>,
}

#[derive(Default)]
struct AtWork {
    threads: usize,
    orders: u64,
    /// Programs that are being loaded at this moment, by number of the order.
    loading: Vec<(u64, &'static str)>,
}

/// The node's.
pub(super) fn starter() -> &'static Arc<Starter> {
    static STARTER: OnceLock<Arc<Starter>> = OnceLock::new();
    STARTER.get_or_init(|| Starter::begin(Box::new(spawn)))
}

/// Killed and not yet reaped. Not sent as orders: one may be dropped by a thread itself, which must not wait
/// for room in its own queue.
pub(super) fn ended() -> MutexGuard<'static, Vec<Offspring>> {
    static ENDED: Mutex<Vec<Offspring>> = Mutex::new(Vec::new());
    lock(&ENDED)
}

impl Starter {
    fn begin(spawn: Spawn) -> Arc<Self> {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let starter = Arc::new(Self { orders, inbox: Mutex::new(inbox), at_work: Mutex::default(), spawn });
        starter.add_thread().expect("a thread can be started at launch");
        starter
    }

    /// The error is of the kind `TimedOut` if the system takes longer than `within`.
    pub async fn start(
        self: &Arc<Self>,
        command: Command,
        program: &'static str,
        within: Duration,
    ) -> io::Result<Owned> {
        let (reply, answer) = oneshot::channel();
        let number = lock(&self.at_work).next_order();
        let started = async {
            self.give(Order::Start(Start { number, command: Box::new(command), program, reply })).await;
            answer.await.unwrap_or_else(|_| Err(io::Error::other("the thread that starts ports is gone")))
        };
        in_looks(within, started).await.unwrap_or_else(|_| Err(self.late(number, within)))
    }

    /// If there is no room, a thread is at work and looks when it is done.
    pub fn reap(&self) {
        let _ = self.orders.try_send(Order::Reap);
    }

    /// Waits for room without holding up a thread of the runtime.
    async fn give(&self, mut order: Order) {
        while let Err(full) = self.orders.try_send(order) {
            let (TrySendError::Full(waits) | TrySendError::Disconnected(waits)) = full;
            order = waits;
            sleep(ROOM_EVERY).await;
        }
    }

    /// What the order waits for. Threads that all hang in a start are given up for lost, and another joins them.
    fn late(self: &Arc<Self>, number: u64, within: Duration) -> io::Error {
        let at_work = lock(&self.at_work);
        let is_loading = at_work.loading.iter().any(|(loading, _)| *loading == number);
        let others: Vec<_> = at_work.loading.iter().map(|(_, program)| *program).collect();
        let all_load = others.len() >= at_work.threads;
        drop(at_work);
        if all_load {
            // Whoever asked for them may be gone. If there are no more threads to be had, the next that is late tries.
            let _ = self.add_thread();
        }
        let why = if is_loading {
            "the system has not loaded it".to_owned()
        } else if others.is_empty() {
            "no thread had time for it".to_owned()
        } else {
            format!("the system has not loaded {} before it", others.join(" and "))
        };
        let text = format!("after {within:?} {why}; see whether node.ports_dir lies on a disk that hangs");
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    fn add_thread(self: &Arc<Self>) -> io::Result<()> {
        let mut at_work = lock(&self.at_work);
        if at_work.threads < THREADS_MAX {
            let starter = self.clone();
            std::thread::Builder::new().name("ports".to_owned()).spawn(move || starter.serve_for_ever())?;
            at_work.threads += 1;
        }
        Ok(())
    }

    fn serve_for_ever(&self) {
        loop {
            if let Some(Order::Start(start)) = self.next_order() {
                self.serve(start);
            }
            ended().retain_mut(|child| matches!(child.reap(), Ok(None)));
        }
    }

    /// `None` if it is time to reap.
    fn next_order(&self) -> Option<Order> {
        let inbox = lock(&self.inbox);
        let none_ended = ended().is_empty();
        if none_ended { inbox.recv().ok() } else { inbox.recv_timeout(REAP_EVERY).ok() }
    }

    fn serve(&self, Start { number, mut command, program, reply }: Start) {
        if reply.is_closed() {
            // It waited for too long.
            return;
        }
        lock(&self.at_work).loading.push((number, program));
        let started = (self.spawn)(&mut command).map(|child| Owned::new(child, program));
        lock(&self.at_work).loading.retain(|(loading, _)| *loading != number);
        // If nobody wants it any more, it is dropped here.
        drop(reply.send(started));
    }
}

impl AtWork {
    fn next_order(&mut self) -> u64 {
        self.orders += 1;
        self.orders
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    inherit_nothing();
    command.spawn()
}

/// Whatever this process was given, or a library has opened carelessly, is not for its ports. What Rust opens is
/// marked already; standard input, output and error are the port's own.
#[allow(unsafe_code)]
fn inherit_nothing() {
    // SAFETY: sets a flag on descriptors and closes none, so nobody loses one that he owns.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(80);

    /// One whose program `hangs` is not loaded until somebody says so.
    fn starter_of_hanging_programs() -> (Arc<Starter>, Sender<()>) {
        let (loaded, wait) = channel();
        let wait = Mutex::new(wait);
        let spawn = move |command: &mut Command| {
            if command.get_program() == "hangs" {
                let _ = lock(&wait).recv();
                return Err(io::Error::other("loaded at last"));
            }
            spawn(command)
        };
        (Starter::begin(Box::new(spawn)), loaded)
    }

    async fn start(starter: &Arc<Starter>, program: &'static str, within: Duration) -> Result<(), String> {
        let started = starter.start(Command::new(program), program, within).await;
        started.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_program_that_hangs_holds_up_nobody_for_ever_though_nobody_waits_for_it_any_more() {
        let (starter, loaded) = starter_of_hanging_programs();
        let asker = tokio::spawn({
            let starter = starter.clone();
            async move { start(&starter, "hangs", PATIENCE).await }
        });
        while lock(&starter.at_work).loading.is_empty() {
            tokio::task::yield_now().await;
        }
        asker.abort();
        let behind = start(&starter, "true", SHORT).await.expect_err("the only thread hangs");
        assert!(behind.contains("hangs before it"), "{behind}");
        assert_eq!(start(&starter, "true", PATIENCE).await, Ok(()));
        drop(loaded);
    }

    #[tokio::test]
    async fn a_program_that_is_not_loaded_is_named_also_to_those_behind_it_and_holds_up_nobody_later() {
        let (starter, loaded) = starter_of_hanging_programs();
        let behind = async {
            while lock(&starter.at_work).loading.is_empty() {
                tokio::task::yield_now().await;
            }
            start(&starter, "true", SHORT / 2).await
        };
        let (hangs, behind) = tokio::join!(start(&starter, "hangs", SHORT), behind);
        let way_out = "; see whether node.ports_dir lies on a disk that hangs";
        assert_eq!(hangs, Err(format!("after 80ms the system has not loaded it{way_out}")));
        assert_eq!(behind, Err(format!("after 40ms the system has not loaded hangs before it{way_out}")));
        assert_eq!(start(&starter, "true", PATIENCE).await, Ok(()));
        drop(loaded);
    }

    #[tokio::test]
    async fn there_are_never_more_threads_than_a_few_and_all_of_them_come_back() {
        let (starter, loaded) = starter_of_hanging_programs();
        for _ in 0..THREADS_MAX + 2 {
            assert!(start(&starter, "hangs", SHORT).await.is_err());
        }
        assert_eq!(lock(&starter.at_work).threads, THREADS_MAX);
        let late = start(&starter, "true", SHORT).await.expect_err("all threads hang");
        assert!(late.contains("has not loaded hangs and hangs and hangs and hangs before it"), "{late}");
        drop(loaded);
        assert_eq!(start(&starter, "true", PATIENCE).await, Ok(()));
    }

    #[tokio::test]
    async fn one_who_waits_for_room_holds_up_nobody_else() {
        let (starter, loaded) = starter_of_hanging_programs();
        let hangs = start(&starter, "hangs", PATIENCE);
        let others = async {
            while lock(&starter.at_work).loading.is_empty() {
                tokio::task::yield_now().await;
            }
            while starter.orders.try_send(Order::Reap).is_ok() {}
            // Both on one thread: it makes room only if it gets on.
            tokio::join!(start(&starter, "true", PATIENCE), async { drop(loaded) }).0
        };
        let (hangs, others) = tokio::join!(hangs, others);
        assert_eq!((hangs, others), (Err("loaded at last".to_owned()), Ok(())));
    }
}
