//! Reads `[gears]`, and what a camera says of masks, zones, filters and schedules.

use super::schedule;
use super::{Direction, Filter, Gears, ObjectMask, Polygon, Regions, Shape, Stationary, Zone};
use crate::reader::Section;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Of one camera, of each kind. More are refused: each is looked at for each thing in each frame.
const MASKS_MAX: usize = 32;
const ZONES_MAX: usize = 32;
const FILTERS_MAX: usize = 64;
/// In one list of labels.
const LABELS_MAX: usize = 100;

const LABELS: &str = "list labels in quotes, such as [\"person\", \"car\"], or remove it for all";
/// Frames in a row that a thing has to be in a zone: one may be a slip of the model.
const INERTIA_DEFAULT: u32 = 3;
const FRACTION: RangeInclusive<f32> = 0.0..=1.0;
/// More often than so many times the usual, no frame is larger.
const SIZE_RATIO_MAX: f32 = 100.0;

pub(crate) fn gears(root: &mut Section) -> Gears {
    let mut s = root.section("gears");
    let default = Gears::default();
    let size_ratio = s.number("size_ratio", 0.0..=SIZE_RATIO_MAX).unwrap_or(default.size_ratio);
    if size_ratio > 0.0 && size_ratio <= 1.0 {
        s.fault("size_ratio", &size_ratio.to_string(), "use more than 1, or 0 to turn it off: every frame is so large");
    }
    Gears {
        mode: s.choice("mode").unwrap_or(default.mode),
        idle_after: s.seconds("idle_after_s", default.idle_after, 1..=3600),
        look_every: s.seconds("look_every_s", default.look_every, 1..=60),
        size_ratio,
    }
}

/// Part of `[detect]`.
pub(crate) fn regions(s: &mut Section) -> Regions {
    let default = Regions::default();
    let side_px = s.int("region_px", 0..=1280, "; 0 always sends the whole frame").unwrap_or(default.side_px);
    if (1..64).contains(&side_px) {
        s.fault("region_px", &side_px.to_string(), "use 64 or more, or 0 to send the whole frame always");
    }
    Regions { side_px, regions_max: s.int("regions_max", 1..=16, "").unwrap_or(default.regions_max) }
}

/// Part of `[track]`.
pub(crate) fn stationary(s: &mut Section) -> Stationary {
    let default = Stationary::default();
    Stationary {
        after: s.seconds("stationary_after_s", default.after, 1..=3600),
        check_every: s.seconds("stationary_check_s", default.check_every, 1..=86_400),
    }
}

/// What is to be reported, of a camera, a mask or a zone.
pub(crate) fn labels(s: &mut Section) -> Vec<String> {
    let labels = s.texts("labels", LABELS).unwrap_or_default();
    if labels.len() > LABELS_MAX {
        s.fault("labels", &format!("{} of them", labels.len()), &format!("use {LABELS_MAX} at most"));
    }
    labels
}

pub(crate) fn motion_masks(s: &mut Section) -> Vec<Polygon> {
    s.polygons("motion_masks", MASKS_MAX)
}

pub(crate) fn object_masks(s: &mut Section) -> Vec<ObjectMask> {
    let masks = sections(s, "object_masks", MASKS_MAX);
    masks.into_iter().filter_map(|mut s| object_mask(&mut s)).collect()
}

fn object_mask(s: &mut Section) -> Option<ObjectMask> {
    let polygon = s.require("polygon", "name the part of the picture that is not looked at").polygon("polygon");
    let labels = labels(s);
    Some(ObjectMask { polygon: polygon?, labels })
}

pub(crate) fn zones(s: &mut Section) -> Vec<Zone> {
    let mut names = BTreeSet::new();
    let mut zones = Vec::new();
    for mut s in sections(s, "zones", ZONES_MAX) {
        let Some(zone) = zone(&mut s) else { continue };
        if !names.insert(zone.name.clone()) {
            s.fault("name", &format!("\"{}\"", zone.name), "choose another: this camera has a zone of this name");
        }
        zones.push(zone);
    }
    zones
}

fn zone(s: &mut Section) -> Option<Zone> {
    let name_way_out = "name it with 1 to 48 of a-z, 0-9 and -, such as driveway";
    let name = s.require("name", name_way_out).opt::<protocol::CameraId>("name", name_way_out);
    let shape = shape(s);
    let is_line = matches!(shape, Some(Shape::Line { .. }));
    for key in ["inertia", "dwell_s"] {
        if is_line && s.has(key) {
            s.fault(
                key,
                "set for a line",
                "remove it: a line is crossed at once; or give a polygon in place of the line",
            );
        }
    }
    let inertia = s.int("inertia", 1..=100, "");
    let dwell = s.seconds("dwell_s", Duration::ZERO, 0..=86_400);
    let labels = labels(s);
    let required = s.flag("required").unwrap_or(false);
    let schedule = schedule::read(s);
    let inertia = if is_line { 1 } else { inertia.unwrap_or(INERTIA_DEFAULT) };
    Some(Zone { name: name?.to_string(), shape: shape?, inertia, dwell, labels, required, schedule })
}

fn shape(s: &mut Section) -> Option<Shape> {
    match (s.has("polygon"), s.has("line")) {
        (true, true) => s.fault("line", "set as well as polygon", "keep one of the two: two zones can have two names"),
        (false, false) => s.fault("polygon", "missing", "set polygon, an area, or line, which is crossed"),
        _ => {}
    }
    if s.has("direction") && !s.has("line") {
        s.fault("direction", "set without a line", "remove it, or set line in place of polygon");
    }
    let (polygon, line) = (s.polygon("polygon"), s.line("line"));
    let direction = s.choice("direction").unwrap_or(Direction::Any);
    let line = line.map(|(from, to)| Shape::Line { from, to, direction });
    polygon.map(Shape::Area).or(line)
}

pub(crate) fn filters(s: &mut Section) -> Vec<Filter> {
    let mut of = BTreeSet::new();
    let mut filters = Vec::new();
    for mut s in sections(s, "filters", FILTERS_MAX) {
        let filter = filter(&mut s);
        if !of.insert(filter.label.clone()) {
            let label = filter.label.as_ref().map_or("missing".to_owned(), |label| format!("\"{label}\""));
            s.fault("label", &label, "keep one filter a label, and one without: another one has this");
        }
        filters.push(filter);
    }
    filters
}

fn filter(s: &mut Section) -> Filter {
    let filter = Filter {
        label: s.text("label", "name a label, or remove it for those that have no filter of their own"),
        area_min: s.number("area_min", FRACTION),
        area_max: s.number("area_max", FRACTION),
        score_min: s.number("score_min", FRACTION),
        score_median_min: s.number("score_median_min", FRACTION),
    };
    if let (Some(min), Some(max)) = (filter.area_min, filter.area_max)
        && min > max
    {
        s.fault("area_max", &max.to_string(), &format!("use {min} or more: area_min is {min}"));
    }
    filter
}

/// Those beyond `max` are not looked at, and one fault says so.
fn sections<'r>(s: &mut Section<'r>, key: &str, max: usize) -> Vec<Section<'r>> {
    let mut sections = s.sections(key);
    if sections.len() > max {
        s.fault(key, &format!("{} of them", sections.len()), &format!("use {max} at most"));
        sections.drain(max..).for_each(Section::ignore);
    }
    sections
}
