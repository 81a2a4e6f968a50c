//! Schedules: is it one of those parts of the week? Pure: the local time is given.

use config::watching::Schedule;
use jiff::tz::TimeZone;
use protocol::Timestamp;

/// A minute of the week, in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Monday is 0.
    pub weekday: usize,
    /// Since midnight, by the clock on the wall.
    pub minute: u16,
}

impl Moment {
    /// Out of the calendar's range, the first minute of a Monday.
    pub fn local(at: Timestamp, zone: &TimeZone) -> Self {
        let Ok(at) = jiff::Timestamp::from_microsecond(at.micros()) else { return Self { weekday: 0, minute: 0 } };
        let at = at.to_zoned(zone.clone());
        let weekday = usize::try_from(at.weekday().to_monday_zero_offset()).unwrap_or(0);
        let minute = u16::try_from(i32::from(at.hour()) * 60 + i32::from(at.minute())).unwrap_or(0);
        Self { weekday, minute }
    }
}

/// A span over midnight belongs to the day on which it begins. One from a minute to the same minute is empty.
pub fn holds(schedule: &Schedule, Moment { weekday, minute }: Moment) -> bool {
    schedule.0.iter().any(|span| {
        let on = |day: usize| span.days.get(day).copied().unwrap_or(false);
        let yesterday = (weekday + 6) % 7;
        if span.from_minute <= span.to_minute {
            on(weekday) && (span.from_minute..span.to_minute).contains(&minute)
        } else {
            (on(weekday) && minute >= span.from_minute) || (on(yesterday) && minute < span.to_minute)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::watching::Span;

    const MONDAY: [bool; 7] = [true, false, false, false, false, false, false];
    const SUNDAY: [bool; 7] = [false, false, false, false, false, false, true];

    fn check(days: [bool; 7], from_minute: u16, to_minute: u16, inside: &[(usize, u16)], outside: &[(usize, u16)]) {
        let schedule = Schedule(vec![Span { days, from_minute, to_minute }]);
        for (expected, moments) in [(true, inside), (false, outside)] {
            for &(weekday, minute) in moments {
                assert_eq!(holds(&schedule, Moment { weekday, minute }), expected, "day {weekday}, minute {minute}");
            }
        }
    }

    #[test]
    fn a_span_ends_before_its_last_minute() {
        check(MONDAY, 480, 1020, &[(0, 480), (0, 1019)], &[(0, 479), (0, 1020), (1, 600)]);
        check(MONDAY, 0, 1440, &[(0, 0), (0, 1439)], &[(1, 0), (6, 1439)]);
        check(MONDAY, 480, 480, &[], &[(0, 479), (0, 480), (0, 481)]);
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        check(MONDAY, 1320, 360, &[(0, 1320), (0, 1439), (1, 0), (1, 359)], &[(0, 0), (0, 359), (1, 360), (1, 1320)]);
        check(SUNDAY, 1320, 360, &[(6, 1400), (0, 100)], &[(6, 100), (0, 1400)]);
    }

    #[test]
    fn any_of_the_spans_will_do_and_none_is_never() {
        let span = |from_minute| Span { days: [true; 7], from_minute, to_minute: from_minute + 60 };
        let moment = Moment { weekday: 3, minute: 610 };
        assert!(holds(&Schedule(vec![span(100), span(600)]), moment));
        assert!(!holds(&Schedule::default(), moment));
    }

    #[test]
    fn local_time_is_the_zones() {
        // 2026-03-29, a Sunday: clocks in Berlin went from 2:00 to 3:00.
        let at: Timestamp = "2026-03-29T01:30:00Z".parse().expect("a time");
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(Moment::local(at, &TimeZone::UTC), Moment { weekday: 6, minute: 90 });
        assert_eq!(Moment::local(at, &east), Moment { weekday: 6, minute: 210 });
        assert_eq!(Moment::local(at.plus(std::time::Duration::from_secs(86_400)), &east).weekday, 0);
    }
}
