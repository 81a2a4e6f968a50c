//! Time as people say it: `3m ago`, `1m05s`; and as they type it: `10m`, `2h`.

use protocol::Timestamp;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Clocks of two hosts differ by less than this without anybody having to know.
const SKEW_TOLERATED: Duration = Duration::from_secs(5);

/// `just now`, `3m ago`; `in 2h` when the other host's clock is ahead, which is worth seeing.
pub(in super::super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let ahead = then.since(now);
    if ahead > SKEW_TOLERATED {
        return format!("in {}", round(ahead));
    }
    match now.since(then) {
        short if short.as_secs() == 0 => "just now".to_owned(),
        span => format!("{} ago", round(span)),
    }
}

/// `in 40s`; `now` once it has come.
pub(in super::super) fn until(then: Timestamp, now: Timestamp) -> String {
    match then.since(now) {
        Duration::ZERO => "now".to_owned(),
        span => format!("in {}", round(span)),
    }
}

/// How long, in its largest unit.
pub(in super::super) fn round(span: Duration) -> String {
    match span.as_secs() {
        s if s < MINUTE => format!("{s}s"),
        s if s < HOUR => format!("{}m", s / MINUTE),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s => format!("{}d", s / DAY),
    }
}

/// How long, to a tenth of a second, or in two units.
pub(in super::super) fn exact(span: Duration) -> String {
    match span.as_secs() {
        s if s < MINUTE => format!("{}.{}s", s, span.subsec_millis() / 100),
        s if s < HOUR => format!("{}m{:02}s", s / MINUTE, s % MINUTE),
        s => format!("{}h{:02}m", s / HOUR, s % HOUR / MINUTE),
    }
}

pub(in super::super) fn millis(millis: u64) -> String {
    exact(Duration::from_millis(millis))
}

/// The clock of a place, to the millisecond: `2026-11-20 19:30:00.250`.
pub(in super::super) fn local(at: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_microsecond(at.micros()) {
        Ok(there) => there.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        // Further away than any clock goes: only a broken one says so.
        Err(_) => at.to_string(),
    }
}

/// RFC 3339 in UTC, to the second.
pub(in super::super) fn clock(at: Timestamp) -> String {
    Timestamp::from_micros(at.micros() - at.micros().rem_euclid(1_000_000)).to_string()
}

/// A moment on a command line: RFC 3339, or how long ago.
pub(in super::super) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_at(text, Timestamp::now())
}

fn moment_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match span(text) {
        Some(span) => Ok(now.minus(span)),
        None => text.parse().map_err(|_| {
            "use RFC 3339, like 2026-11-20T18:30:00Z, or how long ago, like 30s, 10m, 2h, 1h30m, 3d".to_owned()
        }),
    }
}

/// How long, on a command line.
pub(in super::super) fn span_typed(text: &str) -> Result<Duration, String> {
    span(text).ok_or_else(|| "use a number and its unit, like 90s, 15m, 2h, 1h30m, 1d".to_owned())
}

/// `1h30m`: numbers, each with its unit.
fn span(text: &str) -> Option<Duration> {
    let (mut rest, mut total_s) = (text, 0u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let unit_s = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => MINUTE,
            b'h' => HOUR,
            b'd' => DAY,
            b'w' => 7 * DAY,
            _ => return None,
        };
        let count: u64 = rest[..digits].parse().ok()?;
        total_s = total_s.checked_add(count.checked_mul(unit_s)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| Duration::from_secs(total_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-20T18:30:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    fn check_ago(then: &str, expected: &str) {
        assert_eq!(ago(at(then), at(NOW)), expected);
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        check_ago("2026-11-20T18:29:59.5Z", "just now");
        check_ago("2026-11-20T18:29:57Z", "3s ago");
        check_ago("2026-11-20T18:26:10Z", "3m ago");
        check_ago("2026-11-20T16:29:00Z", "2h ago");
        check_ago("2026-11-18T19:00:00Z", "47h ago");
        check_ago("2026-11-15T18:00:00Z", "5d ago");
    }

    #[test]
    fn a_clock_that_is_ahead_shows() {
        check_ago("2026-11-20T18:30:04Z", "just now");
        check_ago("2026-11-20T18:33:00Z", "in 3m");
    }

    #[test]
    fn a_duration_has_two_units_at_most() {
        for (millis, expected) in [(0, "0.0s"), (4_250, "4.2s"), (65_000, "1m05s"), (7_380_000, "2h03m")] {
            assert_eq!(exact(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_moment_is_typed_as_a_time_or_an_age() {
        for (text, expected) in [
            ("10m", "2026-11-20T18:20:00Z"),
            ("1h30m", "2026-11-20T17:00:00Z"),
            ("2d", "2026-11-18T18:30:00Z"),
            ("0s", NOW),
            ("2026-11-20T19:30:00+01:00", NOW),
        ] {
            assert_eq!(moment_at(text, at(NOW)), Ok(at(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_with_examples() {
        for text in
            ["", "10", "m", "10x", "-10m", "10m5", "yesterday", "99999999999999999999s", "9999999999999999w", "5µ"]
        {
            assert!(moment_at(text, at(NOW)).is_err_and(|why| why.contains("1h30m")), "{text} was taken");
        }
    }

    #[test]
    fn what_is_to_come_is_told_until_it_has() {
        assert_eq!(until(at("2026-11-20T18:30:40Z"), at(NOW)), "in 40s");
        assert_eq!(until(at("2026-11-20T18:29:00Z"), at(NOW)), "now");
    }

    #[test]
    fn a_local_time_is_that_of_the_readers_zone() {
        let east = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(local(at("2026-11-20T23:30:00.25Z"), &east), "2026-11-21 01:30:00.250");
        assert!(local(Timestamp::from_micros(i64::MIN), &east).contains("us"));
    }

    #[test]
    fn a_clock_time_has_no_fraction() {
        assert_eq!(clock(at("2026-11-20T18:30:00.987Z")), NOW);
    }
}
