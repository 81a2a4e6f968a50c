//! Which cells lie inside masks, and never count.

use config::watching::{Point, Polygon};

/// A cell is looked up at so many points a side; it is masked if half of them are inside.
const POINTS: usize = 4;

/// For each cell, row by row, of a picture of `picture_px`; none at all if nothing is masked.
pub(super) fn masked(masks: &[Polygon], cell_px: usize, picture_px: (usize, usize)) -> Vec<bool> {
    if masks.is_empty() {
        return Vec::new();
    }
    let (columns, rows) = (picture_px.0.div_ceil(cell_px), picture_px.1.div_ceil(cell_px));
    let part = |cell: usize, point: usize, whole_px: usize| {
        (cell as f32 + (point as f32 + 0.5) / POINTS as f32) * cell_px as f32 / whole_px as f32
    };
    let inside = |column: usize, row: usize| {
        let points = (0..POINTS * POINTS)
            .map(|point| [part(column, point % POINTS, picture_px.0), part(row, point / POINTS, picture_px.1)]);
        points.filter(|point| masks.iter().any(|mask| contains(mask, *point))).count() * 2 >= POINTS * POINTS
    };
    (0..columns * rows).map(|cell| inside(cell % columns, cell / columns)).collect()
}

/// By the even-odd rule.
fn contains(Polygon(corners): &Polygon, [x, y]: Point) -> bool {
    let ends = corners.iter().skip(1).chain(corners.first());
    let crossed =
        |&(&[x0, y0], &[x1, y1]): &(&Point, &Point)| (y0 > y) != (y1 > y) && x < x0 + (y - y0) / (y1 - y0) * (x1 - x0);
    corners.iter().zip(ends).filter(crossed).count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 40x30 in cells of 10.
    fn check(corners: &[Point], expected: [&str; 3]) {
        let cells = masked(&[Polygon(corners.to_vec())], 10, (40, 30));
        let rows: Vec<String> =
            cells.chunks(4).map(|row| row.iter().map(|masked| if *masked { '#' } else { '.' }).collect()).collect();
        assert_eq!(rows, expected, "{corners:?}");
    }

    #[test]
    fn cells_of_which_half_lies_inside_are_masked() {
        check(&[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]], ["##..", "##..", "##.."]);
        check(&[[0.0, 0.0], [0.55, 0.0], [0.55, 1.0], [0.0, 1.0]], ["##..", "##..", "##.."]);
        check(&[[0.0, 0.0], [0.65, 0.0], [0.65, 1.0], [0.0, 1.0]], ["###.", "###.", "###."]);
        check(&[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], ["###.", "##..", "#..."]);
    }

    #[test]
    fn a_mask_may_be_concave_or_reach_beyond_the_picture() {
        check(&[[-1.0, -1.0], [2.0, -1.0], [2.0, 2.0], [-1.0, 2.0]], ["####", "####", "####"]);
        let cup =
            [[0.0, 0.0], [0.25, 0.0], [0.25, 0.67], [0.75, 0.67], [0.75, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
        check(&cup, ["#..#", "#..#", "####"]);
    }

    #[test]
    fn without_masks_nothing_is_masked() {
        assert!(masked(&[], 8, (320, 180)).is_empty());
    }

    #[test]
    fn the_last_cells_of_a_picture_reach_beyond_it() {
        // 45 px are four cells and a half.
        let right = Polygon(vec![[0.86, 0.0], [2.0, 0.0], [2.0, 1.0], [0.86, 1.0]]);
        assert_eq!(masked(&[right], 10, (45, 10)), [false, false, false, false, true]);
    }
}
