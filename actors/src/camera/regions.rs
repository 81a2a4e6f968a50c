//! Regions: which parts of a frame a model is shown, so that small things are not made smaller still. Pure.
//!
//!   moving areas, areas of tracks ──▶ squares of the model's size around them ──cut──▶ model ──▶ back into the frame
//!
//! The whole frame is shown if it is hardly larger than what the model takes, if something fills more than a square, or
//! if squares would be more picture than the frame.

use config::watching::Regions;
use protocol::camera::Frame;
use protocol::codec::Blob;
use protocol::{Detection, limits};

/// A frame so many times as wide as a square loses little when it is shrunk to it.
const WIDER_MIN: f32 = 1.5;

/// Around an area: a quarter of its sides, and so much at least. What moved is often a part of a thing.
const MARGIN_PART: f32 = 0.25;
const MARGIN_PX_MIN: f32 = 24.0;

/// A box that ends so near to where a region was cut goes on behind it.
const CUT_PX: f32 = 3.0;

/// What goes on behind a region's edge and scores as much is worth a look at the whole frame.
const CUT_SCORE_MIN: f32 = 0.4;

/// Two boxes of one label of which the smaller lies so far inside the other were found in two regions that overlap.
const TWICE_SHARE: f32 = 0.6;

/// A part of a frame in pixels; all even, so that its chroma can be cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// The parts of a frame of `size` in which all `areas` are; none for the whole.
pub fn choose(settings: &Regions, size: (u32, u32), areas: &[[f32; 4]]) -> Vec<Part> {
    let side = settings.side_px & !1;
    let (width, height) = (side.min(size.0) & !1, side.min(size.1) & !1);
    if side == 0 || height == 0 || (size.0 as f32) < side as f32 * WIDER_MIN {
        return Vec::new();
    }
    let fits = |[x0, y0, x1, y1]: [f32; 4]| x1 - x0 <= width as f32 && y1 - y0 <= height as f32;
    let mut groups: Vec<[f32; 4]> = Vec::new();
    for area in areas.iter().map(|area| with_margin(*area, size)) {
        if !fits(area) {
            return Vec::new();
        }
        match groups.iter().position(|group| fits(hull(*group, area))) {
            Some(index) => groups[index] = hull(groups[index], area),
            None if groups.len() < settings.regions_max => groups.push(area),
            None => return Vec::new(),
        }
    }
    if groups.len() as u64 * u64::from(width) * u64::from(height) > u64::from(size.0) * u64::from(size.1) {
        return Vec::new();
    }
    let around = |[x0, y0, x1, y1]: [f32; 4]| Part {
        x: centred(x0, x1, width, size.0),
        y: centred(y0, y1, height, size.1),
        width,
        height,
    };
    groups.into_iter().map(around).collect()
}

/// In pixels, within the frame.
fn with_margin([x0, y0, x1, y1]: [f32; 4], (width, height): (u32, u32)) -> [f32; 4] {
    let (width, height) = (width as f32, height as f32);
    let grown = |from: f32, to: f32, whole: f32| {
        let margin = ((to - from) * whole * MARGIN_PART).max(MARGIN_PX_MIN);
        [(from * whole - margin).clamp(0.0, whole), (to * whole + margin).clamp(0.0, whole)]
    };
    let ([x0, x1], [y0, y1]) = (grown(x0, x1, width), grown(y0, y1, height));
    [x0, y0, x1, y1]
}

/// The smallest box around both.
fn hull(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
    [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]
}

/// Where a part begins that has this in its middle, as far as the frame reaches.
fn centred(from: f32, to: f32, part: u32, whole: u32) -> u32 {
    let begin = ((from + to - part as f32) / 2.0).max(0.0) as u32;
    begin.min(whole.saturating_sub(part)) & !1
}

impl Part {
    pub fn whole(frame: &Frame) -> Self {
        Self { x: 0, y: 0, width: frame.width, height: frame.height }
    }

