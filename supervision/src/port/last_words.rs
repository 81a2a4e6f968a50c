//! Last words: what a port said just before its end, fit to be read by people and kept for long.
//!
//!   "cannot open libgstreamer-1.0.so.0" ─▶ [last words] ─▶ "exited with code 127: cannot open libgst…"
//!
//! What is told of a failure goes further than a log does: to the disk, over the wire, onto a screen.

use std::time::{Duration, Instant};

/// Of what is kept; a reason has its point at its beginning.
const CHARS_MAX: usize = 200;
/// What was said longer ago is about something else.
const AGE_MAX: Duration = Duration::from_secs(5);

/// The last line, or what a panic said: where it was follows then, and advice.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    last: Option<(String, Instant)>,
    panic: Panic,
}

/// Rust names the place of a panic in one line and says in the next what it is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Panic {
    #[default]
    None,
    Announced,
    Told,
}

impl LastWords {
    pub fn hear(&mut self, line: &str, now: Instant) {
        let line = line.trim();
        let is_told = self.panic == Panic::Told && self.by(now).is_some();
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            self.panic = Panic::Announced;
        } else if line.is_empty() || is_told {
            return;
        } else {
            self.panic = if self.panic == Panic::Announced { Panic::Told } else { Panic::None };
        }
        self.last = Some((fit(line), now));
    }

    /// `None` if it said nothing of late.
    pub fn by(&self, now: Instant) -> Option<String> {
        let (text, at) = self.last.as_ref()?;
        (now.duration_since(*at) <= AGE_MAX).then(|| text.clone())
    }
}

/// Short, without what would move a terminal's cursor, and without a login that stands in an address.
fn fit(line: &str) -> String {
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut clean = String::with_capacity(plain.len());
    let mut rest = &plain[..];
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        // A password may hold any character but a space: the last `@` ends the login.
        let address = after.split(' ').next().unwrap_or_default();
        rest = &after[address.rfind('@').map_or(0, |at| at + 1)..];
    }
    clean.push_str(rest);
    match clean.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(lines: &[&str], last: Option<&str>) {
        let (now, mut words) = (Instant::now(), LastWords::default());
        lines.iter().for_each(|line| words.hear(line, now));
        assert_eq!(words.by(now).as_deref(), last);
    }

    #[test]
    fn the_last_line_is_the_reason() {
        check(
            &["loads", "cannot open libgstreamer-1.0.so.0: No such file", ""],
            Some("cannot open libgstreamer-1.0.so.0: No such file"),
        );
        check(&[], None);
    }

    #[test]
    fn a_panic_is_told_by_its_message_however_much_follows() {
        let place = "thread 'handover' (7) panicked at src/main.rs:1:2:";
        check(
            &["opened", place, "no picture", "note: run with `RUST_BACKTRACE=1` for a backtrace"],
            Some("no picture"),
        );
        check(&[place, "no picture", "stack backtrace:", "   0: main", "      at src/main.rs:1"], Some("no picture"));
        check(&[place, "first", place, "second", "note: more"], Some("second"));
        check(&[place], Some(place));
    }

    #[test]
    fn after_a_panic_that_it_survived_a_port_is_heard_again() {
        let (now, mut words) = (Instant::now(), LastWords::default());
        ["thread 'a' panicked at b:", "no picture"].iter().for_each(|line| words.hear(line, now));
        let later = now + AGE_MAX * 2;
        words.hear("no camera", later);
        words.hear("no node", later);
        assert_eq!(words.by(later).as_deref(), Some("no node"));
    }

    #[test]
    fn what_was_said_long_ago_is_no_reason() {
        let (now, mut words) = (Instant::now(), LastWords::default());
        words.hear("stream opened", now);
        assert_eq!(words.by(now + AGE_MAX * 2), None);
    }

    #[test]
    fn no_login_in_an_address_is_kept() {
        check(
            &["no answer from rtsp://bob:p@ss/w:rd@cam.lan/main, nor from http://eve:x@a"],
            Some("no answer from rtsp://cam.lan/main, nor from http://a"),
        );
        check(
            &["rtsp://cam.lan/main is silent; write to me@home"],
            Some("rtsp://cam.lan/main is silent; write to me@home"),
        );
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_short_and_moves_no_cursor(line in "\\PC*[\\x00-\\x20]\\PC*") {
            let text = fit(&line);
            prop_assert!(text.chars().count() <= CHARS_MAX + 1 && !text.chars().any(char::is_control), "{text:?}");
        }

        #[test]
        fn a_password_of_any_form_is_left_out(password in "[^ \\x00-\\x1f\\x7f-\\x9f]{1,20}") {
            let text = fit(&format!("cannot open rtsp://user:{password}@host/path today"));
            prop_assert_eq!(text, "cannot open rtsp://host/path today");
        }
    }
}
