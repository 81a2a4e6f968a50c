//! Hub: what the proxy's threads share: who its clients are, and what is on its way.

use super::super::PACKET_BYTES_MAX;
use super::super::conditions::{Conditions, Way};
use super::super::flight::{End, Flight, Passenger};
use super::super::tally::{Stats, Tally};
use super::Limits;
use super::client::{self, Client, Outlet};
use socket2::SockRef;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;

/// After a read that failed for another reason than that nothing is there, which it will again.
const AFTER_AN_ERROR: Duration = Duration::from_millis(10);
/// A packet that is later than this is counted as late.
const LATE: Duration = Duration::from_millis(1);

pub(super) struct Hub {
    pub addr: SocketAddr,
    pub seed: u64,
    pub runtime: Handle,
    upstream: SocketAddr,
    limits: Limits,
    /// Where clients come, and from where they are answered.
    inlet: UdpSocket,
    /// Delivers what is due later than it came.
    courier: OnceLock<Thread>,
    is_stopped: AtomicBool,
    began: Instant,
    state: Mutex<State>,
}

pub(super) struct State {
    pub conditions: Conditions,
    clients: HashMap<SocketAddr, Client>,
    /// Clients so far.
    count: u64,
    /// From which address the upstream sees clients come.
    from: IpAddr,
    flight: Flight,
    /// Until when the courier sleeps, at most.
    asleep_until: Option<Duration>,
    stats: Stats,
}

/// Until it is dropped.
pub(super) async fn run(hub: &Arc<Hub>) {
    tokio::join!(read_clients(hub), forget(hub));
}

async fn read_clients(hub: &Arc<Hub>) {
    let mut buffer = [0; PACKET_BYTES_MAX + 1];
    loop {
        match hub.inlet.recv_from(&mut buffer).await {
            Ok((bytes, from)) => hub.carry(Way::Up, from, &buffer[..bytes]),
            Err(_) => tokio::time::sleep(AFTER_AN_ERROR).await,
        }
    }
}

/// One client's socket. What others send to it is nobody's.
pub(super) async fn read_upstream(hub: Arc<Hub>, client: SocketAddr, socket: Arc<UdpSocket>) {
    let mut buffer = [0; PACKET_BYTES_MAX + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((bytes, from)) if from == hub.upstream => hub.carry(Way::Down, client, &buffer[..bytes]),
            Ok(_) => {}
            Err(_) => tokio::time::sleep(AFTER_AN_ERROR).await,
        }
    }
}

/// On a thread of its own: the system wakes it within a fraction of a millisecond, tokio's timers round up to whole ones.
pub(super) fn deliver(hub: &Hub) {
    hub.courier.get_or_init(std::thread::current);
    while !hub.is_stopped.load(Ordering::Acquire) {
        let mut state = hub.lock();
        hub.deliver_due(&mut state);
        let next = state.flight.next_due();
        state.asleep_until = next;
        drop(state);
        match next {
            Some(due) => std::thread::park_timeout(due.saturating_sub(hub.now())),
            None => std::thread::park(),
        }
    }
}

async fn forget(hub: &Arc<Hub>) {
    let Limits { idle_max, .. } = hub.limits;
    loop {
        tokio::time::sleep(idle_max / 4).await;
        let now = hub.now();
        let mut state = hub.lock();
        let before = state.clients.len();
        state.clients.retain(|_, client| client.seen + idle_max > now);
        state.stats.forgotten += (before - state.clients.len()) as u64;
    }
}

impl Hub {
    /// Must be called inside `runtime`.
    pub fn new(
        at: SocketAddr,
        upstream: SocketAddr,
        conditions: Conditions,
        seed: u64,
        limits: Limits,
        runtime: Handle,
    ) -> io::Result<Arc<Self>> {
        let inlet = client::bind(at)?;
        let state = State {
            conditions,
            clients: HashMap::new(),
            count: 0,
            from: near(upstream.ip()),
            flight: Flight::default(),
            asleep_until: None,
            stats: Stats::default(),
        };
        Ok(Arc::new(Self {
            addr: inlet.local_addr()?,
            seed,
            runtime,
            upstream,
            limits,
            inlet,
            courier: OnceLock::new(),
            is_stopped: AtomicBool::new(false),
            began: Instant::now(),
            state: Mutex::new(state),
        }))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The courier ends.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.courier.get().inspect(|courier| courier.unpark());
    }

