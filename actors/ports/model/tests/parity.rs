//! YOLOX-nano against onnxruntime and OpenCV, where the weights and pictures are found; skipped elsewhere.
//!
//! The video's frames need a decoder: they are compared in the tests crate, through the camera port.

use protocol::codec::Blob;
use protocol::model::{EngineKind, MockCost, ModelSpec, Picture};
use std::path::Path;
use watchtree_model_port::parity::{self, Parity, Reference};
use watchtree_model_port::pipeline::Judge;

#[test]
fn a_photographs_boxes_are_the_references() {
    let Some(assets) = parity::assets() else { return };
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../config/models/yolox-nano.toml");
    let text = std::fs::read_to_string(spec).expect("the project has it");
    let mut spec: ModelSpec = toml::from_str(&text).expect("it is a model's spec");
    spec.path = assets.join("models").join(&spec.path).display().to_string();
    let mut judge = Judge::load(spec, EngineKind::Rten, MockCost::default()).expect("the weights load");

    let reference = Reference::read(&assets).expect("the reference is sound");
    let mut parity = Parity::default();
    for still in &reference.images {
        let file = std::fs::read(assets.join("media").join(&still.file)).expect("the photograph is there");
        let found = judge.judge(&[Picture::Jpeg(Blob(file))], || ()).remove(0).expect("a sound photograph");
        parity.add(&still.det, &found);
    }
    assert!(parity.expected > 0 && parity.invented == 0 && parity.share() == 1.0, "{parity:?}");
}
