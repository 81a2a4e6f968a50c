//! Zeros: counters that exist before they count, so that their first increment is seen.
//!
//! `rate` and `increase` compare two readings of one series: a failure that creates its series is invisible to
//! both. Whatever a class of actors may count is therefore shown as 0 as soon as the class is on the roll.

use protocol::roles::{Plane, Who};
use std::collections::BTreeSet;
use supervision::{FailureKind, Status};

type Values = &'static [&'static str];
/// A label and its values.
type Label = (&'static str, Values);

/// A restart has the reason of the failure before it; or a sibling failed, or an operator asked for it.
const RESTARTS_BESIDE: Values = &["sibling", "steered"];

const JOINS: Values =
    &["joined", "used", "expired", "tampered", "role", "revoked", "no_authority", "garbled", "busy", "unwell"];
const RENEWALS: Values = &["renewed", "revoked", "no_authority", "garbled", "busy", "unwell"];
const SEVERITIES: Values = &["low", "normal", "high", "critical"];

const OUTCOMES: Values = &["ok", "shed", "expired", "failed"];

const WAKES: Values = &["size", "motion", "light", "attention", "unseen", "opened"];

/// By class of an actor of a camera: metric by camera, and its other label with its values.
const COUNTED_OF_CAMERA_BY: &[(&str, &str, Option<Label>)] = &[
    ("session", "watchtree_camera_source_failures_total", Some(("reason", SOURCE_FAULTS))),
    ("session", "watchtree_camera_wakes_total", Some(("reason", WAKES))),
    ("session", "watchtree_camera_unseen_total", Some(("label", &["blind", "unwatched"]))),
    ("session", "watchtree_camera_frames_superseded_total", None),
    ("session", "watchtree_camera_replayed_total", None),
    ("session", "watchtree_camera_replayed_dropped_total", None),
    ("session", "watchtree_camera_packets_lost_total", None),
    ("watch", "watchtree_camera_motion_frames_total", None),
    ("watch", "watchtree_camera_regions_total", None),
    ("watch", "watchtree_camera_judged_total", Some(("by", &["size", "motion", "model"]))),
    ("recorder", "watchtree_recording_written_bytes_total", None),
    ("recorder", "watchtree_recording_takes_total", None),
    ("recorder", "watchtree_recording_clips_total", None),
    ("recorder", "watchtree_recording_lost_seconds_total", None),
    ("recorder", "watchtree_recording_lost_units_total", None),
];

/// What recordings are kept for, and why they are deleted.
const CLASSES: Values = &["continuous", "motion", "events"];
const DELETED: Values = &["age", "bytes", "free"];

/// By class of the actor that counts it: metric, and its one label with its values.
const COUNTED_BY: &[(&str, &str, Option<Label>)] = &[
    ("session", "watchtree_port_starts_total", Some(("class", &["watchtree-camera-port"]))),
    ("tracking", "watchtree_events_total", Some(("phase", &["start", "end"]))),
    ("tracking", "watchtree_detections_ignored_total", Some(("reason", &["label", "mask", "size"]))),
    ("tracking", "watchtree_tracks_withheld_total", Some(("reason", &["schedule", "zone", "score"]))),
    ("snapshots", "watchtree_snapshots_total", Some(("outcome", &["written", "failed", "dropped"]))),
    ("asker", "watchtree_inference_outcomes_total", Some(("outcome", OUTCOMES))),
    ("asker", "watchtree_inference_late_verdicts_total", None),
    ("asker", "watchtree_inference_suspects_total", Some(("outcome", &["expired", "failed"]))),
    ("outbox", "watchtree_outbox_accepted_total", None),
    ("outbox", "watchtree_outbox_acked_total", None),
    ("outbox", "watchtree_outbox_dropped_total", Some(("severity", SEVERITIES))),
    ("outbox", "watchtree_outbox_refused_total", None),
    ("store", "watchtree_record_entries_total", None),
    ("store", "watchtree_record_duplicates_total", None),
    ("store", "watchtree_record_missing_total", None),
    ("store", "watchtree_record_unreadable_total", None),
    ("worker", "watchtree_port_starts_total", Some(("class", &["watchtree-model-port"]))),
    ("worker", "watchtree_inference_verdicts_total", Some(("outcome", OUTCOMES))),
    ("relay-link", "watchtree_link_failures_total", Some(("upstream", &["relay"]))),
    ("relay-link", "watchtree_clip_sent_bytes_total", None),
    ("gateway", "watchtree_clip_received_bytes_total", None),
    ("gpu-link", "watchtree_link_failures_total", Some(("upstream", &["gpu"]))),
    (
        "gateway",
        "watchtree_link_refusals_total",
        Some(("what", &["certificate", "connections", "role", "frame", "trust"])),
    ),
    ("enrolment", "watchtree_enrol_total", Some(("result", JOINS))),
    ("enrolment", "watchtree_renew_total", Some(("result", RENEWALS))),
    ("renewal", "watchtree_certificate_renewals_total", Some(("result", &["renewed", "no_authority", "failed"]))),
    (
        "core",
        "watchtree_core_calls_total",
        Some(("outcome", &["ok", "unanswered", "too_large", "unreadable", "forbidden"])),
    ),
    ("core", "watchtree_core_sessions_ended_total", Some(("reason", &["silent", "name", "stranger"]))),
    ("gateway", "watchtree_datagrams_dropped_total", Some(("what", &["garbled", "too_many", "unused"]))),
    ("gateway", "watchtree_telemetry_messages_total", None),
    ("fleet", "watchtree_fleet_history_restarts_total", None),
    ("desk", "watchtree_config_changes_total", Some(("result", &["applied", "refused"]))),
    ("library", "watchtree_clip_http_bytes_total", None),
    // Every node has one.
    ("http", "watchtree_failures_unwritten_total", None),
    ("http", "watchtree_steered_total", Some(("act", &["restart", "park", "resume", "inject"]))),
];

const PEERS: &[Who] = &[Who::Edge, Who::Relay, Who::Gpu, Who::Operator, Who::Viewer];

/// By class of the actor that refuses: whom, and what.
const DENIED_BY: &[(&str, &[Who], &[Plane])] = &[
    ("gateway", PEERS, &[Plane::Stream, Plane::Up, Plane::Request, Plane::Datagram]),
    ("gateway", &[Who::Stranger], &[Plane::Join]),
    ("core", &[Who::Relay, Who::Gpu], &[Plane::Tell, Plane::Ask]),
    ("https", PEERS, &[Plane::Http]),
    ("relay-link", &[Who::Relay], &[Plane::Down]),
    ("gpu-link", &[Who::Gpu], &[Plane::Down]),
];

const SOURCE_FAULTS: Values = &["refused", "not_found", "unauthorized", "silent", "ended", "unreadable", "forbidden"];

/// Which classes have been prepared.
#[derive(Default)]
pub(super) struct Zeros {
    actors: BTreeSet<&'static str>,
    ports: BTreeSet<&'static str>,
    mailboxes: BTreeSet<&'static str>,
    /// Of which camera which class.
    cameras: BTreeSet<(String, &'static str)>,
}

impl Zeros {
    pub fn prepare(&mut self, rows: &[(String, Status)]) {
        for (path, status) in rows {
            let class = status.class;
            // A port's hangs are its own.
            if status.pid.is_some() && self.ports.insert(class) {
                hangs(class, &["port"]);
            }
            // A port's failures are its owner's.
            if status.pid.is_none() && self.actors.insert(class) {
                actor(class);
                counted_by(class);
            }
            if status.load.is_some() && self.mailboxes.insert(class) {
                mailbox(class);
            }
            if let Some(camera) = camera_of(path, class)
                && self.cameras.insert((camera.to_owned(), class))
            {
                of_camera(camera, class);
            }
        }
    }
}

/// Of an actor of a camera: the name of the tree that it stands in, as in `yard/cameras/door/session`.
fn camera_of<'a>(path: &'a str, class: &str) -> Option<&'a str> {
    let counts = COUNTED_OF_CAMERA_BY.iter().any(|(by, ..)| *by == class);
    path.rsplit('/').nth(1).filter(|_| counts)
}