    /// As fractions of a frame of this size.
    pub fn fractions(&self, (width, height): (u32, u32)) -> [f32; 4] {
        let [x0, x1] = [self.x, self.x + self.width].map(|x| x as f32 / width as f32);
        let [y0, y1] = [self.y, self.y + self.height].map(|y| y as f32 / height as f32);
        [x0, y0, x1, y1]
    }

    /// A frame of this part alone; `None` if it is not inside.
    pub fn cut(&self, frame: &Frame) -> Option<Frame> {
        let (full, rows) = (frame.width as usize, frame.height as usize);
        let (half, half_rows) = (full.div_ceil(2), rows.div_ceil(2));
        let (y, chroma) = frame.pixels.0.split_at_checked(full * rows)?;
        let (u, v) = chroma.split_at_checked(half * half_rows)?;
        let [left, top, width, height] = [self.x, self.y, self.width, self.height].map(|px| px as usize);
        let mut pixels = Vec::with_capacity(width * height * 3 / 2);
        let planes = [(y, full, left, top, width, height)].into_iter();
        let chroma = [u, v].map(|plane| (plane, half, left / 2, top / 2, width / 2, height / 2));
        for (plane, stride, left, top, width, height) in planes.chain(chroma) {
            for row in plane.chunks_exact(stride).skip(top).take(height) {
                pixels.extend_from_slice(row.get(left..left + width)?);
            }
        }
        let Frame { index, pts_us, captured_us, replayed, .. } = *frame;
        let whole = pixels.len() == width * height * 3 / 2;
        let (width, height, pixels) = (self.width, self.height, Blob(pixels));
        whole.then_some(Frame { index, pts_us, captured_us, replayed, width, height, pixels })
    }

    /// This box of the part goes on behind an edge at which the frame of this size does not end.
    fn cuts(&self, [x0, y0, x1, y1]: [f32; 4], size: (u32, u32)) -> bool {
        (self.x > 0 && x0 < CUT_PX)
            || (self.y > 0 && y0 < CUT_PX)
            || (self.x + self.width < size.0 && x1 > self.width as f32 - CUT_PX)
            || (self.y + self.height < size.1 && y1 > self.height as f32 - CUT_PX)
    }
}

/// What was found in the parts of one frame.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// In pixels of the frame, the best first.
    pub detections: Vec<Detection>,
    /// Something was seen in part, and is left out: the whole frame should be looked at.
    pub cut: bool,
}

/// From boxes in pixels of parts of a frame of `size`.
pub fn together(size: (u32, u32), parts: impl IntoIterator<Item = (Part, Vec<Detection>)>) -> Found {
    let mut found = Found::default();
    for (part, detections) in parts {
        for mut detection in detections {
            if part.cuts(detection.area, size) {
                found.cut |= detection.score >= CUT_SCORE_MIN;
                continue;
            }
            let [x0, y0, x1, y1] = detection.area;
            let (x, y) = (part.x as f32, part.y as f32);
            detection.area = [x0 + x, y0 + y, x1 + x, y1 + y];
            found.detections.push(detection);
        }
    }
    found.detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for detection in found.detections {
        let is_twice = |one: &Detection| one.label == detection.label && is_same(one.area, detection.area);
        if kept.len() < limits::DETECTIONS_MAX && !kept.iter().any(is_twice) {
            kept.push(detection);
        }
    }
    Found { detections: kept, cut: found.cut }
}

