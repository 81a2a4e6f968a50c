//! Receiver: the relay's end of one edge's events.
//!
//!   forwarder ══Outbox, Entries══▶ [receiver] ──append──▶ store
//!             ◀══Resume, Ack══════      ◀── on disk ────────┘
//!
//! One append at a time per edge: what comes meanwhile waits in the stream, and then at the edge. Numbers may jump
//! between two messages: the edge's outbox was full and dropped what is missing.

use crate::events::store::EventStore;
use futures_util::FutureExt;
use protocol::limits::{EVENT_ZONES_MAX, TEXT_CHARS_MAX, ZONE_CHARS_MAX};
use protocol::link::{EventsDown, EventsUp};
use protocol::transport::{RecvError, Rx, Tx};
use protocol::{Entry, Epoch, Event, Evidence, Identity, Severity};

/// No outbox drops more entries between two that it sends: at 100 a second, it was full for 11 days.
/// One that leaves out more is refused, as its numbers are made up.
const SEQ_JUMP_MAX: u64 = 100_000_000;
/// Messages that have come already are appended together while they have fewer entries: with gaps they are small. When
/// full, the next waits for the next append.
const GATHERED_ENTRIES: usize = 512;
/// No outbox counts this far. Above it there is no room to count on, and the entry is refused.
const SEQ_MAX: u64 = u64::MAX / 2;

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
        Some(EventsUp::Entries(_) | EventsUp::OldEntries(_)) => {
            return Err(wrong("entries came before their outbox was announced"));
        }
        None => return Ok(()),
    };
    let through = store.resume(edge.clone(), epoch).await.map_err(ended)?;
    let mut stream = Stream { rx, epoch, last: through, ahead: through, read: None };
    tx.send(&EventsDown::Resume { through }).await.map_err(ended)?;
    while let Some(Gathered { entries, missing }) = stream.gather().await? {
        if missing > 0 {
            tracing::debug!(%edge, %epoch, missing, "entries are missing that the edge's outbox dropped");
            metrics::counter!("watchtree_record_missing_total").increment(missing);
        }
        for event in entries.iter().map(|entry| &entry.event).filter(|event| event.severity() == Severity::Critical) {
            tracing::info!(%edge, %epoch, told = %event.title(), "the edge's outbox was full");
        }
        let through = store.append(edge.clone(), entries).await.map_err(ended)?;
        // The record may be ahead of this stream by what an earlier one had under way.
        stream.ahead = stream.ahead.max(through);
        tx.send(&EventsDown::Ack { through }).await.map_err(ended)?;
    }
    Ok(())
}

/// The entries of one append.
struct Gathered {
    entries: Vec<Entry>,
    missing: u64,
}

/// The edge's half.
struct Stream {
    rx: Rx,
    epoch: Epoch,
    /// The newest entry that came.
    last: u64,
    /// The newest entry on the record, as far as this stream knows.
    ahead: u64,
    /// A message that came, and belongs to what follows.
    read: Option<Result<Option<EventsUp>, ReceiveError>>,
}

impl Stream {
    /// The entries of the next message, and of those that have come already; `None` at the end.
    async fn gather(&mut self) -> Result<Option<Gathered>, ReceiveError> {
        let message = match self.read.take() {
            Some(message) => message,
            None => next(&mut self.rx).await,
        };
        let entries = match message? {
            Some(EventsUp::Entries(entries)) => entries,
            Some(EventsUp::Outbox { .. } | EventsUp::OldEntries(_)) => {
                return Err(wrong("a second outbox was announced on one stream"));
            }
            None => return Ok(None),
        };
        let missing = self.take(&entries).map_err(ReceiveError::Protocol)?;
        let mut gathered = Gathered { entries, missing };
        while gathered.entries.len() < GATHERED_ENTRIES
            && let Some(message) = next(&mut self.rx).now_or_never()
        {
            let Ok(Some(EventsUp::Entries(more))) = message else {
                self.read = Some(message);
                break;
            };
            let Ok(missing) = self.take(&more) else {
                // What came before it goes on the record first.
                self.read = Some(Ok(Some(EventsUp::Entries(more))));
                break;
            };
            gathered.entries.extend(more);
            gathered.missing += missing;
        }
        Ok(Some(gathered))
    }

    /// How many numbers are missing before these entries; or why they are refused.
    fn take(&mut self, entries: &[Entry]) -> Result<u64, String> {
        let first = check(self.epoch, self.last, entries)?;
        let missing = first.saturating_sub(self.ahead.max(self.last) + 1).min(SEQ_JUMP_MAX);
        self.last = entries.last().map_or(self.last, |entry| entry.seq);
        Ok(missing)
    }
}

/// The first number of these. Before it entries may be missing, as an outbox that was full has dropped some; inside a message none may, and none comes again.
fn check(epoch: Epoch, last: u64, entries: &[Entry]) -> Result<u64, String> {
    let Some(first) = entries.first() else { return Err("a message without entries".to_owned()) };
    if first.seq <= last {
        return Err(format!("entry {} came after entry {last}", first.seq));
    }
    // An outbox that this record has never met may be old: its record was another one.
    if first.seq > SEQ_MAX || (last > 0 && first.seq - last > SEQ_JUMP_MAX) {
        return Err(format!(
            "entry {} came after entry {last}, no outbox leaves out more than {SEQ_JUMP_MAX}; move the edge's outbox \
             file away, a new one is made at its next start",
            first.seq
        ));
    }
    for (expected, entry) in (first.seq..).zip(entries) {
        if entry.epoch != epoch {
            return Err(format!("entry {} is of epoch {}, announced was {epoch}", entry.seq, entry.epoch));
        }
        if entry.seq != expected {
            return Err(format!("entry {} came where {expected} was due", entry.seq));
        }
        check_event(&entry.event).map_err(|why| format!("entry {}: {why}", entry.seq))?;
    }
    Ok(first.seq)
}

