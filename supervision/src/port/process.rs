//! A port's process: started, waited for, killed and reaped, whatever becomes of whoever asked.
//!
//!   [Process] ──spawn──▶ "ports" thread ──▶ child
//!   [Process] ──dropped─▶ "ports" thread ──▶ reaped
//!
//! The thread lives as long as the node: the death signal of a child follows the thread that started it, and
//! a child must be reaped also when the runtime is gone or busy.

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Starts and ends of ports that wait for the thread; who comes later waits for room. One takes a millisecond.
const ORDERS_MAX: usize = 64;
/// A killed process is gone within moments; one that waits for a disk may take longer and holds nobody up.
const REAP_EVERY: Duration = Duration::from_millis(10);
/// How often one who waits for room looks for it.
const ROOM_EVERY: Duration = Duration::from_millis(5);

/// Dropping it kills the process and whatever that has started.
pub(super) struct Process {
    child: Owned,
    /// Readable once the process has ended. A pid may be given to another process, this may not.
    handle: AsyncFd<Arc<OwnedFd>>,
    status: Option<ExitStatus>,
}

impl Process {
    pub async fn spawn(command: Command) -> io::Result<Self> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts ports is gone");
        give(thread(), Order::Spawn(Box::new(command), reply)).await.map_err(|()| gone())?;
        let child = answer.await.map_err(|_| gone())??;
        let pid = child.pid().ok_or_else(gone)?;
        let handle = watched(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?;
        Ok(Self { child, handle, status: None })
    }

    /// While it is not reaped.
    pub fn id(&self) -> Option<u32> {
        self.child.pid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// For whoever has to kill it from elsewhere.
    pub fn handle(&self) -> Arc<OwnedFd> {
        self.handle.get_ref().clone()
    }

    pub fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        self.child.0.as_mut().map_or((None, None), |child| (child.stdout.take(), child.stderr.take()))
    }

    /// Safe to drop half-way, and may be asked again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            let mut ready = self.handle.readable().await?;
            let Some(child) = &mut self.child.0 else { return Err(io::Error::other("the process was given up")) };
            // Its pid names its group until it is reaped, and no longer.
            kill_group(child);
            match child.try_wait()? {
                Some(status) => (self.status, self.child.0) = (Some(status), None),
                None => ready.clear_ready(),
            }
        }
    }

    pub fn terminate(&self) {
        let _ = pidfd_send_signal(self.handle.get_ref(), Signal::TERM);
    }

    pub fn kill(&self) {
        self.child.kill();
    }
}

#[allow(unsafe_code)]
fn watched(handle: OwnedFd) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: what is in the `Arc` is one descriptor for good, and stays open while the `AsyncFd` holds it.
    Ok(unsafe { AsyncFd::register_with_interest(Arc::new(handle), Interest::READABLE) }?)
}

/// A child that is killed and reaped when it is dropped. Empty once it is reaped.
struct Owned(Option<Child>);

impl Owned {
    fn pid(&self) -> Option<Pid> {
        self.0.as_ref().and_then(pid)
    }

    fn kill(&self) {
        self.0.iter().for_each(kill_group);
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = self.0.take() {
            ended().push(child);
            // If there is no room, the thread is at work and looks when it is done.
            let _ = thread().try_send(Order::Reap);
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id().cast_signed())
}

/// The child leads a group of its own. Fails if it has ended, which is as good.
fn kill_group(child: &Child) {
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

enum Order {
    Spawn(Box<Command>, oneshot::Sender<io::Result<Owned>>),
    /// There is one more that has [`ended`].
    Reap,
}

/// Killed and not yet reaped. Not sent as orders: one may be dropped by the thread itself, which must not wait
/// for room in its own queue.
fn ended() -> MutexGuard<'static, Vec<Child>> {
    static ENDED: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread() -> &'static SyncSender<Order> {
    static THREAD: OnceLock<SyncSender<Order>> = OnceLock::new();
    THREAD.get_or_init(|| {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let work = move || serve(&inbox);
        std::thread::Builder::new().name("ports".to_owned()).spawn(work).expect("a thread can be started at launch");
        orders
    })
}

/// Waits for room without holding up a thread of the runtime. Err: nobody takes orders.
async fn give(orders: &SyncSender<Order>, mut order: Order) -> Result<(), ()> {
    loop {
        order = match orders.try_send(order) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(_)) => return Err(()),
            Err(TrySendError::Full(order)) => order,
        };
        sleep(ROOM_EVERY).await;
    }
}

fn serve(inbox: &Receiver<Order>) {
    loop {
        let none_ended = ended().is_empty();
        let order = if none_ended {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            inbox.recv_timeout(REAP_EVERY)
        };
        match order {
            // If nobody wants it any more, it is dropped here.
            Ok(Order::Spawn(command, reply)) => drop(reply.send(spawn(*command))),
            Ok(Order::Reap) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        ended().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

fn spawn(mut command: Command) -> io::Result<Owned> {
    inherit_nothing();
    command.spawn().map(|child| Owned(Some(child)))
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

    #[tokio::test]
    async fn one_who_waits_for_room_holds_up_nobody_else() {
        let (orders, inbox) = sync_channel(1);
        orders.try_send(Order::Reap).expect("there is room");
        // Both on one thread: it makes room only if it gets on.
        let (given, _) = tokio::join!(give(&orders, Order::Reap), async { inbox.recv_timeout(Duration::ZERO) });
        assert_eq!(given, Ok(()));
        drop(inbox);
        assert_eq!(give(&orders, Order::Reap).await, Err(()));
    }
}
