//! What a port is started with: its program, its limits, and the little that it learns of its node.

use super::child;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Far above what a camera's pipeline takes, far below what a machine has.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// How to start a port and what it is allowed.
#[derive(Debug, Clone)]
pub struct PortSpec {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// The longest message either side may send.
    pub message_bytes_max: usize,
    /// For the system to load the program, and then for the program to say hello.
    pub start_within: Duration,
    /// Silence longer than this is a hang.
    pub beat_within: Duration,
    /// Resident memory above this ends the port as `oom`.
    pub memory_bytes_max: u64,
    /// A port that has work and makes no progress for so long hangs, even if it beats.
    pub progress_within: Option<Duration>,
}

impl PortSpec {
    pub fn new(program: impl Into<PathBuf>, message_bytes_max: usize) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            message_bytes_max,
            start_within: Duration::from_secs(10),
            beat_within: Duration::from_secs(2),
            memory_bytes_max: MEMORY_BYTES_MAX,
            progress_within: None,
        }
    }

    pub(super) fn name(&self) -> String {
        self.program.file_name().map_or_else(|| "port".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    pub(super) fn command(&self, socket: UnixStream) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env(child::PARENT_ENV, std::process::id().to_string())
            .env(child::BYTES_MAX_ENV, self.message_bytes_max.to_string())
            .env(child::DATA_MAX_ENV, child::data_bytes_max(self.memory_bytes_max).to_string())
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on the terminal is for the node, which then stops its ports in order. What the port starts
            // itself is in the group too and ends with it.
            .process_group(0);
        command
    }
}

/// A node's environment may hold keys and passwords; native code gets only what loaders and libraries need.
fn is_inherited(name: &OsStr) -> bool {
    const NAMES: [&str; 9] =
        ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "RUST_LOG", "RUST_BACKTRACE"];
    // GStreamer and its TLS, the locale, the GPU.
    const BEGINNINGS: [&str; 6] = ["GST_", "GIO_", "LC_", "LIBVA_", "CUDA_", "NVIDIA_"];
    name.to_str().is_some_and(|name| NAMES.contains(&name) || BEGINNINGS.iter().any(|start| name.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_inherits_what_libraries_need_and_nothing_else() {
        for name in ["PATH", "LD_LIBRARY_PATH", "GST_PLUGIN_PATH", "LC_ALL", "RUST_LOG"] {
            assert!(is_inherited(OsStr::new(name)), "{name}");
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "WATCHTREE_KEY", "PATHS", "SSH_AUTH_SOCK", "LD_PRELOAD", "NOTIFY_SOCKET"]
        {
            assert!(!is_inherited(OsStr::new(name)), "{name}");
        }
    }
}
