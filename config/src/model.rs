//! Model specs: one TOML file beside its weights says what the model wants and what its output means.
//!
//!   yolox-nano.toml ─▸ load ─▸ ModelSpec ─▸ model port
//!     path ─ beside the spec, or below $WATCHTREE_MODELS

use crate::env::Vars;
use crate::fault::Faults;
use crate::reader::{Reader, Section};
use protocol::model::{HeadSpec, InputSpec, ModelSpec};
use std::path::{Path, PathBuf};

/// Models with larger pictures do not fit the time between two frames.
const INPUT_SIDE_PX_MAX: u64 = 4096;

/// A model's output has this many cells to a side at least, so a stride cannot be larger.
const STRIDE_PX_MAX: u32 = 1024;

/// The longest name of a model; it becomes part of events and metric labels.
const NAME_CHARS_MAX: usize = 48;

/// Weights that are not beside their spec are looked for below this directory.
const MODELS_DIR_VARIABLE: &str = "WATCHTREE_MODELS";

/// Reads a spec; no variables lie over it. The path in it becomes absolute, whether or not the
/// weights are there: the model port says so when it opens them, and the mock engine does without.
pub fn load(path: &Path) -> Result<ModelSpec, Faults> {
    let reader = Reader::open(path, None)?;
    let models_dir = std::env::var_os(MODELS_DIR_VARIABLE).map(PathBuf::from);
    let spec = read(&reader, models_dir.as_deref());
    reader.finish(spec)
}

/// As [`load`], from text: `dir` is where the spec is.
pub fn spec_from(text: &str, dir: &Path, models_dir: Option<&Path>) -> Result<ModelSpec, Faults> {
    let reader = Reader::new(text, "", dir, None, &Vars::new())?;
    let spec = read(&reader, models_dir);
    reader.finish(spec)
}

fn read(reader: &Reader, models_dir: Option<&Path>) -> Option<ModelSpec> {
    let mut root = reader.root();
    let name = name(&mut root);
    let path = path(&mut root, reader.dir(), models_dir);
    let sha256 = sha256(&mut root);
    let licence = root.must_text("licence", "name the weights' licence, such as \"Apache-2.0\"");
    let head = head(&mut root);
    let input = input(root.section("input"), head.as_ref());
    let classes_way_out = "list the model's classes in its order, such as [\"person\", \"bicycle\"]";
    let classes = root.require("classes", classes_way_out).texts("classes", classes_way_out);
    if classes.as_ref().is_some_and(Vec::is_empty) {
        root.fault("classes", "empty", classes_way_out);
    }
    Some(ModelSpec {
        name: name?,
        path: path?,
        sha256: sha256?,
        licence: licence?,
        input: input?,
        head: head?,
        classes: classes?,
    })
}

fn name(root: &mut Section) -> Option<String> {
    let way_out = "use 1 to 48 of a-z, 0-9, - _ and ., such as yolox-nano";
    root.require("name", way_out).opt_with("name", way_out, |name| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        ((1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(fits)).then(|| name.to_owned())
    })
}

fn sha256(root: &mut Section) -> Option<String> {
    let way_out = "use the 64 hexadecimal digits that sha256sum prints for the weights";
    root.require("sha256", way_out).opt_with("sha256", way_out, |digest| {
        let fits = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| digest.to_ascii_lowercase())
    })
}

fn path(root: &mut Section, dir: &Path, models_dir: Option<&Path>) -> Option<String> {
    let text = root.must_text("path", "name the file with the weights")?;
    let found = weights(dir, models_dir, &text).into_os_string().into_string();
    found.map_err(|_| root.fault("path", "in a directory whose name is not UTF-8", "move it to another one")).ok()
}

/// Beside the spec if they are there, else below `models_dir` if they are there, else beside the spec.
fn weights(dir: &Path, models_dir: Option<&Path>, path: &str) -> PathBuf {
    let beside = dir.join(path);
    let below = models_dir.map(|models| models.join(path));
    let found = if beside.exists() { beside } else { below.filter(|below| below.exists()).unwrap_or(beside) };
    std::path::absolute(&found).unwrap_or(found)
}

fn input(mut s: Section, head: Option<&HeadSpec>) -> Option<InputSpec> {
    let (width, height) = (side(&mut s, "width", head), side(&mut s, "height", head));
    let channels = s.require("channels", "use `rgb` or `bgr`").choice("channels");
    let scale = s.require("scale", "use 1.0 for inputs of 0 to 255, 0.003921569 for 0 to 1").number("scale", SCALE);
    let fill_way_out = "use the grey that the model was trained with, such as 114";
    let letterbox_fill = s.require("letterbox_fill", fill_way_out).int("letterbox_fill", 0..=255, "");
    Some(InputSpec {
        width: width?,
        height: height?,
        channels: channels?,
        scale: scale?,
        letterbox_fill: letterbox_fill?,
    })
}

