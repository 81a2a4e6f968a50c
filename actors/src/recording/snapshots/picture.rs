//! Pictures: the three planes of a frame, cut, shrunk and drawn into. Pure.
//!
//! Cameras give brightness from 16 to 235; a picture has it from 0 to 255, as JPEG wants it.

use protocol::camera::Frame;
use protocol::frame::i420_bytes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

/// Brightness in full, both colours at half its size, rounded up. No plane is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    planes: [Plane; 3],
}

/// A crop shows so much more than the box on each side, in parts of the box's larger side.
const MARGIN: f32 = 0.15;

/// The red of a drawn box, in full range.
const RED: [u8; 3] = [76, 85, 255];

impl Plane {
    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.width..][..self.width]
    }

    /// Not empty, and inside of the plane.
    fn crop(&self, Span { left, top, right, bottom }: Span) -> Self {
        let samples = (top..bottom).flat_map(|row| &self.row(row)[left..right]).copied().collect();
        Self { width: right - left, height: bottom - top, samples }
    }

    /// Each pixel the mean of those that it stands for.
    fn shrunk(&self, width: usize, height: usize) -> Self {
        let span = |index: usize, of: usize, from: usize| {
            let begin = index * from / of;
            begin..((index + 1) * from / of).max(begin + 1)
        };
        let mut samples = Vec::with_capacity(width * height);
        for row in 0..height {
            let rows = span(row, height, self.height);
            for column in 0..width {
                let columns = span(column, width, self.width);
                let count = (rows.len() * columns.len()) as u64;
                let part = rows.clone().map(|row| &self.row(row)[columns.clone()]);
                let sum: u64 = part.flatten().map(|sample| u64::from(*sample)).sum();
                samples.push(((sum + count / 2) / count) as u8);
            }
        }
        Self { width, height, samples }
    }

    fn fill(&mut self, Span { left, top, right, bottom }: Span, sample: u8) {
        for row in top..bottom {
            self.samples[row * self.width..][left..right].fill(sample);
        }
    }
}

