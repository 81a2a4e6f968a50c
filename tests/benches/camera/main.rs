//! What a camera costs: against ffmpeg and motion, in CPU time and memory, and how many a core holds.
//!
//!   test camera (720p15 H.264, 2 Mbit/s) ──RTSP──▶ edge with ports ··· quiet, busy, passthrough, capacity
//!                      ├──────────────────────────▶ ffmpeg ··········· decodes to 5 frames a second of 640x360
//!                      └──────────────────────────▶ motion ··········· Debian's, detects and writes nothing
//!
//! CPU time of the processes, in percent of one core; the peers run beside the edge, on its stream, in its window.
//! Writes `target/bench/camera.json` and says which bars are met. People judge figures: it fails only if one is missing.
//! Named as arguments (`quiet`, `busy`, `passthrough`, `capacity`), single parts are measured and nothing is written.

#[path = "../restart/conditions.rs"]
mod conditions;
#[allow(dead_code, reason = "no figure here is one of many measurements")]
#[path = "../restart/figures.rs"]
mod figures;
mod out;
mod peers;
mod site;

use conditions::Conditions;
use figures::{Bar, round};
use serde_json::{Map, Value, json};
use site::{Cost, Scene, measure, measure_beside};
use std::process::ExitCode;
use std::time::Duration;
use tests::harness::programs;

const PARTS: [&str; 4] = ["quiet", "busy", "passthrough", "capacity"];
const QUIET_CAMERAS: usize = 8;
const BUSY_CAMERAS: usize = 8;
const PEERS: [&str; 2] = ["ffmpeg", "motion"];
/// Of which CPU time is measured.
pub const WINDOW: Duration = Duration::from_secs(20);
const BUSY_WINDOW: Duration = Duration::from_secs(40);
/// Of cameras that are looked at once in four seconds, and may be woken by nothing.
const QUIET_WINDOW: Duration = Duration::from_secs(60);
/// A camera that has fewer frames a second does not hold five.
const HELD_FPS: f64 = 4.95;
/// How often another number of cameras is tried.
const STEPS: usize = 4;
const MIB: f64 = 1024.0;

fn main() -> ExitCode {
    // Cargo adds options of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("not measured: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured so far.
#[derive(Default)]
struct Figures {
    result: Map<String, Value>,
    details: Map<String, Value>,
}

impl Figures {
    fn put(&mut self, key: &str, figure: f64) {
        println!("{key}: {figure:.2}");
        self.result.insert(key.to_owned(), round(figure).into());
    }

    fn detail(&mut self, key: &str, figure: impl Into<Value>) {
        self.details.insert(key.to_owned(), figure.into());
    }

    fn get(&self, key: &str) -> Option<f64> {
        self.result.get(key)?.as_f64()
    }

    /// What each peer took beside an edge with this scene.
    fn beside(&mut self, scene: &str, took: &[f64]) {
        for (name, pct) in PEERS.into_iter().zip(took) {
            self.detail(&format!("{name}_{scene}_pct"), round(*pct));
        }
    }

    /// How many times as much as a peer's on the same scene in the same window.
    fn ratio(&self, scene: &str, ours: &str, peer: &str) -> Option<f64> {
        Some(self.get(ours)? / self.details.get(&format!("{peer}_{scene}_pct"))?.as_f64()?)
    }

    /// A peer's figure is the mean of its two.
    fn peers(&mut self) {
        for name in PEERS {
            let of = |scene: &str| self.details.get(&format!("{name}_{scene}_pct"))?.as_f64();
            if let Some((quiet, busy)) = of("quiet").zip(of("busy")) {
                self.put(&format!("{name}_pct"), f64::midpoint(quiet, busy));
            }
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    if let Some(word) = words.iter().find(|word| !PARTS.contains(&word.as_str())) {
        return Err(format!("`{word}` is no part; use {}, or none for all", PARTS.join(", ")));
    }
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    programs::check_fresh().map_err(|stale| stale.replace("make build", "make bench-camera"))?;
    let conditions = Conditions::at_begin()?;
    let mut figures = Figures::default();
    // The nodes die with the thread that starts them, so it is this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        if wanted("quiet") {
            quiet(&mut figures).await?;
        }
        if wanted("busy") || wanted("capacity") {
            busy(&mut figures).await?;
        }
        figures.peers();
        if wanted("passthrough") {
            passthrough(&mut figures).await?;
        }
        if wanted("capacity") {
            capacity(&mut figures).await?;
        }
        Ok::<_, String>(())
    })?;
    let bars = bars(&figures);
    let mut said = conditions.at_end();
    said["stream"] = json!("1280x720, 15 frames/s, H.264 main, 2 Mbit/s; GOP 2 s unless said otherwise");
    said["window_s"] = WINDOW.as_secs().into();
    said["busy_window_s"] = BUSY_WINDOW.as_secs().into();
    said["quiet_and_passthrough_window_s"] = QUIET_WINDOW.as_secs().into();
    said["details"] = Value::Object(figures.details);
    let mut result = figures.result;
    result.insert("bars".to_owned(), bars.iter().map(Bar::json).collect());
    result.insert("conditions".to_owned(), said);
    out::write("camera.json", words, result)?;
    bars.iter().for_each(|bar| println!("{bar}"));
    Ok(())
}

