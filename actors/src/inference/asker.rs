//! Asker: the edge's side of inference. Sends frames to one of two gpu nodes and hands out the verdicts.
//!
//!   watch ──judge──▶ [books ▸ aim] ──frame, on its own stream──▶ gpu, or its standby
//!   watch ◀──outcome── [asker services, one for each] ◀──verdicts stream──┘
//!
//! One tally counts all frames, whoever was asked; each gpu node keeps a ledger of those that it got.
//!
//! Stops when: it panics.  On restart: the verdicts stream is opened again; frames that were out with that node fail.

use super::aim::{Aim, PLACES};
use super::answers::Answers;
use super::books::Journal;
use crate::fabric::link::Link;
use protocol::camera::Frame;
use protocol::frame::{Ledger, LedgerState, Tally};
use protocol::link::{AskerDown, AskerUp, Open};
use protocol::telemetry::InferenceFigures;
use protocol::transport::{Connection, Rx, Tx};
use protocol::{CameraId, Epoch, FrameHeader, Outcome, Priority, Timestamp, Verdict};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use supervision::{Failure, ServiceCx};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// An answer may come so long after the deadline before the frame counts as expired here too:
/// the gpu node counts from the frame's arrival.
const GRACE: Duration = Duration::from_millis(250);
/// For the gpu node to make room for the verdicts stream.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
const OPEN_AGAIN: Duration = Duration::from_millis(200);
/// For the last word, if the gpu node does not read.
const GOODBYE_WITHIN: Duration = Duration::from_millis(300);

/// Asks for verdicts. Cheap to clone; stays valid across restarts and lost links.
#[derive(Clone)]
pub struct Asker(Arc<Shared>);

struct Shared {
    epoch: Epoch,
    edge: String,
    books: Mutex<Books>,
    /// Since this node's last telemetry.
    answers: Answers,
    aim: Mutex<Aim>,
    began: Instant,
    places: [Place; PLACES],
}

/// One of the gpu nodes that this edge keeps a link to.
struct Place {
    link: Link,
    /// The connection on which verdicts are being read.
    ready: watch::Sender<Option<Connection>>,
}

#[derive(Default)]
struct Books {
    tally: Tally,
    /// By the frame's number: where it was sent, and who waits.
    waiting: HashMap<u64, (usize, oneshot::Sender<Outcome>)>,
}

/// One frame to be judged.
pub struct Question {
    pub camera: CameraId,
    pub model: Option<String>,
    pub deadline: Duration,
    pub priority: Priority,
    pub captured: Timestamp,
    pub frame: Arc<Frame>,
}

/// A frame's one outcome, and the gpu node that it is of; empty if there was none to ask.
pub struct Judged {
    pub node: String,
    pub outcome: Outcome,
}

impl Asker {
    /// `epoch` is the process's own; `edge` is who asks, for the books. Frames go to one of the two that `links` link to.
    pub fn new(epoch: Epoch, edge: String, links: [Link; PLACES]) -> Self {
        let places = links.map(|link| Place { link, ready: watch::Sender::new(None) });
        let (books, answers) = (Mutex::default(), Answers::default());
        let (aim, began) = (Mutex::default(), Instant::now());
        Self(Arc::new(Shared { epoch, edge, books, answers, aim, began, places }))
    }

    /// It is linked, and gave a verdict in time when it was asked last.
    pub fn is_well(&self, place: usize) -> bool {
        self.is_up(place) && self.aim().suspect_since(place).is_none()
    }

    /// Whom to ask first.
    pub fn prefer(&self, place: usize) {
        self.aim().prefer(place);
    }

