//! Letterbox: a picture of any size becomes the model's input and keeps its proportions.
//!
//!   Image ──bilinear──▶ top left of width x height, the rest filled ──▶ float32 planes
//!
//! The resize is OpenCV's `INTER_LINEAR` for bytes: weights of 11 bits, rounded where OpenCV rounds, so that
//! a model sees the pixels it saw in the reference.

use crate::colour::Image;
use protocol::model::InputSpec;

const CHANNELS: usize = 3;
/// A pixel's weight of 1.0, as OpenCV's INTER_RESIZE_COEF_SCALE.
const ONE: f32 = 2048.0;

/// Writes one item of a batch, `3 * height * width` floats, and returns by how much the picture was scaled.
pub fn letterbox(image: &Image, input: &InputSpec, planes: &mut [f32]) -> f64 {
    let (width, height) = (input.width as usize, input.height as usize);
    assert_eq!(planes.len(), CHANNELS * width * height, "the batch is allocated by the same spec");
    let ratio = ratio(image, input);
    // Truncated as Python's int(); a sliver keeps one pixel.
    let scaled_width = ((image.width as f64 * ratio) as usize).max(1);
    let scaled_height = ((image.height as f64 * ratio) as usize).max(1);

    planes.fill(f32::from(input.letterbox_fill) * input.scale);
    let columns = taps(image.width, scaled_width);
    let mut upper = Row::new(scaled_width);
    let mut lower = Row::new(scaled_width);
    for (y, tap) in taps(image.height, scaled_height).into_iter().enumerate() {
        // Going down, the row that was below is often the next one above.
        if lower.source == Some(tap.first) {
            std::mem::swap(&mut upper, &mut lower);
        }
        upper.fill(image, tap.first, &columns);
        lower.fill(image, tap.second, &columns);
        for channel in 0..CHANNELS {
            let start = (channel * height + y) * width;
            let sums = channel * scaled_width..(channel + 1) * scaled_width;
            let (above, below) = (&upper.sums[sums.clone()], &lower.sums[sums]);
            blend(above, below, tap, input.scale, &mut planes[start..start + scaled_width]);
        }
    }
    ratio
}

/// Input pixels per picture pixel.
fn ratio(image: &Image, input: &InputSpec) -> f64 {
    let vertical = f64::from(input.height) / image.height as f64;
    let horizontal = f64::from(input.width) / image.width as f64;
    vertical.min(horizontal)
}

/// Which two source pixels make one target pixel, and how much of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tap {
    first: usize,
    second: usize,
    first_weight: i32,
    second_weight: i32,
}

fn taps(source: usize, target: usize) -> Vec<Tap> {
    // Twice a reciprocal, as OpenCV: the last bit of the scale decides some roundings.
    let scale = 1.0 / (target as f64 / source as f64);
    let last = source - 1;
    let tap = |at: usize| {
        let position = ((at as f64 + 0.5) * scale - 0.5) as f32;
        let floor = position.floor();
        let (first, part) = match floor {
            floor if floor < 0.0 => (0, 0.0),
            floor if floor as usize >= last => (last, 0.0),
            floor => (floor as usize, position - floor),
        };
        Tap {
            first,
            second: (first + 1).min(last),
            first_weight: ((1.0 - part) * ONE).round_ties_even() as i32,
            second_weight: (part * ONE).round_ties_even() as i32,
        }
    };
    (0..target).map(tap).collect()
}

/// One source row, resized in x: three planes of sums, each 11 bits above a pixel.
struct Row {
    source: Option<usize>,
    sums: Vec<i32>,
}

impl Row {
    fn new(width: usize) -> Self {
        Self { source: None, sums: vec![0; CHANNELS * width] }
    }

    fn fill(&mut self, image: &Image, source: usize, columns: &[Tap]) {
        if self.source == Some(source) {
            return;
        }
        self.source = Some(source);
        let stride = image.width * CHANNELS;
        let pixels = &image.pixels[source * stride..(source + 1) * stride];
        let (first, rest) = self.sums.split_at_mut(columns.len());
        let (second, third) = rest.split_at_mut(columns.len());
        for (at, tap) in columns.iter().enumerate() {
            let left = &pixels[tap.first * CHANNELS..][..CHANNELS];
            let right = &pixels[tap.second * CHANNELS..][..CHANNELS];
            let sum = |c: usize| i32::from(left[c]) * tap.first_weight + i32::from(right[c]) * tap.second_weight;
            first[at] = sum(0);
            second[at] = sum(1);
            third[at] = sum(2);
        }
    }
}

