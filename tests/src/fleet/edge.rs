//! Edge: one simulated edge. Dials, brings its events, tells how it is, answers; and again when the link is lost.
//!
//!   script ▸ outbox ══Entries══▶ relay      ══beats, telemetry══▶      ◀══snapshots, clips══
//!               └─────◀══Ack═══════┘

use super::book::{Book, Waits};
use super::clips::Clips;
use super::outbox::Outbox;
use super::pace::{Again, Away};
use super::words;
use crate::test_camera::squares::Rng;
use protocol::datagram::Datagram;
use protocol::link::{Down, EventsDown, EventsUp, Open, Up};
use protocol::telemetry::{BEAT_EVERY, Beat, TELEMETRY_EVERY};
use protocol::transport::{Connection, Endpoint, PendingStream, Rx, Tx, Version};
use protocol::{Epoch, Identity, Role};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

/// From the connection to the relay's welcome, and for it to make room for a stream; as an edge has it.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// A relay that reads nothing for so long does not serve this link any more; as an edge has it.
const SENT_WITHIN: Duration = Duration::from_secs(10);

/// What a fleet's edges are told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    Work,
    /// Accept no more entries after this moment; the link stays.
    Rest(Instant),
    /// Part in good order.
    Leave,
}

pub(super) struct Edge {
    pub identity: Identity,
    /// Dials as this edge.
    pub endpoint: Endpoint,
    pub relay: (String, u16),
    pub outbox: Outbox,
    pub book: Arc<Book>,
    pub waits: Arc<Waits>,
    pub orders: watch::Receiver<Order>,
    pub boot: Epoch,
    pub rng: Rng,
}

/// A link that was welcomed.
struct Linked {
    connection: Connection,
    tx: Tx,
    rx: Rx,
}

/// What comes next on a link.
enum Next {
    Said(Down),
    Events(Result<EventsDown, String>),
    Opened(PendingStream),
    Due,
    Ordered,
    Lost(String),
}

impl Edge {
    /// Until it is told to leave.
    pub async fn live(mut self) {
        let mut away = Away::new();
        while *self.orders.borrow() != Order::Leave {
            let lost = match self.reach(&mut away).await {
                Ok(linked) => {
                    away = Away::new();
                    self.book.welcomed();
                    self.hold(linked).await
                }
                Err(why) => why,
            };
            self.obey();
            self.book.parted(lost);
            sleep(away.pause(self.rng.unit())).await;
        }
    }

    async fn reach(&self, away: &mut Away) -> Result<Linked, String> {
        let dialled = self.endpoint.dial(&self.relay.0, self.relay.1, Role::Relay).await;
        let connection = dialled.map_err(|error| {
            away.note(&error);
            error.to_string()
        })?;
        let greeted = timeout(WELCOME_WITHIN, greet(&connection, self.boot)).await;
        let (tx, rx) = greeted.map_err(|_| "it was not welcomed in time".to_owned())??;
        Ok(Linked { connection, tx, rx })
    }

    /// From the welcome to the link's end; why it ended.
    async fn hold(&mut self, mut linked: Linked) -> String {
        let (mut events, mut clips, all_clips) = (Events::Closed(Again::new()), JoinSet::new(), Clips::new());
        let mut signs = Signs::new(&mut self.rng, linked.connection.version() >= Version::FABRIC);
        loop {
            let next = self.next(&mut linked, &mut events, &signs).await;
            while clips.try_join_next().is_some() {}
            let went = match next {
                Next::Said(down) => self.answer(&mut linked, down).await,
                Next::Events(Ok(down)) => {
                    self.hear(&mut events, down).await;
                    Ok(())
                }
                Next::Events(Err(why)) => {
                    events.close(why);
                    Ok(())
                }
                Next::Opened(stream) => {
                    drop(clips.spawn(all_clips.clone().serve(linked.connection.clone(), stream)));
                    Ok(())
                }
                Next::Due => self.due(&mut linked, &mut events, &mut signs).await,
                Next::Ordered => match self.obey() {
                    Order::Leave => return leave(&mut linked).await,
                    Order::Work | Order::Rest(_) => Ok(()),
                },
                Next::Lost(why) => Err(why),
            };
            if let Err(why) = went {
                return why;
            }
        }
    }

