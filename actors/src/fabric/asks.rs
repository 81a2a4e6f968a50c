//! Asks: what this node's actors ask its upstream, over the link's control stream.
//!
//!   actor ──ping──▶ [asks] ──▶ link ══Ping══▶ an actor of the upstream
//!         ◀─answer──       ◀──      ◀══Pong══
//!
//! A question lives as long as its connection: what was asked on one that is lost is not asked again on the next.

use protocol::Role;
use protocol::codec::Blob;
use protocol::link::Up;
use protocol::transport::{Connection, Version};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, timeout};
use tracing::warn;

/// Questions that wait to be sent. When full, whoever asks is told.
const WAITING_MAX: usize = 64;
/// Questions that were sent and not answered. When full, the oldest is given up: who asked is told.
const OUT_MAX: usize = 64;
/// After it, whoever asked is told that there is no answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How often the link itself asks, to know how long an answer takes.
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBE: &[u8] = b"are your actors there?";

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Ask when the link is up again; whether it was heard is not known.
    #[error("no link to the {0} now, or it was lost before the answer")]
    Away(Role),
    /// It is there. Ask again, rarely.
    #[error("{0}")]
    Refused(String),
    #[error("no answer within {} s", ANSWERED_WITHIN.as_secs())]
    Late,
}

/// The asking side. Cheap to clone; stays valid while connections come and go.
#[derive(Clone)]
pub(super) struct Asks {
    upstream: Role,
    /// To the connection that is up.
    to: Arc<Mutex<Option<mpsc::Sender<Ask>>>>,
}

struct Ask {
    payload: Blob,
    reply: oneshot::Sender<Result<Blob, String>>,
}

impl Asks {
    pub fn new(upstream: Role) -> Self {
        Self { upstream, to: Arc::default() }
    }

    pub async fn ping(&self, payload: Blob) -> Result<Blob, AskError> {
        let (reply, answer) = oneshot::channel();
        let Some(to) = self.lock().clone() else { return Err(AskError::Away(self.upstream)) };
        to.try_send(Ask { payload, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Refused("too many questions wait already".to_owned()),
            mpsc::error::TrySendError::Closed(_) => AskError::Away(self.upstream),
        })?;
        match timeout(ANSWERED_WITHIN, answer).await {
            Ok(Ok(answer)) => answer.map_err(AskError::Refused),
            Ok(Err(_)) => Err(AskError::Away(self.upstream)),
            Err(_) => Err(AskError::Late),
        }
    }

