//! Parity: are our detections those of another implementation?
//!
//!   reference_yolox_nano.json (onnxruntime and OpenCV) ─┐
//!   this port's detections ─────────────────────────────┴──▶ [Parity]: the share that was matched
//!
//! Used by tests alone. The reference and its pictures are no part of the project: see [`assets`].

use crate::nms::iou;
use protocol::Detection;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Boxes that the reference was less sure of come and go with the last bit of a pixel.
pub const SCORE_MIN: f32 = 0.5;
pub const IOU_MIN: f32 = 0.9;
pub const SCORE_TOLERANCE: f32 = 0.03;
/// What a port must reach.
pub const SHARE_MIN: f64 = 0.99;

const REFERENCE: &str = "reference_yolox_nano.json";

#[derive(Debug, Deserialize)]
pub struct Reference {
    pub videos: Vec<Video>,
    pub images: Vec<Still>,
}

#[derive(Debug, Deserialize)]
pub struct Video {
    pub file: String,
    pub frames_total: u64,
    pub frames: Vec<Frame>,
}

#[derive(Debug, Deserialize)]
pub struct Frame {
    /// Counts from 0.
    pub frame: u64,
    pub det: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
pub struct Still {
    pub file: String,
    pub det: Vec<Expected>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Expected {
    pub name: String,
    pub score: f32,
    #[serde(rename = "box")]
    pub area: [f32; 4],
}

/// The directory of the reference: `$WATCHTREE_MODELS`, its parent, or `../shared/assets` beside the project.
/// `None` is said on standard error: the test that asked is skipped.
pub fn assets() -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let models = std::env::var_os("WATCHTREE_MODELS").map(PathBuf::from);
    let named = models.iter().flat_map(|models| [models.clone(), models.join("..")]);
    let found = named.chain([project.join("../shared/assets")]).find(|place| place.join(REFERENCE).is_file());
    if found.is_none() {
        eprintln!("skipped: ../shared/assets is absent (set WATCHTREE_MODELS)");
    }
    found
}

impl Reference {
    pub fn read(assets: &Path) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(assets.join(REFERENCE))?)?)
    }
}

/// Counts over all pictures compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parity {
    /// Boxes that the reference was sure of.
    pub expected: usize,
    /// Of these, how many we gave too: same class, place and score.
    pub matched: usize,
    /// Boxes that we were sure of and the reference had at no score.
    pub invented: usize,
}

impl Parity {
    /// One picture.
    pub fn add(&mut self, expected: &[Expected], ours: &[Detection]) {
        let mut free: Vec<&Detection> = ours.iter().collect();
        for wanted in expected.iter().filter(|wanted| wanted.score >= SCORE_MIN) {
            self.expected += 1;
            if let Some(at) = free.iter().position(|found| matches(wanted, found)) {
                free.swap_remove(at);
                self.matched += 1;
            }
        }
        let sure = ours.iter().filter(|found| found.score >= SCORE_MIN + SCORE_TOLERANCE);
        self.invented += sure.filter(|found| !expected.iter().any(|wanted| same_place(wanted, found))).count();
    }

    /// 0 to 1; of no expected boxes at all, none is matched.
    pub fn share(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.matched as f64 / self.expected as f64 }
    }
}

fn matches(wanted: &Expected, found: &Detection) -> bool {
    same_place(wanted, found) && (wanted.score - found.score).abs() <= SCORE_TOLERANCE
}

fn same_place(wanted: &Expected, found: &Detection) -> bool {
    wanted.name == found.label && iou(wanted.area, found.area) >= IOU_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(score: f32, x: f32) -> Expected {
        Expected { name: "person".to_owned(), score, area: [x, 0.0, x + 100.0, 100.0] }
    }

    fn ours(label: &str, score: f32, x: f32) -> Detection {
        Detection { label: label.to_owned(), score, area: [x, 0.0, x + 100.0, 100.0] }
    }

    #[track_caller]
    fn check(wanted: &[Expected], found: &[Detection], [expected, matched, invented]: [usize; 3]) {
        let mut parity = Parity::default();
        parity.add(wanted, found);
        assert_eq!(parity, Parity { expected, matched, invented });
    }

    #[test]
    fn class_place_and_score_must_agree() {
        check(&[expected(0.8, 0.0)], &[ours("person", 0.82, 2.0)], [1, 1, 0]);
        check(&[expected(0.8, 0.0)], &[ours("person", 0.84, 2.0)], [1, 0, 0]);
        check(&[expected(0.8, 0.0)], &[ours("person", 0.8, 9.0)], [1, 0, 1]);
        check(&[expected(0.8, 0.0)], &[ours("chair", 0.8, 0.0)], [1, 0, 1]);
    }

    #[test]
    fn one_box_of_ours_matches_one_of_theirs() {
        check(&[expected(0.8, 0.0), expected(0.8, 1.0)], &[ours("person", 0.8, 0.0)], [2, 1, 0]);
    }

    #[test]
    fn unsure_boxes_do_not_count() {
        check(&[expected(0.4, 0.0)], &[ours("person", 0.52, 300.0)], [0, 0, 0]);
    }

    #[test]
    fn nothing_expected_is_not_full_agreement() {
        assert_eq!(Parity::default().share(), 0.0);
    }
}
