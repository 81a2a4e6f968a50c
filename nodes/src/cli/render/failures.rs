//! `watchtree failures` as a table: one line a failure, the newest last.

use super::{Cell, Paint, Table, time};
use jiff::tz::TimeZone;
use protocol::admin::FailureRecord;

pub(in super::super) fn table(failures: &[FailureRecord], zone: &TimeZone) -> Table {
    let mut table = Table::new(&["WHEN", "PATH", "KIND", "LIVED", "THEN", "WHAT HAPPENED"], &[3]);
    for failure in failures {
        table.row(vec![
            Cell::new(time::local(failure.at, zone)),
            Cell::new(&failure.path),
            Cell::painted(kind_paint(&failure.kind), &failure.kind),
            Cell::new(failure.lived_ms.map(time::millis).unwrap_or_default()),
            Cell::painted(then_paint(&failure.then), &failure.then),
            Cell::new(&failure.text),
        ]);
    }
    table
}

/// What somebody stopped by hand did not fail.
fn kind_paint(kind: &str) -> Paint {
    if kind == "stopped" { Paint::Aside } else { Paint::Bad }
}

fn then_paint(then: &str) -> Paint {
    match then {
        "restarted" => Paint::Good,
        "parked" => Paint::Warning,
        _ => Paint::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::samples::failure;
    use super::*;

    #[test]
    fn each_failure_is_a_line_with_what_followed() {
        let mut first = failure("yard/cameras/door/session", 0);
        (first.kind, first.text) = ("error".to_owned(), "refused: nobody listens at 10.0.0.5:554".to_owned());
        first.lived_ms = None;
        let mut second = failure("yard/outbox", 7);
        second.then = "escalated".to_owned();
        let expected = "\
WHEN                     PATH                       KIND   LIVED  THEN       WHAT HAPPENED
2026-11-20 18:30:00.000  yard/cameras/door/session  error         restarted  refused: nobody listens at 10.0.0.5:554
2026-11-20 18:30:07.000  yard/outbox                panic   4.2s  escalated  index out of bounds
";
        assert_eq!(table(&[first, second], &TimeZone::UTC).render(Style::Plain), expected);
    }
}
