//! The proxy itself: sockets, clients and threads of its own, so that a busy test does not make its network worse.
//!
//! Stops when: it is dropped.  Its port is free then.

mod client;
mod hub;
#[cfg(test)]
mod tests;

use super::conditions::{Conditions, Impairment, Way};
use super::tally::Stats;
use hub::Hub;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// A network is no slower because a machine is busy: its threads go first, where the system lets them (as root).
const NICE: i32 = -10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// When so many are here, packets of others are dropped and counted; each has a socket.
    pub clients_max: usize,
    /// A client that neither sent nor got anything for so long is forgotten: its next packet makes it a new one.
    pub idle_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // A fleet of a thousand that was killed once, and longer than any partition of ours.
        Self { clients_max: 2048, idle_max: Duration::from_secs(120) }
    }
}

/// Carries UDP between those who send to [`Proxy::addr`] and one upstream. Everything about it can be changed while
/// it runs; dropped, it ends.
pub struct Proxy {
    hub: Arc<Hub>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// On a free port of 127.0.0.1.
    pub fn start(upstream: SocketAddr, conditions: impl Into<Conditions>, seed: u64) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::listen(any, upstream, conditions, seed, Limits::default())
    }

    pub fn listen(
        at: SocketAddr,
        upstream: SocketAddr,
        conditions: impl Into<Conditions>,
        seed: u64,
        limits: Limits,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hub = {
            let _inside = runtime.enter();
            Hub::new(at, upstream, conditions.into(), seed, limits, runtime.handle().clone())?
        };
        let (stop, stopped) = oneshot::channel();
        // From here on what was begun ends with it.
        let mut proxy = Self { hub: hub.clone(), stop: Some(stop), threads: Vec::new() };
        let reads = hub.clone();
        proxy.thread("impair-in", move || {
            runtime.block_on(async {
                tokio::select! {
                    () = hub::run(&reads) => {}
                    _ = stopped => {}
                }
            });
        })?;
        proxy.thread("impair-out", move || hub::deliver(&hub))?;
        Ok(proxy)
    }

    fn thread(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(|| {
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            work();
        });
        self.threads.push(thread?);
        Ok(())
    }

    /// Whereto clients send.
    pub fn addr(&self) -> SocketAddr {
        self.hub.addr
    }

    pub fn seed(&self) -> u64 {
        self.hub.seed
    }

    pub fn conditions(&self) -> Conditions {
        self.hub.lock().conditions.clone()
    }

    /// From now on, for packets that come from now on.
    pub fn set(&self, conditions: impl Into<Conditions>) {
        self.hub.lock().conditions = conditions.into();
    }

    /// Changes some of it, the ways that are meant.
    pub fn change(&self, way: Way, mut change: impl FnMut(&mut Impairment)) {
        let mut state = self.hub.lock();
        let Conditions { up, down } = &mut state.conditions;
        for (meant, impairment) in [(way.is_up(), up), (way.is_down(), down)] {
            if meant {
                change(impairment);
            }
        }
    }

    /// Nothing more gets through this way; the rest of the conditions stays for later.
    pub fn partition(&self, way: Way) {
        self.change(way, |impairment| impairment.partitioned = true);
    }

    /// Both ways are open again.
    pub fn heal(&self) {
        self.change(Way::Both, |impairment| impairment.partitioned = false);
    }

    /// From now on the upstream sees every client come from another port, and from another address if one is given
    /// (127.0.0.x). What it sends to the old ones is lost, as behind a router that was restarted. Returns how many
    /// clients there were.
    pub fn move_clients(&self, to: Option<IpAddr>) -> io::Result<usize> {
        self.hub.move_clients(to)
    }

    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.hub.stop();
        for thread in self.threads.drain(..) {
            // If it panicked it has said so.
            let _ = thread.join();
        }
    }
}
