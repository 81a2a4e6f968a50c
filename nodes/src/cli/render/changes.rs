//! A change of the tree as one line, aligned without knowing the next.

use super::{Paint, Style, state_paint, time};
use crate::cli::changes::Change;
use jiff::tz::TimeZone;
use protocol::limits::short_text;

pub(in super::super) fn line(change: &Change, zone: &TimeZone, style: Style) -> String {
    let when = time::local(change.at, zone);
    // Looks come each second: more digits would be made up.
    let when = when.split('.').next().unwrap_or(&when);
    let what = change.path.clone().unwrap_or_else(|| change.node.to_string());
    let state = style.paint(state_paint(&change.state), &short_text(&change.state));
    let mut line = format!("{when}  {:<36}  ", short_text(&what));
    match &change.was {
        Some(was) if *was != change.state => line.push_str(&format!("{} → {state}", short_text(was))),
        // The look missed its time down.
        Some(_) => line.push_str(&format!("restarted, {state}")),
        None => line.push_str(&state),
    }
    if change.restarts > 0 {
        line.push_str(&style.paint(Paint::Aside, &format!("  restarts: {}", change.restarts)));
    }
    if let Some(why) = change.why.as_ref().filter(|_| change.is_bad() || change.was.as_ref() == Some(&change.state)) {
        line.push_str(&format!("  {}", short_text(why)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::samples::now;
    use super::*;

    #[track_caller]
    fn check(path: Option<&str>, was: Option<&str>, state: &str, restarts: u64, expected: &str) {
        let change = Change {
            at: now(),
            node: "main/edge/yard".parse().expect("an identity"),
            path: path.map(str::to_owned),
            was: was.map(str::to_owned),
            state: state.to_owned(),
            restarts,
            why: Some("hang: silent for 2 s".to_owned()),
        };
        assert_eq!(line(&change, &TimeZone::UTC, Style::Plain), expected);
    }

    #[test]
    fn a_change_is_one_line_with_its_reason() {
        let door = Some("yard/cameras/door/session");
        check(
            door,
            Some("running"),
            "backoff",
            2,
            "2026-11-20 18:30:00  yard/cameras/door/session             running → backoff  restarts: 2  hang: silent for 2 s",
        );
        check(
            door,
            Some("backoff"),
            "running",
            3,
            "2026-11-20 18:30:00  yard/cameras/door/session             backoff → running  restarts: 3",
        );
        check(
            door,
            Some("running"),
            "running",
            3,
            "2026-11-20 18:30:00  yard/cameras/door/session             restarted, running  restarts: 3  hang: silent for 2 s",
        );
        check(
            None,
            None,
            "not ready",
            0,
            "2026-11-20 18:30:00  main/edge/yard                        not ready  hang: silent for 2 s",
        );
    }
}
