//! What a track is called. A detector that takes a van for a car in one frame and for a truck in the next sees one
//! thing, which is called what it was taken for most.

use std::collections::BTreeMap;

/// Labels that detectors take for one another, of the sets that models are commonly trained on. A track goes on under
/// any label of its group; what is in no group keeps its label.
const ALIKE: &[&[&str]] = &[
    &["car", "truck", "bus", "van"],
    &["bicycle", "motorcycle"],
    &["cat", "dog"],
    &["cow", "horse", "sheep"],
    &["suitcase", "backpack", "handbag"],
];

/// Another label has to have so many times the votes of the current one before a track is renamed.
const RENAMED_RATIO: f32 = 1.5;

pub(super) fn are_alike(one: &str, other: &str) -> bool {
    ALIKE.iter().any(|group| group.contains(&one) && group.contains(&other))
}

/// The label of a track, by the sums of the scores that spoke for each.
#[derive(Debug)]
pub(super) struct Label {
    current: String,
    /// One for each label of a group at most.
    votes: BTreeMap<String, f32>,
}

impl Label {
    pub(super) fn new(label: &str, score: f32) -> Self {
        Self { current: label.to_owned(), votes: BTreeMap::from([(label.to_owned(), score)]) }
    }

    pub(super) fn current(&self) -> &str {
        &self.current
    }

    pub(super) fn vote(&mut self, label: &str, score: f32) {
        match self.votes.get_mut(label) {
            Some(votes) => *votes += score,
            None => {
                self.votes.insert(label.to_owned(), score);
            }
        }
        let has = self.votes.get(&self.current).copied().unwrap_or(0.0);
        let Some((best, votes)) = self.votes.iter().max_by(|one, other| one.1.total_cmp(other.1)) else { return };
        if *votes > has * RENAMED_RATIO {
            self.current.clone_from(best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_does_not_flap() {
        let mut label = Label::new("car", 0.8);
        for _ in 0..20 {
            label.vote("truck", 0.8);
            assert_eq!(label.current(), "car");
            label.vote("car", 0.8);
        }
    }

    #[test]
    fn what_was_misread_at_first_is_renamed_once_it_is_clear() {
        let mut label = Label::new("truck", 0.6);
        let names: Vec<String> = (0..4)
            .map(|_| {
                label.vote("car", 0.8);
                label.current().to_owned()
            })
            .collect();
        assert_eq!(names, ["truck", "car", "car", "car"]);
    }

    #[test]
    fn a_person_is_never_taken_for_a_chair() {
        assert!(are_alike("car", "truck"));
        assert!(!are_alike("person", "chair") && !are_alike("car", "person") && !are_alike("cat", "cow"));
    }
}
