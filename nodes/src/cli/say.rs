//! Say: what goes to stderr: for people a line, for programs an object a line.
//!
//!   error, warning ─┬─ watchtree: hub:7443 cannot be reached: …
//!                   └─ -o json ─▶ {"error":"hub:7443 cannot be reached: …"}

use serde_json::json;
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a command line asks for is so for the whole process: also for tasks that know nothing of it.
static AS_JSON: AtomicBool = AtomicBool::new(false);

pub(super) fn as_json(is_wanted: bool) {
    AS_JSON.store(is_wanted, Ordering::Relaxed);
}

/// Something that the operator should know and that does not end the command.
pub(super) fn warn(text: impl Display) {
    say("warning", &text.to_string());
}

/// Why the command ended before its work was done.
pub(super) fn error(text: impl Display) {
    say("error", &text.to_string());
}

fn say(kind: &str, text: &str) {
    let line = line(kind, text, AS_JSON.load(Ordering::Relaxed));
    // Nobody reads it any more: no reason to end in a panic.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn line(kind: &str, text: &str, as_json: bool) -> String {
    if as_json { json!({ kind: text }).to_string() } else { format!("watchtree: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_an_object_and_a_person_a_line() {
        assert_eq!(line("error", "no \"hub\"", false), "watchtree: no \"hub\"");
        assert_eq!(line("error", "no \"hub\"", true), r#"{"error":"no \"hub\""}"#);
    }
}