/// Bytes times this: anything outside cannot be meant.
const SCALE: std::ops::RangeInclusive<f32> = 0.00001..=1000.0;

/// A side of the input: a whole number of the largest stride, or the output's grid does not cover it.
fn side(s: &mut Section, key: &str, head: Option<&HeadSpec>) -> Option<u32> {
    let stride = match head {
        Some(HeadSpec::Yolox { strides, .. }) => strides.iter().copied().max().unwrap_or(1),
        None => 1,
    };
    let side: u32 =
        s.require(key, "use the size that the model was made for, such as 416").int(key, 1..=INPUT_SIDE_PX_MAX, "")?;
    if !side.is_multiple_of(stride) {
        let (below, above) = (side / stride * stride, side.next_multiple_of(stride));
        let near = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
        s.fault(key, &side.to_string(), &format!("use a multiple of the largest stride, {stride}, such as {near}"));
    }
    Some(side)
}

fn head(root: &mut Section) -> Option<HeadSpec> {
    let mut s = root.section("head");
    s.require("yolox", "write a section [head.yolox]: it is the only head so far");
    if !s.has("yolox") {
        return None;
    }
    let mut s = s.section("yolox");
    let strides_way_out = "list them in pixels, such as [8, 16, 32]";
    let strides = s.require("strides", strides_way_out).ints("strides", 1..=STRIDE_PX_MAX, strides_way_out);
    let score_min = s.require("score_min", "use a number from 0 to 1, such as 0.3").number("score_min", 0.0..=1.0);
    let iou_max = s.require("iou_max", "use a number from 0 to 1, such as 0.45").number("iou_max", 0.0..=1.0);
    Some(HeadSpec::Yolox { strides: strides?, score_min: score_min?, iou_max: iou_max? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::model::ChannelOrder;

    const SPEC: &str = r#"
        name = "squares"
        path = "squares.onnx"
        sha256 = "00000000000000000000000000000000000000000000000000000000000000AB"
        licence = "MIT"
        classes = ["square"]
        [input]
        width = 64
        height = 96
        channels = "bgr"
        scale = 1.0
        letterbox_fill = 114
        [head.yolox]
        strides = [8, 16, 32]
        score_min = 0.3
        iou_max = 0.45
    "#;

    fn check(from: &str, to: &str, expected: &str) {
        assert!(SPEC.contains(from), "{from}");
        let found = spec_from(&SPEC.replace(from, to), Path::new("/specs"), None).expect_err(to).to_string();
        assert!(found.starts_with(expected), "{found}");
    }

    #[test]
    fn a_spec_says_what_the_port_needs() {
        let spec = spec_from(SPEC, Path::new("/specs"), None).expect("it is right");
        assert_eq!((spec.name.as_str(), spec.path.as_str()), ("squares", "/specs/squares.onnx"));
        assert!(spec.sha256.ends_with("0ab"), "digests are lower-case");
        assert_eq!((spec.input.width, spec.input.height, spec.input.channels), (64, 96, ChannelOrder::Bgr));
        assert_eq!(spec.head, HeadSpec::Yolox { strides: vec![8, 16, 32], score_min: 0.3, iou_max: 0.45 });
    }

    #[test]
    fn a_spec_that_cannot_work_is_refused() {
        check(
            "width = 64",
            "width = 100",
            "input.width is 100; use a multiple of the largest stride, 32, such as 96 or 128",
        );
        check("width = 64", "", "input.width is missing;");
        check("000AB", "0", "sha256 is \"0000");
        check("[\"square\"]", "[]", "classes is empty; list");
        check("[\"square\"]", "5", "classes is 5; list");
        check("0.45", "1.5", "head.yolox.iou_max is 1.5; use a number from 0 to 1");
        check("\"bgr\"", "\"grey\"", "input.channels is \"grey\"; use `rgb` or `bgr`");
        check("[8, 16, 32]", "[8, 0]", "head.yolox.strides.1 is 0; use a whole number from 1 to 1024");
        check("[8, 16, 32]", "[]", "head.yolox.strides is empty;");
        check("licence", "license", "licence is missing; name");
        check("[head.yolox]", "[head.yolo]", "head.yolox is missing;");
        check("\"squares\"", "\"../squares\"", "name is \"../squares\";");
    }

    #[test]
    fn weights_are_looked_for_beside_the_spec_and_then_in_the_models_directory() {
        let (specs, models) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (beside, below) = (specs.path().join("squares.onnx"), models.path().join("squares.onnx"));
        let found = || PathBuf::from(spec_from(SPEC, specs.path(), Some(models.path())).expect("it is right").path);
        assert_eq!(found(), beside, "nowhere: what is reported missing is the file beside the spec");
        std::fs::write(&below, "").expect("written");
        assert_eq!(found(), below);
        std::fs::write(&beside, "").expect("written");
        assert_eq!(found(), beside);
    }
}
