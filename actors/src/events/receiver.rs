//! Receiver: the relay's end of one edge's events.
//!
//!   forwarder ══Outbox, Entries══▶ [receiver] ──append──▶ store
//!             ◀══Resume, Ack══════      ◀── on disk ────────┘
//!
//! One append at a time per edge: what comes meanwhile waits in the stream, and then at the edge.

use crate::events::store::EventStore;
use protocol::link::{EventsDown, EventsUp};
use protocol::transport::{RecvError, Rx, Tx};
use protocol::{Entry, Epoch, Identity};

/// Why an events stream did not end in good order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The edge, its link or our store went away; the edge opens another stream and goes on.
    #[error("{0}")]
    Ended(String),
    /// The edge said what no edge says: its connection is closed with this text.
    #[error("{0}")]
    Protocol(String),
}

/// Serves one events stream until the edge ends it. `edge` is whom the certificate names: what it
/// sends is on the record as its own.
pub async fn receive(edge: Identity, mut tx: Tx, mut rx: Rx, store: EventStore) -> Result<(), ReceiveError> {
    let epoch = match next(&mut rx).await? {
        Some(EventsUp::Outbox { epoch }) => epoch,
        Some(EventsUp::Entries(_)) => return Err(wrong("entries came before their outbox was announced")),
        None => return Ok(()),
    };
    let mut through = store.resume(edge.clone(), epoch).await.map_err(ended)?;
    let mut last = through;
    tx.send(&EventsDown::Resume { through }).await.map_err(ended)?;
    loop {
        let entries = match next(&mut rx).await? {
            Some(EventsUp::Entries(entries)) => entries,
            Some(EventsUp::Outbox { .. }) => return Err(wrong("a second outbox was announced on one stream")),
            None => return Ok(()),
        };
        let first = check(epoch, last, &entries).map_err(ReceiveError::Protocol)?;
        // The record may be ahead of this stream by what an earlier one had under way.
        let missing = first.saturating_sub(through.max(last) + 1);
        if missing > 0 {
            tracing::warn!(%edge, %epoch, missing, after = last, "the edge's outbox was full and dropped entries");
            metrics::counter!("watchtree_record_missing_total").increment(missing);
        }
        last = entries.last().map_or(last, |entry| entry.seq);
        through = store.append(edge.clone(), entries).await.map_err(ended)?;
        tx.send(&EventsDown::Ack { through }).await.map_err(ended)?;
    }
}

/// The first number of these. Before it entries may be missing, as an outbox that was full for days has
/// dropped its oldest; inside a message none may, and none comes again.
fn check(epoch: Epoch, last: u64, entries: &[Entry]) -> Result<u64, String> {
    let Some(first) = entries.first() else { return Err("a message without entries".to_owned()) };
    if first.seq <= last {
        return Err(format!("entry {} came after entry {last}", first.seq));
    }
    for (expected, entry) in (first.seq..).zip(entries) {
        if entry.epoch != epoch {
            return Err(format!("entry {} is of epoch {}, announced was {epoch}", entry.seq, entry.epoch));
        }
        if entry.seq != expected {
            return Err(format!("entry {} came where {expected} was due", entry.seq));
        }
    }
    Ok(first.seq)
}

async fn next(rx: &mut Rx) -> Result<Option<EventsUp>, ReceiveError> {
    rx.recv().await.map_err(|error| match error {
        RecvError::Lost(lost) => ReceiveError::Ended(lost.to_string()),
        RecvError::Garbled(why) => ReceiveError::Protocol(why),
    })
}

fn wrong(text: &str) -> ReceiveError {
    ReceiveError::Protocol(text.to_owned())
}

fn ended(error: impl std::fmt::Display) -> ReceiveError {
    ReceiveError::Ended(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::entry;

    #[test]
    fn entries_that_follow_are_taken() {
        assert_eq!(check(Epoch(1), 4, &[entry(1, 5), entry(1, 6)]), Ok(5));
    }

    #[test]
    fn a_gap_between_messages_is_what_the_outbox_dropped() {
        assert_eq!(check(Epoch(1), 4, &[entry(1, 8)]), Ok(8));
    }

    #[test]
    fn a_gap_inside_a_message_is_refused() {
        let refused = check(Epoch(1), 4, &[entry(1, 5), entry(1, 7)]);
        assert_eq!(refused, Err("entry 7 came where 6 was due".to_owned()));
    }

    #[test]
    fn an_entry_that_goes_back_is_refused() {
        assert_eq!(check(Epoch(1), 4, &[entry(1, 4)]), Err("entry 4 came after entry 4".to_owned()));
    }

    #[test]
    fn an_entry_of_an_epoch_not_announced_is_refused() {
        assert!(check(Epoch(1), 0, &[entry(2, 1)]).expect_err("another epoch").contains("announced was"));
    }

    #[test]
    fn an_empty_message_is_refused() {
        assert!(check(Epoch(1), 0, &[]).is_err());
    }
}
