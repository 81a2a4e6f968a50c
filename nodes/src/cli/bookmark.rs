//! Bookmark: how far one relay's events have been read, so that a lost connection repeats and misses nothing.
//!
//!   events ──▶ is_news ──▶ printed once per revision
//!   lost   ──▶ resume_from ──▶ asked again from there; what comes twice is no news

use protocol::admin::RecordedEvent;
use protocol::{EventId, NodeName, Phase, TenantId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Events remembered. When full, the oldest is forgotten; it may be printed again after a loss.
const KNOWN_MAX: usize = 4096;

/// How much later than it began an event may reach the relay without being missed after a loss.
const LATE_MAX: Duration = Duration::from_secs(60);

struct Known {
    revision: u32,
    begin: Timestamp,
    goes_on: bool,
}

pub(super) struct Bookmark {
    /// What the operator said; `None` means from now on.
    asked_from: Option<Timestamp>,
    /// Ids order by time.
    known: BTreeMap<EventId, Known>,
    newest_begin: Timestamp,
    /// One an edge: where its clock was when its first event was seen. Clocks of two hosts are never compared.
    first_seen: BTreeMap<(TenantId, NodeName), Timestamp>,
    has_resumed: bool,
}

impl Bookmark {
    pub fn new(asked_from: Option<Timestamp>, now: Timestamp) -> Self {
        let newest_begin = asked_from.unwrap_or(now);
        Self { asked_from, known: BTreeMap::new(), newest_begin, first_seen: BTreeMap::new(), has_resumed: false }
    }

    /// Whether it was not printed yet; from now on it was.
    pub fn is_news(&mut self, recorded: &RecordedEvent, now: Timestamp) -> bool {
        let event = &recorded.event;
        let is_news = match self.known.get(&event.id) {
            Some(known) => event.revision > known.revision,
            None => !self.was_over_before(recorded),
        };
        if is_news {
            let known = Known { revision: event.revision, begin: event.begin, goes_on: event.phase != Phase::End };
            self.known.insert(event.id, known);
            // An edge whose clock is ahead must not make us skip the others' events.
            self.newest_begin = self.newest_begin.max(event.begin.min(now));
            if self.known.len() > KNOWN_MAX {
                self.known.pop_first();
            }
        }
        is_news
    }

    /// The way back to an event that goes on leads past others that had ended before anybody looked.
    fn was_over_before(&mut self, recorded: &RecordedEvent) -> bool {
        let edge = (recorded.tenant.clone(), recorded.edge.clone());
        let first_seen = *self.first_seen.entry(edge).or_insert(recorded.event.end);
        self.has_resumed && self.asked_from.is_none() && recorded.event.end < first_seen
    }

    /// From which beginning on to ask again: the oldest event that may have changed or arrived since.
    pub fn resume_from(&mut self) -> Timestamp {
        self.has_resumed = true;
        let goes_on = self.known.values().filter(|known| known.goes_on).map(|known| known.begin);
        let late = self.newest_begin.minus(LATE_MAX);
        let back = goes_on.min().map_or(late, |oldest| oldest.min(late));
        self.asked_from.map_or(back, |asked| back.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::samples::{event, now};
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        now().plus(Duration::from_secs(seconds))
    }

    /// A bookmark that has seen these, each an id, when it began and its phase.
    fn having_seen(asked_from: Option<Timestamp>, events: &[(u128, u64, Phase)]) -> Bookmark {
        let mut mark = Bookmark::new(asked_from, now());
        for (id, begin_s, phase) in events {
            assert!(mark.is_news(&event(*id, *begin_s, 0, *phase), at(100_000)));
        }
        mark
    }

    #[test]
    fn each_revision_is_news_once() {
        let mut mark = having_seen(None, &[(1, 0, Phase::Start)]);
        assert!(!mark.is_news(&event(1, 0, 0, Phase::Start), now()));
        assert!(mark.is_news(&event(1, 0, 2, Phase::End), now()));
        assert!(!mark.is_news(&event(1, 0, 1, Phase::Update), now()));
    }

    #[test]
    fn a_resumed_reader_goes_back_to_what_was_still_going_on() {
        let mut mark = having_seen(None, &[(1, 10, Phase::Start), (2, 500, Phase::End)]);
        assert_eq!(mark.resume_from(), at(10));
        assert!(mark.is_news(&event(1, 10, 1, Phase::End), now()));
        assert_eq!(mark.resume_from(), at(500 - 60));
    }

    #[test]
    fn a_resumed_reader_does_not_go_back_before_what_was_asked_for() {
        let mut mark = having_seen(Some(at(480)), &[(1, 500, Phase::End)]);
        assert_eq!(mark.resume_from(), at(480));
    }

    #[test]
    fn after_a_loss_what_was_over_before_the_first_event_is_no_news() {
        let mut mark = having_seen(None, &[(9, 1000, Phase::Update)]);
        mark.resume_from();
        assert!(!mark.is_news(&event(1, 990, 1, Phase::End), now()));
        assert!(mark.is_news(&event(2, 1001, 1, Phase::End), now()), "it was missed");
    }

    #[test]
    fn the_operators_clock_hides_no_event() {
        let mut mark = Bookmark::new(None, at(3600));
        assert!(mark.is_news(&event(1, 0, 0, Phase::Start), at(3600)));
    }

    #[test]
    fn an_edge_whose_clock_is_ahead_hides_no_others() {
        let mut mark = Bookmark::new(None, now());
        assert!(mark.is_news(&event(1, 3600, 0, Phase::End), at(100)));
        assert_eq!(mark.resume_from(), at(100 - 60));
    }

    #[test]
    fn a_busy_site_does_not_fill_the_memory() {
        let mut mark = Bookmark::new(None, now());
        for id in 0..(KNOWN_MAX as u128 + 10) {
            mark.is_news(&event(id, 0, 1, Phase::End), now());
        }
        assert_eq!(mark.known.len(), KNOWN_MAX);
    }
}
