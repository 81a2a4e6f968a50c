//! Render: answers as text for people. Pure: data and the time in, text out.
//!
//!   nodes · tree ─▶ Table of rows of cells ─▶ aligned lines, coloured where a person looks
//!   top ─▶ the same rows as spans, which a screen scrolls
//!   event ─▶ one line, aligned without knowing the next

pub(super) mod absent;
pub(super) mod amount;
pub(super) mod branches;
pub(super) mod changes;
pub(super) mod event;
pub(super) mod failures;
pub(super) mod fleet;
pub(super) mod nodes;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod table;
pub(super) mod time;
pub(super) mod timeline;
pub(super) mod top;
pub(super) mod tree;

pub(super) use table::{Cell, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Coloured,
}

/// What a piece of text means; the style knows what that looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Paint {
    #[default]
    Normal,
    Heading,
    Good,
    Warning,
    Bad,
    Aside,
}

impl Style {
    /// Colour on a terminal, unless `NO_COLOR` has a value (no-color.org) or the terminal knows none.
    pub fn of(is_terminal: bool, env: impl Fn(&str) -> Option<String>) -> Self {
        let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env("TERM").is_some_and(|term| term == "dumb");
        if is_terminal && !refused && !dumb { Self::Coloured } else { Self::Plain }
    }

    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Normal => return text.to_owned(),
            Paint::Heading => "1",
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Aside => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// How an actor's or a node's state reads.
pub(super) fn state_paint(state: &str) -> Paint {
    match state {
        "running" | "ready" | "self" | "linked" | "healthy" | "sees" => Paint::Good,
        "starting" | "backoff" | "stopped" | "degraded" | "disabled" => Paint::Warning,
        _ => Paint::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_a_terminal_that_wants_it() {
        let with =
            |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
        assert_eq!(Style::of(true, with("TERM", "xterm")), Style::Coloured);
        assert_eq!(Style::of(true, with("NO_COLOR", "")), Style::Coloured);
        assert_eq!(Style::of(false, with("TERM", "xterm")), Style::Plain);
        assert_eq!(Style::of(true, with("NO_COLOR", "1")), Style::Plain);
        assert_eq!(Style::of(true, with("TERM", "dumb")), Style::Plain);
    }
}
