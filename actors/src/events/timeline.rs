//! Timeline: from the times in which nobody looked, all that there is between two moments. Pure.
//!
//!   spells, known since and through ──▶ [intervals] ──▶ covered | blind | unwatched | unknown, without a gap

use protocol::limits::{TELEMETRY_TEXT_CHARS_MAX, TIMELINE_INTERVALS_MAX, short};
use protocol::timeline::{Interval, Sight};
use protocol::{Event, Evidence, Phase, Timestamp, event};
use std::collections::BTreeSet;

/// A time in which nobody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spell {
    pub begin: Timestamp,
    /// `None` while it goes on.
    pub end: Option<Timestamp>,
    pub reason: String,
    /// By choice.
    pub unwatched: bool,
}

/// What of the past is on the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Before it, nothing is known; `None`: nothing is known at all.
    pub since: Option<Timestamp>,
    /// From it on, nothing is known yet.
    pub through: Timestamp,
}

impl Spell {
    /// `None` of an event that tells of something else.
    pub fn of(event: &Event) -> Option<Self> {
        let Evidence::Blind { reason } = &event.evidence else { return None };
        let end = (event.phase == Phase::End).then_some(event.end);
        let unwatched = event.label == event::UNWATCHED_LABEL;
        Some(Self { begin: event.begin, end, reason: reason.clone(), unwatched })
    }

    fn sight(&self) -> Sight {
        if self.unwatched { Sight::Unwatched } else { Sight::Blind }
    }
}

/// Partitions the time from `from` to `to`. Where spells overlap, blindness counts, and of two the later one.
pub fn intervals(from: Timestamp, to: Timestamp, known: Known, spells: &[Spell]) -> Vec<Interval> {
    let mut edges: Vec<(Timestamp, Edge)> = vec![(from, Edge::Mark), (to, Edge::Mark), (known.through, Edge::Mark)];
    edges.extend(known.since.map(|since| (since, Edge::Mark)));
    for (index, spell) in spells.iter().enumerate() {
        let end = spell.end.unwrap_or(Timestamp::from_micros(i64::MAX));
        if spell.begin < end && end > from && spell.begin < to {
            edges.push((spell.begin.max(from), Edge::Begin(index)));
            edges.push((end, Edge::End(index)));
        }
    }
    edges.sort_by_key(|(at, _)| *at);
    let (mut found, mut active, mut at) = (Vec::<Interval>::new(), BTreeSet::new(), from);
    for (edge, what) in edges {
        if edge > at && at < to {
            let until = edge.min(to);
            push(&mut found, at, until, sight(at, known, &active, spells));
            at = until;
        }
        match what {
            Edge::Mark => {}
            Edge::Begin(index) => drop(active.insert(rank(index, &spells[index]))),
            Edge::End(index) => drop(active.remove(&rank(index, &spells[index]))),
        }
    }
    found
}

enum Edge {
    Mark,
    Begin(usize),
    End(usize),
}

type Rank = (bool, Timestamp, usize);

/// The highest of those that go on at once counts.
fn rank(index: usize, spell: &Spell) -> Rank {
    (!spell.unwatched, spell.begin, index)
}

fn sight<'a>(at: Timestamp, known: Known, active: &BTreeSet<Rank>, spells: &'a [Spell]) -> (Sight, Option<&'a str>) {
    if known.since.is_none_or(|since| at < since) || at >= known.through {
        return (Sight::Unknown, None);
    }
    match active.last() {
        Some((_, _, index)) => (spells[*index].sight(), Some(&spells[*index].reason)),
        None => (Sight::Covered, None),
    }
}

fn push(found: &mut Vec<Interval>, from: Timestamp, to: Timestamp, (state, reason): (Sight, Option<&str>)) {
    let reason = reason.map(|reason| short(reason, TELEMETRY_TEXT_CHARS_MAX));
    match found.last_mut() {
        Some(last) if last.state == state && last.reason == reason => last.to = to,
        _ => found.push(Interval { from, to, state, reason, events: None }),
    }
}

/// Cut to what a message has room for; returns from where to ask on.
pub fn cut(intervals: &mut Vec<Interval>) -> Option<Timestamp> {
    if intervals.len() <= TIMELINE_INTERVALS_MAX {
        return None;
    }
    intervals.truncate(TIMELINE_INTERVALS_MAX);
    intervals.last().map(|last| last.to)
}

