//! Link: keeps one connection to one upstream node, for as long as this node lives.
//!
//!   [link] ──dial──▶ upstream ──welcome──▶ connection for forwarder, asker
//!      ▲  pause    └──lost, refused──┘
//!      └───────────────┘
//!
//! Stops when: it panics.  On restart: dials again. A peer that is away is not the link's failure.

use super::asks::{AskError, Asked, Asks};
use super::clips::Clips;
use super::facts::{Facts, SOFTWARE, Steering, audit};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use protocol::Role;
use protocol::admin::Steered;
use protocol::codec::Blob;
use protocol::link::{Down, Open, Up};
use protocol::transport::{CloseCode, Connection, DialError, Endpoint, Rx, SendError, Tx};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use supervision::{Backoff, Failure, ServiceCx, jitter};
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
/// Acts that took long and whose end the peer is told too. When full, it is told that it will not hear of the next.
const ENDS_MAX: usize = 8;
/// For the last words on an orderly stop.
const GOODBYE_WITHIN: Duration = Duration::from_millis(300);

/// The connection to one upstream, as it comes and goes. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    upstream: config::HostPort,
    role: Role,
    connection: watch::Sender<Option<Connection>>,
    asks: Asks,
    clips: Clips,
    /// Held over whatever is said or published: of two incarnations, the later has the word.
    said: Mutex<Said>,
}

struct Said {
    /// How many incarnations there have been; the last of them speaks.
    turns: u64,
    state: String,
}

impl Link {
    pub fn new(upstream: config::HostPort, role: Role) -> Self {
        Self::giving(upstream, role, Clips::default())
    }

    /// A link whose upstream may fetch clips, if its role may.
    pub fn giving(upstream: config::HostPort, role: Role, clips: Clips) -> Self {
        let said = Mutex::new(Said { turns: 0, state: "not dialled yet".to_owned() });
        let (connection, asks) = (watch::Sender::new(None), Asks::new(role));
        Self(Arc::new(Shared { upstream, role, connection, asks, clips, said }))
    }

    /// Asks an actor of the upstream, which gives `payload` back.
    pub async fn ping(&self, payload: Vec<u8>) -> Result<Vec<u8>, AskError> {
        Ok(self.0.asks.ping(Blob(payload)).await?.0)
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
        self.said().state.clone()
    }

    /// For health: up, or the reason why not.
    pub fn finding(&self) -> Result<String, String> {
        if self.is_up() { Ok(self.state()) } else { Err(self.state()) }
    }

