//! Pipeline: the pictures of a batch to one verdict each.
//!
//!   Judge order ──▶ decode and letterbox each ──▶ engine, in turns of batch_max ──▶ head, NMS ──▶ Judged
//!
//! A picture that cannot be read fails alone. One that cannot be judged is an error, never an empty list.

use crate::engine::{self, Session, Tensor};
use crate::letterbox::letterbox;
use crate::yolox::Head;
use crate::{Refusal, colour, jpeg, nms};
use protocol::Detection;
use protocol::limits::{DETECTIONS_MAX, short_text};
use protocol::model::{EngineKind, InputSpec, MockCost, ModelReport, ModelSpec, Picture};

/// Pictures in one order. Those beyond are failed: a node that sends more has lost count.
pub const PICTURES_MAX: usize = 64;

/// What becomes of one picture.
pub type Judgement = Result<Vec<Detection>, String>;

/// A loaded model and all that stands around it.
pub struct Judge {
    spec: ModelSpec,
    head: Head,
    session: Box<dyn Session>,
}

/// How a picture was fitted into the model's input.
#[derive(Debug, Clone, Copy)]
struct Fit {
    width: f32,
    height: f32,
    ratio: f32,
}

impl Judge {
    pub fn load(spec: ModelSpec, engine: EngineKind, cost: MockCost) -> Result<Self, Refusal> {
        let head = Head::new(&spec)?;
        let session = engine::load(&spec, &head, engine, cost)?;
        Ok(Self { spec, head, session })
    }

    pub fn ready(&self) -> ModelReport {
        ModelReport::Ready { engine: self.session.name(), batch_preferred: self.session.batch_preferred() as u32 }
    }

    /// One entry a picture, in order. `progress` is called after every turn of the engine.
    pub fn judge(&mut self, pictures: &[Picture], progress: impl Fn()) -> Vec<Judgement> {
        let mut judgements = Vec::with_capacity(pictures.len());
        let (accepted, beyond) = pictures.split_at(pictures.len().min(PICTURES_MAX));
        for turn in accepted.chunks(self.session.batch_max()) {
            judgements.extend(self.judge_turn(turn));
            progress();
        }
        let too_many = || Err(format!("batch has {} pictures, the limit is {PICTURES_MAX}", pictures.len()));
        judgements.extend(beyond.iter().map(|_| too_many()));
        judgements.into_iter().map(|judgement| judgement.map_err(|reason| short_text(&reason))).collect()
    }

    fn judge_turn(&mut self, pictures: &[Picture]) -> Vec<Judgement> {
        let input = &self.spec.input;
        let item = 3 * input.height as usize * input.width as usize;
        let mut data = Vec::with_capacity(pictures.len() * item);
        let fits: Vec<_> = pictures.iter().map(|picture| fit(picture, input, &mut data)).collect();
        let items = data.len() / item;
        let shape = vec![items, 3, input.height as usize, input.width as usize];
        // With no readable picture there is nothing to ask the engine.
        let output = if items == 0 { Ok(vec![]) } else { self.infer(Tensor { shape, data }) };

        let [anchors, fields] = self.head.shape();
        let mut place = 0;
        let mut judge_one = |fit: Result<Fit, String>| {
            let fit = fit?;
            let values = output.as_ref().map_err(String::clone)?;
            let own = &values[place * anchors * fields..][..anchors * fields];
            place += 1;
            self.detections(own, fit)
        };
        fits.into_iter().map(&mut judge_one).collect()
    }

    /// The batch's output, whose shape is the head's.
    fn infer(&mut self, batch: Tensor) -> Result<Vec<f32>, String> {
        let [anchors, fields] = self.head.shape();
        let expected = [batch.shape[0], anchors, fields];
        let output = self.session.infer(batch)?;
        if output.shape != expected || output.data.len() != expected.iter().product::<usize>() {
            return Err(format!("the model gave {:?}, not {expected:?}", output.shape));
        }
        Ok(output.data)
    }

    fn detections(&self, values: &[f32], fit: Fit) -> Judgement {
        let kept = nms::suppress(self.head.decode(values)?, self.head.iou_max, DETECTIONS_MAX);
        let detection = |candidate: nms::Candidate| {
            let [x0, y0, x1, y1] = candidate.area.map(|side| side / fit.ratio);
            let (x, y) = (|x: f32| x.clamp(0.0, fit.width), |y: f32| y.clamp(0.0, fit.height));
            let area = [x(x0), y(y0), x(x1), y(y1)];
            // What lies wholly in the border is in no picture.
            let inside = area[2] > area[0] && area[3] > area[1];
            let label = self.spec.classes[candidate.class].clone();
            inside.then_some(Detection { label, score: candidate.score, area })
        };
        Ok(kept.into_iter().filter_map(detection).collect())
    }
}

