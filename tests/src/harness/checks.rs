//! What must hold whatever was killed: the record against the witness, and the books against themselves.
//!
//! Each check returns all that is wrong, a line each; nothing is wrong if the list is empty.

use super::witness::Accepted;
use protocol::admin::RecordedEvent;
use protocol::frame::{Ledger, LedgerState};
use protocol::{CameraId, Entry, EventId, Phase};
use std::collections::{BTreeMap, BTreeSet};

/// One outbox's entries on the record: each that was accepted once, in order, and nothing else.
pub fn record_faults(entries: &[Entry], accepted: u64, witness: &BTreeSet<Accepted>) -> Vec<String> {
    let mut faults = Vec::new();
    for (wanted, entry) in (1..).zip(entries) {
        if entry.seq != wanted {
            faults.push(format!("entry {wanted} of the record has seq {}", entry.seq));
            break;
        }
    }
    if entries.len() as u64 != accepted {
        faults.push(format!("the outbox accepted {accepted} entries, the record has {}", entries.len()));
    }
    let revisions: BTreeSet<Accepted> = entries.iter().map(identify).collect();
    for lost in witness.difference(&revisions) {
        faults.push(format!("accepted and not on the record: {lost:?}"));
    }
    faults.extend(order_faults(entries));
    faults
}

fn identify(entry: &Entry) -> Accepted {
    Accepted { epoch: entry.epoch, seq: entry.seq, event: entry.event.id, revision: entry.event.revision }
}

/// Each event: a start, then updates, then one end, none of them twice.
fn order_faults(entries: &[Entry]) -> Vec<String> {
    let mut last: BTreeMap<EventId, (u32, Phase)> = BTreeMap::new();
    let mut faults = Vec::new();
    for Entry { seq, event, .. } in entries {
        let (id, revision, phase) = (event.id, event.revision, event.phase);
        match last.insert(id, (revision, phase)) {
            None if phase == Phase::Start && revision == 0 => {}
            None => faults.push(format!("seq {seq}: event {id} begins with revision {revision}, {phase:?}")),
            Some((_, Phase::End)) => faults.push(format!("seq {seq}: event {id} goes on after its end")),
            Some((before, _)) if revision != before + 1 => {
                faults.push(format!("seq {seq}: event {id} goes from revision {before} to {revision}"));
            }
            Some(_) if phase == Phase::Start => faults.push(format!("seq {seq}: event {id} starts twice")),
            Some(_) => {}
        }
    }
    faults
}

/// One camera's events come on the record in the order in which they were seen. The end of one is told later than it
/// was seen, and in between is what was seen meanwhile. That nobody looked is known later than what is seen at its end.
pub fn camera_order_faults(entries: &[Entry]) -> Vec<String> {
    let mut last: BTreeMap<&CameraId, &Entry> = BTreeMap::new();
    let mut faults = Vec::new();
    let seen = entries.iter().filter(|entry| !entry.event.tells_of_coverage());
    for entry in seen.filter(|entry| entry.event.phase != Phase::End) {
        let camera = &entry.event.camera;
        if let Some(before) = last.insert(camera, entry).filter(|before| before.event.end > entry.event.end) {
            faults.push(format!("{camera} is out of order: seq {} was seen after seq {}", before.seq, entry.seq));
        }
    }
    faults
}

/// The list of events: each on the record once, in its last revision, and ended; that nobody looks lasts as long as it
/// does.
pub fn list_faults(events: &[RecordedEvent], entries: &[Entry]) -> Vec<String> {
    let mut last: BTreeMap<EventId, u32> = BTreeMap::new();
    for entry in entries {
        last.insert(entry.event.id, entry.event.revision);
    }
    let mut faults = Vec::new();
    for RecordedEvent { event, .. } in events {
        match last.remove(&event.id) {
            None => faults.push(format!("event {} is listed twice or is not on the record", event.id)),
            Some(wanted) if wanted != event.revision => {
                faults
                    .push(format!("event {} is listed at revision {}, its last is {wanted}", event.id, event.revision));
            }
            Some(_) if event.phase != Phase::End && !event.tells_of_coverage() => {
                faults.push(format!("event {} never ended", event.id))
            }
            Some(_) => {}
        }
    }
    faults.extend(last.keys().map(|id| format!("event {id} is on the record and not listed")));
    faults
}

