//! Boxes as the tracker compares them.

/// A box in frame heights, so that a distance is the same across and down, at any resolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub x0: f32,
    pub y0: f32,
    pub x1: f32,
    pub y1: f32,
}

impl Area {
    /// From pixels; `None` for what is no box, or lies outside of the frame.
    pub(super) fn from_pixels(pixels: [f32; 4], width: u32, height: u32) -> Option<Self> {
        if width == 0 || height == 0 || !pixels.iter().all(|side| side.is_finite()) {
            return None;
        }
        let (width, height) = (width as f32, height as f32);
        let [x0, y0, x1, y1] = pixels;
        let (x0, x1) = (x0.clamp(0.0, width), x1.clamp(0.0, width));
        let (y0, y1) = (y0.clamp(0.0, height), y1.clamp(0.0, height));
        let is_box = x1 - x0 > 0.0 && y1 - y0 > 0.0;
        is_box.then(|| Self { x0: x0 / height, y0: y0 / height, x1: x1 / height, y1: y1 / height })
    }

    /// From fractions of the frame, whose width is so many times its height.
    pub(super) fn from_fractions([x0, y0, x1, y1]: [f32; 4], aspect: f32) -> Self {
        Self { x0: x0 * aspect, y0, x1: x1 * aspect, y1 }
    }

    /// The part inside of the frame, as fractions of it.
    pub(super) fn fractions(self, aspect: f32) -> [f32; 4] {
        [self.x0 / aspect, self.y0, self.x1 / aspect, self.y1].map(|side| side.clamp(0.0, 1.0))
    }

    /// The part inside of the frame, if there is one.
    pub(super) fn clipped(self, aspect: f32) -> Option<Self> {
        let inside = Self::from_fractions(self.fractions(aspect), aspect);
        (inside.surface() > 0.0).then_some(inside)
    }

    pub(super) fn centre(self) -> [f32; 2] {
        [(self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0]
    }

    /// The same size around another centre.
    pub(super) fn moved_to(self, [x, y]: [f32; 2]) -> Self {
        let (half_width, half_height) = ((self.x1 - self.x0) / 2.0, (self.y1 - self.y0) / 2.0);
        Self { x0: x - half_width, y0: y - half_height, x1: x + half_width, y1: y + half_height }
    }

    pub(super) fn iou(self, other: Self) -> f32 {
        let both = self.intersection(other);
        ratio(both, self.surface() + other.surface() - both)
    }

    /// How much of the smaller box lies inside the other.
    pub(super) fn share_of_smaller(self, other: Self) -> f32 {
        ratio(self.intersection(other), self.surface().min(other.surface()))
    }

    /// How much of it lies inside the other.
    pub(super) fn share_inside(self, other: Self) -> f32 {
        ratio(self.intersection(other), self.surface())
    }

    /// Between the centres.
    pub(super) fn distance(self, other: Self) -> f32 {
        let ([ax, ay], [bx, by]) = (self.centre(), other.centre());
        (ax - bx).hypot(ay - by)
    }

    /// From its centre to the nearest point on the way from one centre to another.
    pub(super) fn distance_to_way(self, from: Self, to: Self) -> f32 {
        let ([x, y], [fx, fy], [tx, ty]) = (self.centre(), from.centre(), to.centre());
        let (dx, dy) = (tx - fx, ty - fy);
        let part = ratio((x - fx) * dx + (y - fy) * dy, dx * dx + dy * dy).clamp(0.0, 1.0);
        (x - fx - part * dx).hypot(y - fy - part * dy)
    }

    /// The side of a square as large.
    pub(super) fn size(self) -> f32 {
        self.surface().sqrt()
    }

    fn surface(self) -> f32 {
        (self.x1 - self.x0) * (self.y1 - self.y0)
    }

    fn intersection(self, other: Self) -> f32 {
        let width = self.x1.min(other.x1) - self.x0.max(other.x0);
        let height = self.y1.min(other.y1) - self.y0.max(other.y0);
        width.max(0.0) * height.max(0.0)
    }
}

fn ratio(part: f32, whole: f32) -> f32 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(pixels: [f32; 4]) -> Area {
        Area::from_pixels(pixels, 200, 100).expect("it is a box inside of the frame")
    }

    #[test]
    fn overlap_and_distance_are_as_by_hand() {
        let (one, other) = (area([0.0, 0.0, 20.0, 20.0]), area([10.0, 0.0, 30.0, 20.0]));
        assert!((one.iou(other) - 1.0 / 3.0).abs() < 1e-4);
        assert!((one.share_of_smaller(other) - 0.5).abs() < 1e-4);
        assert!((one.distance(other) - 0.1).abs() < 1e-4);
        assert!((one.size() - 0.2).abs() < 1e-4);
    }

    #[test]
    fn the_way_between_two_places_is_near_to_what_lies_beside_it() {
        let at = |x: f32, y: f32| area([x - 5.0, y - 5.0, x + 5.0, y + 5.0]);
        let (from, to) = (at(20.0, 50.0), at(120.0, 50.0));
        for (x, y, expected) in [(70.0, 70.0, 0.2), (20.0, 40.0, 0.1), (150.0, 50.0, 0.3), (10.0, 50.0, 0.1)] {
            assert!((at(x, y).distance_to_way(from, to) - expected).abs() < 1e-4, "{x}, {y}");
        }
        assert!((at(70.0, 50.0).distance_to_way(from, from) - 0.5).abs() < 1e-4);
    }

    #[test]
    fn what_sticks_out_of_the_frame_is_clipped() {
        let inside = Area { x0: -1.0, y0: 0.5, x1: 1.0, y1: 2.0 }.clipped(2.0).expect("part of it is inside");
        assert_eq!(inside, Area { x0: 0.0, y0: 0.5, x1: 1.0, y1: 1.0 });
        assert_eq!(Area { x0: 2.1, y0: 0.5, x1: 3.0, y1: 2.0 }.clipped(2.0), None);
    }

    #[test]
    fn a_box_is_cut_to_the_frame_and_nonsense_is_none() {
        assert_eq!(area([-50.0, -50.0, 50.0, 50.0]), area([0.0, 0.0, 50.0, 50.0]));
        let nan = f32::NAN;
        for wrong in [[nan, 0.0, 1.0, 1.0], [5.0, 5.0, 5.0, 9.0], [9.0, 0.0, 5.0, 5.0], [300.0, 0.0, 400.0, 9.0]] {
            assert_eq!(Area::from_pixels(wrong, 200, 100), None, "{wrong:?}");
        }
        assert_eq!(Area::from_pixels([0.0, 0.0, 1.0, 1.0], 0, 100), None);
    }
}
