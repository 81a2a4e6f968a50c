//! Screen: the terminal while a command has all of it, and the way back whatever happens.
//!
//!   open ─▶ alternate screen, no cursor ─┬─ dropped, Ctrl-C, SIGTERM ─▶ as it was before
//!                                        └─ a panic ─▶ as it was before, then the panic's words

use super::Failure;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::crossterm::{cursor, execute};
use std::io::stdout;
use std::sync::Once;
use tokio::signal::unix::{SignalKind, signal};

/// As long as this lives, the screen is ours.
pub(super) struct Screen(());

impl Screen {
    /// Keys go to the terminal as ever: Ctrl-C is a signal.
    pub fn open() -> Result<Self, Failure> {
        restored_on_panic();
        // Made first: what fails half way is undone by its drop.
        let screen = Self(());
        execute!(stdout(), EnterAlternateScreen, cursor::Hide).map_err(unusable)?;
        Ok(screen)
    }

    /// Keys come to us one by one: Ctrl-C is a key.
    pub fn open_for_keys() -> Result<Self, Failure> {
        let screen = Self::open()?;
        enable_raw_mode().map_err(unusable)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Does no harm twice. A terminal that is gone needs no restoring.
fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
}

/// Words of a panic on the alternate screen would be gone with it.
fn restored_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            tell(panic);
        }));
    });
}

fn unusable(error: std::io::Error) -> Failure {
    Failure::new(format!("the terminal cannot be used: {error}; `| cat` prints without one"))
}

/// Resolves at Ctrl-C, at a polite kill, and when the terminal goes away.
pub(super) async fn told_to_end() {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    // A process that may not listen to signals dies of them as ever.
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// As it is now: it may have been resized. A terminal that does not say has 24 lines, and any width.
pub(super) fn rows() -> usize {
    size().ok().map(|(_, rows)| usize::from(rows)).filter(|rows| *rows > 0).unwrap_or(24)
}

pub(super) fn columns() -> Option<usize> {
    size().ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// Lines drawn over what is on the screen, without a flicker; what does not fit is counted.
pub(super) fn over(lines: &[&str], rows: usize) -> String {
    let fits = lines.len() <= rows;
    let shown = if fits { lines.len() } else { rows.saturating_sub(1) };
    // Each line clears what is left of the one below it; the end clears the rest.
    let mut text = "\x1b[H".to_owned();
    text.push_str(&lines[..shown].join("\x1b[K\r\n"));
    if !fits {
        let more = lines.len() - shown;
        text.push_str(&format!("\x1b[K\r\n… {more} more lines; `watchtree top` scrolls"));
    }
    text.push_str("\x1b[K\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_drawn_over_from_its_first_corner_and_cleared_below() {
        assert_eq!(over(&["a", "b"], 24), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }

    #[test]
    fn what_does_not_fit_is_counted_and_never_scrolls() {
        let text = over(&["a", "b", "c", "d"], 3);
        assert_eq!(text.matches("\r\n").count(), 2);
        assert!(text.contains("… 2 more lines") && !text.contains("\nc"), "{text:?}");
        assert!(over(&["a", "b"], 1).contains("… 2 more lines"));
    }
}
