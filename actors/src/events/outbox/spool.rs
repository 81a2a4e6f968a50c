//! Spool: what an outbox gives up when it is full, and what of that is not told yet.
//!
//!   too many ──▶ [shed] low first, then normal, high, critical; of each the oldest ──▶ gaps in the numbers
//!                   └──▶ untold, by severity ──▶ reports: events of their own
//!
//! It is saved in the transaction that drops. For each severity it knows through which number none is left, so an
//! outbox that stays full looks at each of its chunks once a severity, and not at each push.

use super::file::{decode_chunk, encode_chunk};
use crate::events::disk::FileError;
use protocol::event::DROPPED_LABEL;
use protocol::{CameraId, Entry, Event, EventId, Evidence, Phase, Severity, Timestamp};
use redb::{ReadableTable, Table};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// Beside what is too many, a hundredth of the limit goes, of the same severity, and this many at most: chunks are
/// written anew and marks saved for many entries at once, and not at each push.
const BESIDE_ENTRIES_MAX: u64 = 1024;
/// Looked for and taken out at once: what is held in memory meanwhile. The rest goes in the next round of the same
/// transaction.
const ROUND_ENTRIES: u64 = 4096;

/// A number for each [`Severity`], in its order.
pub(super) type BySeverity<T> = [T; Severity::ALL.len()];

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Spool {
    /// Numbers given and not acknowledged whose entries are gone.
    pub absent: u64,
    /// The number of the newest report; 0 before the first.
    pub reported: u64,
    /// Through this number no entry of the severity is left.
    swept: BySeverity<u64>,
    /// Dropped since the last report.
    untold: BySeverity<Option<Untold>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Untold {
    entries: u64,
    oldest: Timestamp,
    newest: Timestamp,
}

impl Untold {
    fn and(self, more: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(more.entries),
            oldest: self.oldest.min(more.oldest),
            newest: self.newest.max(more.newest),
        }
    }
}

/// What is there: numbers after `done` are not acknowledged, and `accepted` is the newest.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub done: u64,
    pub accepted: u64,
}

impl Spool {
    /// After all entries got other numbers, without gaps. What was dropped is still to be told.
    pub fn renumbered(&mut self) {
        *self = Self { untold: self.untold, ..Self::default() };
    }

    pub fn has_untold(&self) -> bool {
        self.untold.iter().any(Option::is_some)
    }

    /// One event for each severity of which entries were dropped; they are told with it.
    pub fn reports(&mut self) -> Vec<Event> {
        let untold = std::mem::take(&mut self.untold);
        let told = Severity::ALL.into_iter().zip(untold);
        told.filter_map(|(severity, untold)| Some(report(severity, untold?))).collect()
    }

    /// Takes out at least `too_many` entries, or all there are: the oldest of the lowest severity. Returns how many
    /// went, by severity; reports are not counted, as the next report says what they said.
    pub fn shed(
        &mut self,
        table: &mut Table<u64, &'static [u8]>,
        span: Span,
        too_many: u64,
        entries_max: u64,
    ) -> Result<BySeverity<u64>, FileError> {
        let (mut dropped, mut left) = (BySeverity::default(), too_many);
        let beside = (entries_max / 100).min(BESIDE_ENTRIES_MAX);
        for severity in Severity::ALL {
            while left > 0 {
                let most = (left + beside).min(ROUND_ENTRIES);
                let gone = self.sweep(table, span, severity, most)?;
                for entry in &gone {
                    dropped[severity as usize] += self.note(entry);
                }
                left = left.saturating_sub(gone.len() as u64);
                if (gone.len() as u64) < most {
                    break;
                }
            }
        }
        Ok(dropped)
    }

    /// Takes out the oldest entries of one severity, `most` of them; fewer only where there are no more.
    fn sweep(
        &mut self,
        table: &mut Table<u64, &'static [u8]>,
        span: Span,
        severity: Severity,
        most: u64,
    ) -> Result<Vec<Entry>, FileError> {
        let swept = &mut self.swept[severity as usize];
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for row in table.range((Bound::Excluded((*swept).max(span.done)), Bound::Unbounded))? {
            let (last, chunk) = row?;
            let had = gone.len();
            let mut kept = Vec::new();
            for entry in decode_chunk(chunk.value())?.into_iter().filter(|entry| entry.seq > span.done) {
                let goes = (gone.len() as u64) < most && entry.event.severity() == severity;
                if goes { gone.push(entry) } else { kept.push(entry) }
            }
            if gone.len() > had {
                changed.push((last.value(), kept));
            }
            if gone.len() as u64 == most {
                break;
            }
        }
        for (last, kept) in changed {
            // Under its old key, though the entry of that number may be gone: keys only say what comes after what.
            if kept.is_empty() {
                table.remove(last)?
            } else {
                table.insert(last, encode_chunk(&kept).as_slice())?
            };
        }
        *swept = gone.get(most as usize - 1).map_or(span.accepted, |last| last.seq);
        Ok(gone)
    }

    /// 1 for an entry that is lost by it, 0 for a report.
    fn note(&mut self, entry: &Entry) -> u64 {
        self.absent += 1;
        let event = &entry.event;
        let (severity, untold, lost) = match event.evidence {
            // What it told is told again, by the next one.
            Evidence::Dropped { entries, severity } => {
                (severity, Untold { entries, oldest: event.begin, newest: event.end }, 0)
            }
            _ => (event.severity(), Untold { entries: 1, oldest: entry.accepted, newest: entry.accepted }, 1),
        };
        let known = &mut self.untold[severity as usize];
        *known = Some(known.map_or(untold, |known| known.and(untold)));
        lost
    }
}

fn report(severity: Severity, untold: Untold) -> Event {
    Event {
        id: EventId::new(untold.oldest),
        camera: CameraId::outbox(),
        phase: Phase::End,
        revision: 0,
        label: DROPPED_LABEL.to_owned(),
        evidence: Evidence::Dropped { entries: untold.entries, severity },
        score: 0.0,
        top_score: 0.0,
        area: [0.0; 4],
        begin: untold.oldest,
        end: untold.newest,
        reason: None,
        zones: Vec::new(),
        has_clip: false,
        has_snapshot: false,
    }
}