    async fn next(&mut self, linked: &mut Linked, events: &mut Events, signs: &Signs) -> Next {
        let due = [Some(signs.next()), events.due(), self.outbox.next_due()].into_iter().flatten().min();
        let due = due.unwrap_or_else(|| signs.next()).into();
        tokio::select! {
            said = linked.rx.recv::<Down>() => match said {
                Ok(Some(down)) => Next::Said(down),
                Ok(None) => Next::Lost("the relay ended the control stream".to_owned()),
                Err(error) => Next::Lost(error.to_string()),
            },
            down = events.next() => Next::Events(down),
            stream = linked.connection.accept_bi() => match stream {
                Ok(stream) => Next::Opened(stream),
                Err(lost) => Next::Lost(lost.to_string()),
            },
            () = sleep_until(due) => Next::Due,
            ordered = self.orders.changed() => match ordered {
                Ok(()) => Next::Ordered,
                Err(_) => pending().await,
            },
        }
    }

    /// Does as it is told, in whatever state its link is.
    fn obey(&mut self) -> Order {
        let order = *self.orders.borrow_and_update();
        if let Order::Rest(at) = order {
            self.outbox.rest(at);
            self.book.wrote(self.outbox.accepted(), self.outbox.acked());
            self.book.rests();
        }
        order
    }

    async fn answer(&self, linked: &mut Linked, down: Down) -> Result<(), String> {
        let outbox = (self.outbox.script().epoch, self.outbox.accepted(), self.outbox.acked());
        match words::answer(&self.identity, self.boot, outbox, down) {
            Some(up) => send(&mut linked.tx, &up).await,
            None => Ok(()),
        }
    }

    /// What the relay says of our events; what is wrong with it goes on the books.
    async fn hear(&mut self, events: &mut Events, down: EventsDown) {
        let heard = match (down, &mut *events) {
            (EventsDown::Resume { through }, Events::Open { resumed, .. }) if !*resumed => {
                *resumed = true;
                self.outbox.resume(through)
            }
            (EventsDown::Ack { through }, Events::Open { resumed: true, .. }) => {
                self.outbox.ack(through, Instant::now()).map(|waited| self.waits.add(&waited))
            }
            (other, _) => Err(format!("the relay said {other:?} out of turn")),
        };
        if let Err(fault) = heard {
            self.book.fault(fault);
        }
        self.flush(events).await;
    }

    /// Sends what there is to send.
    async fn flush(&mut self, events: &mut Events) {
        if let Events::Open { tx, resumed: true, .. } = events {
            while let Some(entries) = self.outbox.batch() {
                if let Err(why) = send(tx, &EventsUp::Entries(entries)).await {
                    events.close(why);
                    break;
                }
            }
        }
        self.book.wrote(self.outbox.accepted(), self.outbox.acked());
    }

    async fn due(&mut self, linked: &mut Linked, events: &mut Events, signs: &mut Signs) -> Result<(), String> {
        let now = Instant::now();
        self.outbox.accept(now);
        if events.due().is_some_and(|at| at <= now) {
            events.open(&linked.connection, self.outbox.script().epoch).await;
        }
        self.flush(events).await;
        if let Some(seq) = signs.beat(now) {
            // Sent or not: the next is on its way already.
            let _ = linked.connection.send_datagram(&Datagram::Beat(Beat { boot: self.boot, seq, ready: true }));
        }
        if signs.telemetry(now) {
            let waiting = self.outbox.accepted() - self.outbox.acked();
            let telemetry = words::telemetry(self.boot, waiting, &mut self.rng);
            return send(&mut linked.tx, &Up::Telemetry(Box::new(telemetry))).await;
        }
        Ok(())
    }
}