    /// By its deadline and a little.
    pub async fn judge(&self, question: Question) -> Judged {
        self.0.answers.asked();
        let up = std::array::from_fn(|place| self.is_up(place));
        let place = self.aim().pick(self.now(), up);
        let connection =
            place.and_then(|place| self.0.places[place].ready.borrow().clone().map(|there| (place, there)));
        let Some((place, connection)) = connection else {
            let reason = format!("no link to a gpu node: {}", self.0.places[0].link.state());
            return Judged { node: String::new(), outcome: self.submit(0).settle(Outcome::Failed { reason }) };
        };
        let (mut entry, asked) = (self.submit(place), Instant::now());
        let outcome = self.ask(&connection, &mut entry, &question).await;
        if matches!(outcome, Outcome::Ok { .. }) {
            self.0.answers.took(asked.elapsed());
        }
        if self.aim().saw(self.now(), place, &outcome) {
            let (node, why) = (connection.peer(), outcome.kind());
            tracing::warn!(%node, why, "gpu node is suspect: the other one is asked");
            metrics::counter!("watchtree_inference_suspects_total", "outcome" => why).increment(1);
        }
        Judged { node: connection.peer().name.to_string(), outcome: entry.settle(outcome) }
    }

    fn is_up(&self, place: usize) -> bool {
        self.0.places[place].ready.borrow().is_some()
    }

    fn aim(&self) -> MutexGuard<'_, Aim> {
        self.0.aim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    async fn ask(&self, connection: &Connection, entry: &mut Submitted, question: &Question) -> Outcome {
        let header = FrameHeader {
            asker: self.0.epoch,
            seq: entry.seq,
            camera: question.camera.clone(),
            captured: question.captured,
            deadline_ms: u32::try_from(question.deadline.as_millis()).unwrap_or(u32::MAX),
            priority: question.priority,
            model: question.model.clone(),
            width: question.frame.width,
            height: question.frame.height,
        };
        let exchange = async {
            if let Err(error) = connection.open_frame(&header, &question.frame.pixels.0).await {
                return Outcome::Failed { reason: format!("frame was not sent: {error}") };
            }
            let answer = (&mut entry.answer).await;
            answer.unwrap_or_else(|_| Outcome::Failed { reason: "the link to the gpu node was lost".to_owned() })
        };
        timeout(question.deadline + GRACE, exchange).await.unwrap_or(Outcome::Expired)
    }

    /// Into the books, as one for this place.
    fn submit(&self, place: usize) -> Submitted {
        let (sender, answer) = oneshot::channel();
        let mut books = self.lock();
        books.tally.submit();
        let seq = books.tally.submitted;
        books.waiting.insert(seq, (place, sender));
        Submitted { asker: self.clone(), seq, answer, settled: false }
    }

    /// The books of this process.
    pub fn ledger(&self) -> Ledger {
        let tally = self.lock().tally;
        Ledger { asker: self.0.epoch, edge: self.0.edge.clone(), state: LedgerState::Open, tally }
    }

    /// For telemetry, which is the one that asks: the mean is of the answers since it last did.
    pub fn figures(&self) -> InferenceFigures {
        let waiting = self.lock().tally.in_flight;
        self.0.answers.figures(waiting)
    }

    /// The service of one place: keeps a verdicts stream open on whatever connection there is.
    pub async fn run(self, place: usize, cx: ServiceCx) -> Result<(), Failure> {
        let mut links = self.0.places[place].link.connections();
        loop {
            let connection = links.borrow_and_update().clone();
            let Some(connection) = connection else {
                cx.place.note("waiting for a gpu node");
                tokio::select! {
                    changed = links.changed() => changed.map_err(|_| Failure::error("the link is gone"))?,
                    () = cx.asked() => {}
                    () = cx.stop.cancelled() => return Ok(()),
                }
                continue;
            };
            let verdicts = Open::Verdicts { asker: self.0.epoch };
            let opened = tokio::select! {
                opened = cx.waits(timeout(OPEN_WITHIN, connection.open_bi(&verdicts))) => opened,
                () = cx.stop.cancelled() => return Ok(()),
            };
            let Ok(Ok((mut tx, mut rx))) = opened else {
                tokio::select! {
                    _ = links.changed() => {}
                    () = cx.waits(tokio::time::sleep(OPEN_AGAIN)) => {}
                    () = cx.stop.cancelled() => return Ok(()),
                }
                continue;
            };
            cx.place.note(format!("asks {}", connection.peer()));
            let answered = Answered::by(&self, place, connection.clone());
            let lost = self.read_verdicts(place, &mut rx, &mut tx, &cx).await;
            drop(answered);
            let Some(lost) = lost else { return Ok(()) };
            tracing::warn!(peer = %connection.peer(), "verdicts ended: {lost}");
        }
    }

