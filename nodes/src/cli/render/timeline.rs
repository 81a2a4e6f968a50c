//! Timelines as bars, and each time in which nobody looked as a line.

use super::{Paint, Style, time};
use protocol::timeline::{Interval, Sight, Timeline};
use std::time::Duration;

/// Where no person looks, and at most.
const BAR_DEFAULT: usize = 96;
const BAR_MIN: usize = 24;
/// Times in which nobody looked, below one bar; the longest ones. The others are counted.
const SPELLS_SHOWN_MAX: usize = 20;

pub(in super::super) fn lines(lines: &[Timeline], width: Option<usize>, style: Style) -> String {
    let names: Vec<String> = lines.iter().map(|line| format!("{}/{}", line.edge, line.camera)).collect();
    let column = names.iter().map(String::len).max().unwrap_or(0);
    let room = width.unwrap_or(usize::MAX).saturating_sub(column + 2);
    let cells = room.clamp(BAR_MIN, BAR_DEFAULT);
    let mut text = String::new();
    for (line, name) in lines.iter().zip(names) {
        text += &format!("{name:column$}  {}\n", bar(line, cells, style));
        text += &format!("{:column$}  {}\n", "", scale(line, cells));
        text += &format!("{:column$}  {}\n", "", sums(line));
        for told in spells(line, style) {
            text += &format!("{:column$}  {told}\n", "");
        }
    }
    text
}

/// The worst of what a cell holds.
fn bar(line: &Timeline, cells: usize, style: Style) -> String {
    let span = line.to.micros().saturating_sub(line.from.micros()).max(1);
    let at = |cell: usize| {
        let part = i128::from(span) * cell as i128 / cells as i128;
        line.from.micros().saturating_add(i64::try_from(part).unwrap_or(i64::MAX))
    };
    let cell = |cell: usize| {
        let (from, to) = (at(cell), at(cell + 1).max(at(cell) + 1));
        let overlaps = |interval: &&Interval| interval.from.micros() < to && interval.to.micros() > from;
        let worst =
            line.intervals.iter().filter(overlaps).map(|interval| rank(interval.state)).max_by_key(|(rank, ..)| *rank);
        let (mark, paint) = worst.map_or(('?', Paint::Aside), |(_, mark, paint)| (mark, paint));
        style.paint(paint, &mark.to_string())
    };
    (0..cells).map(cell).collect()
}

fn rank(state: Sight) -> (u8, char, Paint) {
    match state {
        Sight::Covered => (0, '█', Paint::Good),
        Sight::Unwatched => (1, '·', Paint::Aside),
        Sight::Unknown => (2, '?', Paint::Aside),
        Sight::Blind => (3, '░', Paint::Warning),
    }
}

/// The begin on the left, the end on the right.
fn scale(line: &Timeline, cells: usize) -> String {
    let (from, to) = (time::clock(line.from), time::clock(line.to));
    let gap = cells.saturating_sub(from.len() + to.len()).max(1);
    format!("{from}{}{to}", " ".repeat(gap))
}

/// `covered 23h 10m (98.2 %)  blind 24m  12 events`
fn sums(line: &Timeline) -> String {
    let all = line.to.since(line.from);
    let mut parts = Vec::new();
    for state in Sight::ALL {
        let of_it = line.intervals.iter().filter(|interval| interval.state == state);
        let lasted: Duration = of_it.map(|interval| interval.to.since(interval.from)).sum();
        if lasted > Duration::ZERO {
            let percent = 100.0 * lasted.as_secs_f64() / all.as_secs_f64().max(1e-6);
            parts.push(format!("{} {} ({percent:.1} %)", state.as_str(), time::exact(lasted)));
        }
    }
    let counted: Option<u32> = line.intervals.iter().map(|interval| interval.events).sum();
    parts.extend(counted.map(|events| format!("{events} events")));
    parts.join("  ")
}

fn spells(line: &Timeline, style: Style) -> Vec<String> {
    let mut spells: Vec<&Interval> =
        line.intervals.iter().filter(|interval| matches!(interval.state, Sight::Blind | Sight::Unwatched)).collect();
    let all = spells.len();
    if all > SPELLS_SHOWN_MAX {
        spells.sort_by_key(|interval| std::cmp::Reverse(interval.to.since(interval.from)));
        spells.truncate(SPELLS_SHOWN_MAX);
        spells.sort_by_key(|interval| interval.from);
    }
    let mut told: Vec<String> = spells.into_iter().map(|interval| spell(interval, style)).collect();
    if all > SPELLS_SHOWN_MAX {
        told.push(format!("and {} shorter ones; -o json has them all", all - SPELLS_SHOWN_MAX));
    }
    told
}

fn spell(interval: &Interval, style: Style) -> String {
    let lasted = time::exact(interval.to.since(interval.from));
    let (_, _, paint) = rank(interval.state);
    let state = style.paint(paint, interval.state.as_str());
    let reason = interval.reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("{}  {lasted:>8}  {state}{reason}", time::clock(interval.from))
}

#[cfg(test)]
mod tests {
    use super::super::samples::now;
    use super::*;

    fn line() -> Timeline {
        let at = |s: u64| now().plus(Duration::from_secs(s));
        let interval = |from, to, state, reason: Option<&str>, events| Interval {
            from: at(from),
            to: at(to),
            state,
            reason: reason.map(str::to_owned),
            events: Some(events),
        };
        let intervals = vec![
            interval(0, 600, Sight::Unknown, None, 0),
            interval(600, 1800, Sight::Covered, None, 3),
            interval(1800, 1805, Sight::Blind, Some("refused: nobody listens"), 0),
            interval(1805, 2400, Sight::Unwatched, Some("passthrough"), 0),
        ];
        let (edge, camera) = ("yard".parse().expect("a name"), "door".parse().expect("a name"));
        Timeline { edge, camera, from: at(0), to: at(2400), intervals, next: None }
    }

    #[test]
    fn a_bar_shows_the_worst_of_each_cell_and_lines_say_why() {
        let text = lines(&[line()], Some(11 + 24), Style::Plain);
        let expected = "\
yard/door  ??????████████████░·····
           2026-11-20T18:30:00Z 2026-11-20T19:10:00Z
           covered 20m00s (50.0 %)  blind 5.0s (0.2 %)  unwatched 9m55s (24.8 %)  unknown 10m00s (25.0 %)  3 events
           2026-11-20T19:00:00Z      5.0s  blind: refused: nobody listens
           2026-11-20T19:00:05Z     9m55s  unwatched: passthrough
";
        assert_eq!(text, expected);
    }

    #[test]
    fn many_spells_are_shown_by_their_longest() {
        let mut line = line();
        let at = |s: u64| now().plus(Duration::from_secs(s));
        line.intervals = (0..50)
            .map(|n| Interval {
                from: at(n * 40),
                to: at(n * 40 + 1 + n % 30),
                state: Sight::Blind,
                reason: None,
                events: None,
            })
            .collect();
        let told = spells(&line, Style::Plain);
        assert_eq!(told.len(), SPELLS_SHOWN_MAX + 1);
        assert_eq!(told.last().map(String::as_str), Some("and 30 shorter ones; -o json has them all"));
    }
}
