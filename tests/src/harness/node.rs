//! A node as a process: started, killed, frozen, stopped, started again with the same files and ports.

use super::{http, programs};
use protocol::Role;
use protocol::admin::NodeSnapshot;
use protocol::frame::Ledger;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to stop in good order before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

pub struct Node {
    pub role: Role,
    pub name: String,
    pub http: SocketAddr,
    /// An edge only dials.
    pub quic_port: Option<u16>,
    pub config: PathBuf,
    pub log: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) child: Option<Child>,
}

impl Node {
    /// Starts it, or starts it again. Must be called from a thread that outlives it: it dies with that thread.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} is running already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.unwrap_or_else(|e| panic!("{}: {e}", self.log.display()));
        let mut command = Command::new(programs::path(&format!("watchtree-{}", self.role)));
        command.arg("--config").arg(&self.config).arg("--die-with-parent");
        // Whoever runs this may have set variables for nodes of their own.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WATCHTREE_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Ctrl-C in the terminal is for whoever runs this, who then stops the nodes in order.
        command.process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("watchtree-{} does not start: {e}", self.role));
        self.child = Some(child);
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails if it has ended already, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Tells it that its configuration file has changed.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Freezes it: its sockets stay open and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to stop in good order; kills it if it does not.
    pub async fn terminate(&mut self) -> Option<ExitStatus> {
        self.child.as_ref()?;
        self.signal(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < STOP_WITHIN {
            if let Some(status) = self.try_wait() {
                self.child = None;
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        None
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Forgets a process that has ended by itself, as it was expected to.
    pub fn reap(&mut self) {
        assert!(self.try_wait().is_some(), "{} still runs", self.name);
        self.child = None;
    }

    pub(crate) fn death(&mut self) -> Option<String> {
        let status = self.try_wait()?;
        Some(format!("{} ended by itself: {status}\n{}", self.name, self.log_tail(5)))
    }

    /// The process ids of its ports whose program is called `program`.
    pub fn port_pids(&self, program: &str) -> Vec<u32> {
        let Some(parent) = self.pid() else { return Vec::new() };
        let processes = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| is_child(*pid, parent, program)).collect()
    }

    pub async fn tree(&self) -> Result<NodeSnapshot, String> {
        http::get_json(self.http, "/api/v1/tree").await
    }

    /// Its books: what became of the frames, an asker a ledger.
    pub async fn ledgers(&self) -> Result<Vec<Ledger>, String> {
        #[derive(Deserialize)]
        struct Inference {
            ledgers: Vec<Ledger>,
        }
        Ok(http::get_json::<Inference>(self.http, "/api/v1/inference").await?.ledgers)
    }

    /// Of an edge: entries accepted, and entries acknowledged.
    pub async fn outbox(&self) -> Result<(u64, u64), String> {
        let outbox = self.tree().await?.outbox.ok_or("the outbox does not answer")?;
        Ok((outbox.accepted, outbox.acked))
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The log's last lines, as a person reads them.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = self.log_text();
        let telling: Vec<String> = text.lines().filter(|line| !is_noise(line)).map(readable).collect();
        telling[telling.len().saturating_sub(lines)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.unwrap_or_else(|| panic!("{} is not running", self.name));
        kill_process(pid, signal).unwrap_or_else(|e| panic!("{} cannot be signalled: {e}", self.name));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The witness's lines, and what the harness itself asked for: many, and they tell a reader nothing.
fn is_noise(line: &str) -> bool {
    line.contains("\"watchtree::outbox\"") || line.contains("\"admin request\"")
}

/// `23:00:05.1 WARN session: source failed camera=front-door` of a line of JSON.
fn readable(line: &str) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(line) else { return line.to_owned() };
    let mut take = |key: &str| match fields.remove(key) {
        Some(serde_json::Value::String(text)) => text,
        _ => String::new(),
    };
    let (time, level, target, message) = (take("timestamp"), take("level"), take("target"), take("message"));
    let rest = fields.iter().filter(|(key, _)| !["span", "spans"].contains(&key.as_str()));
    let rest: Vec<String> = rest.map(|(key, value)| format!("{key}={value}")).collect();
    let time = time.get(11..23).unwrap_or(&time);
    format!("{time} {level:5} {target}: {message} {}", rest.join(" "))
}

fn is_child(pid: u32, parent: u32, program: &str) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let of_parent =
        status.lines().any(|line| line.split_once("PPid:").is_some_and(|(_, id)| id.trim() == parent.to_string()));
    let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
    of_parent && exe.is_ok_and(|exe| exe.file_name().is_some_and(|name| name == program))
}

/// An empty file for a log, so that it can be read from the start.
pub(crate) fn touch(log: &std::path::Path) -> std::io::Result<()> {
    File::create(log).map(drop)
}
