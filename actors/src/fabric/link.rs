//! Link: keeps one connection to one upstream node, for as long as this node lives.
//!
//!   [link] ──dial──▶ upstreams, the first that answers ──welcome──▶ connection for forwarder, asker
//!      ▲  pause    └──lost, refused──┘                     │
//!      └───────────────┘            renewed certificate ──▶ a second one takes over, then the first ends
//!
//! Stops when: it panics.  On restart: dials again. A peer that is away is not the link's failure.

mod answers;
mod path;
#[cfg(test)]
mod tests;

use super::asks::{AskError, Asked, Asks};
use super::clips::Clips;
use super::facts::{Facts, SOFTWARE};
use answers::answer;
use futures_util::future::BoxFuture;
use path::{Lost, show_path, unheard};
use protocol::Role;
use protocol::codec::Blob;
use protocol::link::{Down, Open, Up};
use protocol::telemetry::Telemetry;
use protocol::transport::{CloseCode, Connection, DialError, Endpoint, Rx, SILENCE_MAX, Tx, Version};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use supervision::{Backoff, Failure, ServiceCx, jitter};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// Between tries while the peer was here within [`RECENTLY`]: a node that restarts is back in seconds. A try itself
/// knocks each second, so that with this pause nobody waits for longer than a second to be heard.
const SOON: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_millis(800) };
/// Between tries at a peer that has been away for long, or that refuses us.
const LATER: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(30) };
const RECENTLY: Duration = Duration::from_secs(60);
/// From the connection to the peer's welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// A connection that was taken over by a newer one of the same link still carries what was under way for so long.
const LINGER: Duration = Duration::from_secs(3);
/// For the last words on an orderly stop.
const GOODBYE_WITHIN: Duration = Duration::from_millis(300);

