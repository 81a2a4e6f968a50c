//! Desk: one asker at the gpu node. Takes its frames, gives each its one verdict, keeps its books.
//!
//!   edge ══frames══▶ [desk] ──judge──▶ models ──▶ pool
//!   edge ◀═verdicts═ [desk] ◀──outcome──┘
//!
//! Ends with its connection; frames then in hand are settled as failed.

use super::books::{Asking, Books};
use super::pool::{self, Models};
use protocol::frame::LedgerState;
use protocol::link::{AskerDown, AskerUp};
use protocol::transport::{CloseCode, Connection, FrameRefusal, PendingFrame, Rx, Tx};
use protocol::{Epoch, Outcome, Verdict, limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use supervision::ServiceCx;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// Frames of one asker that are being read or judged. Beyond it the next stream waits, and with it the sender.
const FRAMES_IN_HAND_MAX: usize = 64;
/// Pixels of one asker in memory, so that no asker takes the room of all. When full, its next frame waits to be
/// read. Holds [`FRAMES_IN_HAND_MAX`] frames of 720p, or the eight largest.
const PIXEL_BYTES_MAX: usize = 8 * limits::FRAME_BYTES_MAX;
/// Verdicts that wait to be written. When full, judging waits for the asker to read.
const VERDICTS_WAITING_MAX: usize = 64;

#[derive(Clone)]
pub struct Desk {
    pub models: Models,
    pub books: Books,
}

impl Desk {
    /// Serves one asker until it leaves or its connection is lost, as work of the service that has this `cx`.
    pub async fn serve(self, connection: Connection, asker: Epoch, tx: Tx, mut rx: Rx, cx: &ServiceCx) {
        let asking = (connection.peer().clone(), asker);
        let edge = connection.peer().to_string();
        // Each frame holds it too: the books end after the last frame is settled, however this task ends.
        let seat = Arc::new(Seat::take(&self.books, asking));
        info!(%edge, %asker, "asker is here");
        let (verdicts, waiting) = mpsc::channel(VERDICTS_WAITING_MAX);
        let mut frames = JoinSet::new();
        let mut writer = tokio::spawn(cx.watched(write_verdicts(tx, waiting)));
        let state = loop {
            tokio::select! {
                frame = connection.accept_frame(), if frames.len() < FRAMES_IN_HAND_MAX => match frame {
                    Ok(frame) => {
                        let judged = self.clone().judge(connection.clone(), seat.clone(), frame, verdicts.clone());
                        frames.spawn(cx.watched(judged));
                    }
                    Err(_) => break LedgerState::Cut,
                },
                Some(_) = frames.join_next(), if !frames.is_empty() => {}
                message = rx.recv::<AskerUp>() => break match message {
                    Ok(Some(AskerUp::Bye)) => LedgerState::Closed,
                    Ok(None) | Err(_) => LedgerState::Cut,
                },
                _ = &mut writer => break LedgerState::Cut,
            }
        };
        frames.shutdown().await;
        writer.abort();
        seat.ends(state);
        info!(%edge, %asker, ?state, "asker is gone");
    }

    async fn judge(
        self,
        connection: Connection,
        seat: Arc<Seat>,
        frame: PendingFrame,
        verdicts: mpsc::Sender<Verdict>,
    ) {
        let (edge, asker) = seat.asking.clone();
        let (own, models) = (&seat.room, &self.models);
        let room = |bytes| async move {
            let own = pool::room(own, bytes).await;
            (own, models.room(bytes).await)
        };
        let (header, pixels, _room) = match frame.read_with(room).await {
            Ok(frame) => frame,
            Err(FrameRefusal::Garbled(why)) => {
                // Told to the sender as the reason of the close; other edges notice nothing.
                let text = limits::short_text(&why);
                warn!(%edge, "frame refused: {text}");
                metrics::counter!("watchtree_link_refusals_total", "what" => "frame").increment(1);
                return connection.close(CloseCode::Protocol, &format!("frame refused: {text}"));
            }
            // Never submitted: its sender has settled it already.
            Err(FrameRefusal::Withdrawn | FrameRefusal::TooSlow | FrameRefusal::Lost(_)) => return,
        };
        if header.asker != asker {
            connection.close(CloseCode::Protocol, "a frame names another asker than the verdicts stream");
            return;
        }
        let seq = header.seq;
        let mut entry = Entry::submit(seat);
        let outcome = self.models.judge(&edge, header, pixels).await;
        entry.settle(&outcome);
        let _ = verdicts.send(Verdict { asker, seq, outcome }).await;
    }
}

async fn write_verdicts(mut tx: Tx, mut waiting: mpsc::Receiver<Verdict>) {
    while let Some(verdict) = waiting.recv().await {
        if tx.send(&AskerDown::Verdict(verdict)).await.is_err() {
            return;
        }
    }
}

/// An asker's place in the books. Whatever ends the desk, a lost connection included, ends it there.
struct Seat {
    books: Books,
    asking: Asking,
    /// For its pixels.
    room: Arc<Semaphore>,
    said_bye: AtomicBool,
}

impl Seat {
    fn take(books: &Books, asking: Asking) -> Self {
        books.open(&asking);
        Self {
            books: books.clone(),
            asking,
            room: Arc::new(Semaphore::new(PIXEL_BYTES_MAX)),
            said_bye: AtomicBool::new(false),
        }
    }

    fn ends(&self, state: LedgerState) {
        self.said_bye.store(state == LedgerState::Closed, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let said_bye = self.said_bye.load(Ordering::Relaxed);
        self.books.end(&self.asking, if said_bye { LedgerState::Closed } else { LedgerState::Cut });
    }
}

/// A frame in the books; settled once, whatever becomes of the task that holds it.
struct Entry {
    seat: Arc<Seat>,
    settled: bool,
}

impl Entry {
    fn submit(seat: Arc<Seat>) -> Self {
        seat.books.submit(&seat.asking);
        Self { seat, settled: false }
    }

    fn settle(&mut self, outcome: &Outcome) {
        if !std::mem::replace(&mut self.settled, true) {
            self.seat.books.settle(&self.seat.asking, outcome);
            metrics::counter!("watchtree_inference_verdicts_total", "outcome" => outcome.kind()).increment(1);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.settle(&Outcome::Failed { reason: "the asker's link was lost".to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_that_is_torn_away_settles_its_frames_and_then_leaves_the_ledger_cut() {
        let books = Books::default();
        let asking = ("main/edge/yard".parse().expect("an identity"), Epoch(7));
        let seat = Arc::new(Seat::take(&books, asking));
        let entry = Entry::submit(seat.clone());
        drop(seat);
        assert_eq!((books.all()[0].state, books.all()[0].tally.in_flight), (LedgerState::Open, 1));
        drop(entry);
        assert_eq!((books.all()[0].state, books.all()[0].tally.failed), (LedgerState::Cut, 1));
    }

    #[test]
    fn a_goodbye_closes_the_ledger() {
        let books = Books::default();
        let seat = Seat::take(&books, ("main/edge/yard".parse().expect("an identity"), Epoch(7)));
        seat.ends(LedgerState::Closed);
        drop(seat);
        assert_eq!(books.all()[0].state, LedgerState::Closed);
    }
}
