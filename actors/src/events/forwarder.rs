//! Forwarder: brings the outbox's entries to the relay, over whatever link there is.
//!
//!   outbox ──next──▶ [forwarder] ══Outbox, Entries══▶ receiver
//!      ◀────ack──────     ◀═══════Resume, Ack═════════
//!
//! It keeps nothing: after a lost link or a restart the relay says how far it is, and that is where it
//! goes on. A lost link is not its failure; it waits for the next one. On an orderly stop it stays for
//! a moment, for what the cameras said last. Where a full outbox dropped entries, the next message begins
//! after the gap.

use crate::events::outbox::Outbox;
use protocol::Entry;
use protocol::event::v3;
use protocol::limits::EVENTS_UNACKED_MAX;
use protocol::link::{EventsDown, EventsUp, Open};
use protocol::transport::{Connection, Rx, Tx, Version};
use std::collections::VecDeque;
use std::time::Duration;
use supervision::{Backoff, Failure, ServiceCx, jitter};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// For the relay to make room for the events stream.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// A relay that reads nothing for so long does not serve this stream any more.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// A relay whose store is being restarted answers later than this; then the stream is opened again.
const RESUME_WITHIN: Duration = Duration::from_secs(10);
/// Between two streams on a link that holds: the relay's store, or our outbox, is being restarted. Longer
/// while it is the same reason again: its disk is full, or what we send is refused.
const AGAIN: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(5) };
/// On an orderly stop, for what the cameras said last. What is not acknowledged then goes after the next start.
pub const DRAIN_WITHIN: Duration = Duration::from_millis(300);

/// Runs until `cx.stop`, and then for `drain_within` at most; `link` holds the connection to the relay while there
/// is one.
pub async fn forward(
    outbox: Outbox,
    mut link: watch::Receiver<Option<Connection>>,
    drain_within: Duration,
    cx: ServiceCx,
) -> Result<(), Failure> {
    let mut trouble = Trouble::default();
    while !cx.stop.is_cancelled() {
        let connection = link.borrow_and_update().clone();
        let drained = async {
            cx.stop.cancelled().await;
            sleep(drain_within).await;
        };
        let changed = tokio::select! {
            () = drained => return Ok(()),
            changed = link.changed() => changed,
            () = forward_over(connection, &outbox, &cx, &mut trouble) => Ok(()),
        };
        if changed.is_err() {
            return Err(Failure::error("nobody keeps the link to the relay any more"));
        }
    }
    Ok(())
}

/// Ends, after a pause, when there is reason to open another stream on the same connection; at once on stop.
async fn forward_over(connection: Option<Connection>, outbox: &Outbox, cx: &ServiceCx, trouble: &mut Trouble) {
    let Some(connection) = connection else {
        cx.place.note("waiting for the relay");
        return cx.waits(cx.stop.cancelled()).await;
    };
    let Err(why) = session(&connection, outbox, cx, trouble).await else { return };
    cx.place.note(format!("waiting for the relay: {why}"));
    let pause = trouble.again(why);
    tokio::select! {
        () = cx.waits(sleep(pause)) => {}
        () = cx.stop.cancelled() => {}
    }
}

/// Why the last stream ended, until events flow again.
#[derive(Default)]
struct Trouble {
    told: Option<String>,
    times: u32,
}

impl Trouble {
    /// Tells each new reason once: a relay whose disk is full for a day is one line. Returns for how long to wait.
    fn again(&mut self, why: String) -> Duration {
        if self.told.as_ref() != Some(&why) {
            warn!(%why, "events stream ended");
            *self = Self { told: Some(why), times: 0 };
        }
        self.times += 1;
        // Edges that were refused together must not come back together.
        AGAIN.pause(self.times, jitter())
    }

    fn over(&mut self, through: u64) {
        if self.told.is_some() {
            info!(through, "events are acknowledged again");
            *self = Self::default();
        }
    }
}