    /// Why no more verdicts come; `None` when the node stops.
    async fn read_verdicts(&self, place: usize, rx: &mut Rx, tx: &mut Tx, cx: &ServiceCx) -> Option<String> {
        loop {
            let message = tokio::select! {
                message = rx.recv::<AskerDown>() => message,
                () = cx.asked() => continue,
                () = cx.stop.cancelled() => {
                    let _ = cx.waits(timeout(GOODBYE_WITHIN, tx.send(&AskerUp::Bye))).await;
                    let _ = tx.finish();
                    return None;
                }
            };
            match message {
                Ok(Some(AskerDown::Verdict(verdict))) => self.deliver(place, verdict),
                Ok(None) => return Some("closed by the gpu node".to_owned()),
                Err(error) => return Some(error.to_string()),
            }
        }
    }

    fn deliver(&self, place: usize, verdict: Verdict) {
        // One that expired here is in nobody's books any more: late is late. And nobody answers for another node.
        let mut books = self.lock();
        let is_its = books.waiting.get(&verdict.seq).is_some_and(|(asked, _)| *asked == place);
        let waiting = if is_its && verdict.asker == self.0.epoch { books.waiting.remove(&verdict.seq) } else { None };
        drop(books);
        match waiting {
            Some((_, waiting)) => drop(waiting.send(verdict.outcome)),
            None => metrics::counter!("watchtree_inference_late_verdicts_total").increment(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames are sent while this is there. It goes when the verdicts end, by a panic included.
struct Answered<'a>(&'a Asker, usize);

impl<'a> Answered<'a> {
    fn by(asker: &'a Asker, place: usize, connection: Connection) -> Self {
        asker.aim().begins_anew(place);
        asker.0.places[place].ready.send_replace(Some(connection));
        Self(asker, place)
    }
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        let Self(asker, place) = self;
        asker.0.places[*place].ready.send_replace(None);
        // Whoever waits on this connection is told at once, by the senders being dropped.
        asker.lock().waiting.retain(|_, (asked, _)| asked != place);
    }
}

/// A frame in the books. Whatever happens to its asker, it is settled once.
struct Submitted {
    asker: Asker,
    seq: u64,
    answer: oneshot::Receiver<Outcome>,
    settled: bool,
}

impl Submitted {
    fn settle(mut self, outcome: Outcome) -> Outcome {
        self.write(&outcome);
        outcome
    }

    fn write(&mut self, outcome: &Outcome) {
        self.settled = true;
        let mut books = self.asker.lock();
        books.waiting.remove(&self.seq);
        books.tally.settle(outcome);
        drop(books);
        metrics::counter!("watchtree_inference_outcomes_total", "outcome" => outcome.kind()).increment(1);
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if !self.settled {
            self.write(&Outcome::Failed { reason: "the asking actor stopped".to_owned() });
        }
    }
}

/// How often the books are copied to disk; what came after the last copy is unknown if the process is killed.
const JOURNAL_EVERY: Duration = Duration::from_secs(1);

/// The service that keeps the asker's books on disk, so that an epoch cut by kill -9 is reported as cut.
pub async fn keep_books(asker: Asker, journal: Journal, cx: ServiceCx) -> Result<(), Failure> {
    let mut every = tokio::time::interval(JOURNAL_EVERY);
    loop {
        let stopping = tokio::select! {
            _ = every.tick() => false,
            () = cx.asked() => continue,
            () = cx.stop.cancelled() => true,
        };
        let mut ledger = asker.ledger();
        if stopping {
            ledger.state = LedgerState::Closed;
        }
        if let Err(error) = journal.write(ledger) {
            // Books are for the operator; a full disk must not stop inference.
            cx.place.note(format!("books are not written: {error}"));
        }
        if stopping {
            return Ok(());
        }
    }
}
