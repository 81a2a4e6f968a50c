//! Non-maximum suppression: of boxes of one class that cover the same thing, the best stays.

/// A box that the head proposes: x0, y0, x1, y1 in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub class: usize,
    pub score: f32,
    pub area: [f32; 4],
}

/// Best first. Stops at `keep_max`: what is worse than so many others is dropped.
pub fn suppress(mut candidates: Vec<Candidate>, iou_max: f32, keep_max: usize) -> Vec<Candidate> {
    // Stable: among equals the earlier anchor wins, on every machine.
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == keep_max {
            break;
        }
        let covered =
            |better: &Candidate| better.class == candidate.class && iou(better.area, candidate.area) > iou_max;
        if !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

/// Intersection over union, 0 to 1; 0 where neither box has an area.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    let shared = width.max(0.0) * height.max(0.0);
    let union = extent(a) + extent(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

fn extent(area: [f32; 4]) -> f32 {
    (area[2] - area[0]).max(0.0) * (area[3] - area[1]).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box of 10x10 at (x, 0).
    fn at(class: usize, score: f32, x: f32) -> Candidate {
        Candidate { class, score, area: [x, 0.0, x + 10.0, 10.0] }
    }

    #[track_caller]
    fn check(candidates: &[Candidate], keep_max: usize, scores: &[f32]) {
        let kept = suppress(candidates.to_vec(), 0.45, keep_max);
        assert_eq!(kept.iter().map(|candidate| candidate.score).collect::<Vec<_>>(), scores);
    }

    #[test]
    fn the_best_of_overlapping_boxes_stays() {
        check(&[at(0, 0.5, 0.0), at(0, 0.9, 1.0), at(0, 0.7, 2.0)], 9, &[0.9]);
    }

    #[test]
    fn another_class_is_not_suppressed() {
        check(&[at(0, 0.5, 0.0), at(1, 0.9, 0.0)], 9, &[0.9, 0.5]);
    }

    #[test]
    fn a_suppressed_box_suppresses_nobody() {
        // 0.8 falls to 0.9; 0.7 overlaps 0.8 alone.
        check(&[at(0, 0.9, 0.0), at(0, 0.8, 3.0), at(0, 0.7, 6.0)], 9, &[0.9, 0.7]);
    }

    #[test]
    fn an_overlap_of_exactly_the_limit_stays() {
        // 3x10 shared of 17x10 is under 0.45, 4x10 of 16x10 is 0.25: pick a limit that is met exactly.
        let kept = suppress(vec![at(0, 0.9, 0.0), at(0, 0.8, 6.0)], 0.25, 9);
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn no_more_are_kept_than_asked() {
        check(&[at(0, 0.5, 0.0), at(0, 0.9, 20.0), at(0, 0.7, 40.0)], 2, &[0.9, 0.7]);
    }

    #[test]
    fn a_box_without_area_overlaps_nothing() {
        assert_eq!(iou([5.0; 4], [5.0; 4]), 0.0);
        assert_eq!(iou([0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 4.0, 4.0]), 0.0);
    }
}