/// Part of a plane, in its pixels; right and bottom are not part of it.
#[derive(Debug, Clone, Copy)]
struct Span {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Span {
    fn halved(self) -> Self {
        let Self { left, top, right, bottom } = self;
        Self { left: left / 2, top: top / 2, right: right.div_ceil(2), bottom: bottom.div_ceil(2) }
    }
}

impl Picture {
    /// `None` for a frame whose pixels are not as many as its size says.
    pub fn of(frame: &Frame) -> Option<Self> {
        if i420_bytes(frame.width, frame.height) != Ok(frame.pixels.0.len()) {
            return None;
        }
        let (width, height) = (frame.width as usize, frame.height as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let (luma, chroma) = frame.pixels.0.split_at(width * height);
        let (u, v) = chroma.split_at(half_width * half_height);
        let plane = |width, height, samples: &[u8], table: &[u8; 256]| {
            let samples = samples.iter().map(|sample| table[usize::from(*sample)]).collect();
            Plane { width, height, samples }
        };
        let (bright, colour) = (full_range(16, 219), full_range(128, 224));
        let planes = [
            plane(width, height, luma, &bright),
            plane(half_width, half_height, u, &colour),
            plane(half_width, half_height, v, &colour),
        ];
        Some(Self { planes })
    }

    pub fn width(&self) -> usize {
        self.planes[0].width
    }

    pub fn height(&self) -> usize {
        self.planes[0].height
    }

    pub fn planes(&self) -> [&Plane; 3] {
        self.planes.each_ref()
    }

    /// A box, as fractions, and a margin around it, as far as there is one.
    pub fn around(&self, area: [f32; 4]) -> Self {
        let (width, height) = (self.width() as f32, self.height() as f32);
        let [x0, y0, x1, y1] = area;
        let margin = MARGIN * ((x1 - x0) * width).max((y1 - y0) * height);
        let span = self.span([x0 * width - margin, y0 * height - margin, x1 * width + margin, y1 * height + margin]);
        let [luma, u, v] = &self.planes;
        Self { planes: [luma.crop(span), u.crop(span.halved()), v.crop(span.halved())] }
    }

    /// No wider than this, in the same proportions.
    pub fn no_wider_than(&self, width: usize) -> Self {
        let width = width.max(2).min(self.width());
        let height = (self.height() * width / self.width()).max(1);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let [luma, u, v] = &self.planes;
        Self {
            planes: [luma.shrunk(width, height), u.shrunk(half_width, half_height), v.shrunk(half_width, half_height)],
        }
    }

    /// A red frame around a box: two pixels wide, and more in large pictures.
    pub fn draw(&mut self, [x0, y0, x1, y1]: [f32; 4]) {
        let (width, height) = (self.width() as f32, self.height() as f32);
        let line = (self.height() / 270).max(1) * 2;
        let outer = self.span([x0 * width, y0 * height, x1 * width, y1 * height]);
        let Span { left, top, right, bottom } = outer;
        let (inner_left, inner_top) = ((left + line).min(right), (top + line).min(bottom));
        let (inner_right, inner_bottom) = (right.saturating_sub(line).max(left), bottom.saturating_sub(line).max(top));
        for side in [
            Span { bottom: inner_top, ..outer },
            Span { top: inner_bottom, ..outer },
            Span { right: inner_left, ..outer },
            Span { left: inner_right, ..outer },
        ] {
            let [luma, u, v] = &mut self.planes;
            luma.fill(side, RED[0]);
            u.fill(side.halved(), RED[1]);
            v.fill(side.halved(), RED[2]);
        }
    }

    /// From pixels to whole ones, at even places, inside of the picture and not empty. What is not a number is at the
    /// picture's edge.
    fn span(&self, [x0, y0, x1, y1]: [f32; 4]) -> Span {
        let begin = |at: f32, size: usize| (at.max(0.0) as usize).min(size - 1) & !1;
        let end = |at: f32, begin: usize, size: usize| {
            let at = if at.is_nan() { size } else { at.ceil().clamp(0.0, size as f32) as usize };
            at.next_multiple_of(2).max(begin + 2).min(size)
        };
        let (left, top) = (begin(x0, self.width()), begin(y0, self.height()));
        Span { left, top, right: end(x1, left, self.width()), bottom: end(y1, top, self.height()) }
    }
}

/// What `zero + range` is in limited range is 255 more than what `zero` is, or 255 around 128 for colours.
fn full_range(zero: i32, range: i32) -> [u8; 256] {
    let base = if zero == 128 { 128 } else { 0 };
    std::array::from_fn(|sample| {
        let off = (sample as i32 - zero) * 255;
        let rounded = (off + off.signum() * range / 2) / range;
        (base + rounded).clamp(0, 255) as u8
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::codec::Blob;

    /// A frame of a colour, given in limited range, with what `paint` says of its brightness.
    pub(in super::super) fn frame(width: u32, height: u32, paint: impl Fn(u32, u32) -> u8, [u, v]: [u8; 2]) -> Frame {
        let mut pixels: Vec<u8> =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| paint(x, y)).collect();
        let chroma = (width.div_ceil(2) * height.div_ceil(2)) as usize;
        pixels.extend(std::iter::repeat_n(u, chroma));
        pixels.extend(std::iter::repeat_n(v, chroma));
        Frame { index: 0, pts_us: 0, captured_us: 0, replayed: false, width, height, pixels: Blob(pixels) }
    }

    #[test]
    fn black_is_black_and_white_is_white() {
        let luma = full_range(16, 219);
        assert_eq!([luma[0], luma[16], luma[235], luma[255], luma[126]], [0, 0, 255, 255, 128]);
        let chroma = full_range(128, 224);
        assert_eq!([chroma[16], chroma[128], chroma[240], chroma[255]], [0, 128, 255, 255]);
    }

    #[test]
    fn a_frame_that_lacks_pixels_is_no_picture() {
        let mut short = frame(20, 10, |_, _| 90, [128, 128]);
        short.pixels.0.pop();
        assert_eq!(Picture::of(&short), None);
    }

    #[test]
    fn a_crop_shows_the_box_and_a_margin() {
        let picture = Picture::of(&frame(256, 128, |x, y| if x >= 128 && y >= 64 { 235 } else { 16 }, [128, 128]));
        let crop = picture.expect("a picture").around([0.5, 0.5, 0.75, 0.75]);
        // 64x32 pixels, and 9.6 on each side.
        assert_eq!((crop.width(), crop.height()), (84, 52));
        let [luma, ..] = crop.planes();
        assert_eq!([luma.row(9)[10], luma.row(10)[10], luma.row(10)[9]], [0, 255, 0]);
    }

    #[test]
    fn a_shrunk_picture_keeps_its_proportions_and_its_means() {
        let picture = Picture::of(&frame(640, 360, |x, _| if x % 2 == 0 { 16 } else { 235 }, [128, 128]));
        let small = picture.expect("a picture").no_wider_than(320);
        assert_eq!((small.width(), small.height()), (320, 180));
        assert!(small.planes()[0].row(7).iter().all(|sample| (127..=128).contains(sample)));
    }

    #[test]
    fn a_drawn_box_is_a_line_of_a_few_pixels() {
        let mut picture = Picture::of(&frame(200, 100, |_, _| 126, [128, 128])).expect("a picture");
        picture.draw([0.25, 0.2, 0.75, 0.8]);
        let [luma, u, v] = picture.planes();
        let row = |y: usize| luma.row(y).iter().filter(|sample| **sample == RED[0]).count();
        assert_eq!([row(19), row(20), row(21), row(22), row(79), row(80)], [0, 100, 100, 4, 100, 0]);
        assert_eq!([u.row(10)[30], v.row(10)[30], v.row(20)[30]], [RED[1], RED[2], 128]);
    }

    proptest! {
        #[test]
        fn whatever_the_box_there_is_a_picture(
            (width, height) in (1..70u32, 1..70u32),
            area in prop::array::uniform4(prop_oneof![-0.5..1.5f32, Just(f32::NAN), Just(f32::INFINITY), Just(-1e30)]),
            narrow in 0..100usize,
        ) {
            let mut picture = Picture::of(&frame(width, height, |x, y| (x * y) as u8, [90, 200])).expect("a picture");
            for part in [picture.around(area), picture.no_wider_than(narrow)] {
                prop_assert!(part.width() >= 1 && part.height() >= 1);
                prop_assert!(part.width() <= picture.width() && part.height() <= picture.height());
                let [_, u, v] = part.planes();
                prop_assert_eq!((u.width(), u.height()), (part.width().div_ceil(2), part.height().div_ceil(2)));
                prop_assert_eq!((v.width(), v.height()), (u.width(), u.height()));
                prop_assert!(super::super::jpeg::encode(&part, 80).len() > 100);
            }
            picture.draw(area);
        }
    }
}