    pub fn stats(&self) -> Stats {
        let state = self.lock();
        Stats { in_flight: state.flight.len() as u64, clients: state.clients.len() as u64, ..state.stats }
    }

    pub fn move_clients(self: &Arc<Self>, to: Option<IpAddr>) -> io::Result<usize> {
        let mut state = self.lock();
        state.from = to.unwrap_or(state.from);
        let from = state.from;
        let State { clients, stats, .. } = &mut *state;
        for (addr, client) in clients.iter_mut() {
            // The new one is opened while the old one is there, so that it is another.
            client.outlet = Outlet::open(self, *addr, from)?;
            stats.moved += 1;
        }
        Ok(clients.len())
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A packet of this client, or for it, has come.
    fn carry(self: &Arc<Self>, way: Way, addr: SocketAddr, packet: &[u8]) {
        let now = self.now();
        let mut state = self.lock();
        if way == Way::Up && !state.clients.contains_key(&addr) {
            self.welcome(&mut state, addr, now);
        }
        let State { conditions, clients, flight, stats, .. } = &mut *state;
        let Some(client) = clients.get_mut(&addr) else {
            stats.turned_away += 1;
            return;
        };
        client.seen = now;
        let (link, tally, to) = match way {
            Way::Down => (&conditions.down, &mut stats.down, End::Client),
            Way::Up | Way::Both => (&conditions.up, &mut stats.up, End::Upstream),
        };
        if packet.len() > PACKET_BYTES_MAX {
            tally.entered += 1;
            tally.oversize += 1;
            return;
        }
        for delivery in client.line(way).carry(now, packet.to_vec(), link, tally) {
            if !flight.board(addr, to, delivery) {
                tally.undelivered += 1;
            }
        }
        self.deliver_due(&mut state);
        self.wake_courier(&mut state);
    }

    /// Nothing is done if there is no room for it, or no socket.
    fn welcome(self: &Arc<Self>, state: &mut State, addr: SocketAddr, now: Duration) {
        if state.clients.len() >= self.limits.clients_max {
            return;
        }
        match Outlet::open(self, addr, state.from) {
            Ok(outlet) => {
                let client = Client::new(self.seed, state.count, now, outlet);
                state.count += 1;
                state.clients.insert(addr, client);
            }
            Err(error) => tracing::warn!(%addr, "a client cannot be carried: {error}; raise the limit of open files"),
        }
    }

    /// Sends what has arrived.
    fn deliver_due(&self, state: &mut State) {
        while let Some(passenger) = state.flight.land(self.now()) {
            let late = self.now().saturating_sub(passenger.due);
            state.stats.late_us_max = state.stats.late_us_max.max(late.as_micros() as u64);
            state.stats.late += u64::from(late > LATE);
            let sent = self.send(&state.clients, &passenger);
            let tally = match passenger.to {
                End::Upstream => &mut state.stats.up,
                End::Client => &mut state.stats.down,
            };
            count(tally, passenger.packet.len(), sent);
        }
    }

    /// The courier looks again if it would come too late for what is due first.
    fn wake_courier(&self, state: &mut State) {
        let next = state.flight.next_due();
        if let Some(due) = next.filter(|due| state.asleep_until.is_none_or(|until| *due < until)) {
            state.asleep_until = Some(due);
            // One that has not begun looks when it does.
            self.courier.get().inspect(|courier| courier.unpark());
        }
    }

    fn send(&self, clients: &HashMap<SocketAddr, Client>, Passenger { client, to, packet, .. }: &Passenger) -> bool {
        let (socket, addr) = match to {
            End::Client => (&self.inlet, *client),
            End::Upstream => match clients.get(client) {
                Some(client) => (&*client.outlet.socket, self.upstream),
                None => return false,
            },
        };
        // Past tokio, to which a new socket is not writable before its first turn.
        SockRef::from(socket).send_to(packet, &addr.into()).is_ok()
    }
}

fn count(tally: &mut Tally, bytes: usize, sent: bool) {
    if sent {
        tally.delivered += 1;
        tally.delivered_bytes += bytes as u64;
    } else {
        tally.undelivered += 1;
    }
}

/// An address of this host from which `upstream` is reached.
fn near(upstream: IpAddr) -> IpAddr {
    match upstream {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
