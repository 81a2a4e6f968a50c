//! How much is written for so much footage: all that lies below recordings, its index too.

use super::{EDGE, SEED};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::harness::{CameraServer, Plan};

pub const BAR: f64 = 1.05;
const CAMERAS: usize = 4;
const LASTS: Duration = Duration::from_secs(90);

pub struct Took {
    /// Below recordings.
    pub written: f64,
    /// Of access units, in the files.
    pub delivered: f64,
    /// By the process to the disk, all in all.
    pub written_to_disk: f64,
    pub lasted: Duration,
}

pub async fn measure() -> Result<Took, String> {
    let size = ["--size", "1280x720", "--fps", "15", "--gop-s", "2", "--length-s", "16", "--prepare"];
    let arguments: Vec<&str> = ["--scene", "quiet"].into_iter().chain(size).collect();
    let camera = CameraServer::start(&arguments).await;
    let mut plan = Plan::new(SEED).relay("hub").edge(EDGE).set(EDGE, "retain.free_min_mib", 64);
    for n in 1..=CAMERAS {
        plan = plan.camera_with(EDGE, &format!("camera-{n}"), camera.url(), "record = \"all\"");
    }
    let mut site = plan.start();
    site.ready().await;
    println!("writes: {CAMERAS} cameras for {} s", LASTS.as_secs());
    tokio::time::sleep(LASTS).await;
    let pid = site.node(EDGE).pid().ok_or("the edge does not run")?;
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).map_err(|e| e.to_string())?;
    let written_to_disk = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    // In good order, so that every file is finished.
    site.node_mut(EDGE).terminate().await;
    let files = below(&site.dir().join(EDGE).join("data/recordings"));
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    let written = files.iter().map(size).sum::<u64>() as f64;
    let films = files.iter().filter(|file| file.extension().is_some_and(|end| end == "mp4"));
    let delivered = films.map(|file| packets(file)).sum::<Result<u64, String>>()? as f64;
    if delivered < 1e6 {
        return Err(format!("only {delivered} B were recorded\n{}", site.tails()));
    }
    Ok(Took { written, delivered, written_to_disk: written_to_disk.ok_or("no write_bytes")?, lasted: LASTS })
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

/// Bytes of all access units in it.
fn packets(file: &Path) -> Result<u64, String> {
    let said = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .map_err(|e| format!("ffprobe does not start ({e}): run `make setup`"))?;
    let text = String::from_utf8_lossy(&said.stdout);
    Ok(text.lines().filter_map(|line| line.trim_end_matches(',').parse::<u64>().ok()).sum())
}