fn of_camera(camera: &str, class: &str) {
    for (_, metric, label) in COUNTED_OF_CAMERA_BY.iter().filter(|(by, ..)| *by == class) {
        let camera = || camera.to_owned();
        match label {
            None => metrics::counter!(*metric, "camera" => camera()).increment(0),
            Some((label, values)) => values.iter().for_each(|value| {
                metrics::counter!(*metric, "camera" => camera(), *label => *value).increment(0);
            }),
        }
    }
}

fn actor(class: &'static str) {
    for reason in FailureKind::ALL.map(FailureKind::as_str) {
        metrics::counter!("watchtree_actor_failures_total", "class" => class, "reason" => reason).increment(0);
    }
    for reason in FailureKind::ALL.map(FailureKind::as_str).iter().chain(RESTARTS_BESIDE) {
        metrics::counter!("watchtree_actor_restarts_total", "class" => class, "reason" => *reason).increment(0);
    }
    hangs(class, &["waits", "blocked", "silent"]);
    for metric in
        ["watchtree_actor_parked_total", "watchtree_actor_resumed_total", "watchtree_supervisor_escalations_total"]
    {
        metrics::counter!(metric, "class" => class).increment(0);
    }
    let _ = metrics::histogram!("watchtree_actor_restart_seconds", "class" => class);
}

fn hangs(class: &'static str, values: Values) {
    for what in values {
        metrics::counter!("watchtree_actor_hangs_total", "class" => class, "what" => *what).increment(0);
    }
}

fn mailbox(class: &'static str) {
    for reason in ["full", "gone"] {
        metrics::counter!("watchtree_mailbox_refused_total", "class" => class, "reason" => reason).increment(0);
    }
    for reason in ["died", "closed", "fenced"] {
        metrics::counter!("watchtree_mailbox_lost_total", "class" => class, "reason" => reason).increment(0);
    }
    metrics::counter!("watchtree_mailbox_dropped_total", "class" => class).increment(0);
}

