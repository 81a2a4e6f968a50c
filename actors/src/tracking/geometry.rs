//! Geometry: where a thing stands, and which side of what. Pure, in fractions of the picture.
//!
//! Polygons are even-odd and half-open: of two that share an edge, a point on it lies in exactly one. What is no
//! polygon or no line contains nothing and is never crossed.

use config::watching::{Direction, Point, Polygon};

/// Where a thing stands: the middle of its box's lower side.
pub fn feet([x0, _, x1, y1]: [f32; 4]) -> Point {
    [(x0 + x1) / 2.0, y1]
}

/// Of a box, in the picture.
pub fn surface([x0, y0, x1, y1]: [f32; 4]) -> f32 {
    (x1 - x0).max(0.0) * (y1 - y0).max(0.0)
}

/// The smallest box around both.
pub fn hull(one: [f32; 4], other: [f32; 4]) -> [f32; 4] {
    [one[0].min(other[0]), one[1].min(other[1]), one[2].max(other[2]), one[3].max(other[3])]
}

pub fn overlap(one: [f32; 4], other: [f32; 4]) -> bool {
    one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3]
}

pub fn contains(polygon: &Polygon, point: Point) -> bool {
    let corners = &polygon.0;
    if corners.len() < 3 || !is_finite(point) {
        return false;
    }
    let before = corners.iter().cycle().skip(corners.len() - 1);
    let left_of = corners.iter().zip(before).filter(|(one, other)| is_left_of_edge(point, **one, **other));
    left_of.count() % 2 == 1
}

/// Does a ray from the point to the right meet this edge? The edge is read from its upper end, whichever way it was
/// written, so that its two neighbours round alike.
fn is_left_of_edge(point: Point, one: Point, other: Point) -> bool {
    let (upper, lower) = if (one[1], one[0]) < (other[1], other[0]) { (one, other) } else { (other, one) };
    upper[1] <= point[1] && point[1] < lower[1] && side(upper, lower, point) > 0.0
}

/// Where a point is, seen when standing at `from` and looking to `to`: positive to the right, as y grows downwards.
fn side(from: Point, to: Point, point: Point) -> f64 {
    let [fx, fy] = from.map(f64::from);
    let [tx, ty] = to.map(f64::from);
    let [x, y] = point.map(f64::from);
    (tx - fx) * (y - fy) - (ty - fy) * (x - fx)
}

/// Which way a step from one place to another crosses a line, if it does.
///
/// What stands on the line counts as left of it: a path that only touches the line from there does not cross it, and
/// one that goes over is told once, however its steps fall.
pub fn crossing([from, to]: [Point; 2], [before, after]: [Point; 2]) -> Option<Direction> {
    if ![from, to, before, after].into_iter().all(is_finite) || from == to {
        return None;
    }
    let was_right = side(from, to, before) > 0.0;
    let is_right = side(from, to, after) > 0.0;
    if was_right == is_right {
        return None;
    }
    // The line's ends are on both sides of the step, or on it.
    let ends = [side(before, after, from), side(before, after, to)];
    let meets = (ends[0] >= 0.0 && ends[1] <= 0.0) || (ends[0] <= 0.0 && ends[1] >= 0.0);
    let way = if is_right { Direction::LeftToRight } else { Direction::RightToLeft };
    meets.then_some(way)
}

