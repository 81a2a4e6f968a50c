//! Aim: which of an edge's two gpu nodes gets the next frame.
//!
//!   the one asked first, unless it is suspect ──▶ the other, unless that is suspect too ──▶ whoever is there
//!
//! One that missed a frame's deadline, or did not judge, is suspect at once: nobody waits for a transport to miss a peer.
//! It is tried again by one frame at a time, after growing pauses, and is well with its next verdict in time. Pure.

use protocol::Outcome;
use std::time::Duration;

/// An edge keeps links to so many gpu nodes.
pub const PLACES: usize = 2;

/// Before the first trial; each one takes a frame's whole patience if the node is still away.
const TRIAL_AFTER: Duration = Duration::from_secs(2);
const TRIAL_AFTER_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Aim {
    first: usize,
    suspects: [Option<Suspect>; PLACES],
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    since: Duration,
    trials: u32,
    next_trial: Duration,
}

impl Aim {
    /// Whom to prefer from now on.
    pub fn prefer(&mut self, place: usize) {
        self.first = place.min(PLACES - 1);
    }

    /// The next frame's, among those that are up.
    pub fn pick(&mut self, now: Duration, up: [bool; PLACES]) -> Option<usize> {
        let order = [self.first, PLACES - 1 - self.first];
        let well = order.into_iter().find(|place| up[*place] && self.suspects[*place].is_none());
        let Some(well) = well else {
            // Better a suspect than nobody.
            return order.into_iter().find(|place| up[*place]);
        };
        let due = |suspect: &Suspect| now >= suspect.next_trial;
        let trial = order.into_iter().find(|place| up[*place] && self.suspects[*place].as_ref().is_some_and(due));
        let Some(trial) = trial else { return Some(well) };
        if let Some(suspect) = &mut self.suspects[trial] {
            suspect.trials += 1;
            suspect.next_trial = now + pause(suspect.trials);
        }
        Some(trial)
    }

    /// What became of a frame at this place; true if that makes it suspect.
    pub fn saw(&mut self, now: Duration, place: usize, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Ok { .. } => {
                self.suspects[place] = None;
                false
            }
            // It is there and has too much to do.
            Outcome::Shed => false,
            Outcome::Expired | Outcome::Failed { .. } => {
                let is_news = self.suspects[place].is_none();
                self.suspects[place].get_or_insert(Suspect { since: now, trials: 0, next_trial: now + pause(0) });
                is_news
            }
        }
    }

    /// Another connection: whatever was held against it was the old one's.
    pub fn begins_anew(&mut self, place: usize) {
        self.suspects[place] = None;
    }

    /// Since when it is suspect.
    pub fn suspect_since(&self, place: usize) -> Option<Duration> {
        self.suspects[place].map(|suspect| suspect.since)
    }
}

fn pause(trials: u32) -> Duration {
    TRIAL_AFTER.saturating_mul(1 << trials.min(10)).min(TRIAL_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UP: [bool; PLACES] = [true, true];

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn judged() -> Outcome {
        Outcome::Ok { model: "squares".to_owned(), detections: Vec::new() }
    }

    #[test]
    fn a_missed_deadline_sends_the_next_frame_to_the_standby() {
        let mut aim = Aim::default();
        assert_eq!(aim.pick(s(0.0), UP), Some(0));
        assert!(aim.saw(s(1.0), 0, &Outcome::Expired));
        assert!(!aim.saw(s(1.0), 0, &Outcome::Expired), "that was known");
        assert_eq!(aim.pick(s(1.0), UP), Some(1));
        assert_eq!(aim.suspect_since(0), Some(s(1.0)));
    }

    #[test]
    fn a_suspect_is_tried_by_one_frame_after_growing_pauses_and_is_well_with_a_verdict() {
        let mut aim = Aim::default();
        aim.saw(s(0.0), 0, &Outcome::Expired);
        assert_eq!([1.9, 2.0, 2.1, 5.9, 6.0, 6.1].map(|at| aim.pick(s(at), UP)), [1, 0, 1, 1, 0, 1].map(Some));
        aim.saw(s(7.0), 0, &Outcome::Shed);
        assert_eq!(aim.pick(s(7.0), UP), Some(1), "to shed is not to judge");
        aim.saw(s(7.1), 0, &judged());
        assert_eq!(aim.pick(s(7.2), UP), Some(0));
    }

    #[test]
    fn nobody_else_is_there() {
        let mut aim = Aim::default();
        aim.saw(s(0.0), 0, &Outcome::Failed { reason: "no worker".to_owned() });
        assert_eq!(aim.pick(s(0.1), [true, false]), Some(0), "better a suspect than nobody");
        assert_eq!(aim.pick(s(0.1), [false, true]), Some(1));
        assert_eq!(aim.pick(s(0.1), [false, false]), None);
        aim.saw(s(0.2), 1, &Outcome::Expired);
        aim.prefer(1);
        assert_eq!(aim.pick(s(0.3), UP), Some(1), "both are suspect: the preferred one");
        aim.begins_anew(0);
        assert_eq!(aim.pick(s(0.3), UP), Some(0), "its new connection is as good as any");
    }

    proptest! {
        /// A frame goes to somebody while anybody is up, and to a suspect beside one that is well only now and then.
        #[test]
        fn frames_go_to_whoever_is_well(steps in proptest::collection::vec((0_u8..5, 0_usize..2, any::<[bool; 2]>()), 1..200)) {
            let mut aim = Aim::default();
            let mut trials = [0_u32; PLACES];
            for (nth, (what, place, up)) in steps.into_iter().enumerate() {
                let now = s(nth as f64 * 0.1);
                match what {
                    0 => drop(aim.saw(now, place, &Outcome::Expired)),
                    1 => { aim.saw(now, place, &judged()); }
                    2 => aim.prefer(place),
                    _ => {}
                }
                let picked = aim.pick(now, up);
                prop_assert_eq!(picked.is_some(), up[0] || up[1]);
                let Some(picked) = picked else { continue };
                prop_assert!(up[picked], "it is not up");
                let other = PLACES - 1 - picked;
                if aim.suspects[picked].is_some() && up[other] && aim.suspects[other].is_none() {
                    trials[picked] += 1;
                }
            }
            prop_assert!(trials.iter().all(|trials| *trials <= 11), "{trials:?} trials in 20 s");
        }
    }
}
