//! Receiver: the relay's end of one edge's events.
//!
//!   forwarder ══Outbox, Entries══▶ [receiver] ──append──▶ store
//!             ◀══Resume, Ack══════      ◀── on disk ────────┘
//!
//! One append at a time per edge: what comes meanwhile waits in the stream, and then at the edge.

use crate::events::store::EventStore;
use protocol::link::{EventsDown, EventsUp};
use protocol::transport::{Rx, Tx};
use protocol::{Entry, Epoch, Identity};

/// Serves one events stream until the edge ends it; an error says what was wrong, for the log and for
/// the edge. `edge` is whom the certificate names: what it sends is on the record as its own.
pub async fn receive(edge: Identity, mut tx: Tx, mut rx: Rx, store: EventStore) -> Result<(), String> {
    let epoch = match rx.recv().await.map_err(text)? {
        Some(EventsUp::Outbox { epoch }) => epoch,
        Some(EventsUp::Entries(_)) => return Err("entries came before their outbox was announced".to_owned()),
        None => return Ok(()),
    };
    let mut through = store.resume(edge.clone(), epoch).await.map_err(text)?;
    let mut last = through;
    tx.send(&EventsDown::Resume { through }).await.map_err(text)?;
    loop {
        let entries = match rx.recv().await.map_err(text)? {
            Some(EventsUp::Entries(entries)) => entries,
            Some(EventsUp::Outbox { .. }) => return Err("a second outbox was announced on one stream".to_owned()),
            None => return Ok(()),
        };
        let first = check(epoch, last, &entries)?;
        // The record may be ahead of this stream by what an earlier one had under way.
        let missing = first.saturating_sub(through.max(last) + 1);
        if missing > 0 {
            tracing::warn!(%edge, %epoch, missing, after = last, "the edge's outbox was full and dropped entries");
            metrics::counter!("watchtree_record_missing_total").increment(missing);
        }
        last = entries.last().map_or(last, |entry| entry.seq);
        through = store.append(edge.clone(), entries).await.map_err(text)?;
        tx.send(&EventsDown::Ack { through }).await.map_err(text)?;
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

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
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
