//! What the tests of this room share: events, entries, a tree to run an actor in, and a disk that can be filled.

use crate::events::outbox::Outbox;
use protocol::admin::OutboxStatus;
use protocol::{CameraId, Entry, Epoch, Event, EventId, Evidence, Identity, Phase, Timestamp};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use supervision::{Intensity, Node, Roll, Root, Strategy, Tree};

/// An event of camera `camera-0`, …; `id` is also its begin in milliseconds.
pub fn event(camera: u8, id: u64, revision: u32, phase: Phase) -> Event {
    let begin = Timestamp::from_micros((id as i64).saturating_mul(1000));
    Event {
        id: EventId(u128::from(id) << 80 | 7),
        camera: camera_id(camera),
        phase,
        revision,
        label: if id.is_multiple_of(2) { "person".to_owned() } else { "car".to_owned() },
        evidence: Evidence::Motion,
        score: 0.5,
        top_score: 0.5,
        area: [0.1, 0.2, 0.3, 0.4],
        begin,
        end: begin.plus(Duration::from_secs(u64::from(revision))),
        reason: None,
        zones: Vec::new(),
        has_clip: false,
        has_snapshot: false,
    }
}

pub fn camera_id(camera: u8) -> CameraId {
    format!("camera-{camera}").parse().expect("is a name")
}

pub fn entry(epoch: u64, seq: u64) -> Entry {
    Entry { epoch: Epoch(epoch), seq, accepted: Timestamp::now(), event: event(0, seq, 0, Phase::Start) }
}

pub fn edge(text: &str) -> Identity {
    text.parse().expect("is an identity")
}

/// What the slowest disk of a test machine may take. That an actor is found to hang is tested elsewhere.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Asked again while a slow disk keeps the outbox from answering: it gives each question up after a second.
pub async fn status(outbox: &Outbox) -> OutboxStatus {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match outbox.status().await {
            Ok(status) => return status,
            Err(error) => assert!(Instant::now() < until, "the outbox does not answer: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A tree that restarts what fails, often.
pub async fn run(children: Vec<Node>) -> Root {
    let children = children.into_iter().map(|child| child.answers_within(ANSWERS_WITHIN)).collect();
    let intensity = Intensity { restarts: 1000, within: Duration::from_secs(60) };
    let tree = Tree { name: "test".to_owned(), strategy: Strategy::OneForOne, intensity, children };
    Root::start(tree, Roll::default()).await.expect("starts")
}

/// A file system of its own, of 8 MiB.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, and says so: this user may not mount one.
    pub fn mount(at: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at).output();
        let mounted = mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()));
        if mounted.is_none() {
            eprintln!("SKIPPED: this user may not mount a small file system");
        }
        mounted
    }

    /// Ends with "no space left", as it should.
    pub fn fill(&self) {
        let _ = std::fs::write(self.0.join("ballast"), vec![0; 16 << 20]);
    }

    pub fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Waits until what a part says of its health is good, or bad.
pub async fn becomes(good: bool, finding: impl Fn() -> Result<String, String>) {
    let change = async {
        while finding().is_ok() != good {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), change).await.unwrap_or_else(|_| panic!("it is {:?}", finding()));
}