/// What our outbox lets through. Anything else would be on the record for ever, and might be unreadable there.
fn check_event(event: &Event) -> Result<(), String> {
    let (model, node, reason) = match &event.evidence {
        Evidence::Model { model, node } => (model.as_str(), node.as_str(), ""),
        Evidence::Blind { reason } => ("", "", reason.as_str()),
        Evidence::Motion | Evidence::Dropped { .. } => ("", "", ""),
    };
    for (name, text) in [("label", event.label.as_str()), ("model", model), ("node", node), ("reason", reason)] {
        check_text(name, text, TEXT_CHARS_MAX)?;
    }
    if event.zones.len() > EVENT_ZONES_MAX {
        return Err(format!("it names {} zones, the limit is {EVENT_ZONES_MAX}", event.zones.len()));
    }
    for zone in &event.zones {
        check_text("zone", zone, ZONE_CHARS_MAX)?;
    }
    if !event.score.is_finite() || !event.top_score.is_finite() || !event.area.iter().all(|side| side.is_finite()) {
        return Err("its score or its box is not a number".to_owned());
    }
    Ok(())
}

fn check_text(name: &str, text: &str, chars_max: usize) -> Result<(), String> {
    // Counts no further than the limit: the text may be as long as the message.
    if text.chars().nth(chars_max).is_some() {
        return Err(format!("its {name} is longer than the limit of {chars_max} characters"));
    }
    Ok(())
}

/// Entries of an older edge come as those of today.
async fn next(rx: &mut Rx) -> Result<Option<EventsUp>, ReceiveError> {
    let message = rx.recv().await.map_err(|error| match error {
        RecvError::Lost(lost) => ReceiveError::Ended(lost.to_string()),
        RecvError::Garbled(why) => ReceiveError::Protocol(why),
    })?;
    Ok(message.map(|message| match message {
        EventsUp::OldEntries(old) => EventsUp::Entries(old.into_iter().map(Entry::from).collect()),
        other => other,
    }))
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

    fn with(change: impl FnOnce(&mut Event)) -> Result<u64, String> {
        let mut changed = entry(1, 6);
        change(&mut changed.event);
        check(Epoch(1), 4, &[entry(1, 5), changed])
    }

    #[test]
    fn a_text_over_its_limit_is_refused_by_entry_name_and_limit() {
        let (long, fits) = ("\u{10348}".repeat(TEXT_CHARS_MAX + 1), "\u{10348}".repeat(TEXT_CHARS_MAX));
        let model = |model: &str, node: &str| Evidence::Model { model: model.to_owned(), node: node.to_owned() };
        assert_eq!(with(|event| event.label = fits.clone()), Ok(5));
        assert_eq!(with(|event| event.evidence = model(&fits, &fits)), Ok(5));
        for (name, refused) in [
            ("label", with(|event| event.label = long.clone())),
            ("model", with(|event| event.evidence = model(&long, ""))),
            ("node", with(|event| event.evidence = model("", &long))),
            ("reason", with(|event| event.evidence = Evidence::Blind { reason: long.clone() })),
        ] {
            assert_eq!(refused, Err(format!("entry 6: its {name} is longer than the limit of 300 characters")));
        }
    }

    #[test]
    fn a_score_or_a_box_that_is_no_number_is_refused() {
        let wrong = Err("entry 6: its score or its box is not a number".to_owned());
        assert_eq!(with(|event| event.score = f32::NAN), wrong);
        assert_eq!(with(|event| event.top_score = f32::NAN), wrong);
        assert_eq!(with(|event| event.area[3] = f32::INFINITY), wrong);
    }

    #[test]
    fn zones_beyond_their_number_or_length_are_refused() {
        let zones = |count: usize, chars: usize| with(|event| event.zones = vec!["z".repeat(chars); count]);
        assert_eq!(zones(EVENT_ZONES_MAX, ZONE_CHARS_MAX), Ok(5));
        assert_eq!(zones(17, 1), Err("entry 6: it names 17 zones, the limit is 16".to_owned()));
        assert_eq!(zones(1, 49), Err("entry 6: its zone is longer than the limit of 48 characters".to_owned()));
    }

    #[test]
    fn numbers_that_are_made_up_are_refused() {
        assert_eq!(check(Epoch(1), 4, &[entry(1, 4 + SEQ_JUMP_MAX)]), Ok(4 + SEQ_JUMP_MAX));
        for (last, seq) in [(4, 5 + SEQ_JUMP_MAX), (4, u64::MAX), (0, u64::MAX), (SEQ_MAX, SEQ_MAX + 1)] {
            let refused = check(Epoch(1), last, &[entry(1, seq)]).expect_err("is made up");
            assert!(refused.contains(&format!("entry {seq} came after entry {last}")), "{refused}");
        }
    }

    #[test]
    fn an_outbox_older_than_the_record_is_taken_as_it_is() {
        assert_eq!(check(Epoch(1), 0, &[entry(1, 3 * SEQ_JUMP_MAX)]), Ok(3 * SEQ_JUMP_MAX));
    }

    #[test]
    fn an_empty_message_is_refused() {
        assert!(check(Epoch(1), 0, &[]).is_err());
    }
}
