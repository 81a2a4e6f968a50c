//! What is wanted, in sentences and by chance.

use super::*;
use crate::recording::testing::{event, seconds};
use proptest::prelude::*;

const ROLL: Duration = Duration::from_secs(5);

fn plan(mode: RecordMode) -> Plan {
    Plan::new(mode, ROLL, ROLL)
}

fn now() -> Timestamp {
    seconds(100.0)
}

/// Of the second that begins at `s`: until when it is wanted, and as what.
fn wants(plan: &Plan, s: f64) -> Option<(f64, Class)> {
    let wanted = plan.wants(seconds(s), seconds(s + 1.0))?;
    let until = if wanted.until.micros() == i64::MAX { f64::INFINITY } else { since_begin(wanted.until) };
    Some((until, wanted.class))
}

fn since_begin(at: Timestamp) -> f64 {
    at.since(seconds(0.0)).as_secs_f64()
}

#[test]
fn an_event_wants_what_is_from_before_it_until_after_it() {
    let mut plan = plan(RecordMode::Events);
    plan.event(event(1, 20.0, 22.0, false), now());
    assert_eq!(wants(&plan, 13.9), None);
    assert_eq!(wants(&plan, 14.5), Some((27.0, Class::Events)));
    assert_eq!(wants(&plan, 26.5), Some((27.0, Class::Events)));
    assert_eq!(wants(&plan, 27.5), None);
    // It is seen again.
    plan.event(event(1, 20.0, 30.0, true), now());
    assert_eq!(wants(&plan, 27.5), Some((35.0, Class::Events)));
}

#[test]
fn where_events_overlap_the_longest_counts() {
    let mut plan = plan(RecordMode::Events);
    plan.event(event(1, 20.0, 30.0, true), now());
    plan.event(event(2, 28.0, 29.0, true), now());
    plan.event(event(3, 33.0, 40.0, true), now());
    assert_eq!(wants(&plan, 24.0), Some((35.0, Class::Events)));
    assert_eq!(wants(&plan, 34.0), Some((45.0, Class::Events)));
}

#[test]
fn motion_is_wanted_where_it_is_recorded() {
    for (mode, motion) in [
        (RecordMode::Off, None),
        (RecordMode::Events, None),
        (RecordMode::Motion, Some((25.0, Class::Motion))),
        (RecordMode::All, Some((f64::INFINITY, Class::Motion))),
    ] {
        let mut plan = plan(mode);
        plan.moved(seconds(20.0));
        assert_eq!(wants(&plan, 20.0), motion, "{mode:?}");
        let elsewhere = (mode == RecordMode::All).then_some((f64::INFINITY, Class::Continuous));
        assert_eq!(wants(&plan, 50.0), elsewhere, "{mode:?}");
    }
}

#[test]
fn what_moves_again_and_again_is_one_stretch() {
    let mut plan = plan(RecordMode::Motion);
    for s in 0..1000 {
        plan.moved(seconds(f64::from(s)));
    }
    assert_eq!(plan.motions.len(), 1);
    assert_eq!(wants(&plan, 500.0), Some((1004.0, Class::Motion)));
    plan.event(event(1, 500.0, 501.0, true), now());
    assert_eq!(wants(&plan, 500.0), Some((1004.0, Class::Events)));
}

#[test]
fn an_event_is_over_when_it_has_ended_and_its_footage_has_come() {
    let mut plan = plan(RecordMode::Events);
    plan.event(event(1, 20.0, 22.0, false), seconds(22.0));
    let over = |plan: &Plan, newest: Option<f64>, now: f64| plan.events()[0].is_over(newest.map(seconds), seconds(now));
    assert!(!over(&plan, Some(40.0), 40.0), "it goes on");
    assert!(over(&plan, Some(40.0), 22.0 + 601.0), "nobody has spoken of it for ten minutes");
    plan.event(event(1, 20.0, 22.0, true), seconds(23.0));
    assert!(!over(&plan, Some(26.9), 26.9));
    assert!(over(&plan, Some(27.1), 27.1));
    assert!(!over(&plan, None, 26.0) && over(&plan, None, 27.1), "no pictures come, and time passes");
    assert!(!over(&plan, Some(26.0), 30.0) && over(&plan, Some(26.0), 38.0), "pictures are late, but not that late");
}

#[test]
fn there_is_room_for_so_many_events_and_those_stay() {
    let mut plan = plan(RecordMode::Events);
    for id in 0..1000 {
        plan.event(event(id, 20.0, 22.0, false), now());
    }
    assert_eq!(plan.events().len(), EVENTS_MAX);
    assert!(plan.find(EventId(0)).is_some() && plan.find(EventId(999)).is_none());
}

proptest! {
    /// Whatever events and motion there are: a second is wanted if and only if one of them covers it, as the highest of
    /// those, until the last of them ends.
    #[test]
    fn a_second_is_wanted_as_the_highest_of_what_covers_it(
        events in proptest::collection::vec((0..200_u32, 0..30_u32), 0..8),
        motions in proptest::collection::vec(0..200_u32, 0..8),
        at in 0..250_u32,
    ) {
        let mut plan = plan(RecordMode::Motion);
        let mut spans = Vec::new();
        for (id, (begin, length)) in (0..).zip(&events) {
            let (begin, end) = (f64::from(*begin), f64::from(begin + length));
            plan.event(event(id, begin, end, true), now());
            spans.push((begin - 5.0, end + 5.0, Class::Events));
        }
        for s in &motions {
            plan.moved(seconds(f64::from(*s)));
            spans.push((f64::from(*s) - 5.0, f64::from(*s) + 5.0, Class::Motion));
        }
        let at = f64::from(at);
        let mut covers: Vec<_> = spans.iter().filter(|(from, to, _)| *from < at + 1.0 && *to >= at).collect();
        covers.sort_by_key(|(.., class)| *class);
        let wanted = wants(&plan, at);
        prop_assert_eq!(wanted.map(|(_, class)| class), covers.last().map(|(.., class)| *class));
        if let Some((until, _)) = wanted {
            let last = covers.iter().map(|(_, to, _)| *to).fold(0.0, f64::max);
            // Motion that goes on is one stretch.
            prop_assert!(until >= last);
        }
    }
}