async fn greet(connection: &Connection, boot: Epoch) -> Result<(Tx, Rx), String> {
    let (mut tx, mut rx) = connection.open_bi(&Open::Control).await.map_err(|error| error.to_string())?;
    send(&mut tx, &Up::Hello { boot, software: "watchtree-fleet".to_owned() }).await?;
    match rx.recv::<Down>().await {
        Ok(Some(Down::Welcome { .. })) => Ok((tx, rx)),
        Ok(Some(other)) => Err(format!("it was greeted with {other:?}")),
        // A refusal closes the connection, and the close carries its reason.
        Ok(None) | Err(_) => Err(connection.closed().await),
    }
}

/// The relay closes when it has heard; a moment for that.
async fn leave(linked: &mut Linked) -> String {
    const GOODBYE_WITHIN: Duration = Duration::from_millis(300);
    let _ = send(&mut linked.tx, &Up::Bye).await;
    let _ = timeout(GOODBYE_WITHIN, linked.rx.recv::<Down>()).await;
    linked.connection.close(protocol::transport::CloseCode::Done, "this edge leaves");
    "it left".to_owned()
}

async fn send<T: serde::Serialize>(tx: &mut Tx, message: &T) -> Result<(), String> {
    match timeout(SENT_WITHIN, tx.send(message)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the relay took nothing within {} s", SENT_WITHIN.as_secs())),
    }
}

/// The events stream of one link.
enum Events {
    /// Not open, or ended; opened again after a pause.
    Closed(Again),
    Open {
        tx: Tx,
        rx: Rx,
        resumed: bool,
        again: Again,
    },
}

impl Events {
    fn due(&self) -> Option<Instant> {
        match self {
            Self::Closed(again) => Some(again.at()),
            Self::Open { .. } => None,
        }
    }

    async fn next(&mut self) -> Result<EventsDown, String> {
        match self {
            Self::Closed(_) => pending().await,
            Self::Open { rx, .. } => match rx.recv::<EventsDown>().await {
                Ok(Some(down)) => Ok(down),
                Ok(None) => Err("the relay ended the events stream".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn close(&mut self, why: String) {
        if let Self::Open { again, .. } = self {
            let mut again = again.clone();
            again.failed(why);
            *self = Self::Closed(again);
        }
    }

    async fn open(&mut self, connection: &Connection, epoch: Epoch) {
        let Self::Closed(again) = self else { return };
        let mut again = again.clone();
        let opened = timeout(WELCOME_WITHIN, connection.open_bi(&Open::Events)).await;
        *self = match opened.map_err(|_| "no room for the events stream".to_owned()) {
            Ok(Ok((mut tx, rx))) => match send(&mut tx, &EventsUp::Outbox { epoch }).await {
                Ok(()) => Self::Open { tx, rx, resumed: false, again },
                Err(why) => Self::Closed(again.and(why)),
            },
            Ok(Err(lost)) => Self::Closed(again.and(lost.to_string())),
            Err(late) => {
                again.failed(late);
                Self::Closed(again)
            }
        };
    }
}

/// When the next beat and the next telemetry are due: each edge in its own time.
struct Signs {
    beat_at: Instant,
    telemetry_at: Instant,
    beats: u64,
    speaks: bool,
}

impl Signs {
    /// A relay of an older version is told neither.
    fn new(rng: &mut Rng, speaks: bool) -> Self {
        let now = Instant::now();
        let (beat_at, telemetry_at) = (now + BEAT_EVERY.mul_f64(rng.unit()), now + TELEMETRY_EVERY.mul_f64(rng.unit()));
        Self { beat_at, telemetry_at, beats: 0, speaks }
    }

    fn next(&self) -> Instant {
        self.beat_at.min(self.telemetry_at)
    }

    fn beat(&mut self, now: Instant) -> Option<u64> {
        if now < self.beat_at {
            return None;
        }
        self.beat_at = now + BEAT_EVERY;
        self.beats += 1;
        self.speaks.then_some(self.beats)
    }

    fn telemetry(&mut self, now: Instant) -> bool {
        if now < self.telemetry_at {
            return false;
        }
        self.telemetry_at = now + TELEMETRY_EVERY;
        self.speaks
    }
}
