//! What a port prints, in the node's log under the port's path.
//!
//!   stdout, stderr ──lines──▶ [log] ──as many as there is room for──▶ the node's log
//!                               └─ the last of stderr ─▶ the failure's text

use super::last_words::LastWords;
use super::pulse::in_looks;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

/// A line; longer ones are cut, the rest of the line is dropped.
const LINE_BYTES_MAX: usize = 2000;
/// Lines of one port in [`EACH`]; what it says beyond is counted, and the count is told.
const LINES_MAX: usize = 100;
const EACH: Duration = Duration::from_secs(1);
/// A dead process says no more, so its pipe ends at once, if the machine has time to read it.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);
/// How Rust, GLib and C++ say it before they abort.
const NO_MEMORY: [&str; 3] = ["memory allocation of ", "failed to allocate ", "std::bad_alloc"];

/// Reads both pipes until they end.
pub(super) struct Log {
    readers: Vec<JoinHandle<()>>,
    no_memory: Arc<AtomicBool>,
    last_words: Arc<Mutex<LastWords>>,
    /// Of both pipes.
    room: Arc<Mutex<Room>>,
}

impl Log {
    pub fn new() -> Self {
        let room = Arc::new(Mutex::new(Room::new(Instant::now())));
        Self { readers: Vec::new(), no_memory: Arc::default(), last_words: Arc::default(), room }
    }

    pub fn forward_all(
        &mut self,
        (stdout, stderr): (Option<ChildStdout>, Option<ChildStderr>),
        path: &str,
        program: &'static str,
    ) -> io::Result<()> {
        let told = |last_words| Lines {
            path: path.to_owned(),
            program,
            no_memory: self.no_memory.clone(),
            last_words,
            room: self.room.clone(),
        };
        let (of_stdout, of_stderr) = (told(None), told(Some(self.last_words.clone())));
        stdout.map_or(Ok(()), |stdout| self.read(stdout, of_stdout))?;
        stderr.map_or(Ok(()), |stderr| self.read(stderr, of_stderr))
    }

    fn read(&mut self, from: impl Into<OwnedFd>, lines: Lines) -> io::Result<()> {
        let from = pipe::Receiver::from_owned_fd(from.into())?;
        self.readers.push(tokio::spawn(lines.forward(from)));
        Ok(())
    }

    /// What the port, which is dead, said of its end.
    pub async fn of_the_end(&mut self) -> Said {
        for reader in self.readers.iter_mut().filter(|reader| !reader.is_finished()) {
            let _ = in_looks(LAST_WORDS_WITHIN, reader).await;
        }
        let last_words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        Said { no_memory: self.no_memory.load(Ordering::Relaxed), last_words: last_words.by(Instant::now()) }
    }
}

/// A dead port's own account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// It ran out of memory.
    pub no_memory: bool,
    /// Why it gave up, if it said so.
    pub last_words: Option<String>,
}

struct Lines {
    path: String,
    program: &'static str,
    no_memory: Arc<AtomicBool>,
    /// `None` for what is not told of failures.
    last_words: Option<Arc<Mutex<LastWords>>>,
    room: Arc<Mutex<Room>>,
}

impl Lines {
    async fn forward(self, mut from: pipe::Receiver) {
        let mut line = Vec::new();
        let mut piece = [0; 1024];
        while let count @ 1.. = self.read(&mut from, &mut piece).await {
            for &byte in &piece[..count] {
                if byte == b'\n' {
                    self.tell(&line);
                    line.clear();
                } else if line.len() < LINE_BYTES_MAX {
                    line.push(byte);
                }
            }
        }
        if !line.is_empty() {
            self.tell(&line);
        }
        self.tell_left_out(Room::at_last);
    }

    /// How many bytes; none at the end.
    async fn read(&self, from: &mut pipe::Receiver, piece: &mut [u8]) -> usize {
        while self.room().left_out > 0 {
            match timeout(EACH, from.read(piece)).await {
                Ok(read) => return read.unwrap_or(0),
                // It may say no more for long.
                Err(_) => self.tell_left_out(|room| room.by(Instant::now())),
            }
        }
        from.read(piece).await.unwrap_or(0)
    }

    fn tell(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        if NO_MEMORY.iter().any(|words| text.contains(words)) {
            self.no_memory.store(true, Ordering::Relaxed);
        }
        let now = Instant::now();
        if let Some(last_words) = &self.last_words {
            last_words.lock().unwrap_or_else(PoisonError::into_inner).hear(&text, now);
        }
        self.tell_left_out(|room| room.by(now));
        if self.room().take(now) {
            info!(path = %self.path, program = self.program, "{}", text.trim_end());
        }
    }

    fn tell_left_out(&self, count: impl FnOnce(&mut Room) -> u64) {
        // Not held while it is told.
        let count = count(&mut self.room());
        if count > 0 {
            info!(path = %self.path, program = self.program, "{count} lines left out");
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many lines there is room for. Filled once in a while and not bit by bit, so that what was left out is told
/// as rarely.
struct Room {
    filled: Instant,
    lines: usize,
    left_out: u64,
}

impl Room {
    fn new(now: Instant) -> Self {
        Self { filled: now, lines: LINES_MAX, left_out: 0 }
    }

    /// Whether one more is told.
    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let fits = self.lines > 0;
        self.lines -= usize::from(fits);
        self.left_out += u64::from(!fits);
        fits
    }

    /// How many were left out, if it is time to tell.
    fn by(&mut self, now: Instant) -> u64 {
        self.fill(now);
        if self.lines > 0 { self.at_last() } else { 0 }
    }

    /// How many were left out and not told.
    fn at_last(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn fill(&mut self, now: Instant) {
        if now.duration_since(self.filled) >= EACH {
            (self.filled, self.lines) = (now, LINES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines at these milliseconds: which are told, and before which the number of those left out.
    fn check(lines: impl IntoIterator<Item = u64>, told: &[(u64, usize)], left_out: &[(u64, u64)]) {
        let began = Instant::now();
        let (mut room, mut told_at, mut left_out_at) = (Room::new(began), Vec::new(), Vec::new());
        for ms in lines {
            let now = began + Duration::from_millis(ms);
            left_out_at.extend(Some((ms, room.by(now))).filter(|(_, count)| *count > 0));
            told_at.extend(room.take(now).then_some(ms));
        }
        let told: Vec<u64> = told.iter().flat_map(|&(ms, count)| std::iter::repeat_n(ms, count)).collect();
        assert_eq!((told_at, left_out_at), (told, left_out.to_vec()));
    }

    #[test]
    fn a_port_that_says_little_is_heard_in_full() {
        check((0..1000).map(|n| n * 10), &(0..1000).map(|n| (n * 10, 1)).collect::<Vec<_>>(), &[]);
    }

    #[test]
    fn a_port_that_says_too_much_is_cut_short_and_what_was_left_out_is_counted_once() {
        let told = [(0, LINES_MAX), (1000, LINES_MAX), (3000, LINES_MAX)];
        check([[0; 150], [500; 150], [1000; 150], [3000; 150]].concat(), &told, &[(1000, 200), (3000, 50)]);
    }
}