/// The connection to one upstream, as it comes and goes. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    /// Whom to dial; empty while nobody is known. The first that answers is kept.
    upstreams: watch::Sender<Vec<config::HostPort>>,
    role: Role,
    /// In metrics: several links may be to nodes of one role.
    label: String,
    connection: watch::Sender<Option<Connection>>,
    /// How this node is; only the newest is of use.
    telemetry: watch::Sender<Option<Arc<Telemetry>>>,
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
    pub fn new(upstreams: Vec<config::HostPort>, role: Role) -> Self {
        Self::made(upstreams, role, role.as_str(), Clips::default())
    }

    /// As [`Self::new`], one of several to nodes of one role.
    pub fn labelled(upstreams: Vec<config::HostPort>, role: Role, label: &str) -> Self {
        Self::made(upstreams, role, label, Clips::default())
    }

    /// A link whose upstream may fetch clips, if its role may.
    pub fn giving(upstreams: Vec<config::HostPort>, role: Role, clips: Clips) -> Self {
        Self::made(upstreams, role, role.as_str(), clips)
    }

    fn made(upstreams: Vec<config::HostPort>, role: Role, label: &str, clips: Clips) -> Self {
        let said = Mutex::new(Said { turns: 0, state: "not dialled yet".to_owned() });
        let (upstreams, connection) = (watch::Sender::new(upstreams), watch::Sender::new(None));
        let (telemetry, asks, label) = (watch::Sender::new(None), Asks::new(role), label.to_owned());
        Self(Arc::new(Shared { upstreams, role, label, connection, telemetry, asks, clips, said }))
    }

    /// Asks an actor of the upstream, which gives `payload` back.
    pub async fn ping(&self, payload: Vec<u8>) -> Result<Vec<u8>, AskError> {
        Ok(self.0.asks.ping(Blob(payload)).await?.0)
    }

    /// Dials these from now on; a connection to one that is not among them ends.
    pub fn retarget(&self, upstreams: Vec<config::HostPort>) {
        self.0.upstreams.send_if_modified(|now| {
            let is_new = *now != upstreams;
            *now = upstreams;
            is_new
        });
    }

    /// Sends it to the peer if the link is up and the peer knows what it is. Newest wins, and none is sent late.
    pub fn tell(&self, telemetry: Telemetry) {
        self.0.telemetry.send_replace(Some(Arc::new(telemetry)));
    }

    /// What is told from now on.
    pub(crate) fn news(&self) -> watch::Receiver<Option<Arc<Telemetry>>> {
        self.0.telemetry.subscribe()
    }

    #[cfg(test)]
    pub(crate) fn shows_for_tests(&self, connection: Connection) {
        self.0.connection.send_replace(Some(connection));
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

    /// What an incarnation says or takes back is void once a later one has taken over.
    fn says(&self, turn: u64, say: impl FnOnce(&mut Said)) {
        let mut said = self.said();
        if said.turns == turn {
            say(&mut said);
        }
    }

    /// Returns what was shown before.
    fn shows(&self, connection: Option<Connection>) -> Option<Connection> {
        let up = f64::from(u8::from(connection.is_some()));
        metrics::gauge!("watchtree_link_up", "upstream" => self.0.label.clone()).set(up);
        self.0.connection.send_replace(connection)
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

    /// From dialling to the end of the last connection: why it ended, or `None` if the node stops.
    async fn live_once(&self, endpoint: &Endpoint, facts: &Facts, cx: &ServiceCx, away: &mut Away) -> Option<String> {
        let (mut upstreams, mut renewed) = (self.link.0.upstreams.subscribe(), endpoint.renewed());
        upstreams.mark_unchanged();
        renewed.mark_unchanged();
        let reached = tokio::select! {
            reached = self.reach(endpoint, facts, away) => reached,
            // Whom to dial has changed: at once.
            _ = upstreams.changed() => return Some("another upstream is to be dialled".to_owned()),
            () = cx.stop.cancelled() => return None,
        };
        let mut live = match reached {
            Ok(reached) => self.go_live(reached, facts, cx, away),
            Err(reason) => return Some(reason),
        };
        loop {
            tokio::select! {
                ended = &mut live.serving => {
                    away.seen = Instant::now();
                    return ended;
                }
                _ = upstreams.changed() => {
                    let list = upstreams.borrow_and_update().clone();
                    if !list.contains(&live.upstream) {
                        live.connection.close(CloseCode::Done, "this node links to another");
                        return Some(format!("{} is no longer whom to dial", live.upstream));
                    }
                }
                // It goes on with the old certificate until the new one has opened the door.
                _ = renewed.changed() => match self.overlap(live, endpoint, facts, cx, away).await {
                    Ok(next) => live = next,
                    Err(ended) => return ended,
                },
            }
        }
    }

    /// A second connection takes the first one's place; that one ends once what is under way has had its time.
    async fn overlap(
        &self,
        mut old: Live,
        endpoint: &Endpoint,
        facts: &Facts,
        cx: &ServiceCx,
        away: &mut Away,
    ) -> Result<Live, Option<String>> {
        let reached = tokio::select! {
            ended = &mut old.serving => {
                away.seen = Instant::now();
                return Err(ended);
            }
            reached = self.reach(endpoint, facts, away) => reached,
        };
        let reached = match reached {
            Ok(reached) => reached,
            Err(why) => {
                // The next renewal, or the end of the old connection, tries again.
                warn!("the renewed certificate opened no second connection, the first goes on: {why}");
                return Ok(old);
            }
        };
        // The newer is shown before the older is taken away: nobody sees the link down.
        let next = self.go_live(reached, facts, cx, away);
        let Live { connection, serving, .. } = old;
        tokio::spawn(cx.watched(async move {
            let _ = timeout(LINGER, serving).await;
            connection.close(CloseCode::Done, "a newer connection of the same node took over");
        }));
        Ok(next)
    }

    fn go_live(&self, reached: Reached, facts: &Facts, cx: &ServiceCx, away: &mut Away) -> Live {
        let Reached { upstream, connection, tx, rx } = reached;
        let peer = connection.peer().to_string();
        info!(%peer, addr = %upstream, version = %connection.version(), "linked");
        let state = format!("linked to {peer} at {upstream}");
        cx.place.note(state.clone());
        away.back(&upstream);
        // Ahead of whoever sees that the link is up, and tells.
        let news = (connection.version() >= Version::FABRIC).then(|| self.link.news());
        let up = self.publish(&connection, state);
        let Shared { asks, clips, label, .. } = &*self.link.0;
        let uses = Uses { label: label.clone(), news, asked: asks.on(&connection), clips: clips.clone() };
        let serving = Box::pin(serve(connection.clone(), tx, rx, uses, facts.clone(), cx.clone()));
        Live { upstream, connection, serving, _up: up }
    }

    async fn reach(&self, endpoint: &Endpoint, facts: &Facts, away: &mut Away) -> Result<Reached, String> {
        let Shared { upstreams, role, .. } = &*self.link.0;
        let upstreams = away.in_order(upstreams.borrow().clone());
        if upstreams.is_empty() {
            // Until there is one.
            self.says(|said| said.state = format!("no {role} is known to dial"));
            return std::future::pending().await;
        }
        let places: Vec<(&str, u16)> = upstreams.iter().map(|one| (one.host.as_str(), one.port)).collect();
        let (place, connection) = endpoint.dial_any(&places, *role).await.map_err(|error| {
            away.refused = !matches!(error, DialError::Unreachable { .. });
            error.to_string()
        })?;
        match timeout(WELCOME_WITHIN, greet(&connection, facts)).await {
            Ok(Ok((tx, rx))) => Ok(Reached { upstream: upstreams[place].clone(), connection, tx, rx }),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(format!("{} did not welcome us within {WELCOME_WITHIN:?}", connection.peer())),
        }
    }

    fn show(&self, cx: &ServiceCx, reason: &str, pause: Duration, away: &mut Away) {
        let role = self.link.0.role;
        // Each new reason once: a peer that is away for a day is one line, not ten thousand.
        if away.told.as_deref() != Some(reason) {
            warn!(?pause, "no link to the {role}: {reason}");
            away.told = Some(reason.to_owned());
        }
        metrics::counter!("watchtree_link_failures_total", "upstream" => self.link.0.label.clone()).increment(1);
        self.says(|said| said.state = reason.to_owned());
        cx.place.note(reason);
    }

    /// For as long as it is held, and no newer one is shown.
    fn publish(&self, connection: &Connection, state: String) -> Publish {
        self.says(|said| {
            said.state = state;
            drop(self.shows(Some(connection.clone())));
        });
        Publish { link: self.link.clone(), turn: self.number, shown: connection.id() }
    }

    /// Returns what was shown before.
    fn shows(&self, connection: Option<Connection>) -> Option<Connection> {
        self.link.shows(connection)
    }

    fn says(&self, say: impl FnOnce(&mut Said)) {
        self.link.says(self.number, say);
    }
}

/// Takes the connection away from its users however `live_once` ends.
struct Publish {
    link: Link,
    turn: u64,
    /// The connection's number.
    shown: usize,
}

impl Drop for Publish {
    fn drop(&mut self) {
        self.link.says(self.turn, |_| {
            let is_mine = self.link.0.connection.borrow().as_ref().is_some_and(|shown| shown.id() == self.shown);
            if is_mine {
                drop(self.link.shows(None));
            }
        });
    }
}

/// A connection that was welcomed.
struct Reached {
    upstream: config::HostPort,
    connection: Connection,
    tx: Tx,
    rx: Rx,
}

/// A connection that is in use.
struct Live {
    upstream: config::HostPort,
    connection: Connection,
    /// Ends with the connection: why it did, or `None` if the node stops.
    serving: BoxFuture<'static, Option<String>>,
    _up: Publish,
}

/// For how long, and how often, the peer could not be had.
struct Away {
    seen: Instant,
    tries: u32,
    refused: bool,
    told: Option<String>,
    /// Who answered last is asked first.
    last: Option<config::HostPort>,
}

impl Away {
    /// A node that starts expects its upstream to start with it.
    fn new() -> Self {
        Self { seen: Instant::now(), tries: 0, refused: false, told: None, last: None }
    }

    fn back(&mut self, upstream: &config::HostPort) {
        *self = Self { last: Some(upstream.clone()), ..Self::new() };
    }

    fn in_order(&self, mut upstreams: Vec<config::HostPort>) -> Vec<config::HostPort> {
        upstreams.sort_by_key(|upstream| self.last.as_ref() != Some(upstream));
        upstreams
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

/// What goes over a connection's control stream besides answers, and beside that stream.
struct Uses {
    /// In metrics.
    label: String,
    news: News,
    asked: Asked,
    clips: Clips,
}

/// Serves the peer until its connection ends: why it did, or `None` if the node stops.
async fn serve(
    connection: Connection,
    mut tx: Tx,
    mut rx: Rx,
    mut uses: Uses,
    facts: Facts,
    cx: ServiceCx,
) -> Option<String> {
    let clips = uses.clips.clone();
    let label = uses.label.clone();
    let _lost = Lost { connection: connection.clone(), label: label.clone() };
    tokio::select! {
        reason = answer(&mut tx, &mut rx, &mut uses, &facts, connection.peer()) => {
            // What the connection died of says more than what its stream did.
            let died = timeout(GOODBYE_WITHIN, connection.closed()).await;
            Some(died.unwrap_or_else(|_| {
                connection.close(CloseCode::Protocol, &reason);
                reason
            }))
        }
        reason = connection.closed() => Some(reason),
        // It ends with the connection, whose end has its reason.
        () = clips.serve(facts.node.role, &connection, &cx) => Some(connection.closed().await),
        reason = connection.distrusted() => {
            connection.close(CloseCode::Refused, &reason);
            Some(reason)
        }
        never = show_path(&connection, &label) => match never {},
        () = unheard(&connection) => {
            let reason = format!("nothing that this node sent was acknowledged for {} s", SILENCE_MAX.as_secs());
            connection.close(CloseCode::GivenUp, &reason);
            Some(reason)
        }
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

/// Telemetry to be sent; `None` to a peer that does not know it.
type News = Option<watch::Receiver<Option<Arc<Telemetry>>>>;

/// The next that is told. Cancel-safe.
async fn newest(news: &mut News) -> Box<Telemetry> {
    while let Some(Ok(())) = match news {
        Some(news) => Some(news.changed().await),
        None => None,
    } {
        let told = news.as_mut().and_then(|news| news.borrow_and_update().clone());
        if let Some(told) = told {
            return Box::new(Telemetry::clone(&told));
        }
    }
    std::future::pending().await
}
