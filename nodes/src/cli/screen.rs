//! Screen: the terminal while a command has all of it, and the way back whatever happens.
//!
//!   open ─▶ alternate screen, no cursor ─┬─ dropped, Ctrl-C, SIGTERM ─▶ as it was before
//!             ▲                          ├─ a panic ─▶ as it was before, then the panic's words
//!             └── fg ◀── stopped ◀───────┴─ Ctrl-Z ─▶ as it was before

use super::Failure;
use super::render::table::{Piece, cut, width};
use super::render::{Paint, Style};
use ratatui::crossterm::terminal::{
    DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    size,
};
use ratatui::crossterm::{cursor, execute};
use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::termios::tcgetpgrp;
use std::io::stdout;
use std::sync::Once;
use tokio::signal::unix::{SignalKind, signal};

/// As long as this lives, the screen is ours.
pub(super) struct Screen {
    keys: bool,
}

impl Screen {
    /// Keys go to the terminal as ever: Ctrl-C is a signal.
    pub fn open() -> Result<Self, Failure> {
        Self { keys: false }.taken()
    }

    /// Keys come to us one by one: Ctrl-C is a key.
    pub fn open_for_keys() -> Result<Self, Failure> {
        Self { keys: true }.taken()
    }

    /// Made first: what fails half way is undone by its drop.
    fn taken(self) -> Result<Self, Failure> {
        restored_on_panic();
        self.take().map_err(unusable)?;
        Ok(self)
    }

    fn take(&self) -> std::io::Result<()> {
        // A line that turns out wider than was reckoned must not push the others down.
        execute!(stdout(), EnterAlternateScreen, DisableLineWrap, cursor::Hide)?;
        if self.keys { enable_raw_mode() } else { Ok(()) }
    }

    /// Stops this process as Ctrl-Z does, with the terminal as it was before; returns when it goes on in front.
    pub fn pause(&self) -> Result<(), Failure> {
        restore();
        stop();
        self.take().map_err(unusable)
    }
}

/// A program in the background must not draw over the shell: it stops again until it is in front.
pub(super) fn stop() {
    let behind = || tcgetpgrp(stdout()).is_ok_and(|in_front| in_front != getpgrp());
    loop {
        // Only a process that is gone cannot be told.
        let _ = kill_process(getpid(), Signal::STOP);
        if !behind() {
            return;
        }
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
    let _ = execute!(stdout(), EnableLineWrap, LeaveAlternateScreen, cursor::Show);
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

/// Resolves each time somebody wants this process to stop for a while: at Ctrl-Z, where that is no key.
pub(super) struct Pauses(Option<tokio::signal::unix::Signal>);

impl Pauses {
    pub fn listen() -> Self {
        Self(signal(SignalKind::from_raw(Signal::TSTP.as_raw())).ok())
    }

    /// Cancel-safe.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            // A process that may not listen stops as ever.
            None => std::future::pending().await,
        }
    }
}

/// As it is now: it may have been resized. A terminal that does not say has 24 lines, and any width.
pub(super) fn rows() -> usize {
    size().ok().map(|(_, rows)| usize::from(rows)).filter(|rows| *rows > 0).unwrap_or(24)
}

pub(super) fn columns() -> Option<usize> {
    size().ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// Lines drawn over what is on the screen, without a flicker; none is wider, and those that do not fit are counted.
pub(super) fn over(mut lines: Vec<Vec<Piece>>, rows: usize, columns: Option<usize>, style: Style) -> String {
    if lines.len() > rows {
        let more = lines.len() - rows.saturating_sub(1);
        lines.truncate(lines.len() - more);
        lines.push(vec![(Paint::Normal, format!("… {more} more lines; `watchtree top` scrolls"))]);
    }
    let painted = |line: Vec<Piece>| {
        let line = cut(line, columns.unwrap_or(usize::MAX));
        let text: String = line.iter().map(|(paint, text)| style.paint(*paint, text)).collect();
        // Each line clears what is left of the one below it. At the end of a full one it would clear that end.
        text + if columns.is_some_and(|columns| width(&line) >= columns) { "" } else { "\x1b[K" }
    };
    let lines: Vec<String> = lines.into_iter().map(painted).collect();
    // Below the last one, from the start of a line.
    let rest = if lines.len() < rows { "\r\n\x1b[J" } else { "" };
    format!("\x1b[H{}{rest}", lines.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(lines: &[&str], rows: usize, columns: usize) -> String {
        let lines = lines.iter().map(|line| vec![(Paint::Bad, (*line).to_owned())]).collect();
        over(lines, rows, Some(columns), Style::Plain)
    }

    #[test]
    fn a_screen_is_drawn_over_from_its_first_corner_and_cleared_below() {
        assert_eq!(drawn(&["a", "b"], 24, 80), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn what_does_not_fit_is_counted_and_never_scrolls() {
        let text = drawn(&["a", "b", "c", "d"], 3, 80);
        assert_eq!(text.matches("\r\n").count(), 2);
        assert!(text.contains("… 2 more lines") && !text.contains("\nc"), "{text:?}");
        assert!(drawn(&["a", "b"], 1, 80).contains("… 2 more lines"));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let text = drawn(&["reconnecting: hub at 10.0.0.5:7443 is lost", "b", "c"], 2, 20);
        assert_eq!(text, "\x1b[Hreconnecting: hub a…\r\n… 2 more lines; `wa…");
    }
}