/// Forwards until the stream ends, which is an error, or until all is acknowledged after a stop.
async fn session(
    connection: &Connection,
    outbox: &Outbox,
    cx: &ServiceCx,
    trouble: &mut Trouble,
) -> Result<(), String> {
    let opened = cx.waits(timeout(OPEN_WITHIN, connection.open_bi(&Open::Events))).await;
    let (mut tx, mut rx) = opened.map_err(|_| "the relay makes no room for the events stream")?.map_err(text)?;
    let mut newest = outbox.newest();
    let through = cx.waits(announce(outbox, &mut tx, &mut rx)).await?;
    let mut sent = Sent::new(through, connection.version());
    if trouble.told.is_none() {
        info!(through = sent.seq, accepted = *newest.borrow(), "events are forwarded");
    }
    let mut stopping = false;
    loop {
        let accepted = *newest.borrow_and_update();
        cx.place.note(format!("{} unacked", outbox.waiting()));
        if stopping && sent.seq >= accepted && sent.unacked.is_empty() {
            // Answered after the acknowledgement, which the outbox would not take any more once it is stopped itself.
            cx.waits(outbox.status()).await.map_err(text)?;
            return tx.finish().map_err(text);
        }
        let more = accepted > sent.seq && sent.window() > 0;
        // The outbox has a limit of its own; while it writes, this is no hang.
        tokio::select! {
            biased;
            message = rx.recv() => {
                let through = sent.acked(message.map_err(text)?, accepted)?;
                cx.waits(outbox.ack(through)).await.map_err(text)?;
                trouble.over(through);
            }
            () = cx.stop.cancelled(), if !stopping => stopping = true,
            batch = cx.waits(outbox.next(sent.seq)), if more => {
                let batch = batch.map_err(text)?;
                if batch.is_empty() {
                    sent.pass(accepted, *newest.borrow())?;
                } else {
                    cx.waits(sent.send(batch, &mut tx)).await?;
                }
            }
            () = cx.asked(), if !more => {}
            changed = newest.changed(), if accepted <= sent.seq => changed.map_err(text)?,
        }
    }
}

/// Says which outbox this is, and hears how much of it is on the record.
async fn announce(outbox: &Outbox, tx: &mut Tx, rx: &mut Rx) -> Result<u64, String> {
    let status = outbox.status().await.map_err(text)?;
    tx.send(&EventsUp::Outbox { epoch: status.epoch }).await.map_err(text)?;
    let through = resume(rx).await?;
    if !outbox.resume(status.epoch, through).await.map_err(text)? {
        // Its numbers would be taken for entries the relay already has, and skipped.
        return Err(format!(
            "the relay has {through} entries of outbox {}, more than it ever sent: its file was put back from an \
             older copy; what it holds is sent again under a new epoch",
            status.epoch
        ));
    }
    Ok(through)
}

