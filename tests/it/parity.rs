//! Parity: what `watchtree-gpu detect` finds in a video and a photograph is what another implementation finds.

use protocol::Detection;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;
use tests::harness::assets::{self, Assets};
use tests::harness::programs;
use watchtree_model_port::parity::{Parity, Reference, SHARE_MIN};

/// A line of `detect`'s output.
#[derive(Deserialize)]
struct Line {
    file: String,
    frame: u64,
    #[serde(flatten)]
    detection: Detection,
}

#[test]
fn detections_in_a_video_and_a_photograph_are_the_references() {
    let Some(assets) = assets::or_skip("parity") else { return };
    let Some(reference) = &assets.reference else {
        return eprintln!("SKIPPED parity: no reference_yolox_nano.json beside the weights");
    };
    let reference = Reference::read(reference.parent().expect("it lies in a directory")).expect("it is sound");
    let found = detect(&assets);
    let none = Vec::new();
    let mut parity = Parity::default();
    for video in &reference.videos {
        for frame in &video.frames {
            parity.add(&frame.det, found.get(&(video.file.clone(), frame.frame)).unwrap_or(&none));
        }
    }
    for still in &reference.images {
        parity.add(&still.det, found.get(&(still.file.clone(), 0)).unwrap_or(&none));
    }
    println!("{parity:?}: {:.2} %", parity.share() * 100.0);
    assert!(parity.expected > 100, "the reference has enough to compare: {parity:?}");
    assert!(parity.share() >= SHARE_MIN, "{parity:?}");
}

/// Detections by file name and frame.
fn detect(assets: &Assets) -> BTreeMap<(String, u64), Vec<Detection>> {
    programs::check_fresh().unwrap_or_else(|stale| panic!("{stale}"));
    let spec = programs::project().join("config/models/yolox-nano.toml");
    let mut command = Command::new(programs::path("watchtree-gpu"));
    command.arg("detect").arg("--model").arg(spec).arg(&assets.walkway).arg(&assets.photograph);
    let output = command.env("WATCHTREE_MODELS", &assets.models).output().expect("it is built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: BTreeMap<(String, u64), Vec<Detection>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let file = line.file.rsplit('/').next().unwrap_or_default().to_owned();
        found.entry((file, line.frame)).or_default().push(line.detection);
    }
    found
}
