//! Mock: no model at all. Finds what is coloured, at a cost that is set.
//!
//! It speaks as a model would: it takes the letterboxed picture and gives the head's raw output, so that a
//! test with it passes through everything but a network. The same picture always gets the same answer.

use super::{Engine, Session, Tensor};
use crate::Refusal;
use crate::yolox::Head;
use protocol::model::{HeadSpec, MockCost, ModelSpec};
use std::time::Duration;

/// Between a pixel's highest and lowest channel, of 255: more is coloured, less is grey or noise.
const CHROMA_MIN: f32 = 64.0;

/// Fewer coloured pixels are noise.
const PIXELS_MIN: usize = 16;

/// What the mock is always sure of.
const SCORE: f32 = 0.9;

/// A cost beyond this is taken for a slip of the pen and cut; a port that must hang is killed by other means.
const COST_MAX: Duration = Duration::from_secs(60);

/// Pictures in one run, so that a test can make batches as large as it likes.
const ITEMS_MAX: usize = 64;

pub struct Mock {
    pub cost: MockCost,
}

struct MockSession {
    cost: MockCost,
    scale: f32,
    /// Of the head's first grid, which starts at anchor 0.
    stride: usize,
    output: [usize; 2],
}

impl Engine for Mock {
    fn load(&self, spec: &ModelSpec) -> Result<Box<dyn Session>, Refusal> {
        let output = Head::new(spec)?.shape();
        let HeadSpec::Yolox { strides, .. } = &spec.head;
        let stride = strides[0] as usize;
        Ok(Box::new(MockSession { cost: self.cost, scale: spec.input.scale, stride, output }))
    }
}

impl Session for MockSession {
    fn name(&self) -> String {
        "mock".to_owned()
    }

    fn batch_preferred(&self) -> usize {
        // Where a run costs something by itself, sharing it pays.
        if self.cost.fixed_ms > 0.0 { 8 } else { 1 }
    }

    fn batch_max(&self) -> usize {
        ITEMS_MAX
    }

    fn infer(&mut self, batch: Tensor) -> Result<Tensor, String> {
        let &[items, channels, height, width] = &batch.shape[..] else {
            return Err(format!("a batch has four dimensions, not {:?}", batch.shape));
        };
        std::thread::sleep(wait(self.cost, items));
        let [anchors, fields] = self.output;
        let mut data = vec![0.0; items * anchors * fields];
        let pictures = batch.data.chunks_exact(channels * height * width);
        for (picture, output) in pictures.zip(data.chunks_exact_mut(anchors * fields)) {
            if let Some(area) = coloured(picture, width, CHROMA_MIN * self.scale) {
                self.propose(area, width / self.stride, output);
            }
        }
        Ok(Tensor { shape: vec![items, anchors, fields], data })
    }
}

impl MockSession {
    /// Codes a box as the head will decode it, on the cell that holds its centre.
    fn propose(&self, [x0, y0, x1, y1]: [usize; 4], columns: usize, output: &mut [f32]) {
        let stride = self.stride as f32;
        let (x, y) = ((x0 + x1) as f32 / 2.0 / stride, (y0 + y1) as f32 / 2.0 / stride);
        let (column, row) = (x.floor(), y.floor());
        let anchor = row as usize * columns + column as usize;
        let sides = [(x1 - x0) as f32 / stride, (y1 - y0) as f32 / stride];
        let fields = [x - column, y - row, sides[0].ln(), sides[1].ln(), SCORE, 1.0];
        output[anchor * self.output[1]..][..fields.len()].copy_from_slice(&fields);
    }
}

fn wait(cost: MockCost, items: usize) -> Duration {
    let seconds = f64::from(cost.fixed_ms + items as f32 * cost.item_ms) / 1000.0;
    // A negative or broken cost is none.
    Duration::try_from_secs_f64(seconds).unwrap_or_default().min(COST_MAX)
}

/// x0, y0, x1, y1 around every pixel that is far from grey.
fn coloured(picture: &[f32], width: usize, chroma_min: f32) -> Option<[usize; 4]> {
    let (first, rest) = picture.split_at(picture.len() / 3);
    let (second, third) = rest.split_at(first.len());
    let mut area = [usize::MAX, usize::MAX, 0, 0];
    let mut pixels = 0;
    for (at, ((a, b), c)) in first.iter().zip(second).zip(third).enumerate() {
        if a.max(*b).max(*c) - a.min(*b).min(*c) > chroma_min {
            let (x, y) = (at % width, at / width);
            area = [area[0].min(x), area[1].min(y), area[2].max(x + 1), area[3].max(y + 1)];
            pixels += 1;
        }
    }
    (pixels >= PIXELS_MIN).then_some(area)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yolox::tests::spec;

    /// 16x8 grey with one coloured rectangle; what the head makes of the mock's output.
    #[track_caller]
    fn check(rectangle: [usize; 4], expected: &[[f32; 4]]) {
        let mut data = vec![114.0; 3 * 16 * 8];
        for (at, value) in data[..16 * 8].iter_mut().enumerate() {
            let (x, y) = (at % 16, at / 16);
            if x >= rectangle[0] && x < rectangle[2] && y >= rectangle[1] && y < rectangle[3] {
                *value = 250.0;
            }
        }
        let mut session = Mock { cost: MockCost::default() }.load(&spec()).expect("the spec is sound");
        let output = session.infer(Tensor { shape: vec![1, 3, 8, 16], data }).expect("the mock never fails");
        let found = Head::new(&spec()).expect("sound").decode(&output.data).expect("sound");
        let areas: Vec<_> = found.iter().map(|candidate| candidate.area.map(f32::round)).collect();
        assert_eq!(areas, expected);
        assert!(found.iter().all(|candidate| candidate.score == SCORE && candidate.class == 0));
    }

    #[test]
    fn the_box_of_what_is_coloured_is_found() {
        check([3, 1, 9, 7], &[[3.0, 1.0, 9.0, 7.0]]);
    }

    #[test]
    fn a_wholly_coloured_picture_is_one_box() {
        check([0, 0, 16, 8], &[[0.0, 0.0, 16.0, 8.0]]);
    }

    #[test]
    fn a_grey_picture_and_a_speck_are_nothing() {
        check([0, 0, 0, 0], &[]);
        check([3, 3, 6, 6], &[]);
    }

    #[test]
    fn the_cost_is_fixed_plus_items() {
        let wait = |fixed_ms, item_ms, items| wait(MockCost { fixed_ms, item_ms }, items);
        assert_eq!(wait(5.0, 2.0, 3), Duration::from_millis(11));
        assert_eq!(wait(-5.0, 0.0, 3), Duration::ZERO);
        assert_eq!(wait(f32::NAN, 0.0, 3), Duration::ZERO);
        assert_eq!(wait(1e9, 0.0, 3), COST_MAX);
    }
}
