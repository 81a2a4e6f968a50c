//! Echo: says that somebody is there behind the transport: a ping goes through a mailbox and a turn, as all work does.
//!
//!   peer's link ══Ping══▶ control ──▶ [echo] ──▶ control ══Pong══▶ peer's link
//!
//! QUIC answers for a node whose actors have long been stuck; this does not.
//!
//! Stops when: never by itself.  On restart: answers what waits; a ping in hand is refused at once.

use protocol::codec::Blob;
use protocol::limits::PING_BYTES_MAX;
use supervision::{Actor, Context, Failure, Mailbox, Node, Overflow, child};
use tokio::sync::mpsc;

/// Pings of all peers that wait. When full, the next is refused, and its asker is told.
const WAITING_MAX: usize = 1024;
/// Pings of one connection that wait or are answered and not yet sent. When full, the next is refused.
const OF_A_PEER_MAX: usize = 16;

/// Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub(super) struct Echo(Mailbox<Ping>);

impl Echo {
    pub fn new() -> Self {
        Self(Mailbox::new("echo", WAITING_MAX, Overflow::Refuse))
    }

    pub fn child(&self) -> Node {
        child("echo", &self.0, || Ok(Answering))
    }

    /// For one connection: where its answers come out.
    pub fn at_peer(&self) -> (Pings, mpsc::Receiver<Pong>) {
        let (answers, come) = mpsc::channel(OF_A_PEER_MAX);
        (Pings { echo: self.clone(), answers }, come)
    }
}

/// The call's number, and its answer.
pub(super) type Pong = (u64, Result<Blob, String>);

/// One connection's way to the echo.
pub(super) struct Pings {
    echo: Echo,
    answers: mpsc::Sender<Pong>,
}

impl Pings {
    /// Its answer comes out when there is one; `Err` is the answer to send at once.
    pub fn ping(&self, call: u64, payload: Blob) -> Result<(), Pong> {
        if payload.0.len() > PING_BYTES_MAX {
            return Err((call, Err(format!("a ping of {} B; the limit is {PING_BYTES_MAX} B", payload.0.len()))));
        }
        let Ok(place) = self.answers.clone().try_reserve_owned() else {
            return Err((call, Err("too many pings of this node wait for their answers; ask again".to_owned())));
        };
        // Refused, it is dropped, and says so to its asker.
        let _ = self.echo.0.tell(Ping { payload, reply: Reply { call, place: Some(place) } });
        Ok(())
    }
}

struct Ping {
    payload: Blob,
    reply: Reply,
}

/// Dropped unsent, it tells the asker that nobody answers.
struct Reply {
    call: u64,
    place: Option<mpsc::OwnedPermit<Pong>>,
}

impl Reply {
    fn send(mut self, payload: Blob) {
        self.place.take().map(|place| place.send((self.call, Ok(payload))));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.send((self.call, Err("this node's actors do not answer now; ask again".to_owned())));
        }
    }
}

struct Answering;

impl Actor for Answering {
    type Msg = Ping;

    async fn handle(&mut self, Ping { payload, reply }: Ping, _cx: &mut Context<Ping>) -> Result<(), Failure> {
        reply.send(payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> Blob {
        Blob(vec![7; bytes])
    }

    #[tokio::test]
    async fn pings_that_nobody_takes_are_bounded_and_each_is_told() {
        let echo = Echo::new();
        let (pings, mut come) = echo.at_peer();
        for call in 0..OF_A_PEER_MAX as u64 {
            pings.ping(call, payload(64)).expect("there is room");
        }
        let (call, refused) = pings.ping(99, payload(64)).expect_err("one too many");
        assert!(call == 99 && refused.expect_err("no answer").contains("ask again"));
        assert!(come.try_recv().is_err(), "nobody has answered yet");
        // Nobody comes: whatever waits in the mailbox goes with it.
        drop((echo, pings));
        for call in 0..OF_A_PEER_MAX as u64 {
            let (answered, why) = come.recv().await.expect("each is told");
            assert!(answered == call && why.expect_err("no answer").contains("do not answer"));
        }
    }

    #[test]
    fn a_ping_that_is_too_large_is_refused() {
        let (pings, _come) = Echo::new().at_peer();
        let (_, refused) = pings.ping(1, payload(PING_BYTES_MAX + 1)).expect_err("too large");
        assert!(refused.expect_err("no answer").contains("1025 B"));
        pings.ping(2, payload(PING_BYTES_MAX)).expect("just fits");
    }
}
