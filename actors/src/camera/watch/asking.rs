//! What becomes of one frame: nothing, or one question for each part of it that a model is shown.

use super::{Model, captured};
use crate::camera::regions::{self, Found, Part};
use crate::inference::asker::{self, Judged};
use futures_util::future::join_all;
use protocol::camera::Frame;
use protocol::{CameraId, Detection, Outcome, Timestamp};
use std::sync::Arc;

/// What is to be found out about a frame.
pub(super) enum Question {
    /// It woke the camera, and comes again behind what led to it.
    Later,
    /// Nothing moved that anybody has to be asked about; areas that changed all the same.
    Still(Vec<[f32; 4]>),
    /// There is no model: areas that changed.
    Motion(Vec<[f32; 4]>),
    /// The whole of it if there are no parts.
    Ask { model: Model, parts: Vec<Part> },
}

/// What was found out.
pub(super) enum Answer {
    Later,
    Still {
        at: Timestamp,
        moving: Vec<[f32; 4]>,
    },
    Motion {
        at: Timestamp,
        areas: Vec<[f32; 4]>,
        frame: Arc<Frame>,
    },
    Asked {
        frame: Arc<Frame>,
        /// As fractions of the frame; all of it if empty.
        looked: Vec<[f32; 4]>,
        /// Who was asked.
        node: String,
        outcome: Outcome,
        /// Something reached beyond the parts.
        cut: bool,
    },
}

/// Still frames too are answered in their turn: what tracking is told is in the order of the frames.
pub(super) async fn settle(camera: CameraId, frame: Arc<Frame>, question: Question) -> Answer {
    match question {
        Question::Later => Answer::Later,
        Question::Still(moving) => Answer::Still { at: captured(&frame), moving },
        Question::Motion(areas) => Answer::Motion { at: captured(&frame), areas, frame },
        Question::Ask { model, parts } => ask(camera, frame, &model, parts).await,
    }
}

async fn ask(camera: CameraId, frame: Arc<Frame>, model: &Model, parts: Vec<Part>) -> Answer {
    let size = (frame.width, frame.height);
    let cut: Option<Vec<_>> = parts.iter().map(|part| part.cut(&frame).map(Arc::new)).collect();
    let (parts, pictures) = match cut {
        Some(cut) if !cut.is_empty() => (parts, cut),
        _ => (Vec::new(), vec![frame.clone()]),
    };
    let question = |picture| asker::Question {
        camera: camera.clone(),
        model: model.name.clone(),
        deadline: model.deadline,
        priority: model.priority,
        captured: captured(&frame),
        frame: picture,
    };
    let asked = pictures.into_iter().map(|picture| model.asker.judge(question(picture)));
    let judged = join_all(asked).await;
    let looked = parts.iter().map(|part| part.fractions(size)).collect();
    let shown = if parts.is_empty() { vec![Part::whole(&frame)] } else { parts };
    let (node, outcome, cut) = together(size, shown, judged);
    Answer::Asked { frame, looked, node, outcome, cut }
}

/// A frame is judged if all that was shown of it is; else it is what became of the first part that is not.
fn together(size: (u32, u32), parts: Vec<Part>, judged: Vec<Judged>) -> (String, Outcome, bool) {
    let mut asked = String::new();
    let mut by = String::new();
    let mut found: Vec<(Part, Vec<Detection>)> = Vec::new();
    for (part, Judged { node, outcome }) in parts.into_iter().zip(judged) {
        match outcome {
            Outcome::Ok { model, detections } => {
                (asked, by) = (node, model);
                found.push((part, detections));
            }
            other => return (node, other, false),
        }
    }
    // The whole frame's detections are the model's: it has told them apart.
    if let [(part, detections)] = &mut found[..]
        && (part.width, part.height) == size
    {
        return (asked, Outcome::Ok { model: by, detections: std::mem::take(detections) }, false);
    }
    let Found { detections, cut } = regions::together(size, found);
    (asked, Outcome::Ok { model: by, detections }, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (1280, 720);
    const LEFT: Part = Part { x: 0, y: 100, width: 416, height: 416 };
    const RIGHT: Part = Part { x: 800, y: 100, width: 416, height: 416 };

    fn ok(area: [f32; 4]) -> Judged {
        let detections = vec![Detection { label: "cat".to_owned(), score: 0.9, area }];
        Judged { node: "barn".to_owned(), outcome: Outcome::Ok { model: "nano".to_owned(), detections } }
    }

    #[test]
    fn a_frame_of_which_all_parts_are_judged_is_judged() {
        let area = [50.0, 50.0, 90.0, 90.0];
        let (node, outcome, cut) = together(SIZE, vec![LEFT, RIGHT], vec![ok(area), ok(area)]);
        let Outcome::Ok { model, detections } = outcome else { panic!("{outcome:?}") };
        let x: Vec<_> = detections.iter().map(|detection| detection.area[0]).collect();
        assert_eq!((node.as_str(), model.as_str(), x, cut), ("barn", "nano", vec![50.0, 850.0], false));
    }

    #[test]
    fn a_frame_of_which_one_part_is_not_judged_is_not() {
        for outcome in [Outcome::Shed, Outcome::Expired, Outcome::Failed { reason: "gone".to_owned() }] {
            let failed = Judged { node: "barn".to_owned(), outcome: outcome.clone() };
            let judged = vec![ok([50.0, 50.0, 90.0, 90.0]), failed];
            assert_eq!(together(SIZE, vec![LEFT, RIGHT], judged), ("barn".to_owned(), outcome, false));
        }
    }

    #[test]
    fn the_whole_frames_boxes_are_left_as_they_are() {
        let whole = Part { x: 0, y: 0, width: 1280, height: 720 };
        let (_, outcome, _) = together(SIZE, vec![whole], vec![ok([0.0, 0.0, 1280.0, 720.0])]);
        assert!(matches!(outcome, Outcome::Ok { detections, .. } if detections.len() == 1));
    }
}
