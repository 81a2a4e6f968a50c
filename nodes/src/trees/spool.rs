//! Spool: whether what an edge wrote down has somewhere to go, or room to wait.
//!
//!   outbox ──waiting, acked──▶ [spool] ──▶ health
//!   link ──up, or why not────▶
//!
//! A link that is up is not a relay that records: its disk may be full, or the forwarder parked. Only what is
//! acknowledged has gone.

use actors::api::health::Finding;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An outbox that is fuller than this and does not drain is about to drop what is old, and the node does its job no
/// longer.
const PERCENT_MAX: u128 = 90;
/// A relay that records acknowledges several times a second while entries wait for it.
const DRAINS_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Spool {
    entries_max: u64,
    drained: Mutex<Drained>,
}

/// How far it was when last looked at, if it was, and when it last got further.
#[derive(Default)]
struct Drained {
    acked: Option<u64>,
    at: Option<Instant>,
}

impl Spool {
    pub fn new(entries_max: u64) -> Self {
        Self { entries_max, drained: Mutex::default() }
    }

    /// Looked at again and again, so that it is seen how the outbox drains.
    pub fn finding(&self, acked: u64, waiting: u64, link: Finding, now: Instant) -> Finding {
        let (drains, max) = (self.drains(acked, now), self.entries_max);
        let full = u128::from(waiting) * 100 / u128::from(max.max(1));
        let nearly = format!("the outbox is {full} % full ({waiting} of {max} entries)");
        match link {
            Ok(_) if full <= PERCENT_MAX => Ok(format!("linked; {waiting} entries wait")),
            Ok(_) if drains => Ok(format!("{nearly} and drains")),
            Ok(_) => Err(format!(
                "{nearly} and the relay, which is linked, has acknowledged none for {} s; see the forwarder's note and \
                 the relay's /health/deep",
                DRAINS_WITHIN.as_secs()
            )),
            Err(why) if full <= PERCENT_MAX => Ok(format!("{waiting} of {max} entries wait for the relay: {why}")),
            Err(why) => {
                Err(format!("{nearly} and the relay is away: {why}; bring it back, or raise outbox.entries_max"))
            }
        }
    }

    fn drains(&self, acked: u64, now: Instant) -> bool {
        let mut drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
        // Less than before: the outbox was put back or opened again, and counts from there.
        if drained.acked.replace(acked).is_some_and(|before| acked > before) {
            drained.at = Some(now);
        }
        drained.at.is_some_and(|at| now.saturating_duration_since(at) < DRAINS_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in an outbox of 100 entries at each (second, acked, waiting), while the relay is linked or not.
    #[track_caller]
    fn check(linked: bool, course: &[(u64, u64, u64)], wanted: &[Result<&str, &str>]) {
        let (spool, began) = (Spool::new(100), Instant::now());
        assert_eq!(course.len(), wanted.len());
        for ((at_s, acked, waiting), wanted) in course.iter().zip(wanted) {
            let link = if linked { Ok("linked".to_owned()) } else { Err("no route".to_owned()) };
            let found = spool.finding(*acked, *waiting, link, began + Duration::from_secs(*at_s));
            match (&found, wanted) {
                (Ok(text), Ok(part)) | (Err(text), Err(part)) if text.contains(part) => {}
                _ => panic!("at {at_s} s it is {found:?} and not {wanted:?}"),
            }
        }
    }

    #[test]
    fn an_edge_without_its_relay_is_ready_while_its_outbox_has_room() {
        let room = Ok("90 of 100 entries wait for the relay: no route");
        let full = Err("91 % full (91 of 100 entries) and the relay is away: no route");
        check(false, &[(0, 0, 90), (1, 0, 91), (2, 9, 91)], &[room, full, full]);
    }

    #[test]
    fn a_relay_that_is_linked_and_records_nothing_is_no_way_out_of_a_full_outbox() {
        let (room, drains, stands) = (Ok("linked; 50 entries"), Ok("99 % full"), Err("has acknowledged none for 10 s"));
        check(
            true,
            &[(0, 0, 50), (1, 0, 99), (2, 1, 99), (11, 1, 99), (12, 1, 99), (13, 2, 99)],
            &[room, stands, drains, drains, stands, drains],
        );
    }

    #[test]
    fn an_outbox_that_counts_anew_has_not_drained() {
        let stands = Err("has acknowledged none");
        check(true, &[(0, 50, 99), (1, 3, 99), (2, 4, 99)], &[stands, stands, Ok("drains")]);
    }
}
