//! The project's own model, through rten and everything around it: squares drawn here are found there.

use protocol::codec::Blob;
use protocol::model::{EngineKind, MockCost, ModelReport, ModelSpec, Picture};
use std::path::{Path, PathBuf};
use watchtree_model_port::nms::iou;
use watchtree_model_port::pipeline::Judge;

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
/// Up to this much is added to or taken from every background byte.
const NOISE: u32 = 12;

/// Y, U, V of full colours in BT.601, limited range.
const RED: [u8; 3] = [81, 90, 240];
const GREEN: [u8; 3] = [145, 54, 34];
const BLUE: [u8; 3] = [41, 240, 110];

/// A colour, and its box: x0, y0, x1, y1.
type Square = ([u8; 3], [usize; 4]);

fn spec() -> ModelSpec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../config/models");
    let text = std::fs::read_to_string(folder.join("squares.toml")).expect("the project has it");
    let mut spec: ModelSpec = toml::from_str(&text).expect("it is a model's spec");
    spec.path = folder.join(&spec.path).display().to_string();
    spec
}

fn judge() -> Judge {
    Judge::load(spec(), EngineKind::Auto, MockCost::default()).expect("the project's own model loads")
}

/// Squares on grey noise; the same seed draws the same picture.
fn draw(squares: &[Square], seed: u32) -> Picture {
    let mut state = seed;
    let mut noisy = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (128 + (state >> 16) % (2 * NOISE + 1) - NOISE) as u8
    };
    let mut pixels: Vec<u8> = (0..WIDTH * HEIGHT * 3 / 2).map(|_| noisy()).collect();
    let (luma, chroma) = pixels.split_at_mut(WIDTH * HEIGHT);
    let (u_plane, v_plane) = chroma.split_at_mut(WIDTH * HEIGHT / 4);
    for &([y, u, v], area) in squares {
        fill(luma, WIDTH, area, y);
        fill(u_plane, WIDTH / 2, area.map(|side| side / 2), u);
        fill(v_plane, WIDTH / 2, area.map(|side| side / 2), v);
    }
    Picture::I420 { width: WIDTH as u32, height: HEIGHT as u32, pixels: Blob(pixels) }
}

fn fill(plane: &mut [u8], width: usize, [x0, y0, x1, y1]: [usize; 4], value: u8) {
    for row in plane.chunks_exact_mut(width).take(y1).skip(y0) {
        row[x0..x1].fill(value);
    }
}

/// Every square is found once, with its colour, and nothing else is.
#[track_caller]
fn check(judge: &mut Judge, squares: &[(&str, [u8; 3], [usize; 4])]) {
    let drawn: Vec<Square> = squares.iter().map(|&(_, colour, area)| (colour, area)).collect();
    let found = judge.judge(&[draw(&drawn, 7)], || ()).remove(0).expect("a sound picture");
    assert_eq!(found.len(), squares.len(), "{squares:?} gave {found:?}");
    for (name, _, area) in squares {
        let fits = |detection: &&protocol::Detection| {
            detection.label == *name && iou(detection.area, area.map(|side| side as f32)) >= 0.8
        };
        let best = found.iter().find(fits).unwrap_or_else(|| panic!("no {name} at {area:?} in {found:?}"));
        assert!(best.score >= 0.8, "{best:?}");
    }
}

#[test]
fn squares_of_each_size_are_found_wherever_they_are() {
    let mut judge = judge();
    for side in [38, 52, 64, 78, 90] {
        for (x, y) in [(0, 0), (101, 57), (274, 133), (640 - side, 360 - side)] {
            check(&mut judge, &[("red", RED, [x, y, x + side, y + side])]);
        }
    }
}

#[test]
fn squares_of_different_colours_do_not_disturb_each_other() {
    let (left, right, below) = ([100, 50, 164, 114], [164, 50, 228, 114], [100, 114, 164, 178]);
    check(&mut judge(), &[("red", RED, left), ("green", GREEN, right), ("blue", BLUE, below)]);
}

#[test]
fn two_of_one_colour_are_two() {
    check(&mut judge(), &[("blue", BLUE, [100, 50, 164, 114]), ("blue", BLUE, [220, 50, 284, 114])]);
}

#[test]
fn grey_noise_is_nothing() {
    let mut judge = judge();
    for seed in 0..8 {
        assert_eq!(judge.judge(&[draw(&[], seed)], || ()), [Ok(vec![])], "seed {seed}");
    }
}

#[test]
fn a_coloured_wall_is_no_square() {
    assert_eq!(judge().judge(&[draw(&[(RED, [0, 0, WIDTH, HEIGHT])], 1)], || ()), [Ok(vec![])]);
}

#[test]
fn a_batch_is_judged_as_its_pictures_one_by_one() {
    let mut judge = judge();
    // More than one turn of the engine, and one picture of them broken.
    let mut pictures: Vec<_> =
        (0..11).map(|at| draw(&[(GREEN, [at * 40, 80, at * 40 + 64, 144])], at as u32)).collect();
    pictures[4] = Picture::Jpeg(Blob(b"not a picture".to_vec()));
    let together = judge.judge(&pictures, || ());
    let alone: Vec<_> = pictures.iter().flat_map(|one| judge.judge(std::slice::from_ref(one), || ())).collect();
    assert_eq!(together, alone);
    assert_eq!(together.iter().filter(|judgement| judgement.as_ref().is_ok_and(|found| found.len() == 1)).count(), 10);
}

#[test]
fn a_jpeg_is_judged_like_a_frame() {
    let file = include_bytes!("square.jpg").to_vec();
    // 96x64 becomes 320x213: the square of 32 px is too large for this model, but not for the mock.
    let mut mock = Judge::load(spec(), EngineKind::Mock, MockCost::default()).expect("the mock needs no file");
    let found = mock.judge(&[Picture::Jpeg(Blob(file))], || ()).remove(0).expect("a sound picture");
    assert!(iou(found[0].area, [32.0, 16.0, 64.0, 48.0]) > 0.8, "{found:?}");
}

#[test]
fn ready_names_the_engine_that_runs() {
    assert_eq!(judge().ready(), ModelReport::Ready { engine: "rten".to_owned(), batch_preferred: 1 });
}

/// Why a spec that differs from the file is refused.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut ModelSpec), reasons: &[&str]) {
    let mut spec = spec();
    change(&mut spec);
    let refusal = Judge::load(spec, EngineKind::Rten, MockCost::default()).err().expect("a refusal").to_string();
    for reason in reasons.iter().chain(&["squares.onnx"]) {
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn a_head_that_does_not_fit_the_file_is_refused() {
    let wrong_shape = ["gives [1, 4800, 8]", "its spec means [1, 4800, 7]", "correct `classes`"];
    check_refused(|spec| drop(spec.classes.pop()), &wrong_shape);
    check_refused(|spec| spec.input.width = 640, &["does not run", "export it"]);
}

#[test]
fn a_file_that_changed_is_refused() {
    check_refused(|spec| spec.sha256 = "0".repeat(64), &["sha256", "fetch the file again"]);
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    use sha2::{Digest, Sha256};
    let whole = std::fs::read(spec().path).expect("the project has it");
    let folder = tempfile::tempdir().expect("a place for one file");
    let path: PathBuf = folder.path().join("squares.onnx");
    for bytes in [10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..bytes]).expect("room for the file");
        let sha256 = Sha256::digest(&whole[..bytes]).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = path.display().to_string();
        check_refused(|spec| (spec.path, spec.sha256) = (path, sha256), &["export it"]);
    }
}