/// OpenCV's VResizeLinear for bytes: each row is cut to 15 bits, then each product to 16 less.
fn blend(above: &[i32], below: &[i32], tap: Tap, scale: f32, out: &mut [f32]) {
    for ((out, above), below) in out.iter_mut().zip(above).zip(below) {
        let upper = ((above >> 4) * tap.first_weight) >> 16;
        let lower = ((below >> 4) * tap.second_weight) >> 16;
        *out = ((upper + lower + 2) >> 2) as f32 * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::model::ChannelOrder;

    fn input(width: u32, height: u32) -> InputSpec {
        InputSpec { width, height, channels: ChannelOrder::Rgb, scale: 1.0, letterbox_fill: 114 }
    }

    /// A grey picture whose pixels count up in steps of `step`, wrapped.
    fn ramp(width: usize, height: usize, step: usize) -> Image {
        let pixels = (0..width * height).flat_map(|at| [(at * step % 256) as u8; CHANNELS]).collect();
        Image { width, height, pixels }
    }

    /// The first channel, letterboxed.
    fn first_plane(image: &Image, width: u32, height: u32) -> (f64, Vec<u8>) {
        let side = (width * height) as usize;
        let mut planes = vec![0.0; CHANNELS * side];
        let ratio = letterbox(image, &input(width, height), &mut planes);
        assert_eq!(planes[..side], planes[side..2 * side]);
        (ratio, planes[..side].iter().map(|&value| value as u8).collect())
    }

    #[test]
    fn a_picture_of_the_inputs_size_passes_unchanged() {
        let image = ramp(8, 6, 5);
        let (ratio, plane) = first_plane(&image, 8, 6);
        assert_eq!(ratio, 1.0);
        assert_eq!(plane, image.pixels.iter().step_by(CHANNELS).copied().collect::<Vec<_>>());
    }

    #[test]
    fn the_border_below_or_beside_is_filled() {
        let (_, wide) = first_plane(&ramp(8, 4, 0), 4, 4);
        assert_eq!(wide, [[0; 8], [114; 8]].concat());
        let (_, tall) = first_plane(&ramp(4, 8, 0), 4, 4);
        assert_eq!(tall, [0, 0, 114, 114].repeat(4));
    }

    // From OpenCV 5.0: cv2.resize(ramp, (w, h), interpolation=cv2.INTER_LINEAR).
    #[test]
    fn resized_pixels_are_opencvs_to_the_last_bit() {
        let down = [[16, 81, 146, 210], [23, 88, 153, 218], [114; 4]].concat();
        assert_eq!(first_plane(&ramp(7, 5, 37), 4, 3), (4.0 / 7.0, down));
        let up = [
            [0, 9, 28, 46, 65, 74, 114],
            [28, 37, 55, 74, 92, 102, 114],
            [83, 92, 111, 129, 148, 157, 114],
            [111, 120, 139, 157, 176, 185, 114],
        ];
        assert_eq!(first_plane(&ramp(3, 2, 37), 7, 4), (2.0, up.concat()));
    }

    #[test]
    fn a_sliver_keeps_one_row() {
        let (_, plane) = first_plane(&ramp(4096, 1, 0), 4, 4);
        assert_eq!(plane, [[0; 4], [114; 4], [114; 4], [114; 4]].concat());
    }

    #[test]
    fn scale_applies_to_the_picture_and_to_its_border() {
        let spec = InputSpec { scale: 0.5, ..input(2, 2) };
        let mut planes = vec![0.0; 12];
        letterbox(&Image { width: 2, height: 1, pixels: vec![100; 6] }, &spec, &mut planes);
        assert_eq!(planes, [50.0, 50.0, 57.0, 57.0].repeat(3));
    }
}