    /// From here on what is asked goes out on this connection, for as long as the result is held. An older peer
    /// knows no such questions, and whoever asks is told that nobody is there.
    pub fn on(&self, connection: &Connection) -> Asked {
        let (to, come) = mpsc::channel(WAITING_MAX);
        let speaks = connection.version() >= Version::FABRIC;
        if speaks {
            *self.lock() = Some(to.clone());
        }
        let mut probes = tokio::time::interval(PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Asked { asks: self.clone(), to, come, out: Out::default(), probes: speaks.then_some(probes), probing: None }
    }

    fn lock(&self) -> MutexGuard<'_, Option<mpsc::Sender<Ask>>> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's end of it. Dropped, whoever waits is told.
pub(super) struct Asked {
    asks: Asks,
    to: mpsc::Sender<Ask>,
    come: mpsc::Receiver<Ask>,
    out: Out,
    probes: Option<Interval>,
    /// The link's own question that is under way.
    probing: Option<(u64, Instant)>,
}

impl Asked {
    /// The next question to send. Cancel-safe.
    pub async fn next(&mut self) -> Up {
        tokio::select! {
            biased;
            // Never `None`: this side holds a sender too.
            Some(Ask { payload, reply }) = self.come.recv() => Up::Ping { call: self.out.add(reply), payload },
            () = tick(&mut self.probes) => {
                let call = self.out.number();
                if let Some((_, since)) = self.probing.replace((call, Instant::now())) {
                    warn!("the {}'s actors have not answered for {:?}", self.asks.upstream, since.elapsed());
                }
                Up::Ping { call, payload: Blob(PROBE.to_vec()) }
            }
        }
    }

    /// An answer to no question is nobody's.
    pub fn answered(&mut self, call: u64, answer: Result<Blob, String>) {
        match self.probing {
            Some((probe, since)) if probe == call => {
                self.probing = None;
                let upstream = self.asks.upstream.as_str();
                metrics::histogram!("watchtree_link_answer_seconds", "upstream" => upstream).record(since.elapsed());
            }
            _ => self.out.answered(call, answer),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut to = self.asks.lock();
        // A later connection's stays.
        if to.as_ref().is_some_and(|to| to.same_channel(&self.to)) {
            *to = None;
        }
    }
}

async fn tick(probes: &mut Option<Interval>) {
    match probes {
        Some(probes) => drop(probes.tick().await),
        None => std::future::pending().await,
    }
}

/// Questions that were sent, the oldest first. There are few: a look at each is cheaper than a map.
#[derive(Default)]
struct Out {
    last: u64,
    waiting: VecDeque<(u64, oneshot::Sender<Result<Blob, String>>)>,
}

impl Out {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn add(&mut self, reply: oneshot::Sender<Result<Blob, String>>) -> u64 {
        let call = self.number();
        self.waiting.push_back((call, reply));
        if self.waiting.len() > OUT_MAX {
            self.waiting.pop_front();
        }
        call
    }

    fn answered(&mut self, call: u64, answer: Result<Blob, String>) {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == call);
        if let Some((_, reply)) = at.and_then(|at| self.waiting.remove(at)) {
            // Who asked may have gone.
            let _ = reply.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::testing::Pair;

    async fn asked(asked: &mut Asked) -> (u64, Blob) {
        loop {
            match asked.next().await {
                Up::Ping { payload, .. } if payload.0 == PROBE => {}
                Up::Ping { call, payload } => return (call, payload),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_answer_finds_whoever_asked_in_whatever_order_it_comes() {
        let (pair, asks) = (Pair::new(), Asks::new(Role::Relay));
        let (edge, _relay) = pair.connect().await;
        let mut on = asks.on(&edge);
        let ask = |byte: u8| {
            tokio::spawn({
                let asks = asks.clone();
                async move { asks.ping(Blob(vec![byte])).await }
            })
        };
        let (first, second) = (ask(1), ask(2));
        let (one, two) = (asked(&mut on).await, asked(&mut on).await);
        for (call, payload) in [two, one] {
            on.answered(call, Ok(payload.clone()));
            on.answered(call, Err("a second answer is nobody's".to_owned()));
        }
        assert_eq!(first.await.expect("no panic"), Ok(Blob(vec![1])));
        assert_eq!(second.await.expect("no panic"), Ok(Blob(vec![2])));
    }

    #[tokio::test]
    async fn with_the_connection_goes_the_hope_of_an_answer_and_the_next_one_serves() {
        let (pair, asks) = (Pair::new(), Asks::new(Role::Relay));
        let away = Err(AskError::Away(Role::Relay));
        assert_eq!(asks.ping(Blob::default()).await, away);
        let (edge, _relay) = pair.connect().await;
        let (mut old, waits) = (asks.on(&edge), asks.clone());
        let waits = tokio::spawn(async move { waits.ping(Blob::default()).await });
        let _ = asked(&mut old).await;
        let mut new = asks.on(&edge);
        drop(old);
        assert_eq!(waits.await.expect("no panic"), away);
        let later = asks.clone();
        let later = tokio::spawn(async move { later.ping(Blob(vec![9])).await });
        let (call, payload) = asked(&mut new).await;
        new.answered(call, Ok(payload));
        assert_eq!(later.await.expect("no panic"), Ok(Blob(vec![9])));
    }

    #[test]
    fn an_upstream_that_answers_nothing_fills_no_memory() {
        let mut out = Out::default();
        let mut answers = Vec::new();
        for _ in 0..=OUT_MAX {
            let (reply, answer) = oneshot::channel();
            out.add(reply);
            answers.push(answer);
        }
        assert_eq!(out.waiting.len(), OUT_MAX);
        assert!(answers[0].try_recv().is_err(), "the oldest is told");
    }
}
