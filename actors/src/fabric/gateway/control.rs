//! Control: the accepting end of a peer's control stream: hello, then calls and their answers.
//!
//!   peers ──call──▶ [control] ══Snapshot, Failures, Steer══▶ link of the peer
//!         ◀─answer─     │     ◀═════════════════════════════
//!   fleet ◀─telemetry───┘

use super::proxy::HELLO_WITHIN;
use super::refuse;
use crate::fabric::directory;
use crate::fabric::echo::{Echo, Pong};
use crate::fabric::facts::{Outcome, SOFTWARE};
use crate::fabric::peers::{Call, Peers, Sheets};
use crate::fabric::refusals;
use crate::fabric::site::Site;
use crate::fleet::{Fleet, board};
use protocol::admin::{FailureRecord, NodeSnapshot};
use protocol::core::GpuNode;
use protocol::link::{Down, Up};
use protocol::roles::{self, Denied, Listed};
use protocol::transport::{CloseCode, Connection, Rx, SendError, Tx, Version};
use protocol::{Identity, Role, TenantId};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

/// Calls that wait to be sent to one peer. When full, whoever asks is told.
const CALLS_WAITING_MAX: usize = 8;
/// Calls that were sent and not answered. When full, the oldest is given up: who asked has done so long ago.
const CALLS_OUT_MAX: usize = 16;
/// Why a peer that said goodbye is gone.
const IN_GOOD_ORDER: &str = "it stopped in good order";

pub(super) async fn serve(site: &Site, echo: &Echo, connection: Connection, mut tx: Tx, mut rx: Rx) {
    let hello = timeout(HELLO_WITHIN, rx.recv::<Up>()).await;
    let Ok(Ok(Some(Up::Hello { boot, software }))) = hello else {
        return refuse(&connection, CloseCode::Protocol, "the control stream must begin with a hello");
    };
    let (calls, mut called) = mpsc::channel(CALLS_WAITING_MAX);
    let welcome = Down::Welcome { node: site.facts.node.to_string(), software: SOFTWARE.to_owned() };
    if tx.send(&welcome).await.is_err() {
        return;
    }
    let fleet = &site.facts.fleet;
    fleet.arrived(&connection, boot, &software);
    site.peers.arrive(&connection, boot, software, calls);
    let here = Presence { peers: &site.peers, fleet, connection: &connection };
    let mut gpus = Gpus::of(site, &connection);
    let heard = Heard { here: site.facts.node.role, peer: connection.peer(), fleet, echo };
    let reason = match converse(&mut tx, &mut rx, &mut called, &mut gpus, heard).await {
        Ended::Said(reason) => reason,
        Ended::Denied(denied) => {
            refusals::denied(connection.peer(), &denied);
            refuse(&connection, CloseCode::Refused, &denied.to_string());
            denied.to_string()
        }
    };
    here.ends(&reason);
}

/// Why a control stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Said(String),
    /// The peer said what its role may not say here.
    Denied(Denied),
}

/// Whose words these are, and where they are heard.
#[derive(Clone, Copy)]
struct Heard<'a> {
    here: Role,
    peer: &'a Identity,
    /// Who is told how the peer is.
    fleet: &'a Fleet,
    echo: &'a Echo,
}

/// The gpu nodes that one peer is told of, if it is an edge of a relay.
struct Gpus(Option<Directory>);

struct Directory {
    all: watch::Receiver<Arc<Vec<GpuNode>>>,
    edge: TenantId,
    site: TenantId,
    told: Option<Vec<GpuNode>>,
}

impl Gpus {
    fn of(site: &Site, connection: &Connection) -> Self {
        let peer = connection.peer();
        let speaks = peer.role == Role::Edge && connection.version() >= Version::FABRIC;
        let (edge, here) = (peer.tenant.clone(), &site.facts.node);
        let core = site.facts.core.as_ref().filter(|_| speaks && here.role == Role::Relay);
        Self(core.map(|core| {
            let mut all = core.directory().list();
            // Whoever comes is told what there is.
            all.mark_changed();
            Directory { all, edge, site: here.tenant.clone(), told: None }
        }))
    }