fn is_same(one: [f32; 4], other: [f32; 4]) -> bool {
    let extent = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0).max(0.0) * (y1 - y0).max(0.0);
    let shared = [one[0].max(other[0]), one[1].max(other[1]), one[2].min(other[2]), one[3].min(other[3])];
    extent(shared) > extent(one).min(extent(other)) * TWICE_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: (u32, u32) = (1280, 720);

    fn parts(areas: &[[f32; 4]]) -> Vec<Part> {
        choose(&Regions::default(), SIZE, areas)
    }

    fn detection(label: &str, score: f32, area: [f32; 4]) -> Detection {
        Detection { label: label.to_owned(), score, area }
    }

    /// Each pixel tells where it is.
    fn frame(width: u32, height: u32) -> Frame {
        let plane = |width: u32, height: u32, base: u32| {
            (0..width * height).map(move |at| (base + at / width * 7 + at % width) as u8)
        };
        let chroma = |base| plane(width.div_ceil(2), height.div_ceil(2), base);
        let pixels = Blob(plane(width, height, 0).chain(chroma(50)).chain(chroma(99)).collect());
        Frame { index: 1, pts_us: 2, captured_us: 3, replayed: true, width, height, pixels }
    }

    #[test]
    fn a_small_thing_is_cut_out_with_what_is_around_it() {
        let [part] = parts(&[[0.5, 0.5, 0.52, 0.56]])[..] else { panic!("one part") };
        assert_eq!((part.width, part.height), (416, 416));
        assert!((part.x + 208).abs_diff(652) < 4 && (part.y + 208).abs_diff(381) < 4, "{part:?} is around it");
        assert_eq!(parts(&[[0.0, 0.0, 0.02, 0.02]]), [Part { x: 0, y: 0, width: 416, height: 416 }]);
        assert_eq!(parts(&[[0.98, 0.98, 1.0, 1.0]]), [Part { x: 864, y: 304, width: 416, height: 416 }]);
    }

    #[test]
    fn things_side_by_side_share_a_part_and_others_have_their_own() {
        assert_eq!(parts(&[[0.4, 0.4, 0.45, 0.5], [0.5, 0.4, 0.55, 0.5]]).len(), 1);
        assert_eq!(parts(&[[0.1, 0.4, 0.15, 0.5], [0.8, 0.4, 0.85, 0.5]]).len(), 2);
    }

    #[test]
    fn the_whole_frame_is_shown_where_parts_do_not_help() {
        let far_apart = [[0.0, 0.1, 0.05, 0.2], [0.5, 0.1, 0.55, 0.2], [0.95, 0.1, 1.0, 0.2]];
        assert!(parts(&far_apart).is_empty(), "more than regions_max");
        assert!(parts(&[[0.1, 0.1, 0.5, 0.5]]).is_empty(), "it fills more than a square");
        assert!(parts(&[]).is_empty(), "nothing is to be looked at");
        let small = |size| choose(&Regions::default(), size, &[[0.5, 0.5, 0.52, 0.52]]);
        assert!(small((620, 360)).is_empty() && !small((640, 360)).is_empty());
        let off = Regions { side_px: 0, ..Regions::default() };
        assert!(choose(&off, SIZE, &[[0.5, 0.5, 0.52, 0.52]]).is_empty());
        let two = [[0.0, 0.1, 0.05, 0.2], [0.95, 0.1, 1.0, 0.2]];
        assert!(choose(&Regions::default(), (700, 400), &two).is_empty(), "two squares are more than the frame");
    }

    #[test]
    fn what_is_found_in_a_part_is_told_where_it_is_in_the_frame() {
        let part = Part { x: 400, y: 100, width: 416, height: 416 };
        let found = together(SIZE, [(part, vec![detection("cat", 0.7, [10.0, 20.0, 30.0, 50.0])])]);
        assert_eq!(found, Found { detections: vec![detection("cat", 0.7, [410.0, 120.0, 430.0, 150.0])], cut: false });
        assert_eq!(part.fractions((800, 1000)), [0.5, 0.1, 1.02, 0.516]);
    }

    #[test]
    fn what_goes_on_behind_the_edge_of_a_part_is_left_to_the_whole_frame() {
        let part = Part { x: 864, y: 100, width: 416, height: 416 };
        let at_left = together(SIZE, [(part, vec![detection("cat", 0.7, [0.0, 20.0, 30.0, 50.0])])]);
        assert_eq!(at_left, Found { detections: vec![], cut: true });
        let at_the_frames_end = detection("cat", 0.7, [380.0, 20.0, 416.0, 50.0]);
        assert_eq!(together(SIZE, [(part, vec![at_the_frames_end])]).detections.len(), 1);
        let faint = detection("cat", 0.2, [0.0, 20.0, 30.0, 50.0]);
        assert!(!together(SIZE, [(part, vec![faint])]).cut);
    }

    #[test]
    fn a_thing_in_two_parts_is_one() {
        let one = Part { x: 0, y: 0, width: 416, height: 416 };
        let other = Part { x: 200, y: 0, width: 416, height: 416 };
        let cat = |score, x: f32| detection("cat", score, [x, 20.0, x + 50.0, 60.0]);
        let found = together(SIZE, [(one, vec![cat(0.6, 300.0)]), (other, vec![cat(0.8, 102.0), cat(0.5, 300.0)])]);
        let x: Vec<_> = found.detections.iter().map(|detection| detection.area[0]).collect();
        assert_eq!(x, [302.0, 500.0]);
    }

    #[test]
    fn a_part_that_is_not_inside_cannot_be_cut() {
        let frame = frame(64, 64);
        assert_eq!(Part { x: 40, y: 0, width: 32, height: 32 }.cut(&frame), None);
        assert_eq!(Part { x: 0, y: 40, width: 32, height: 32 }.cut(&frame), None);
        assert_eq!(Part::whole(&frame).cut(&frame).as_ref(), Some(&frame));
    }

    fn area() -> impl Strategy<Value = [f32; 4]> {
        (0.0..1.0f32, 0.0..1.0f32, 0.0..0.2f32, 0.0..0.2f32)
            .prop_map(|(x, y, w, h)| [x, y, (x + w).min(1.0), (y + h).min(1.0)])
    }

    proptest! {
        #[test]
        fn each_area_is_inside_a_part_and_each_part_inside_the_frame(
            size in (2..3000u32, 2..2200u32), side_px in 0..1300u32, areas in prop::collection::vec(area(), 0..6),
        ) {
            let parts = choose(&Regions { side_px, regions_max: 3 }, size, &areas);
            prop_assert!(parts.len() <= 3);
            for part in &parts {
                prop_assert!(part.x + part.width <= size.0 && part.y + part.height <= size.1, "{part:?}");
                prop_assert!([part.x, part.y, part.width, part.height].iter().all(|px| px % 2 == 0), "{part:?}");
            }
            // Of a frame with an odd side, a part lacks the last column or row.
            let slack = [1.01 / size.0 as f32, 1.01 / size.1 as f32];
            let holds = |part: &Part, area: &[f32; 4]| {
                let outer = part.fractions(size);
                (0..2).all(|side| outer[side] <= area[side] + slack[side] && outer[side + 2] + slack[side] >= area[side + 2])
            };
            for area in areas.iter().filter(|_| !parts.is_empty()) {
                prop_assert!(parts.iter().any(|part| holds(part, area)), "{area:?} in {parts:?}");
            }
        }

        #[test]
        fn a_part_shows_what_the_frame_does_there(
            width in 2..90u32, height in 2..90u32, x in 0..40u32, y in 0..40u32, w in 1..40u32, h in 1..40u32,
        ) {
            let frame = frame(width, height);
            let part = Part { x: x * 2, y: y * 2, width: w * 2, height: h * 2 };
            let inside = part.x + part.width <= width && part.y + part.height <= height;
            let cut = part.cut(&frame);
            prop_assert_eq!(cut.is_some(), inside);
            if let Some(cut) = cut {
                prop_assert_eq!(protocol::frame::i420_bytes(cut.width, cut.height), Ok(cut.pixels.0.len()));
                let value = |at: u32, stride: u32, left: u32, top: u32, base: u32| {
                    (base + (top + at / stride) * 7 + left + at % stride) as u8
                };
                let luma = (part.width * part.height) as usize;
                for (at, pixel) in cut.pixels.0[..luma].iter().enumerate() {
                    prop_assert_eq!(*pixel, value(at as u32, part.width, part.x, part.y, 0));
                }
                for (plane, base) in cut.pixels.0[luma..].chunks(luma / 4).zip([50, 99]) {
                    for (at, pixel) in plane.iter().enumerate() {
                        prop_assert_eq!(*pixel, value(at as u32, part.width / 2, part.x / 2, part.y / 2, base));
                    }
                }
            }
        }
    }
}
