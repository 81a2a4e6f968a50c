//! YOLOX's head: the model's raw output to candidate boxes (arXiv 2107.08430).
//!
//!   output [anchors, 5 + classes]: tx ty tw th, objectness, class scores
//!     centre = (t + cell) * stride     side = exp(t) * stride     score = objectness * best class
//!
//! Anchors are the cells of one grid a stride, row by row, grids in the order of `strides`.

use crate::Refusal;
use crate::nms::Candidate;
use protocol::limits::FRAME_SIDE_PX_MAX;
use protocol::model::{HeadSpec, ModelSpec};

/// Fields of an anchor before its classes.
const BOX_FIELDS: usize = 5;

/// exp of this is beyond any picture; more would overflow to infinity. Larger values are cut to it.
const SIDE_LOG_MAX: f32 = 10.0;

/// A sigmoid rounded to float32 may exceed 1 by this much.
const ROUNDING: f32 = 1e-3;

/// Reads outputs of one model.
#[derive(Debug)]
pub struct Head {
    cells: Vec<Cell>,
    classes: usize,
    score_min: f32,
    pub iou_max: f32,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    x: f32,
    y: f32,
    stride: f32,
}

impl Head {
    pub fn new(spec: &ModelSpec) -> Result<Self, Refusal> {
        let HeadSpec::Yolox { strides, score_min, iou_max } = &spec.head;
        check(spec, strides, *score_min, *iou_max).map_err(|fault| Refusal(format!("model {}: {fault}", spec.name)))?;
        let cells = strides.iter().flat_map(|&stride| grid(spec.input.width, spec.input.height, stride)).collect();
        Ok(Self { cells, classes: spec.classes.len(), score_min: *score_min, iou_max: *iou_max })
    }

    /// `[anchors, fields]` of one picture's output.
    pub fn shape(&self) -> [usize; 2] {
        [self.cells.len(), BOX_FIELDS + self.classes]
    }

    /// All boxes of at least `score_min`, in the model's pixels. `values` has the size of [`Self::shape`].
    pub fn decode(&self, values: &[f32]) -> Result<Vec<Candidate>, String> {
        let mut candidates = Vec::new();
        for (anchor, (cell, fields)) in self.cells.iter().zip(values.chunks_exact(self.shape()[1])).enumerate() {
            let (place, scores) = fields.split_at(BOX_FIELDS - 1);
            if !place.iter().all(|value| value.is_finite()) {
                return Err(format!("the model's box at anchor {anchor} is not a number"));
            }
            // NaN is in no range.
            if let Some(score) = scores.iter().find(|score| !(-ROUNDING..=1.0 + ROUNDING).contains(*score)) {
                return Err(format!("the model's score at anchor {anchor} is {score}; scores must be 0 to 1"));
            }
            let (class, best) = best(&scores[1..]);
            let score = (scores[0] * best).clamp(0.0, 1.0);
            if score >= self.score_min {
                candidates.push(Candidate { class, score, area: cell.area(place) });
            }
        }
        Ok(candidates)
    }
}

fn check(spec: &ModelSpec, strides: &[u32], score_min: f32, iou_max: f32) -> Result<(), String> {
    let input = &spec.input;
    let side_max = FRAME_SIDE_PX_MAX;
    if input.width == 0 || input.height == 0 || input.width > side_max || input.height > side_max {
        return Err(format!("input is {}x{}; each side must be 1 to {side_max}", input.width, input.height));
    }
    if !input.scale.is_finite() || input.scale <= 0.0 {
        return Err(format!("input.scale is {}; use 1.0 to keep 0 to 255", input.scale));
    }
    if spec.classes.is_empty() {
        return Err("classes is empty; list the model's classes in their order".to_owned());
    }
    if strides.is_empty() {
        return Err("head.yolox.strides is empty; YOLOX models use [8, 16, 32]".to_owned());
    }
    let (width, height) = (input.width, input.height);
    let fits = |stride: u32| stride > 0 && width.is_multiple_of(stride) && height.is_multiple_of(stride);
    if let Some(stride) = strides.iter().find(|&&stride| !fits(stride)) {
        return Err(format!("head.yolox.strides has {stride}, which does not divide the input of {width}x{height}"));
    }
    for (key, value) in [("score_min", score_min), ("iou_max", iou_max)] {
        if !(0.0..=1.0).contains(&value) {
            return Err(format!("head.yolox.{key} is {value}; it must be 0 to 1"));
        }
    }
    Ok(())
}

fn grid(width: u32, height: u32, stride: u32) -> impl Iterator<Item = Cell> {
    let cell = move |x: u32, y: u32| Cell { x: x as f32, y: y as f32, stride: stride as f32 };
    (0..height / stride).flat_map(move |y| (0..width / stride).map(move |x| cell(x, y)))
}