    /// The next list that differs for this peer. Cancel-safe.
    async fn next(&mut self) -> Vec<GpuNode> {
        let Some(directory) = &mut self.0 else { return std::future::pending().await };
        loop {
            if directory.all.changed().await.is_err() {
                return std::future::pending().await;
            }
            let all = directory.all.borrow_and_update().clone();
            let list = directory::for_edge(&all, &directory.edge, &directory.site);
            if directory.told.as_ref() != Some(&list) {
                directory.told = Some(list.clone());
                return list;
            }
        }
    }
}

/// Whatever ends the control stream, the peer is no longer listed as linked.
struct Presence<'a> {
    peers: &'a Peers,
    fleet: &'a Fleet,
    connection: &'a Connection,
}

impl Presence<'_> {
    fn ends(&self, reason: &str) {
        self.peers.leave(self.connection, reason);
        let in_good_order = reason == IN_GOOD_ORDER;
        let lost = || board::Ended::Lost(reason.to_owned());
        let ended = if in_good_order { board::Ended::InGoodOrder } else { lost() };
        self.fleet.left(self.connection, ended);
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.ends("its connection ended");
    }
}

/// Passes calls to the peer and answers back, and its pings to the echo, until the stream ends; says why it did.
async fn converse(
    tx: &mut Tx,
    rx: &mut Rx,
    called: &mut mpsc::Receiver<Call>,
    gpus: &mut Gpus,
    heard: Heard<'_>,
) -> Ended {
    let said = |reason: &str| Ended::Said(reason.to_owned());
    let mut out = Out::default();
    let (pings, mut pongs) = heard.echo.at_peer();
    loop {
        tokio::select! {
            Some(call) = called.recv() => match tx.send(&out.send(call)).await {
                Ok(()) => {}
                // Nothing of it was sent: whoever asked for too much has no answer, and all others go on.
                Err(error @ (SendError::TooLarge { .. } | SendError::Unfit(_))) => {
                    out.give_up_last();
                    warn!("a call is not passed on: {error}");
                }
                Err(lost) => return said(&lost.to_string()),
            },
            list = gpus.next() => match tx.send(&Down::Directory(list)).await {
                Ok(()) => {}
                Err(error @ (SendError::TooLarge { .. } | SendError::Unfit(_))) => warn!("the directory is not told: {error}"),
                Err(lost) => return said(&lost.to_string()),
            },
            message = rx.recv::<Up>() => match message {
                Ok(Some(up)) => {
                    if let Err(denied) = roles::check(heard.here, heard.peer.role, up.row()) {
                        return Ended::Denied(denied);
                    }
                    match up {
                        Up::Hello { .. } => return said("it said hello twice"),
                        Up::Bye => return said(IN_GOOD_ORDER),
                        Up::Telemetry(telemetry) => heard.fleet.telemetry(heard.peer, telemetry),
                        Up::Ping { call, payload } => {
                            if let Err(refusal) = pings.ping(call, payload)
                                && let Err(lost) = pong(tx, refusal).await
                            {
                                return said(&lost.to_string());
                            }
                        }
                        answer => out.answered(answer),
                    }
                }
                Ok(None) => return said("it ended its control stream"),
                Err(error) => return said(&error.to_string()),
            },
            // Never `None`: this side holds a sender too.
            Some(answer) = pongs.recv() => {
                if let Err(lost) = pong(tx, answer).await {
                    return said(&lost.to_string());
                }
            }
        }
    }
}

async fn pong(tx: &mut Tx, (call, answer): Pong) -> Result<(), SendError> {
    tx.send(&Down::Pong { call, answer }).await
}

/// Calls by number: an act may be answered long after a later look at the tree.
#[derive(Default)]
struct Out {
    calls: u64,
    waiting: BTreeMap<u64, Reply>,
}

