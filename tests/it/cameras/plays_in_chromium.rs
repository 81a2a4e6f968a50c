//! What is recorded plays in a browser and seeks; where that is not claimed, it is stored all the same.

use super::{EDGE, all_seen};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::harness::browser::{self, Played};
use tests::harness::recordings::{self, Take};
use tests::harness::{CameraServer, Cluster, Plan};

const SEED: u64 = 530;
const WITHIN: Duration = Duration::from_secs(60);
const FRAME: Duration = Duration::from_millis(100);
/// Of one file.
const SEGMENT_S: u64 = 8;
/// A seek ends at the picture that is shown at that time.
const SEEK_OFF_S_MAX: f64 = 0.3;

const GENERATE: &[&str] = &[
    "-v",
    "error",
    "-f",
    "lavfi",
    "-i",
    "testsrc=size=320x180:rate=10:duration=6",
    "-pix_fmt",
    "yuv420p",
    "-c:v",
    "libx264",
    "-g",
    "10",
    "-movflags",
    "frag_keyframe+empty_moov+default_base_moof+global_sidx",
];

/// The browser, the page and the server are as they should be: another program's file plays.
#[tokio::test]
async fn a_file_that_is_known_to_play_plays_here() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let file = dir.path().join("known.mp4");
    let made = Command::new("ffmpeg").args(GENERATE).arg(&file).output().expect("`make setup` installs ffmpeg");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let take = recordings::probe(&file, FRAME).expect("ffprobe reads it");
    assert_eq!(take.faults(FRAME), [""; 0]);
    plays(&browser::play(&file).await.expect("the browser answers"), &take);
}

#[tokio::test]
async fn a_recorded_file_plays_and_seeks_and_hevc_is_stored() {
    // A picture with something in it at each moment: one of a single colour is taken for none.
    let scene = ["--gop-s", "1", "--length-s", "10", "--scene", "busy", "--size", "640x360", "--fps", "10"];
    let mut cameras = Vec::new();
    let mut plan = Plan::new(SEED).relay("hub").edge(EDGE);
    for (id, more) in [
        ("plain", [].as_slice()),
        ("reordered", &["--bframes", "2", "--audio", "aac"]),
        ("hevc", &["--codec", "h265", "--prepare"]),
    ] {
        let arguments: Vec<&str> = scene.iter().chain(more).copied().collect();
        let camera = CameraServer::start(&arguments).await;
        plan = plan.camera_with(EDGE, id, camera.url(), "record = \"all\"");
        cameras.push(camera);
    }
    let mut site = plan.set(EDGE, "record.segment_s", SEGMENT_S as i64).set(EDGE, "retain.free_min_mib", 64).start();
    site.ready().await;
    all_seen(&mut site, &["plain", "reordered", "hevc"], WITHIN).await;
    for (id, codec) in [("plain", "h264"), ("reordered", "h264"), ("hevc", "hevc")] {
        let file = finished(&mut site, id).await;
        let take = recordings::probe(&file, FRAME).expect("ffprobe reads it");
        assert_eq!((take.codec.as_str(), take.has_audio), (codec, id == "reordered"), "{take:?}");
        assert_eq!(take.faults(FRAME), [""; 0]);
        if codec == "h264" {
            plays(&browser::play(&file).await.expect("the browser answers"), &take);
        }
    }
}

fn plays(played: &Played, take: &Take) {
    println!("{}: {played:?}", take.path.display());
    assert_eq!(played.error, "", "{played:?}");
    assert_eq!((played.width, played.height), (take.width, take.height));
    let duration_s = take.duration.as_secs_f64();
    assert!((played.duration_s - duration_s).abs() <= FRAME.as_secs_f64(), "{} is not {duration_s}", played.duration_s);
    assert!(played.seeks_s.iter().all(|(to, at)| (to - at).abs() <= SEEK_OFF_S_MAX), "{played:?}");
    assert!(played.seeks_s.len() == 4 && played.drawn.iter().all(|drawn| *drawn) && played.frames > 10, "{played:?}");
}

/// The first file of a camera that another one follows.
async fn finished(site: &mut Cluster, camera: &str) -> PathBuf {
    let dir = site.dir().join(EDGE).join("data/recordings");
    site.eventually("a file is finished", WITHIN, async |_| second(&dir, camera)).await
}

/// Not of those that ended early: sound that becomes known after the first pictures begins a file of its own.
fn second(dir: &Path, camera: &str) -> Result<PathBuf, String> {
    let files = recordings::files(dir, camera);
    let (_, finished) = files.split_last().ok_or(format!("no file of {camera}"))?;
    let whole = finished.iter().find(|file| {
        recordings::probe(file, FRAME).is_ok_and(|take| take.duration >= Duration::from_secs(SEGMENT_S / 2))
    });
    whole.cloned().ok_or_else(|| format!("{} files of {camera}", files.len()))
}