    /// The service.
    pub async fn run(self, endpoint: Endpoint, facts: Facts, cx: ServiceCx) -> Result<(), Failure> {
        let (mut away, turn) = (Away::new(), Turn::begin(&self));
        loop {
            // Every wait in there has an end: of the dial, of the greeting, of an answer, of the peer's silence.
            let lost = cx.waits(turn.live_once(&endpoint, &facts, &cx, &mut away)).await;
            let Some(reason) = lost else { return Ok(()) };
            let pause = away.pause();
            turn.show(&cx, &reason, pause, &mut away);
            tokio::select! {
                () = cx.waits(tokio::time::sleep(pause)) => {}
                () = cx.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One incarnation of the service. One whose thread was blocked wakes up after its successor took over: what it
/// says or takes back then is void.
struct Turn<'a> {
    link: &'a Link,
    number: u64,
}

impl<'a> Turn<'a> {
    /// Whatever a predecessor left behind ends here: nobody answers on it any more.
    fn begin(link: &'a Link) -> Self {
        let mut said = link.said();
        said.turns += 1;
        let turn = Self { link, number: said.turns };
        if let Some(left) = turn.shows(None) {
            left.close(CloseCode::GivenUp, "this node's link was restarted");
        }
        turn
    }

    /// One connection from dialling to its end: why it ended, or `None` if the node stops.
    async fn live_once(&self, endpoint: &Endpoint, facts: &Facts, cx: &ServiceCx, away: &mut Away) -> Option<String> {
        let Shared { upstream, role, asks, clips, .. } = &*self.link.0;
        let (connection, mut tx, mut rx) = tokio::select! {
            reached = self.reach(endpoint, facts, away) => match reached {
                Ok(reached) => reached,
                Err(reason) => return Some(reason),
            },
            () = cx.stop.cancelled() => return None,
        };
        let peer = connection.peer().to_string();
        info!(%peer, addr = %upstream, "linked");
        let state = format!("linked to {peer} at {upstream}");
        cx.place.note(state.clone());
        away.back();
        let _up = self.publish(&connection, state);
        let mut asked = asks.on(&connection);
        tokio::select! {
            reason = answer(&mut tx, &mut rx, facts, *role, &mut asked) => {
                // What the connection died of says more than what its stream did.
                let died = timeout(GOODBYE_WITHIN, connection.closed()).await;
                Some(died.unwrap_or_else(|_| {
                    connection.close(CloseCode::Protocol, &reason);
                    reason
                }))
            }
            reason = connection.closed() => Some(reason),
            // It ends with the connection, whose end has its reason.
            () = clips.serve(facts.node.role, &connection, cx) => Some(connection.closed().await),
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
        let Shared { upstream, role, .. } = &*self.link.0;
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
        let Shared { upstream, role, .. } = &*self.link.0;
        // Each new reason once: a peer that is away for a day is one line, not ten thousand.
        if away.told.as_deref() != Some(reason) {
            warn!(%upstream, ?pause, "no link to the {role}: {reason}");
            away.told = Some(reason.to_owned());
        }
        metrics::counter!("watchtree_link_failures_total", "upstream" => role.as_str()).increment(1);
        self.says(|said| said.state = reason.to_owned());
        cx.place.note(reason);
    }

    /// For as long as it is held.
    fn publish(&self, connection: &Connection, state: String) -> Publish<'_> {
        self.says(|said| {
            said.state = state;
            drop(self.shows(Some(connection.clone())));
        });
        Publish(self)
    }

    /// Returns what was shown before.
    fn shows(&self, connection: Option<Connection>) -> Option<Connection> {
        let up = f64::from(u8::from(connection.is_some()));
        metrics::gauge!("watchtree_link_up", "upstream" => self.link.0.role.as_str()).set(up);
        self.link.0.connection.send_replace(connection)
    }

    fn says(&self, say: impl FnOnce(&mut Said)) {
        let mut said = self.link.said();
        if said.turns == self.number {
            say(&mut said);
        }
    }
}

/// Takes the connection away from its users however `live_once` ends.
struct Publish<'a>(&'a Turn<'a>);

impl Drop for Publish<'_> {
    fn drop(&mut self) {
        self.0.says(|_| drop(self.0.shows(None)));
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
        if soon { SOON } else { LATER }.pause(self.tries, jitter())
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
async fn answer(tx: &mut Tx, rx: &mut Rx, facts: &Facts, upstream: Role, asked: &mut Asked) -> String {
    let (mut acts, mut ends) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        let answer = tokio::select! {
            message = rx.recv::<Down>() => match message {
                Ok(Some(Down::Snapshot { call, path })) => {
                    Up::Snapshot { call, snapshot: Box::new(facts.snapshot(path.as_deref()).await) }
                }
                Ok(Some(Down::Failures { call, path, limit })) => {
                    let (failures, omitted) = facts.failures_that_fit(path.as_deref(), limit as usize);
                    Up::Failures { call, failures, omitted }
                }
                Ok(Some(Down::Steer { call, path, act, by })) => match refused(upstream, acts.len()) {
                    // An act takes seconds, and the peer's other calls do not wait for it.
                    None => {
                        acts.push(async move { (call, facts.steer(path, act, by).await) });
                        continue;
                    }
                    Some(why) => {
                        let result = Err(why.to_owned());
                        audit(&by, &facts.node, &path, act, &result);
                        Up::Steered { call, result }
                    }
                },
                // Nobody here chooses among gpu nodes.
                Ok(Some(Down::Directory(_))) => continue,
                Ok(Some(Down::Pong { call, answer })) => {
                    asked.answered(call, answer);
                    continue;
                }
                Ok(Some(Down::Welcome { .. })) => return "the peer welcomed us twice".to_owned(),
                Ok(None) => return "the peer ended the control stream".to_owned(),
                Err(error) => return error.to_string(),
            },
            Some((call, Steering { told: result, end })) = acts.next(), if !acts.is_empty() => {
                if let Some(end) = end {
                    let is_one_too_many = ends.len() >= ENDS_MAX;
                    ends.push(async move {
                        let untold = || Ok(Steered::under_way("what comes of it is on its node's log alone"));
                        Up::Steered { call, result: if is_one_too_many { untold() } else { end.await } }
                    });
                }
                Up::Steered { call, result }
            }
            Some(end) = ends.next(), if !ends.is_empty() => end,
            question = asked.next() => question,
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
mod tests;
