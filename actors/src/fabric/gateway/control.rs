//! Control: the accepting end of a peer's control stream: hello, then calls and their answers.
//!
//!   peers ──call──▶ [control] ══Snapshot, Failures, Steer══▶ link of the peer
//!         ◀─answer─           ◀═════════════════════════════

use super::proxy::HELLO_WITHIN;
use super::refuse;
use crate::fabric::facts::SOFTWARE;
use crate::fabric::peers::{Call, Peers};
use crate::fabric::site::Site;
use protocol::admin::{FailureRecord, NodeSnapshot};
use protocol::link::{Down, Up};
use protocol::transport::{CloseCode, Connection, Rx, Tx};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Calls that wait to be sent to one peer. When full, whoever asks is told.
const CALLS_WAITING_MAX: usize = 8;
/// Calls that were sent and not answered. When full, the oldest is given up: who asked has done so long ago.
const CALLS_OUT_MAX: usize = 16;

pub(super) async fn serve(site: &Site, connection: Connection, mut tx: Tx, mut rx: Rx) {
    let hello = timeout(HELLO_WITHIN, rx.recv::<Up>()).await;
    let Ok(Ok(Some(Up::Hello { boot, software }))) = hello else {
        return refuse(&connection, CloseCode::Protocol, "the control stream must begin with a hello");
    };
    let (calls, mut called) = mpsc::channel(CALLS_WAITING_MAX);
    let welcome = Down::Welcome { node: site.facts.node.to_string(), software: SOFTWARE.to_owned() };
    if tx.send(&welcome).await.is_err() {
        return;
    }
    site.peers.arrive(&connection, boot, software, calls);
    let here = Presence { peers: &site.peers, connection: &connection };
    let reason = converse(&mut tx, &mut rx, &mut called).await;
    here.ends(&reason);
}

/// Whatever ends the control stream, the peer is no longer listed as linked.
struct Presence<'a> {
    peers: &'a Peers,
    connection: &'a Connection,
}

impl Presence<'_> {
    fn ends(&self, reason: &str) {
        self.peers.leave(self.connection, reason);
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.ends("its connection ended");
    }
}

/// Passes calls to the peer and answers back, until the stream ends; says why it did.
async fn converse(tx: &mut Tx, rx: &mut Rx, called: &mut mpsc::Receiver<Call>) -> String {
    let mut out = Out::default();
    loop {
        tokio::select! {
            Some(call) = called.recv() => {
                if let Err(error) = tx.send(&out.send(call)).await {
                    return error.to_string();
                }
            }
            message = rx.recv::<Up>() => match message {
                Ok(Some(Up::Hello { .. })) => return "it said hello twice".to_owned(),
                Ok(Some(Up::Bye)) => return "it stopped in good order".to_owned(),
                Ok(Some(answer)) => out.answered(answer),
                Ok(None) => return "it ended its control stream".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }
}

/// Calls by number: an act may be answered long after a later look at the tree.
#[derive(Default)]
struct Out {
    calls: u64,
    waiting: BTreeMap<u64, Reply>,
}

enum Reply {
    Snapshot(oneshot::Sender<NodeSnapshot>),
    Failures(oneshot::Sender<Vec<FailureRecord>>),
    Steer(oneshot::Sender<Result<String, String>>),
}

impl Out {
    fn send(&mut self, call: Call) -> Down {
        self.calls += 1;
        let number = self.calls;
        let (message, reply) = match call {
            Call::Snapshot { reply } => (Down::Snapshot { call: number }, Reply::Snapshot(reply)),
            Call::Failures { path, limit, reply } => {
                (Down::Failures { call: number, path, limit }, Reply::Failures(reply))
            }
            Call::Steer { path, act, by, reply } => (Down::Steer { call: number, path, act, by }, Reply::Steer(reply)),
        };
        self.waiting.insert(number, reply);
        if self.waiting.len() > CALLS_OUT_MAX {
            self.waiting.pop_first();
        }
        message
    }

    /// Whoever asked may be gone. An answer to no call, or of another kind than its call, is nobody's.
    fn answered(&mut self, answer: Up) {
        let (Up::Snapshot { call, .. } | Up::Failures { call, .. } | Up::Steered { call, .. }) = &answer else {
            return;
        };
        match (self.waiting.remove(call), answer) {
            (Some(Reply::Snapshot(reply)), Up::Snapshot { snapshot, .. }) => drop(reply.send(*snapshot)),
            (Some(Reply::Failures(reply)), Up::Failures { failures, .. }) => drop(reply.send(failures)),
            (Some(Reply::Steer(reply)), Up::Steered { result, .. }) => drop(reply.send(result)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Act;

    fn steer(out: &mut Out) -> (u64, oneshot::Receiver<Result<String, String>>) {
        let (reply, answer) = oneshot::channel();
        let by = "main/operator/ada".parse().expect("an identity");
        match out.send(Call::Steer { path: "yard/outbox".to_owned(), act: Act::Restart, by, reply }) {
            Down::Steer { call, .. } => (call, answer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_act_that_takes_long_is_answered_after_later_calls() {
        let mut out = Out::default();
        let (slow, mut slow_answer) = steer(&mut out);
        let (quick, mut quick_answer) = steer(&mut out);
        out.answered(Up::Steered { call: quick, result: Ok("quick".to_owned()) });
        out.answered(Up::Steered { call: slow, result: Ok("slow".to_owned()) });
        assert_eq!(quick_answer.try_recv(), Ok(Ok("quick".to_owned())));
        assert_eq!(slow_answer.try_recv(), Ok(Ok("slow".to_owned())));
    }

    #[test]
    fn an_answer_of_another_kind_or_to_no_call_is_nobodys() {
        let mut out = Out::default();
        let (call, mut answer) = steer(&mut out);
        out.answered(Up::Steered { call: call + 1, result: Ok("made up".to_owned()) });
        assert!(answer.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        out.answered(Up::Failures { call, failures: Vec::new() });
        assert!(answer.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_peer_that_answers_nothing_fills_no_memory() {
        let mut out = Out::default();
        let mut answers: Vec<_> = (0..CALLS_OUT_MAX + 1).map(|_| steer(&mut out).1).collect();
        assert_eq!(out.waiting.len(), CALLS_OUT_MAX);
        assert!(answers[0].try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    }
}