/// Appends the picture to the batch, or says why not and appends nothing.
fn fit(picture: &Picture, input: &InputSpec, data: &mut Vec<f32>) -> Result<Fit, String> {
    let image = match picture {
        Picture::I420 { width, height, pixels } => colour::to_image(*width, *height, &pixels.0, input.channels)?,
        Picture::Jpeg(file) => jpeg::to_image(&file.0, input.channels)?,
    };
    let start = data.len();
    data.resize(start + 3 * input.height as usize * input.width as usize, 0.0);
    let ratio = letterbox(&image, input, &mut data[start..]);
    Ok(Fit { width: image.width as f32, height: image.height as f32, ratio: ratio as f32 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yolox::tests::spec;
    use protocol::codec::Blob;

    /// Answers every picture with the same fields at anchor 0, or not at all.
    struct Script {
        answer: Result<[f32; 7], String>,
        batch_max: usize,
    }

    impl Session for Script {
        fn name(&self) -> String {
            "script".to_owned()
        }
        fn batch_preferred(&self) -> usize {
            1
        }
        fn batch_max(&self) -> usize {
            self.batch_max
        }
        fn infer(&mut self, batch: Tensor) -> Result<Tensor, String> {
            let items = batch.shape[0];
            assert!(items > 0 && items <= self.batch_max, "{items} pictures in one turn");
            let mut one = vec![0.0; 10 * 7];
            one[..7].copy_from_slice(&self.answer.clone()?);
            Ok(Tensor { shape: vec![items, 10, 7], data: one.repeat(items) })
        }
    }

    fn judge(answer: Result<[f32; 7], String>, pictures: &[Picture]) -> Vec<Judgement> {
        let head = Head::new(&spec()).expect("the spec is sound");
        let session = Box::new(Script { answer, batch_max: 2 });
        Judge { spec: spec(), head, session }.judge(pictures, || ())
    }

    /// A grey picture of 32x16: twice the model's input.
    fn grey() -> Picture {
        Picture::I420 { width: 32, height: 16, pixels: Blob(vec![128; 32 * 16 * 3 / 2]) }
    }

    fn first(area: [f32; 4]) -> Detection {
        Detection { label: "first".to_owned(), score: 0.5, area }
    }

    const SEEN: [f32; 7] = [1.0, 1.0, 0.0, 0.0, 0.5, 1.0, 0.0];

    #[test]
    fn boxes_come_back_in_the_pictures_own_pixels() {
        assert_eq!(judge(Ok(SEEN), &[grey()]), [Ok(vec![first([4.0, 4.0, 12.0, 12.0])])]);
    }

    #[test]
    fn boxes_end_at_the_pictures_edge() {
        let outside = [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 0.0];
        assert_eq!(judge(Ok(outside), &[grey()]), [Ok(vec![first([0.0, 0.0, 4.0, 4.0])])]);
        let beyond = [-9.0, 0.0, 0.0, 0.0, 0.5, 1.0, 0.0];
        assert_eq!(judge(Ok(beyond), &[grey()]), [Ok(vec![])]);
    }

    #[test]
    fn a_bad_picture_fails_alone() {
        let short = Picture::I420 { width: 32, height: 16, pixels: Blob(vec![128; 5]) };
        let huge = Picture::I420 { width: 40_000, height: 16, pixels: Blob(vec![]) };
        let torn = Picture::Jpeg(Blob(vec![0xFF, 0xD8, 0xFF]));
        let judgements = judge(Ok(SEEN), &[short, grey(), huge, torn, grey()]);
        let kinds: Vec<_> = judgements.iter().map(|judgement| judgement.is_ok()).collect();
        assert_eq!(kinds, [false, true, false, false, true]);
        assert!(judgements[0].as_ref().is_err_and(|reason| reason.contains("5 B of I420")));
        assert!(judgements[2].as_ref().is_err_and(|reason| reason.contains("40000x16")));
    }

    #[test]
    fn an_engine_that_fails_fails_every_picture_of_its_turn() {
        let failed = || "out of memory".to_owned();
        assert_eq!(judge(Err(failed()), &[grey(), grey(), grey()]), [Err(failed()), Err(failed()), Err(failed())]);
    }

    #[test]
    fn an_output_that_is_not_a_number_is_an_error_and_not_an_empty_list() {
        let judgements = judge(Ok([f32::NAN; 7]), &[grey()]);
        assert!(judgements[0].as_ref().is_err_and(|reason| reason.contains("not a number")), "{judgements:?}");
    }

    #[test]
    fn pictures_beyond_the_limit_are_failed() {
        let judgements = judge(Ok(SEEN), &vec![grey(); PICTURES_MAX + 1]);
        assert!(judgements[..PICTURES_MAX].iter().all(|judgement| judgement.is_ok()));
        assert_eq!(judgements[PICTURES_MAX], Err("batch has 65 pictures, the limit is 64".to_owned()));
    }

    #[test]
    fn no_more_detections_are_kept_than_a_verdict_may_hold() {
        let mut spec = spec();
        spec.input = InputSpec { width: 160, height: 160, ..spec.input };
        let head = Head::new(&spec).expect("the spec is sound");
        // Every cell of 4 px sees its own pixel-sized thing.
        let values = [0.5, 0.5, -1.4, -1.4, 1.0, 1.0, 0.0].repeat(head.shape()[0]);
        let judge = Judge { spec, head, session: Box::new(Script { answer: Ok(SEEN), batch_max: 1 }) };
        let fit = Fit { width: 160.0, height: 160.0, ratio: 1.0 };
        assert_eq!(judge.detections(&values, fit).map(|found| found.len()), Ok(DETECTIONS_MAX));
    }
}
