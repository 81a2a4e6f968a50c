//! Link: keeps one connection to one upstream node, for as long as this node lives.
//!
//!   [link] ──dial──▶ upstream ──welcome──▶ connection for forwarder, asker
//!      ▲  pause    └──lost, refused──┘
//!      └───────────────┘
//!
//! Stops when: it panics.  On restart: dials again. A peer that is away is not the link's failure.

use super::facts::{Facts, SOFTWARE};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use protocol::Role;
use protocol::link::{Down, Open, Up};
use protocol::transport::{CloseCode, Connection, DialError, Endpoint, Rx, SendError, Tx};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supervision::{Backoff, Failure, ServiceCx};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// Between tries while the peer was here within [`RECENTLY`]: a node that restarts is back in seconds.
const SOON: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_secs(1) };
/// Between tries at a peer that has been away for long, or that refuses us.
const LATER: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(30) };
const RECENTLY: Duration = Duration::from_secs(60);
/// From the connection to the peer's welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// A peer that takes no answer for so long is not there, whatever its transport says.
const SENT_WITHIN: Duration = Duration::from_secs(5);
/// Acts of operators under way on this node. When full, the next is refused.
const ACTS_MAX: usize = 8;
/// For the last words on an orderly stop.
const GOODBYE_WITHIN: Duration = Duration::from_millis(300);

/// The connection to one upstream, as it comes and goes. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    upstream: config::HostPort,
    role: Role,
    connection: watch::Sender<Option<Connection>>,
    state: Mutex<String>,
}

impl Link {
    pub fn new(upstream: config::HostPort, role: Role) -> Self {
        let state = Mutex::new("not dialled yet".to_owned());
        Self(Arc::new(Shared { upstream, role, connection: watch::Sender::new(None), state }))
    }

    /// `Some` while the link is up.
    pub fn connections(&self) -> watch::Receiver<Option<Connection>> {
        self.0.connection.subscribe()
    }

    pub fn is_up(&self) -> bool {
        self.0.connection.borrow().is_some()
    }

