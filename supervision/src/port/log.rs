//! What a port prints, in the node's log under the port's path.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

/// A line; longer ones are cut, the rest of the line is dropped.
const LINE_BYTES_MAX: usize = 2000;
/// A dead process says no more, so its pipe ends at once.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How Rust, GLib and C++ say it before they abort.
const NO_MEMORY: [&str; 3] = ["memory allocation of ", "failed to allocate ", "std::bad_alloc"];

/// Reads both pipes until they end.
pub(super) struct Log {
    readers: Vec<JoinHandle<()>>,
    no_memory: Arc<AtomicBool>,
}

impl Log {
    pub fn new() -> Self {
        Self { readers: Vec::new(), no_memory: Arc::default() }
    }

    pub fn forward_all(
        &mut self,
        (stdout, stderr): (Option<ChildStdout>, Option<ChildStderr>),
        path: &str,
        program: &'static str,
    ) -> io::Result<()> {
        stdout.map_or(Ok(()), |stdout| self.forward(stdout, path, program))?;
        stderr.map_or(Ok(()), |stderr| self.forward(stderr, path, program))
    }

    fn forward(&mut self, from: impl Into<OwnedFd>, path: &str, program: &'static str) -> io::Result<()> {
        let from = pipe::Receiver::from_owned_fd(from.into())?;
        let log = Lines { path: path.to_owned(), program, no_memory: self.no_memory.clone() };
        self.readers.push(tokio::spawn(log.forward(from)));
        Ok(())
    }

    /// Whether the port, which is dead, ran out of memory by its own account.
    pub async fn told_no_memory(&mut self) -> bool {
        for reader in self.readers.iter_mut().filter(|reader| !reader.is_finished()) {
            let _ = timeout(LAST_WORDS, reader).await;
        }
        self.no_memory.load(Ordering::Relaxed)
    }
}

struct Lines {
    path: String,
    program: &'static str,
    no_memory: Arc<AtomicBool>,
}

impl Lines {
    async fn forward(self, mut from: pipe::Receiver) {
        let mut line = Vec::new();
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
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
    }

    fn tell(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        if NO_MEMORY.iter().any(|words| text.contains(words)) {
            self.no_memory.store(true, Ordering::Relaxed);
        }
        info!(path = %self.path, program = self.program, "{}", text.trim_end());
    }
}
