//! The test camera as a process: what it shows is known, and it can be told to fail.

use super::{programs, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Footage is encoded before the first client comes, a video of two minutes too.
const READY_WITHIN: Duration = Duration::from_secs(180);

pub struct CameraServer {
    child: Child,
    facts: Arc<Mutex<Vec<Value>>>,
    url: String,
}

impl CameraServer {
    /// Starts `watchtree-test-camera` with these arguments and waits until it can be watched.
    pub async fn start(arguments: &[&str]) -> Self {
        let mut camera = Self::spawn(arguments, Stdio::inherit());
        let ready = wait_for("the test camera is ready", READY_WITHIN, async || camera.fact("ready")).await;
        camera.url = ready["url"].as_str().expect("a ready camera tells its URL").to_owned();
        camera
    }

    /// As [`Self::start`], with its log in `log`.
    pub async fn start_logged(arguments: &[&str], log: &Path) -> Result<Self, String> {
        let file = std::fs::File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut camera = Self::spawn(arguments, file.into());
        let ready = wait_for("the test camera is ready or has ended", READY_WITHIN, async || match camera.ended() {
            Some(status) => Ok(Err(format!("the test camera ended: {status}"))),
            None => camera.fact("ready").map(Ok),
        });
        let ready = ready.await?;
        camera.url = ready["url"].as_str().ok_or("the test camera told no URL")?.to_owned();
        Ok(camera)
    }

    fn spawn(arguments: &[&str], log: Stdio) -> Self {
        let mut command = Command::new(programs::path("watchtree-test-camera"));
        // Its end of the pipe closes when we end in any way, and then it ends too.
        command.args(arguments).arg("--exit-on-stdin-eof");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().expect("watchtree-test-camera is built");
        let facts = Arc::new(Mutex::new(Vec::new()));
        let (stdout, told) = (child.stdout.take().expect("it is piped"), facts.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let fact = serde_json::from_str(&line).unwrap_or(Value::String(line));
                told.lock().unwrap_or_else(PoisonError::into_inner).push(fact);
            }
        });
        Self { child, facts, url: String::new() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The fact that has this key, once it was told.
    pub fn fact(&self, key: &str) -> Result<Value, String> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let told = facts.iter().find(|fact| fact.get(key).is_some());
        told.cloned().ok_or_else(|| format!("the camera told only {facts:?}"))
    }

    /// When its first frame went out, in microseconds since 1970.
    pub async fn first_frame_us(&self) -> i64 {
        self.first_frame_us_within(Duration::from_secs(30)).await
    }

    /// As [`Self::first_frame_us`], where whoever watches may be in the middle of a long pause.
    pub async fn first_frame_us_within(&self, within: Duration) -> i64 {
        let told = wait_for("somebody watches the camera", within, async || self.fact("first_frame_us")).await;
        told["first_frame_us"].as_i64().expect("a whole number")
    }

    /// No more frames, while the session stays open.
    pub fn stall(&mut self) {
        self.order("stall");
    }

    pub fn go(&mut self) {
        self.order("go");
    }

    /// Ends it: whoever watched sees the connection close.
    pub fn quit(&mut self) {
        self.order("quit");
        let _ = self.child.wait();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn order(&mut self, order: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{order}").unwrap_or_else(|e| panic!("the test camera takes no order: {e}"));
    }
}

impl Drop for CameraServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