/// The books: submitted = outcomes + in flight for each asker, and at most one asker of an edge still at work.
pub fn ledger_faults(ledgers: &[Ledger]) -> Vec<String> {
    let unbalanced = ledgers.iter().filter(|ledger| !ledger.tally.balances());
    let mut faults: Vec<String> = unbalanced.map(|ledger| format!("does not balance: {ledger:?}")).collect();
    let lost = ledgers.iter().filter(|ledger| ledger.state == LedgerState::Closed && ledger.tally.in_flight > 0);
    faults.extend(lost.map(|ledger| format!("closed with frames in flight: {ledger:?}")));
    let mut open = BTreeSet::new();
    for ledger in ledgers.iter().filter(|ledger| ledger.state == LedgerState::Open) {
        if !open.insert(&ledger.edge) {
            faults.push(format!("a second asker of {} is open: {}", ledger.edge, ledger.asker));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::frame::Tally;
    use protocol::{EndReason, Epoch, Event, Evidence, Timestamp};

    fn entry(seq: u64, id: u128, revision: u32, phase: Phase) -> Entry {
        let at = Timestamp::from_micros(seq.cast_signed());
        let event = Event {
            id: EventId(id),
            camera: "yard".parse().expect("a name"),
            phase,
            revision,
            label: "red".to_owned(),
            evidence: Evidence::Motion,
            score: 1.0,
            top_score: 1.0,
            area: [0.0; 4],
            begin: at,
            end: at,
            reason: (phase == Phase::End).then_some(EndReason::Left),
            zones: Vec::new(),
            has_clip: false,
            has_snapshot: false,
        };
        Entry { epoch: Epoch(1), seq, accepted: at, event }
    }

    fn sound() -> Vec<Entry> {
        use Phase::{End, Start, Update};
        vec![
            entry(1, 7, 0, Start),
            entry(2, 7, 1, Update),
            entry(3, 8, 0, Start),
            entry(4, 7, 2, End),
            entry(5, 8, 1, End),
        ]
    }

    fn listed(entries: &[Entry]) -> Vec<RecordedEvent> {
        let of = |entry: &Entry| RecordedEvent {
            tenant: Default::default(),
            edge: "yard".parse().expect("a name"),
            epoch: entry.epoch,
            seq: entry.seq,
            event: entry.event.clone(),
        };
        entries.iter().map(of).collect()
    }

    #[track_caller]
    fn check(entries: &[Entry], accepted: u64, words: &str) {
        let witness = sound().iter().map(identify).collect();
        let faults = record_faults(entries, accepted, &witness).join("\n");
        assert!(if words.is_empty() { faults.is_empty() } else { faults.contains(words) }, "{faults}");
    }

    #[test]
    fn a_sound_record_has_no_faults() {
        check(&sound(), 5, "");
    }

    #[test]
    fn a_lost_entry_is_found_in_the_middle_and_at_the_end() {
        let mut gap = sound();
        gap.remove(1);
        check(&gap, 5, "entry 2 of the record has seq 3");
        check(&sound()[..4], 5, "accepted 5 entries, the record has 4");
        check(&sound()[..4], 4, "accepted and not on the record");
    }

    #[test]
    fn an_entry_or_a_revision_that_came_twice_is_found() {
        let mut doubled = sound();
        doubled.insert(1, doubled[0].clone());
        check(&doubled, 5, "entry 2 of the record has seq 1");
        let mut again = sound();
        again.push(entry(6, 7, 2, Phase::End));
        check(&again, 6, "goes on after its end");
        let mut stepped = sound();
        stepped[1].event.revision = 0;
        check(&stepped, 5, "goes from revision 0 to 0");
    }

    #[test]
    fn what_a_camera_saw_earlier_is_not_recorded_later_but_for_ends() {
        let mut entries = sound();
        assert_eq!(camera_order_faults(&entries), [""; 0]);
        let earlier = Timestamp::from_micros(0);
        entries[3].event.end = earlier;
        assert_eq!(camera_order_faults(&entries), [""; 0], "an end");
        entries[1].event.end = earlier;
        assert!(camera_order_faults(&entries)[0].contains("yard is out of order: seq 1 was seen after seq 2"));
    }

    #[test]
    fn the_list_has_each_event_once_in_its_last_revision() {
        let entries = sound();
        let list = listed(&entries[3..]);
        assert!(list_faults(&list, &entries).is_empty());
        assert!(list_faults(&list[..1], &entries)[0].contains("not listed"));
        assert!(list_faults(&listed(&[entries[3].clone(), entries[3].clone()]), &entries)[0].contains("listed twice"));
        assert!(list_faults(&listed(&entries[1..3]), &entries)[0].contains("its last is 2"));
    }

    #[test]
    fn books_that_do_not_add_up_are_found() {
        let tally = Tally { submitted: 3, ok: 2, in_flight: 1, ..Tally::default() };
        let ledger = |asker, state, tally| Ledger { asker: Epoch(asker), edge: "yard".to_owned(), state, tally };
        let open = ledger(1, LedgerState::Open, tally);
        assert!(ledger_faults(&[open.clone(), ledger(2, LedgerState::Cut, tally)]).is_empty());
        assert!(ledger_faults(&[open, ledger(2, LedgerState::Open, tally)])[0].contains("second asker"));
        assert!(ledger_faults(&[ledger(1, LedgerState::Closed, tally)])[0].contains("in flight"));
        let short = Tally { submitted: 4, ..tally };
        assert!(ledger_faults(&[ledger(1, LedgerState::Cut, short)])[0].contains("does not balance"));
    }
}
