//! Points of a picture in a configuration: polygons and lines.

use super::Section;
use crate::fault::shown;
use crate::watching::{Point, Polygon};
use toml::Value;

/// A polygon with more is refused: no zone needs it, and each is looked at for each thing in each frame.
pub(crate) const POINTS_MAX: usize = 64;

/// Of the picture: a smaller polygon has its points on a line.
const AREA_MIN: f32 = 1e-5;

const POLYGON: &str = "use three points or more, as fractions of the picture: [[0.1, 0.5], [0.9, 0.5], [0.5, 1.0]]";

impl Section<'_> {
    pub(crate) fn polygon(&mut self, key: &str) -> Option<Polygon> {
        let value = self.listed(key)?;
        self.parse_polygon(key, &value)
    }

    /// A list of polygons; those that are none leave a fault each.
    pub(crate) fn polygons(&mut self, key: &str, max: usize) -> Vec<Polygon> {
        let Some(value) = self.listed(key) else { return Vec::new() };
        let Value::Array(items) = &value else {
            self.fault(key, &shown(&value), &format!("list polygons: {POLYGON}"));
            return Vec::new();
        };
        if items.len() > max {
            self.fault(key, &format!("{} of them", items.len()), &format!("use {max} at most; join some"));
            return Vec::new();
        }
        let polygons = items.iter().enumerate();
        polygons.filter_map(|(index, item)| self.parse_polygon(&format!("{key}.{index}"), item)).collect()
    }

    /// Two points.
    pub(crate) fn line(&mut self, key: &str) -> Option<(Point, Point)> {
        let way_out = "use two points, as fractions of the picture: [[0.1, 0.5], [0.9, 0.5]]";
        let value = self.listed(key)?;
        match self.parse_points(key, &value, way_out)?[..] {
            [from, to] if from != to => Some((from, to)),
            [_, _] => {
                self.fault(key, "twice the same point", way_out);
                None
            }
            ref points => {
                self.fault(key, &count(points.len()), way_out);
                None
            }
        }
    }

    fn parse_polygon(&self, key: &str, value: &Value) -> Option<Polygon> {
        let points = self.parse_points(key, value, POLYGON)?;
        if !(3..=POINTS_MAX).contains(&points.len()) {
            self.fault(key, &count(points.len()), &format!("{POLYGON}; {POINTS_MAX} at most"));
            return None;
        }
        if area(&points) < AREA_MIN {
            self.fault(key, "a line", POLYGON);
            return None;
        }
        Some(Polygon(points))
    }

    fn parse_points(&self, key: &str, value: &Value, way_out: &str) -> Option<Vec<Point>> {
        let Value::Array(items) = value else {
            self.fault(key, &shown(value), way_out);
            return None;
        };
        let mut points = Vec::new();
        for (index, item) in items.iter().take(POINTS_MAX + 1).enumerate() {
            match point(item) {
                Some(point) => points.push(point),
                None => {
                    let way_out = "use [x, y], each from 0 to 1, from the picture's upper left corner";
                    self.fault(&format!("{key}.{index}"), &point_shown(item), way_out);
                    return None;
                }
            }
        }
        Some(points)
    }

    /// In the environment a list is text, as it would stand in the file.
    fn listed(&mut self, key: &str) -> Option<Value> {
        let value = self.take(key)?;
        match &value {
            Value::String(text) if self.by_env(key) => {
                let read = format!("it = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("it"));
                Some(read.unwrap_or(value))
            }
            _ => Some(value),
        }
    }
}

fn point(value: &Value) -> Option<Point> {
    let [x, y] = &value.as_array()?[..] else { return None };
    Some([fraction(x)?, fraction(y)?])
}

fn fraction(value: &Value) -> Option<f32> {
    let number = match value {
        Value::Integer(number) => *number as f32,
        Value::Float(number) => *number as f32,
        _ => return None,
    };
    (0.0..=1.0).contains(&number).then_some(number)
}

fn point_shown(value: &Value) -> String {
    let number = |value: &Value| value.is_integer() || value.is_float();
    match value.as_array().map(Vec::as_slice) {
        Some([x, y]) if number(x) && number(y) => format!("[{x}, {y}]"),
        _ => shown(value),
    }
}

fn count(points: usize) -> String {
    match points {
        1 => "one point".to_owned(),
        more if more > POINTS_MAX => format!("more than {POINTS_MAX} points"),
        few => format!("{few} points"),
    }
}

/// Gauss's formula; of one whose sides cross it is less than it looks.
fn area(points: &[Point]) -> f32 {
    let next = points.iter().cycle().skip(1);
    let doubled: f32 = points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    doubled.abs() / 2.0
}
