//! Schedules as text: `mon-fri 08:00-18:00`.

use super::{Schedule, Span};
use crate::reader::Section;
use std::fmt;
use std::str::FromStr;

/// More parts of a week than this are refused.
const SPANS_MAX: usize = 32;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// In place of days: each of them.
const DAILY: &str = "daily";
const MINUTES: u16 = 24 * 60;

pub(crate) const WAY_OUT: &str =
    "list parts of a week, such as [\"mon-fri 08:00-18:00\", \"sat 22:00-06:00\"], or remove it for always";

pub(crate) fn read(s: &mut Section) -> Option<Schedule> {
    s.some("schedule", SPANS_MAX, WAY_OUT).map(Schedule)
}

impl FromStr for Span {
    type Err = ();
    /// Days are `daily`, or names and ranges of names with commas between: `mon,wed,fri-sun`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (days, times) = text.trim().split_once(char::is_whitespace).ok_or(())?;
        let (from, to) = times.trim().split_once('-').ok_or(())?;
        let (from_minute, to_minute) = (minute(from).ok_or(())?, minute(to).ok_or(())?);
        // From and to the same minute could mean all day or never.
        if from_minute == to_minute || from_minute == MINUTES {
            return Err(());
        }
        Ok(Self { days: parse_days(days).ok_or(())?, from_minute, to_minute })
    }
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    if text == DAILY {
        return Some([true; 7]);
    }
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days[at] = true;
        // Over the week's end if the last is the earlier one.
        while at != last {
            at = (at + 1) % DAYS.len();
            days[at] = true;
        }
    }
    Some(days)
}

/// `08:00` as 480; 24:00 is the day's end.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= MINUTES).then_some(of_day)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = DAYS.iter().zip(self.days).filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let days = if names.len() == DAYS.len() { DAILY.to_owned() } else { names.join(",") };
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{days} {}-{}", time(self.from_minute), time(self.to_minute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        let span: Span = text.parse().expect(text);
        assert_eq!(span.to_string(), shown, "{text}");
        assert_eq!(shown.parse(), Ok(span), "{shown}");
    }

    #[test]
    fn days_are_names_ranges_or_all() {
        check("mon-fri 08:00-18:00", "mon,tue,wed,thu,fri 08:00-18:00");
        check("sat 22:00-06:00", "sat 22:00-06:00");
        check("sat-mon 00:00-24:00", "mon,sat,sun 00:00-24:00");
        check("mon,wed-thu 01:00-02:00", "mon,wed,thu 01:00-02:00");
        check("daily 06:30-06:29", "daily 06:30-06:29");
    }

    #[test]
    fn what_is_no_part_of_a_week_is_refused() {
        let wrong = ["", "mon", "08:00-18:00", "monday 08:00-18:00", "mon 8:00-18:00", "mon 08:00-25:00"];
        for text in wrong.into_iter().chain(["mon 08:60-09:00", "mon 08:00-08:00", "mon 24:00-08:00", "- 01:00-02:00"])
        {
            assert!(text.parse::<Span>().is_err(), "{text} was accepted");
        }
    }
}