async fn resume(rx: &mut Rx) -> Result<u64, String> {
    match timeout(RESUME_WITHIN, rx.recv()).await {
        Ok(Ok(Some(EventsDown::Resume { through }))) => Ok(through),
        Ok(Ok(Some(EventsDown::Ack { .. }))) => Err("the relay acknowledged before it was sent anything".to_owned()),
        Ok(Ok(None)) => Err("the relay ended the stream".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the relay did not say within {} s how far it is", RESUME_WITHIN.as_secs())),
    }
}

/// How far this stream is.
struct Sent {
    seq: u64,
    acked: u64,
    /// The first and last numbers of the messages that are not acknowledged.
    unacked: VecDeque<(u64, u64)>,
    version: Version,
}

impl Sent {
    fn new(through: u64, version: Version) -> Self {
        Self { seq: through, acked: through, unacked: VecDeque::new(), version }
    }

    /// How many more may be sent before one is acknowledged.
    fn window(&self) -> usize {
        let sent: u64 = self.unacked.iter().map(|(first, last)| last - first + 1).sum();
        EVENTS_UNACKED_MAX.saturating_sub(sent as usize)
    }

    /// There is nothing more through `accepted`: it was dropped.
    fn pass(&mut self, accepted: u64, newest: u64) -> Result<(), String> {
        if newest < accepted {
            return Err("the outbox has less than it said; asking again".to_owned());
        }
        self.seq = accepted;
        Ok(())
    }

    async fn send(&mut self, mut entries: Vec<Entry>, tx: &mut Tx) -> Result<(), String> {
        entries.truncate(self.window());
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.next() {
            let (from, mut last, mut run) = (first.seq, first.seq, vec![first]);
            while let Some(entry) = entries.next_if(|entry| entry.seq == last + 1) {
                last = entry.seq;
                run.push(entry);
            }
            let sending = timeout(SENT_WITHIN, tx.send(&readable(run, self.version))).await;
            sending.map_err(|_| "the relay takes no more entries")?.map_err(text)?;
            self.unacked.push_back((from, last));
            self.seq = last;
        }
        Ok(())
    }

    /// An ack may be ahead of this stream: what an earlier one had under way was recorded after `Resume`.
    fn acked(&mut self, message: Option<EventsDown>, accepted: u64) -> Result<u64, String> {
        match message {
            Some(EventsDown::Ack { through }) if (self.acked..=accepted).contains(&through) => {
                self.acked = through;
                self.seq = self.seq.max(through);
                while self.unacked.pop_front_if(|(_, last)| *last <= through).is_some() {}
                if let Some((first, _)) = self.unacked.front_mut() {
                    *first = (*first).max(through + 1);
                }
                Ok(through)
            }
            Some(other) => {
                Err(format!("the relay said {other:?}, of {accepted} entries {} were on its record", self.acked))
            }
            None => Err("the relay ended the stream".to_owned()),
        }
    }
}

/// What a relay of that version reads.
fn readable(entries: Vec<Entry>, version: Version) -> EventsUp {
    if version >= Version::EDGE {
        return EventsUp::Entries(entries);
    }
    EventsUp::OldEntries(entries.into_iter().map(|entry| old(entry.into(), version)).collect())
}

fn old(entry: v3::Entry, version: Version) -> v3::Entry {
    if version >= Version::FABRIC { entry } else { v3::Entry { event: entry.event.before_fabric(), ..entry } }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Evidence;

    #[test]
    fn the_same_reason_again_waits_longer_and_a_new_one_does_not() {
        let mut trouble = Trouble::default();
        let mut again = |why: &str| (trouble.again(why.to_owned()), trouble.times);
        let first = again("its disk is full");
        assert!(first.0 <= AGAIN.base && first.1 == 1, "{first:?}");
        let later = (0..20).map(|_| again("its disk is full")).last().expect("20 times");
        assert!(later.0 > AGAIN.max / 2 && later.0 <= AGAIN.max && later.1 == 21, "{later:?}");
        let other = again("it went away");
        assert!(other.0 <= AGAIN.base && other.1 == 1, "{other:?}");
    }

    #[test]
    fn numbers_that_were_dropped_take_no_room_in_the_window() {
        let ack = |sent: &mut Sent, through| sent.acked(Some(EventsDown::Ack { through }), 100_000);
        let mut sent = Sent::new(7, Version::EDGE);
        (sent.seq, sent.unacked) = (90_010, [(8, 9), (90_001, 90_010)].into());
        assert_eq!(sent.window(), EVENTS_UNACKED_MAX - 12);
        assert_eq!(ack(&mut sent, 8), Ok(8));
        assert_eq!(sent.window(), EVENTS_UNACKED_MAX - 11);
        // A number in the gap, as when the relay's record has more of it than is left here.
        assert_eq!(ack(&mut sent, 5000), Ok(5000));
        assert_eq!((sent.window(), &sent.unacked), (EVENTS_UNACKED_MAX - 10, &[(90_001, 90_010)].into()));
        assert_eq!(ack(&mut sent, 90_010), Ok(90_010));
        assert!(sent.unacked.is_empty());
    }

    #[test]
    fn a_relay_without_a_word_for_it_is_told_by_the_label() {
        let mut entry = crate::events::testing::entry(1, 5);
        entry.event.label = protocol::event::DROPPED_LABEL.to_owned();
        entry.event.evidence = Evidence::Dropped { entries: 9, severity: protocol::Severity::High };
        assert_eq!(readable(vec![entry.clone()], Version::EDGE), EventsUp::Entries(vec![entry.clone()]));
        let told = |version| match readable(vec![entry.clone()], version) {
            EventsUp::OldEntries(mut old) => old.remove(0).event,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(Version::FABRIC), entry.event.clone().into());
        let older = told(Version(2));
        assert_eq!((older.label.as_str(), older.evidence), ("events-dropped 9 high", v3::Evidence::Motion));
    }

    #[test]
    fn what_was_dropped_at_the_end_is_passed_and_an_outbox_that_has_less_is_not() {
        let mut sent = Sent::new(7, Version::EDGE);
        assert!(sent.pass(20, 19).is_err());
        assert_eq!((sent.pass(20, 21), sent.seq), (Ok(()), 20));
    }

    #[test]
    fn a_reason_is_told_anew_once_events_have_flowed() {
        let mut trouble = Trouble::default();
        trouble.again("its disk is full".to_owned());
        trouble.over(7);
        assert_eq!((trouble.told, trouble.times), (None, 0));
    }
}
