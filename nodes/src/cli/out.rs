//! Out: stdout, where a reader who has left is no error.

use super::Failure;
use super::render::Style;
use serde::Serialize;
use std::io::{BufWriter, ErrorKind, IsTerminal, Stdout, StdoutLock, Write};

pub(super) struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
    pub style: Style,
    /// Columns of the terminal; `None` when no person looks.
    pub width: Option<usize>,
}

impl Out {
    pub fn stdout() -> Self {
        let stdout = std::io::stdout();
        let width = stdout.is_terminal().then(|| columns(&stdout));
        let style = Style::of(width.is_some(), |name| std::env::var(name).ok());
        Self { stdout: BufWriter::new(stdout.lock()), style, width }
    }

    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).map_err(unwritten)
    }

    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.stdout, "{line}").map_err(unwritten)
    }

    pub fn json_line<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(unfit)?;
        self.line(&text)
    }

    /// Over several lines, for a single value that people read as well.
    pub fn json_document<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(unfit)?;
        self.line(&text)
    }

    /// To be called at the end, and before waiting for what comes next.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(unwritten)
    }
}

/// A terminal that does not say how wide it is, such as a serial line, is taken for endless.
fn columns(terminal: &Stdout) -> usize {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => usize::MAX,
    }
}

fn unfit(error: serde_json::Error) -> Failure {
    Failure::new(format!("the answer does not fit JSON: {error}"))
}

fn unwritten(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::new(format!("stdout cannot be written: {error}; is the disk full?")),
    }
}