/// How many began in each; `begins` are sorted.
pub fn count(intervals: &mut [Interval], begins: &[Timestamp]) {
    for interval in intervals {
        let before = |limit: Timestamp| begins.partition_point(|begin| *begin < limit);
        let events = before(interval.to) - before(interval.from);
        interval.events = Some(u32::try_from(events).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_micros(s * 1_000_000)
    }

    fn spell(begin: i64, end: Option<i64>, reason: &str, unwatched: bool) -> Spell {
        Spell { begin: at(begin), end: end.map(at), reason: reason.to_owned(), unwatched }
    }

    /// What is told of the seconds 0 to 100, as `0 covered 40 blind:dark 60 …`.
    fn check(since: Option<i64>, through: i64, spells: &[Spell], expected: &str) {
        let known = Known { since: since.map(at), through: at(through) };
        let told: Vec<String> = intervals(at(0), at(100), known, spells)
            .iter()
            .map(|interval| {
                let reason = interval.reason.as_ref().map_or(String::new(), |reason| format!(":{reason}"));
                format!("{} {}{reason}", interval.from.micros() / 1_000_000, interval.state.as_str())
            })
            .collect();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn what_nobody_told_of_is_unknown_and_what_somebody_looked_at_is_covered() {
        check(None, 50, &[], "0 unknown");
        check(Some(-5), 50, &[], "0 covered 50 unknown");
        check(Some(20), 200, &[], "0 unknown 20 covered");
    }

    #[test]
    fn blindness_stands_between_coverage_with_its_reason() {
        check(Some(-5), 200, &[spell(40, Some(60), "dark", false)], "0 covered 40 blind:dark 60 covered");
        check(Some(-5), 90, &[spell(40, None, "dark", false)], "0 covered 40 blind:dark 90 unknown");
        check(Some(-9), 200, &[spell(-9, Some(5), "away", false)], "0 blind:away 5 covered");
    }

    #[test]
    fn where_spells_overlap_blindness_counts_and_of_two_the_later() {
        let both = [spell(10, Some(50), "chosen", true), spell(30, Some(60), "dark", false)];
        check(Some(0), 200, &both, "0 covered 10 unwatched:chosen 30 blind:dark 60 covered");
        let two = [spell(10, Some(50), "a", false), spell(20, Some(30), "b", false)];
        check(Some(0), 200, &two, "0 covered 10 blind:a 20 blind:b 30 blind:a 50 covered");
    }

    #[test]
    fn events_are_counted_where_they_began() {
        let known = Known { since: Some(at(0)), through: at(200) };
        let mut told = intervals(at(0), at(100), known, &[spell(40, Some(60), "dark", false)]);
        count(&mut told, &[at(0), at(39), at(40), at(60), at(99), at(100)]);
        assert_eq!(told.iter().map(|interval| interval.events).collect::<Vec<_>>(), [Some(2), Some(1), Some(2)]);
    }

    #[test]
    fn a_long_one_is_cut_and_goes_on_where_it_was_cut() {
        let spells: Vec<_> = (0..2000).map(|n| spell(10 * n, Some(10 * n + 5), "dark", false)).collect();
        let known = Known { since: Some(at(0)), through: at(50_000) };
        let mut told = intervals(at(0), at(20_000), known, &spells);
        let next = cut(&mut told).expect("too long");
        assert_eq!((told.len(), next), (TIMELINE_INTERVALS_MAX, told.last().expect("some").to));
        assert_eq!(intervals(next, at(20_000), known, &spells)[0].from, next);
    }

    proptest! {
        #[test]
        fn intervals_partition_what_was_asked_for(
            from in -50_i64..50, length in 1_i64..200, since in proptest::option::of(-60_i64..200), through in -60_i64..300,
            spells in proptest::collection::vec((-60_i64..200, proptest::option::of(0_i64..80), any::<bool>()), 0..12),
        ) {
            let to = from + length;
            let spells: Vec<_> = spells
                .into_iter()
                .map(|(begin, length, unwatched)| spell(begin, length.map(|length| begin + length), "r", unwatched))
                .collect();
            let known = Known { since: since.map(at), through: at(through) };
            let told = intervals(at(from), at(to), known, &spells);
            prop_assert_eq!(told.first().map(|first| first.from), Some(at(from)));
            prop_assert_eq!(told.last().map(|last| last.to), Some(at(to)));
            prop_assert!(told.iter().all(|interval| interval.from < interval.to));
            prop_assert!(told.windows(2).all(|pair| pair[0].to == pair[1].from));
            // Each second is what it is by itself.
            for second in from..to {
                let here = at(second);
                let is_known = since.is_some_and(|since| second >= since) && second < through;
                let on = |unwatched| spells.iter().any(|spell| {
                    spell.unwatched == unwatched && spell.begin <= here && spell.end.is_none_or(|end| here < end)
                });
                let due = match (is_known, on(false), on(true)) {
                    (false, ..) => Sight::Unknown,
                    (true, true, _) => Sight::Blind,
                    (true, false, true) => Sight::Unwatched,
                    (true, false, false) => Sight::Covered,
                };
                let found = told.iter().find(|interval| interval.from <= here && here < interval.to);
                prop_assert_eq!(found.map(|interval| interval.state), Some(due), "at {}", second);
            }
        }
    }
}
