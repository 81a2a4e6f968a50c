//! Forwarder: brings the outbox's entries to the relay, over whatever link there is.
//!
//!   outbox ──next──▶ [forwarder] ══Outbox, Entries══▶ receiver
//!      ◀────ack──────     ◀═══════Resume, Ack═════════
//!
//! It keeps nothing: after a lost link or a restart the relay says how far it is, and that is where it
//! goes on. A lost link is not its failure; it waits for the next one.

use crate::events::outbox::Outbox;
use protocol::limits::EVENTS_UNACKED_MAX;
use protocol::link::{EventsDown, EventsUp, Open};
use protocol::transport::{Connection, Rx, Tx};
use std::time::Duration;
use supervision::{Failure, Place, ServiceCx};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// A relay whose store is being restarted answers later than this; then the stream is opened again.
const RESUME_WITHIN: Duration = Duration::from_secs(10);
/// Between two streams on a link that holds: the relay's store, or our outbox, is being restarted.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Runs until `cx.stop`; `link` holds the connection to the relay while there is one.
pub async fn forward(
    outbox: Outbox,
    mut link: watch::Receiver<Option<Connection>>,
    cx: ServiceCx,
) -> Result<(), Failure> {
    loop {
        let connection = link.borrow_and_update().clone();
        let changed = tokio::select! {
            () = cx.stop.cancelled() => return Ok(()),
            changed = link.changed() => changed,
            () = forward_over(connection, &outbox, &cx.place) => Ok(()),
        };
        if changed.is_err() {
            return Err(Failure::error("nobody keeps the link to the relay any more"));
        }
    }
}

/// Ends, after a pause, when there is reason to open another stream on the same connection.
async fn forward_over(connection: Option<Connection>, outbox: &Outbox, place: &Place) {
    let Some(connection) = connection else {
        place.note("waiting for the relay");
        return std::future::pending().await;
    };
    let why = match session(&connection, outbox, place).await {
        Ok(never) => match never {},
        Err(why) => why,
    };
    place.note(format!("waiting for the relay: {why}"));
    info!(%why, "events stream ended");
    sleep(AGAIN_AFTER).await;
}

enum Never {}

async fn session(connection: &Connection, outbox: &Outbox, place: &Place) -> Result<Never, String> {
    let (mut tx, mut rx) = connection.open_bi(&Open::Events).await.map_err(text)?;
    let mut newest = outbox.newest();
    let status = outbox.status().await.map_err(text)?;
    tx.send(&EventsUp::Outbox { epoch: status.epoch }).await.map_err(text)?;
    let through = resume(&mut rx).await?;
    if through > status.accepted {
        // Our numbers would be taken for entries it already has, and skipped.
        let why = format!(
            "the relay has {through} entries of outbox {}, which itself has {}: its file was put back from an older \
             copy; move it away, a new one is made at the next start",
            status.epoch, status.accepted
        );
        warn!(%why, "events are not forwarded");
        return Err(why);
    }
    outbox.ack(through).await.map_err(text)?;
    let mut sent = Sent { seq: through, acked: through };
    info!(through, accepted = status.accepted, "events are forwarded");
    loop {
        let accepted = *newest.borrow_and_update();
        place.note(format!("{} unacked", accepted.saturating_sub(sent.acked)));
        tokio::select! {
            biased;
            message = rx.recv() => {
                let through = sent.acked(message.map_err(text)?, accepted)?;
                outbox.ack(through).await.map_err(text)?;
            }
            batch = outbox.next(sent.seq), if accepted > sent.seq && sent.window() > 0 => {
                sent.send(batch.map_err(text)?, &mut tx).await?;
            }
            changed = newest.changed(), if accepted <= sent.seq => changed.map_err(text)?,
        }
    }
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
}

impl Sent {
    /// How many more may be sent before one is acknowledged.
    fn window(&self) -> usize {
        EVENTS_UNACKED_MAX.saturating_sub((self.seq - self.acked) as usize)
    }

    async fn send(&mut self, mut entries: Vec<protocol::Entry>, tx: &mut Tx) -> Result<(), String> {
        entries.truncate(self.window());
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            return Err("the outbox has less than it said; asking again".to_owned());
        };
        tx.send(&EventsUp::Entries(entries)).await.map_err(text)?;
        self.seq = last;
        Ok(())
    }

    /// An ack may be ahead of this stream: what an earlier one had under way was recorded after `Resume`.
    fn acked(&mut self, message: Option<EventsDown>, accepted: u64) -> Result<u64, String> {
        match message {
            Some(EventsDown::Ack { through }) if (self.acked..=accepted).contains(&through) => {
                self.acked = through;
                self.seq = self.seq.max(through);
                Ok(through)
            }
            Some(other) => {
                Err(format!("the relay said {other:?}, of {accepted} entries {} were on its record", self.acked))
            }
            None => Err("the relay ended the stream".to_owned()),
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