fn counted_by(class: &str) {
    for (_, metric, label) in COUNTED_BY.iter().filter(|(by, ..)| *by == class) {
        match label {
            None => metrics::counter!(*metric).increment(0),
            Some((label, values)) => {
                values.iter().for_each(|value| metrics::counter!(*metric, *label => *value).increment(0));
            }
        }
    }
    for (_, peers, planes) in DENIED_BY.iter().filter(|(by, ..)| *by == class) {
        for (peer, plane) in peers.iter().flat_map(|peer| planes.iter().map(move |plane| (peer, plane))) {
            metrics::counter!("watchtree_refused_total", "role" => peer.as_str(), "what" => plane.as_str())
                .increment(0);
        }
    }
    // A link that never was up is down; an outbox or a record that never committed has committed nothing; of a camera
    // that never opened no frame has come.
    match class {
        "session" => drop(metrics::histogram!("watchtree_camera_first_frame_seconds")),
        "relay-link" => link("relay"),
        "gpu-link" => link("gpu"),
        "outbox" => {
            let _ = metrics::histogram!("watchtree_outbox_commit_seconds");
            let _ = metrics::gauge!("watchtree_outbox_oldest_seconds");
        }
        "store" => drop(metrics::histogram!("watchtree_record_commit_seconds")),
        "library" => library(),
        _ => {}
    }
}

fn library() {
    let _ = metrics::histogram!("watchtree_recording_recovered_seconds");
    for (class, reason) in CLASSES.iter().flat_map(|class| DELETED.iter().map(move |reason| (*class, *reason))) {
        metrics::counter!("watchtree_recording_deleted_bytes_total", "class" => class, "reason" => reason).increment(0);
    }
}

fn link(upstream: &'static str) {
    let _ = metrics::gauge!("watchtree_link_up", "upstream" => upstream);
    let _ = metrics::histogram!("watchtree_link_answer_seconds", "upstream" => upstream);
    for name in ["watchtree_link_packets_sent_total", "watchtree_link_packets_lost_total"] {
        let _ = metrics::counter!(name, "upstream" => upstream);
    }
    for reason in ["silent", "closed", "stopped", "refused", "replaced", "restarted", "broken", "left"] {
        let _ = metrics::counter!("watchtree_link_lost_total", "upstream" => upstream, "reason" => reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::gears::Why;
    use crate::recording::rows::Class;
    use crate::recording::space::Reason;
    use protocol::camera::SourceFault;

    #[test]
    fn what_is_prepared_is_described() {
        let described: BTreeSet<&str> = super::super::metric_names().collect();
        let all = COUNTED_BY.iter().chain(COUNTED_OF_CAMERA_BY);
        let unknown: Vec<_> = all.filter(|(_, metric, _)| !described.contains(metric)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn the_reasons_not_to_let_a_box_in_are_spelt_as_they_are_counted() {
        assert_eq!(JOINS[1..], protocol::enrol::Refusal::KINDS);
        assert!(RENEWALS[1..].iter().all(|reason| JOINS.contains(reason)));
    }

    #[test]
    fn a_camera_is_named_by_the_path_of_its_actors() {
        assert_eq!(camera_of("yard/cameras/door/session", "session"), Some("door"));
        assert_eq!(camera_of("yard/cameras/door/tracking", "tracking"), None);
    }

    #[test]
    fn severities_are_spelt_as_they_are_counted() {
        assert_eq!(SEVERITIES, protocol::Severity::ALL.map(protocol::Severity::as_str));
    }

    #[test]
    fn classes_of_recordings_and_why_they_go_are_spelt_as_they_are_counted() {
        assert_eq!(CLASSES, Class::ALL.map(Class::as_str));
        assert_eq!(DELETED, Reason::ALL.map(Reason::as_str));
    }

    #[test]
    fn why_a_camera_is_woken_is_spelt_as_it_is_counted() {
        assert_eq!(WAKES, Why::ALL.map(Why::as_str));
    }

    #[test]
    fn the_faults_of_sources_are_spelt_as_they_are_counted() {
        // The compiler names this place when there is a new one.
        let number = |fault| match fault {
            SourceFault::Refused => 0,
            SourceFault::NotFound => 1,
            SourceFault::Unauthorized => 2,
            SourceFault::Silent => 3,
            SourceFault::Ended => 4,
            SourceFault::Unreadable => 5,
            SourceFault::Forbidden => 6,
        };
        for fault in [
            SourceFault::Refused,
            SourceFault::NotFound,
            SourceFault::Unauthorized,
            SourceFault::Silent,
            SourceFault::Ended,
            SourceFault::Unreadable,
            SourceFault::Forbidden,
        ] {
            assert_eq!(SOURCE_FAULTS[number(fault)], fault.as_str());
        }
    }
}
