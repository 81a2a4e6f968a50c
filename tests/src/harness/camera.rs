//! The test camera as a process: what it shows is known, and it can be told to fail.

mod deliveries;

pub use deliveries::Deliveries;

use super::{ports, programs, wait_for};
use crate::test_camera::book::now_us;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Footage is encoded before the first client comes, a video of two minutes too.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// What a camera tells, as long as one process lives.
type Facts = Arc<Mutex<Vec<Value>>>;

pub struct CameraServer {
    child: Child,
    facts: Facts,
    url: String,
    /// To start it again with.
    arguments: Vec<String>,
    book: Option<PathBuf>,
}

impl CameraServer {
    /// Starts `watchtree-test-camera` with these arguments and waits until it can be watched.
    pub async fn start(arguments: &[&str]) -> Self {
        let mut camera = Self::spawn(arguments, Stdio::inherit());
        camera.ready().await;
        camera
    }

    /// As [`Self::start`], at a port of its own that it keeps when it is started again, with its book in `book`.
    pub async fn start_with_book(arguments: &[&str], book: &Path) -> Self {
        let (port, book_path) = (ports::free().to_string(), book.display().to_string());
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--port", &port, "--log", &book_path]).collect();
        let mut camera = Self::spawn(&arguments, Stdio::inherit());
        camera.book = Some(book.to_owned());
        camera.ready().await;
        camera
    }

    /// `kill -9`: whoever watches sees the connection close. Its book says when.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(book) = &self.book {
            let line = json!({ "at_us": now_us(), "state": "killed", "delivers": false });
            let file = OpenOptions::new().append(true).open(book);
            file.and_then(|mut file| writeln!(file, "{line}")).unwrap_or_else(|e| panic!("{}: {e}", book.display()));
        }
    }

    /// The same camera again, after [`Self::kill`]. Returns when it could be watched, in microseconds since 1970.
    pub async fn start_again(&mut self) -> i64 {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut again = Self::spawn(&arguments, Stdio::inherit());
        again.book = self.book.take();
        // The old one is dropped: it has ended.
        *self = again;
        self.ready().await
    }

    async fn ready(&mut self) -> i64 {
        let ready = wait_for("the test camera is ready", READY_WITHIN, async || self.fact("ready")).await;
        self.url = ready["url"].as_str().expect("a ready camera tells its URL").to_owned();
        ready["ready_us"].as_i64().expect("and since when it is")
    }

    /// When it delivered, over all its lives.
    pub fn deliveries(&self) -> Deliveries {
        let book = self.book.as_ref().expect("it was started with a book");
        let text = std::fs::read_to_string(book).unwrap_or_else(|e| panic!("{}: {e}", book.display()));
        Deliveries::read(&text)
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
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { child, facts, url: String::new(), arguments, book: None }
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

    /// A line of those that `watchtree-test-camera` knows.
    pub fn order(&mut self, order: &str) {
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