    /// For people: whom it is linked to, or why it is not.
    pub fn state(&self) -> String {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For health: up, or the reason why not.
    pub fn finding(&self) -> Result<String, String> {
        if self.is_up() { Ok(self.state()) } else { Err(self.state()) }
    }

    /// The service.
    pub async fn run(self, endpoint: Endpoint, facts: Facts, cx: ServiceCx) -> Result<(), Failure> {
        let mut away = Away::new();
        loop {
            // Every wait in there has an end: of the dial, of the greeting, of an answer, of the peer's silence.
            let lost = cx.waits(self.live_once(&endpoint, &facts, &cx, &mut away)).await;
            let Some(reason) = lost else { return Ok(()) };
            let pause = away.pause();
            self.show(&cx, &reason, pause, &mut away);
            tokio::select! {
                () = cx.waits(tokio::time::sleep(pause)) => {}
                () = cx.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// One connection from dialling to its end: why it ended, or `None` if the node stops.
    async fn live_once(&self, endpoint: &Endpoint, facts: &Facts, cx: &ServiceCx, away: &mut Away) -> Option<String> {
        let Shared { upstream, role, .. } = &*self.0;
        let (connection, mut tx, mut rx) = tokio::select! {
            reached = self.reach(endpoint, facts, away) => match reached {
                Ok(reached) => reached,
                Err(reason) => return Some(reason),
            },
            () = cx.stop.cancelled() => return None,
        };
        let peer = connection.peer().to_string();
        info!(%peer, addr = %upstream, "linked");
        self.set_state(format!("linked to {peer} at {upstream}"));
        cx.place.note(self.state());
        away.back();
        self.0.connection.send_replace(Some(connection.clone()));
        let _down = Publish { link: self, role: *role };
        metrics::gauge!("watchtree_link_up", "upstream" => role.as_str()).set(1.0);
        tokio::select! {
            reason = answer(&mut tx, &mut rx, facts, *role) => {
                // What the connection died of says more than what its stream did.
                let died = timeout(GOODBYE_WITHIN, connection.closed()).await;
                Some(died.unwrap_or_else(|_| {
                    connection.close(CloseCode::Protocol, &reason);
                    reason
                }))
            }
            reason = connection.closed() => Some(reason),
            () = cx.stop.cancelled() => {
                let goodbye = async {
                    // Others on this connection end in good order first; their last words need it.
                    tokio::time::sleep(GOODBYE_WITHIN / 2).await;
                    let _ = tx.send(&Up::Bye).await;
                };
                let _ = timeout(GOODBYE_WITHIN, goodbye).await;
                let why = if facts.is_stopping() { "this node stops" } else { "an operator restarts this link" };
                connection.close(CloseCode::Done, why);
                None
            }
        }
    }

    async fn reach(&self, endpoint: &Endpoint, facts: &Facts, away: &mut Away) -> Result<(Connection, Tx, Rx), String> {
        let Shared { upstream, role, .. } = &*self.0;
        let dialled = endpoint.dial(&upstream.host, upstream.port, *role).await;
        let connection = dialled.map_err(|error| {
            away.refused = !matches!(error, DialError::Unreachable { .. });
            error.to_string()
        })?;
        match timeout(WELCOME_WITHIN, greet(&connection, facts)).await {
            Ok(Ok((tx, rx))) => Ok((connection, tx, rx)),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(format!("{} did not welcome us within {WELCOME_WITHIN:?}", connection.peer())),
        }
    }

    fn show(&self, cx: &ServiceCx, reason: &str, pause: Duration, away: &mut Away) {
        // Each new reason once: a peer that is away for a day is one line, not ten thousand.
        if away.told.as_deref() != Some(reason) {
            warn!(upstream = %self.0.upstream, ?pause, "no link to the {}: {reason}", self.0.role);
            away.told = Some(reason.to_owned());
        }
        metrics::counter!("watchtree_link_failures_total", "upstream" => self.0.role.as_str()).increment(1);
        self.set_state(reason.to_owned());
        cx.place.note(reason);
    }

    fn set_state(&self, state: String) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Takes the connection away from its users however `live_once` ends.
struct Publish<'a> {
    link: &'a Link,
    role: Role,
}

impl Drop for Publish<'_> {
    fn drop(&mut self) {
        self.link.0.connection.send_replace(None);
        metrics::gauge!("watchtree_link_up", "upstream" => self.role.as_str()).set(0.0);
    }
}

/// For how long, and how often, the peer could not be had.
struct Away {
    seen: Instant,
    tries: u32,
    refused: bool,
    told: Option<String>,
}

impl Away {
    /// A node that starts expects its upstream to start with it.
    fn new() -> Self {
        Self { seen: Instant::now(), tries: 0, refused: false, told: None }
    }

    fn back(&mut self) {
        *self = Self::new();
    }

    fn pause(&mut self) -> Duration {
        self.tries += 1;
        let soon = self.seen.elapsed() < RECENTLY && !self.refused;
        // Edges that lost one relay together must not come back together.
        let spread = f64::from(protocol::Epoch::random().0 as u8) / 255.0;
        if soon { SOON } else { LATER }.pause(self.tries, spread)
    }
}

async fn greet(connection: &Connection, facts: &Facts) -> Result<(Tx, Rx), String> {
    let (mut tx, mut rx) = connection.open_bi(&Open::Control).await.map_err(|error| error.to_string())?;
    let hello = Up::Hello { boot: facts.boot, software: SOFTWARE.to_owned() };
    tx.send(&hello).await.map_err(|error| error.to_string())?;
    match rx.recv::<Down>().await {
        Ok(Some(Down::Welcome { .. })) => Ok((tx, rx)),
        Ok(Some(_)) => Err(format!("{} spoke before it welcomed us", connection.peer())),
        // A refusal closes the connection, and the close carries its reason.
        Ok(None) | Err(_) => Err(connection.closed().await),
    }
}

/// Answers the peer's calls until the stream ends; says why it did.
async fn answer(tx: &mut Tx, rx: &mut Rx, facts: &Facts, upstream: Role) -> String {
    let mut acts = FuturesUnordered::new();
    loop {
        let answer = tokio::select! {
            message = rx.recv::<Down>() => match message {
                Ok(Some(Down::Snapshot { call })) => {
                    Up::Snapshot { call, snapshot: Box::new(facts.snapshot(None).await) }
                }
                Ok(Some(Down::Failures { call, path, limit })) => {
                    Up::Failures { call, failures: facts.failures(path.as_deref(), limit as usize) }
                }
                Ok(Some(Down::Steer { call, path, act, by })) => match refused(upstream, acts.len()) {
                    // An act takes seconds, and the peer's other calls do not wait for it.
                    None => {
                        acts.push(async move { Up::Steered { call, result: facts.steer(path, act, by).await } });
                        continue;
                    }
                    Some(why) => {
                        warn!(target: "audit", %by, node = %facts.node, path, %act, result = why, "not steered");
                        Up::Steered { call, result: Err(why.to_owned()) }
                    }
                },
                Ok(Some(Down::Welcome { .. })) => return "the peer welcomed us twice".to_owned(),
                Ok(None) => return "the peer ended the control stream".to_owned(),
                Err(error) => return error.to_string(),
            },
            Some(steered) = acts.next(), if !acts.is_empty() => steered,
        };
        match timeout(SENT_WITHIN, tx.send(&answer)).await {
            Ok(Ok(())) => {}
            // Better no tree than no link.
            Ok(Err(SendError::TooLarge { .. })) => warn!("an answer of this node does not fit a message"),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("the peer took no answer within {} s", SENT_WITHIN.as_secs()),
        }
    }
}

/// A node is steered by its relay, which knows operators from viewers. A gpu node that was taken over must not
/// reach into the edges that send it their frames.
fn refused(upstream: Role, under_way: usize) -> Option<&'static str> {
    match upstream {
        Role::Relay if under_way < ACTS_MAX => None,
        Role::Relay => Some("too many acts are under way on this node already; ask again"),
        Role::Edge | Role::Gpu | Role::Operator | Role::Viewer => Some("a node is steered through its relay alone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_relay_steers_and_not_without_end() {
        assert_eq!(refused(Role::Relay, 0), None);
        assert!(refused(Role::Relay, ACTS_MAX).is_some());
        for other in Role::ALL.into_iter().filter(|role| *role != Role::Relay) {
            assert!(refused(other, 0).is_some(), "{other} steers");
        }
    }
}