fn is_finite(point: Point) -> bool {
    point.into_iter().all(f32::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn polygon(corners: &[Point]) -> Polygon {
        Polygon(corners.to_vec())
    }

    const SQUARE: [Point; 4] = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]];

    #[test]
    fn a_thing_stands_in_the_middle_of_its_lower_side() {
        assert_eq!(feet([0.25, 0.1, 0.75, 0.9]), [0.5, 0.9]);
    }

    #[test]
    fn a_square_contains_its_middle_and_two_of_its_sides() {
        let square = polygon(&SQUARE);
        let inside = [[0.5, 0.5], [0.2, 0.5], [0.5, 0.2]];
        let outside = [[0.8, 0.5], [0.5, 0.8], [0.1, 0.5], [0.9, 0.5], [0.5, 0.9]];
        assert!(inside.into_iter().all(|point| contains(&square, point)));
        assert!(!outside.into_iter().any(|point| contains(&square, point)));
    }

    #[test]
    fn a_bow_has_no_middle_and_a_u_has_a_gap() {
        let u =
            polygon(&[[0.0, 0.0], [0.3, 0.0], [0.3, 0.7], [0.7, 0.7], [0.7, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]);
        assert!(contains(&u, [0.1, 0.1]) && contains(&u, [0.5, 0.9]) && !contains(&u, [0.5, 0.3]));
    }

    #[test]
    fn what_is_no_polygon_contains_nothing() {
        let nan = f32::NAN;
        for corners in
            [vec![], vec![[0.5, 0.5]], vec![[0.0, 0.0], [1.0, 1.0]], vec![[nan, nan]; 4], vec![[0.5, 0.5]; 9]]
        {
            assert!(!contains(&polygon(&corners), [0.5, 0.5]), "{corners:?}");
        }
        assert!(!contains(&polygon(&SQUARE), [nan, 0.5]));
    }

    #[test]
    fn who_looks_up_the_picture_has_its_right_at_the_right() {
        let up = [[0.5, 0.9], [0.5, 0.1]];
        let (left, right) = ([0.4, 0.5], [0.6, 0.5]);
        assert_eq!(crossing(up, [left, right]), Some(Direction::LeftToRight));
        assert_eq!(crossing(up, [right, left]), Some(Direction::RightToLeft));
        assert_eq!(crossing(up, [[0.4, 0.95], [0.6, 0.95]]), None, "past its end");
        assert_eq!(crossing(up, [left, [0.5, 0.5]]), None, "to the line and no further");
        assert_eq!(crossing(up, [[0.5, 0.5], right]), Some(Direction::LeftToRight), "and on");
        assert_eq!(crossing(up, [left, left]), None);
        assert_eq!(crossing([left, left], [[0.0, 0.0], [1.0, 1.0]]), None, "no line");
        assert_eq!(crossing(up, [left, [f32::NAN, 0.5]]), None);
    }

    fn any_point() -> impl Strategy<Value = Point> {
        // On a grid, so that points on edges and corners are common.
        prop_oneof![
            (0..9u8, 0..9u8).prop_map(|(x, y)| [f32::from(x) / 8.0, f32::from(y) / 8.0]),
            (-0.2..1.2f32, -0.2..1.2f32).prop_map(|(x, y)| [x, y]),
        ]
    }

    proptest! {
        #[test]
        fn a_polygon_is_the_same_from_whichever_corner_and_way_round(
            corners in prop::collection::vec(any_point(), 3..9),
            first in 0..9usize,
            point in any_point(),
        ) {
            let mut other = corners.clone();
            other.rotate_left(first % corners.len());
            other.reverse();
            prop_assert_eq!(contains(&polygon(&corners), point), contains(&polygon(&other), point));
        }

        #[test]
        fn a_point_lies_in_one_of_two_parts_or_in_neither(
            corners in prop::collection::vec(any_point(), 4..9),
            point in any_point(),
        ) {
            // Cut from the first corner to the third: even-odd, whatever the shape.
            let part = polygon(&corners[..3]);
            let rest = polygon(&[&corners[..1], &corners[2..]].concat());
            prop_assert_eq!(contains(&polygon(&corners), point), contains(&part, point) != contains(&rest, point));
        }

        #[test]
        fn nothing_outside_of_its_box_is_in_a_polygon(
            corners in prop::collection::vec(any_point(), 3..9),
            point in any_point(),
        ) {
            let around = corners.iter().map(|[x, y]| [*x, *y, *x, *y]).reduce(hull).expect("it has corners");
            let [x, y] = point;
            let outside = x < around[0] || x > around[2] || y < around[1] || y > around[3];
            prop_assert!(!(outside && contains(&polygon(&corners), point)));
        }

        #[test]
        fn a_step_back_crosses_the_other_way(line in [any_point(), any_point()], step in [any_point(), any_point()]) {
            let back = crossing(line, [step[1], step[0]]);
            let turned = crossing([line[1], line[0]], step);
            match crossing(line, step) {
                None => prop_assert_eq!(back, None),
                Some(Direction::LeftToRight) => prop_assert_eq!(back, Some(Direction::RightToLeft)),
                Some(_) => prop_assert_eq!(back, Some(Direction::LeftToRight)),
            }
            let on_the_line = step.iter().any(|point| side(line[0], line[1], *point) == 0.0);
            prop_assert!(on_the_line || turned == back);
        }

        #[test]
        fn a_walk_in_a_ring_crosses_both_ways_alike(
            walk in prop::collection::vec((0.0..1.0f32, 0.0..1.0f32), 3..20),
            x in 0.0..1.0f32,
        ) {
            // The line is longer than the picture is high, so that nobody walks round its end.
            let line = [[x, 2.0], [x, -1.0]];
            let places: Vec<Point> = walk.into_iter().map(|(x, y)| [x, y]).collect();
            let steps = places.iter().zip(places.iter().cycle().skip(1));
            let ways: Vec<_> = steps.filter_map(|(one, other)| crossing(line, [*one, *other])).collect();
            let right = ways.iter().filter(|way| **way == Direction::LeftToRight).count();
            prop_assert_eq!(right * 2, ways.len());
            prop_assert!(ways.windows(2).all(|pair| pair[0] != pair[1]), "it crosses to and fro: {:?}", ways);
        }
    }
}