enum Reply {
    Snapshot(oneshot::Sender<NodeSnapshot>),
    Failures(oneshot::Sender<(Vec<FailureRecord>, u32)>),
    Cameras(oneshot::Sender<Sheets>),
    /// Has room for what is told first and for the end of what was under way.
    Steer {
        reply: mpsc::Sender<Outcome>,
        is_told: bool,
    },
}

impl Out {
    fn send(&mut self, call: Call) -> Down {
        self.calls += 1;
        let number = self.calls;
        let (message, reply) = match call {
            Call::Snapshot { path, reply } => (Down::Snapshot { call: number, path }, Reply::Snapshot(reply)),
            Call::Failures { path, limit, reply } => {
                (Down::Failures { call: number, path, limit }, Reply::Failures(reply))
            }
            Call::Cameras { camera, reply } => (Down::Cameras { call: number, camera }, Reply::Cameras(reply)),
            Call::ChangeCamera { camera, change, by, reply } => {
                let message = Down::ChangeCamera { call: number, camera, change, by };
                (message, Reply::Steer { reply, is_told: false })
            }
            Call::Steer { path, act, by, reply } => {
                (Down::Steer { call: number, path, act, by }, Reply::Steer { reply, is_told: false })
            }
        };
        self.waiting.insert(number, reply);
        if self.waiting.len() > CALLS_OUT_MAX {
            self.waiting.pop_first();
        }
        message
    }

    /// Its asker is told that nobody answers.
    fn give_up_last(&mut self) {
        self.waiting.remove(&self.calls);
    }

