//! Models and footage that are no part of the project: used where they are, missed aloud where they are not.

use super::programs::project;
use std::path::PathBuf;

/// What tests and the demo take from the assets.
#[derive(Debug, Clone)]
pub struct Assets {
    /// `one-by-one-person-detection.mp4`: six people walk by, one after the other.
    pub walkway: PathBuf,
    pub photograph: PathBuf,
    /// `None`: only the weights and the footage are there.
    pub reference: Option<PathBuf>,
    /// The directory of `yolox_nano_dyn.onnx`, for `WATCHTREE_MODELS`.
    pub models: PathBuf,
}

const WEIGHTS: &str = "yolox_nano_dyn.onnx";
const WALKWAY: &str = "one-by-one-person-detection.mp4";
const PHOTOGRAPH: &str = "pose.jpg";
const REFERENCE: &str = "reference_yolox_nano.json";

/// From `$WATCHTREE_MODELS` (the weights' directory or the one above it) or `../shared/assets`; or what is missing.
pub fn find() -> Result<Assets, String> {
    let named = std::env::var_os("WATCHTREE_MODELS").map(PathBuf::from);
    let mut roots: Vec<PathBuf> = named.iter().flat_map(|dir| [dir.clone(), dir.join("..")]).collect();
    roots.push(project().join("../shared/assets"));
    let looked: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    let found = roots.into_iter().find_map(Assets::at);
    found.ok_or_else(|| format!("no {WEIGHTS} with {WALKWAY} in {}; set WATCHTREE_MODELS=DIR", looked.join(" or ")))
}

impl Assets {
    fn at(root: PathBuf) -> Option<Self> {
        let any = |file: &str, places: [&str; 3]| {
            let path = places.iter().map(|place| root.join(place).join(file)).find(|path| path.is_file())?;
            path.canonicalize().ok()
        };
        let weights = any(WEIGHTS, ["models", ".", "."])?;
        Some(Self {
            walkway: any(WALKWAY, ["media", ".", "../media"])?,
            photograph: any(PHOTOGRAPH, ["media", ".", "../media"])?,
            reference: any(REFERENCE, [".", "..", "."]),
            models: weights.parent()?.to_owned(),
        })
    }
}

/// For a test that needs them: `None` is said on standard error.
pub fn or_skip(test: &str) -> Option<Assets> {
    find().map_err(|missing| eprintln!("SKIPPED {test}: {missing}")).ok()
}