/// The first of the highest class scores.
fn best(scores: &[f32]) -> (usize, f32) {
    scores.iter().copied().enumerate().fold((0, f32::MIN), |best, next| if next.1 > best.1 { next } else { best })
}

impl Cell {
    fn area(self, place: &[f32]) -> [f32; 4] {
        let (x, y) = ((place[0] + self.x) * self.stride, (place[1] + self.y) * self.stride);
        let half = |log: f32| log.min(SIDE_LOG_MAX).exp() * self.stride / 2.0;
        let (half_width, half_height) = (half(place[2]), half(place[3]));
        [x - half_width, y - half_height, x + half_width, y + half_height]
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use protocol::model::{ChannelOrder, InputSpec};

    /// 16x8 pixels, strides 4 and 8, two classes: 8 + 2 anchors of 7 fields.
    pub fn spec() -> ModelSpec {
        let channels = ChannelOrder::Rgb;
        ModelSpec {
            name: "test".to_owned(),
            path: "test.onnx".to_owned(),
            sha256: String::new(),
            licence: "none".to_owned(),
            input: InputSpec { width: 16, height: 8, channels, scale: 1.0, letterbox_fill: 114 },
            head: HeadSpec::Yolox { strides: vec![4, 8], score_min: 0.3, iou_max: 0.45 },
            classes: vec!["first".to_owned(), "second".to_owned()],
        }
    }

    /// What a model says that sees one thing at one anchor.
    fn decode_one(anchor: usize, fields: [f32; 7]) -> Result<Vec<Candidate>, String> {
        let head = Head::new(&spec()).expect("the spec is sound");
        let mut values = vec![0.0; 10 * 7];
        values[anchor * 7..][..7].copy_from_slice(&fields);
        head.decode(&values)
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut ModelSpec), reason: &str) {
        let mut spec = spec();
        change(&mut spec);
        let error = Head::new(&spec).expect_err("the spec is broken").to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn an_anchor_is_decoded_on_the_cell_of_its_stride() {
        // Anchor 5 is the second cell of the second row of stride 4.
        let found = decode_one(5, [0.5, 0.25, 0.0, 2f32.ln(), 0.8, 0.1, 0.9]).expect("sound");
        assert_eq!(found, [Candidate { class: 1, score: 0.8 * 0.9, area: [4.0, 1.0, 8.0, 9.0] }]);
        // Anchor 9 is the second cell of stride 8.
        let found = decode_one(9, [0.0, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0]).expect("sound");
        assert_eq!(found, [Candidate { class: 0, score: 1.0, area: [4.0, 0.0, 12.0, 8.0] }]);
    }

    #[test]
    fn below_the_least_score_there_is_nothing() {
        assert_eq!(decode_one(0, [0.0, 0.0, 0.0, 0.0, 0.5, 0.59, 0.0]), Ok(vec![]));
    }

    #[test]
    fn what_is_not_a_number_fails_the_picture() {
        for field in 0..7 {
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut fields = [0.0; 7];
                fields[field] = broken;
                assert!(decode_one(3, fields).is_err_and(|e| e.contains("anchor 3")), "{broken} in field {field}");
            }
        }
    }

    #[test]
    fn scores_that_were_never_squashed_fail_the_picture() {
        assert!(decode_one(0, [0.0, 0.0, 0.0, 0.0, 4.2, 0.0, 0.0]).is_err_and(|e| e.contains("0 to 1")));
    }

    #[test]
    fn a_huge_side_stays_finite() {
        let found = decode_one(0, [0.0, 0.0, 1e30, 1e30, 1.0, 1.0, 0.0]).expect("finite");
        assert!(found[0].area.iter().all(|side| side.is_finite()));
    }

    #[test]
    fn a_broken_spec_is_refused_by_key() {
        check_refused(|spec| spec.classes.clear(), "classes is empty");
        check_refused(|spec| spec.input.width = 0, "input is 0x8");
        check_refused(|spec| spec.input.scale = f32::NAN, "input.scale");
        let head = |strides: &[u32], score_min| HeadSpec::Yolox { strides: strides.to_vec(), score_min, iou_max: 0.5 };
        check_refused(|spec| spec.head = head(&[], 0.3), "strides is empty");
        check_refused(|spec| spec.head = head(&[0], 0.3), "strides has 0");
        check_refused(|spec| spec.head = head(&[3], 0.3), "does not divide");
        check_refused(|spec| spec.head = head(&[8], 1.3), "score_min is 1.3");
    }
}
