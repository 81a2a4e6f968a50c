//! Detections to tracks, tracks to events.
pub mod tracker;
