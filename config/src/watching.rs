//! What an edge does with a camera's pictures beside asking a model: gears, regions, masks, zones, schedules.

pub(crate) mod read;
pub(crate) mod schedule;

use serde::Deserialize;
use std::time::Duration;

/// A point of a picture: x and y as fractions of its width and height, from its upper left corner.
pub type Point = [f32; 2];

/// At least three points; the last is joined to the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Polygon(pub Vec<Point>);

/// `[gears]`, and what a camera says otherwise: how much of a stream is decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Gears {
    pub mode: GearMode,
    /// Nothing moved and nothing is followed for so long: the camera goes to the idle gear.
    pub idle_after: Duration,
    /// In the idle gear, at most one key frame in this time is decoded and looked at.
    pub look_every: Duration,
    /// A frame of so many times the usual size wakes a camera; 0 turns this off.
    pub size_ratio: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GearMode {
    /// Idle while nothing moves, awake while something does.
    Auto,
    /// Always awake.
    Awake,
    /// Nothing is decoded: the camera is recorded and seen live, and nobody judges it.
    Passthrough,
}

impl Default for Gears {
    fn default() -> Self {
        Self {
            mode: GearMode::Auto,
            idle_after: Duration::from_secs(10),
            look_every: Duration::from_secs(4),
            size_ratio: 2.0,
        }
    }
}

/// Part of `[detect]`: what of a frame is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Regions {
    /// Side of a square that is cut out around motion where things are small; what the model takes. 0: always the whole.
    pub side_px: u32,
    /// Of one frame; with more, the whole frame is sent.
    pub regions_max: usize,
}

impl Default for Regions {
    fn default() -> Self {
        Self { side_px: 416, regions_max: 2 }
    }
}

/// Part of `[track]`: what stands still.
#[derive(Debug, Clone, PartialEq)]
pub struct Stationary {
    /// A thing that has not moved for so long is stationary, and costs no inference while nothing moves at it.
    pub after: Duration,
    /// It is looked for all the same, once in this time.
    pub check_every: Duration,
}

impl Default for Stationary {
    fn default() -> Self {
        Self { after: Duration::from_secs(10), check_every: Duration::from_secs(60) }
    }
}

/// What makes a track of one label, or of any, an event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// `None`: for labels that have no filter of their own.
    pub label: Option<String>,
    /// Of a box, as a fraction of the picture.
    pub area_min: Option<f32>,
    pub area_max: Option<f32>,
    /// Detections with a lower score are ignored.
    pub score_min: Option<f32>,
    /// The median of a track's scores that makes it an event.
    pub score_median_min: Option<f32>,
}

/// What is not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectMask {
    pub polygon: Polygon,
    /// Things of these labels whose feet are inside are ignored; of all labels if empty.
    pub labels: Vec<String>,
}

/// A part of a camera's picture with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    pub name: String,
    pub shape: Shape,
    /// Frames in a row that a thing's feet have to be inside before it has entered.
    pub inertia: u32,
    /// It has to stay inside for so long before it has entered.
    pub dwell: Duration,
    /// Of these alone; of all labels if empty.
    pub labels: Vec<String>,
    /// Only what has entered one of the zones that say so becomes an event.
    pub required: bool,
    /// When it counts; always if `None`.
    pub schedule: Option<Schedule>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Area(Polygon),
    /// Crossed by the path of a thing's feet.
    Line {
        from: Point,
        to: Point,
        direction: Direction,
    },
}

/// Seen when standing at `from` and looking to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    Any,
    LeftToRight,
    RightToLeft,
}

/// Parts of a week, in local time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule(pub Vec<Span>);

/// On each of these days from one minute of the day to another, which is not included; over midnight if it is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Monday is the first.
    pub days: [bool; 7],
    pub from_minute: u16,
    pub to_minute: u16,
}
