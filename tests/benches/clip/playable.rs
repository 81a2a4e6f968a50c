//! From the end of an event's post-roll until its clip can be played: it is whole, and its files are read by ffprobe.

use super::{EDGE, SEED};
use protocol::Timestamp;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Plan, recordings};

/// Clips that are looked at.
pub const EVENTS: usize = 24;
pub const BAR_MS: f64 = 1500.0;
const CAMERAS: usize = 4;
/// As the edge has it unless told otherwise.
const POST_ROLL: Duration = Duration::from_secs(5);
const FRAME: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// As it lies beside the footage.
#[derive(Deserialize)]
struct Clip {
    end: Timestamp,
    takes: Vec<String>,
    goes_on: bool,
}

/// In milliseconds.
pub async fn measure() -> Result<Vec<f64>, String> {
    let mut cameras = Vec::new();
    let mut plan = Plan::new(SEED).relay("hub").edge(EDGE).set(EDGE, "retain.free_min_mib", 64);
    for n in 1..=CAMERAS {
        let seed = n.to_string();
        let scene = ["--objects", "1", "--lifetime-s", "3", "--gop-s", "1", "--prepare", "--seed", &seed];
        let camera = CameraServer::start(&scene).await;
        plan = plan.camera(EDGE, &format!("camera-{n}"), camera.url());
        cameras.push(camera);
    }
    let mut site = plan.set(EDGE, "record.post_roll_s", POST_ROLL.as_secs() as i64).start();
    site.ready().await;
    println!("playable: {EVENTS} events of {CAMERAS} cameras");
    let root = site.dir().join(EDGE).join("data/recordings");
    let (began, mut known, mut took) = (Instant::now(), BTreeSet::new(), Vec::new());
    while took.len() < EVENTS {
        if began.elapsed() > WITHIN {
            return Err(format!("{} clips within {} s\n{}", took.len(), WITHIN.as_secs(), site.tails()));
        }
        for file in clips(&root) {
            if known.contains(&file) {
                continue;
            }
            let seen = Timestamp::now();
            let Some(clip) = read(&file).filter(|clip| !clip.goes_on) else { continue };
            plays(&root, &clip)?;
            took.push((seen.micros() - clip.end.plus(POST_ROLL).micros()) as f64 / 1000.0);
            known.insert(file);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    site.stop().await;
    Ok(took)
}

fn clips(root: &Path) -> Vec<PathBuf> {
    let below = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = below(root.to_owned()).flat_map(below).flat_map(below);
    files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
}

/// `None`: it is just being written.
fn read(file: &Path) -> Option<Clip> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

fn plays(root: &Path, clip: &Clip) -> Result<(), String> {
    if clip.takes.is_empty() {
        return Err("a clip without footage".to_owned());
    }
    for take in &clip.takes {
        let below = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found = below(root.to_owned()).flat_map(below).map(|camera| camera.join(format!("{take}.mp4")));
        let file = found.find(|file| file.is_file()).ok_or_else(|| format!("there is no take {take}"))?;
        let take = recordings::probe(&file, FRAME)?;
        if !take.errors.is_empty() {
            return Err(format!("{}: {}", file.display(), take.errors));
        }
    }
    Ok(())
}