    /// Whoever asked may be gone. An answer to no call, or of another kind than its call, is nobody's.
    fn answered(&mut self, answer: Up) {
        let (Up::Snapshot { call, .. }
        | Up::Failures { call, .. }
        | Up::Steered { call, .. }
        | Up::Cameras { call, .. }) = &answer
        else {
            return;
        };
        match (self.waiting.remove(call), answer) {
            (Some(Reply::Snapshot(reply)), Up::Snapshot { snapshot, .. }) => drop(reply.send(*snapshot)),
            (Some(Reply::Failures(reply)), Up::Failures { failures, omitted, .. }) => {
                drop(reply.send((failures, omitted)));
            }
            (Some(Reply::Cameras(reply)), Up::Cameras { cameras, omitted, .. }) => drop(reply.send((cameras, omitted))),
            (Some(Reply::Steer { reply, is_told }), Up::Steered { call, result }) => {
                let goes_on = !is_told && result.as_ref().is_ok_and(|told| !told.done);
                // A peer that tells more than these two is no longer listened to.
                if reply.try_send(result).is_ok() && goes_on {
                    self.waiting.insert(call, Reply::Steer { reply, is_told: true });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::testing::Pair;
    use protocol::Act;
    use protocol::admin::Steered;
    use protocol::limits::MESSAGE_BYTES_MAX;
    use protocol::link::Open;
    use std::time::Duration;
    use tokio::sync::mpsc::error::TryRecvError;

    type Answer = mpsc::Receiver<Outcome>;

    fn order() -> (Call, Answer) {
        let (reply, answer) = mpsc::channel(2);
        let by = "main/operator/ada".parse().expect("an identity");
        (Call::Steer { path: "yard/outbox".to_owned(), act: Act::Restart, by, reply }, answer)
    }

    fn steer(out: &mut Out) -> (u64, Answer) {
        let (call, answer) = order();
        match out.send(call) {
            Down::Steer { call, .. } => (call, answer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_act_that_takes_long_is_answered_after_later_calls_and_its_end_is_told_too() {
        let mut out = Out::default();
        let (slow, mut slow_answer) = steer(&mut out);
        let (quick, mut quick_answer) = steer(&mut out);
        let under_way = Ok(Steered::under_way("goes on"));
        out.answered(Up::Steered { call: slow, result: under_way.clone() });
        out.answered(Up::Steered { call: quick, result: Ok(Steered::done("quick")) });
        out.answered(Up::Steered { call: slow, result: Ok(Steered::done("slow")) });
        assert_eq!(quick_answer.try_recv(), Ok(Ok(Steered::done("quick"))));
        assert_eq!(slow_answer.try_recv(), Ok(under_way));
        assert_eq!(slow_answer.try_recv(), Ok(Ok(Steered::done("slow"))));
        assert!(out.waiting.is_empty());
    }

    #[test]
    fn an_act_that_is_under_way_for_ever_is_told_twice_and_no_more() {
        let mut out = Out::default();
        let (call, _answer) = steer(&mut out);
        (0..3).for_each(|_| out.answered(Up::Steered { call, result: Ok(Steered::under_way("goes on")) }));
        assert!(out.waiting.is_empty());
    }

    #[test]
    fn an_answer_of_another_kind_or_to_no_call_is_nobodys() {
        let mut out = Out::default();
        let (call, mut answer) = steer(&mut out);
        out.answered(Up::Steered { call: call + 1, result: Ok(Steered::done("made up")) });
        assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
        out.answered(Up::Failures { call, failures: Vec::new(), omitted: 0 });
        assert_eq!(answer.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn a_peer_that_answers_nothing_fills_no_memory() {
        let mut out = Out::default();
        let mut answers: Vec<_> = (0..CALLS_OUT_MAX + 1).map(|_| steer(&mut out).1).collect();
        assert_eq!(out.waiting.len(), CALLS_OUT_MAX);
        assert_eq!(answers[0].try_recv(), Err(TryRecvError::Disconnected));
    }

    fn edge_identity() -> Identity {
        "main/edge/yard".parse().expect("an identity")
    }

    /// With a path of so many bytes.
    fn failures(path_bytes: usize) -> (Call, oneshot::Receiver<(Vec<FailureRecord>, u32)>) {
        let (reply, answer) = oneshot::channel();
        (Call::Failures { path: Some("x".repeat(path_bytes)), limit: 1, reply }, answer)
    }

    #[tokio::test]
    async fn a_call_that_fits_no_message_fails_alone() {
        let pair = Pair::new();
        let (edge, relay) = pair.connect().await;
        let (mut edge_tx, mut edge_rx) = edge.open_bi(&Open::Control).await.expect("a stream");
        let (_, mut tx, mut rx) = relay.accept_bi().await.expect("a stream").open().await.expect("says what it is");
        let (calls, mut called) = mpsc::channel(CALLS_WAITING_MAX);
        let yard = edge_identity();
        let fleet = Fleet::new("main/relay/hub".parse().expect("an identity"), "test");
        let conversing = tokio::spawn(async move {
            let heard = Heard { here: Role::Relay, peer: &yard, fleet: &fleet, echo: &Echo::new() };
            converse(&mut tx, &mut rx, &mut called, &mut Gpus(None), heard).await
        });

        let (too_large, refused) = failures(MESSAGE_BYTES_MAX);
        let (fits, answer) = failures(10);
        calls.send(too_large).await.expect("it is taken");
        calls.send(fits).await.expect("it is taken");
        let within = Duration::from_secs(20);
        timeout(within, refused).await.expect("in time").expect_err("nobody answers it");
        let asked = timeout(within, edge_rx.recv::<Down>()).await.expect("in time").expect("is readable");
        let Some(Down::Failures { call, .. }) = asked else { panic!("{asked:?}") };
        edge_tx.send(&Up::Failures { call, failures: Vec::new(), omitted: 7 }).await.expect("is sent");
        let told = timeout(within, answer).await.expect("in time").expect("it is answered");
        assert_eq!(told, (Vec::new(), 7));
        edge_tx.send(&Up::Bye).await.expect("is sent");
        assert_eq!(conversing.await.expect("it ends"), Ended::Said(IN_GOOD_ORDER.to_owned()));
    }
}