fn bars(figures: &Figures) -> Vec<Bar> {
    let ratio = |scene: &str, ours: &str, peer: &str| figures.ratio(scene, ours, peer);
    let bars = [
        ratio("quiet", "quiet_pct", "ffmpeg").map(|is| Bar::new("quiet camera, in ffmpeg's", is, 0.25)),
        ratio("quiet", "quiet_pct", "motion").map(|is| Bar::new("quiet camera, in motion's", is, 0.25)),
        ratio("busy", "busy_pct", "ffmpeg").map(|is| Bar::new("busy camera, in ffmpeg's", is, 1.1)),
        figures.get("passthrough_pct").map(|is| Bar::new("passthrough, in % of a core", is, 0.7)),
    ];
    bars.into_iter().flatten().collect()
}

/// Eight, each at its own moment of the same scene; the worse of two rhythms.
async fn quiet(figures: &mut Figures) -> Result<(), String> {
    let idle = site::edge(&[], "", "idle").await?;
    let (baseline, base_rss) = (measure(&idle, WINDOW).await?, site::node_rss_kib(&idle)?);
    drop(idle);
    figures.detail("edge_without_cameras_pct", round(baseline.pct));
    figures.detail("edge_without_cameras_rss_mib", round(base_rss / MIB));
    let mut worst: f64 = 0.0;
    for gop_s in ["2", "4"] {
        let cameras = Scene::Quiet.cameras(gop_s, 1).await;
        let site = site::edge(&site::urls(&cameras, QUIET_CAMERAS), "", "idle").await?;
        let mut peers = peers::both(cameras[0].url())?;
        let (cost, took) = measure_beside(&site, QUIET_WINDOW, &mut peers).await?;
        figures.detail(&format!("quiet_gop_{gop_s}_s_pct"), round(cost.pct / QUIET_CAMERAS as f64));
        figures.detail(&format!("quiet_gop_{gop_s}_s_ports_pct"), round(cost.ports_pct / QUIET_CAMERAS as f64));
        figures.detail(&format!("quiet_gop_{gop_s}_s_wakes"), cost.wakes);
        if gop_s == "2" {
            let more_kib = site::node_rss_kib(&site)? - base_rss + cost.ports_rss_kib;
            figures.put("rss_per_camera_mib", more_kib / MIB / QUIET_CAMERAS as f64);
        }
        if cost.pct / QUIET_CAMERAS as f64 > worst {
            worst = cost.pct / QUIET_CAMERAS as f64;
            figures.beside("quiet", &took);
        }
    }
    figures.put("quiet_pct", worst);
    Ok(())
}

async fn busy(figures: &mut Figures) -> Result<(), String> {
    let cameras = Scene::Busy.cameras("2", 1).await;
    let site = site::edge(&site::urls(&cameras, BUSY_CAMERAS), "", "awake").await?;
    let mut peers = peers::both(cameras[0].url())?;
    let (cost, took) = measure_beside(&site, BUSY_WINDOW, &mut peers).await?;
    figures.beside("busy", &took);
    figures.detail("busy_fps", round(cost.fps));
    figures.detail("busy_ports_pct", round(cost.ports_pct / BUSY_CAMERAS as f64));
    figures.put("busy_pct", cost.pct / BUSY_CAMERAS as f64);
    Ok(())
}

/// So many cameras with something that moves all the time.
async fn awake(count: usize) -> Result<Cost, String> {
    let cameras = Scene::Busy.cameras("2", 1).await;
    let site = site::edge(&site::urls(&cameras, count), "", "awake").await?;
    measure(&site, WINDOW).await
}

async fn passthrough(figures: &mut Figures) -> Result<(), String> {
    let cameras = Scene::Quiet.cameras("2", 1).await;
    let site = site::edge(&site::urls(&cameras, QUIET_CAMERAS), "gear = \"passthrough\"", "passthrough").await?;
    let cost = measure(&site, QUIET_WINDOW).await?;
    figures.detail("passthrough_ports_pct", round(cost.ports_pct / QUIET_CAMERAS as f64));
    figures.put("passthrough_pct", cost.pct / QUIET_CAMERAS as f64);
    Ok(())
}

/// From what one costs, up or down until the most that hold five frames a second is found.
async fn capacity(figures: &mut Figures) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let one_pct = figures.get("busy_pct").ok_or("what a busy camera costs is not known")?;
    // The machine has a test camera and a relay to run as well.
    let mut count = ((cores as f64 * 85.0 / one_pct) as usize).max(1);
    let (mut held, mut failed) = (0, usize::MAX);
    let mut tries = Vec::new();
    for _ in 0..STEPS {
        let cost = awake(count).await?;
        println!("{count} awake cameras: {:.2} frames/s each, {:.0} % of {cores} cores", cost.fps, cost.pct);
        tries.push(json!({ "cameras": count, "fps": round(cost.fps), "pct": round(cost.pct) }));
        if cost.fps >= HELD_FPS {
            held = held.max(count);
        } else {
            failed = failed.min(count);
        }
        count = match failed {
            usize::MAX => count + count.div_ceil(8),
            failed => (held + failed) / 2,
        };
        if count == held || count == 0 || count >= failed {
            break;
        }
    }
    figures.detail("capacity_tries", tries);
    figures.put("cameras_per_core", held as f64 / cores as f64);
    Ok(())
}
