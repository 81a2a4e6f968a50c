//! Metrics: every name with what one increment means, and the recorder that renders them.
//!
//! Names begin with `watchtree_`, units are base units and stand in the name, labels are bounded:
//! actor class, camera, model, outcome, reason. Never a path, an address or an id.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;
use supervision::{Roll, State};

/// The recorder of this process. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// Every metric there is; `tests/it/tidy.rs` holds the code and the dashboards against it.
const METRICS: &[(Kind, &str, &str)] = &[
    (Counter, "watchtree_actor_failures_total", "An actor or port failed, by class and reason."),
    (Counter, "watchtree_actor_restarts_total", "An actor or port was started again, by class."),
    (Counter, "watchtree_actor_parked_total", "An actor failed too often and was parked, by class."),
    (Histogram, "watchtree_actor_restart_seconds", "From the decision to restart to the actor's readiness, by class."),
    (Gauge, "watchtree_actors", "Actors by state, when the metrics were read."),
    (
        Counter,
        "watchtree_mailbox_refused_total",
        "A message was refused because its mailbox was full or gone, by class.",
    ),
    (Counter, "watchtree_mailbox_dropped_total", "The oldest message made room in a full mailbox, by class."),
    (Counter, "watchtree_camera_frames_total", "A frame arrived from a camera port, by camera."),
    (
        Counter,
        "watchtree_camera_frames_superseded_total",
        "A newer frame replaced one that nobody had looked at, by camera.",
    ),
    (Counter, "watchtree_camera_source_failures_total", "A camera's source failed, by reason."),
    (Gauge, "watchtree_camera_blind", "1 while nobody judges this camera's frames, by camera."),
    (Counter, "watchtree_inference_outcomes_total", "A frame that this edge submitted was settled, by outcome."),
    (Counter, "watchtree_inference_late_verdicts_total", "A verdict came for a frame that had been settled already."),
    (Counter, "watchtree_inference_verdicts_total", "A frame submitted to this gpu node was settled, by outcome."),
    (Histogram, "watchtree_inference_batch_seconds", "From handing a batch to the model port to its answer, by model."),
    (Counter, "watchtree_events_total", "An event began or ended, by phase."),
    (Counter, "watchtree_outbox_accepted_total", "An entry was accepted: it is on this edge's disk."),
    (Counter, "watchtree_outbox_acked_total", "An entry was acknowledged by the relay."),
    (Counter, "watchtree_outbox_dropped_total", "The oldest entry made room in a full outbox."),
    (Counter, "watchtree_outbox_refused_total", "An event was not accepted because the disk is full."),
    (Gauge, "watchtree_outbox_unacked_events", "Entries accepted that the relay has not acknowledged."),
    (Histogram, "watchtree_outbox_commit_seconds", "One commit of the outbox, for all that pushed meanwhile."),
    (Histogram, "watchtree_record_commit_seconds", "One commit of the record, for all edges that sent meanwhile."),
    (
        Counter,
        "watchtree_record_missing_total",
        "A sequence number was skipped: the edge's full outbox had dropped it.",
    ),
    (Counter, "watchtree_record_unreadable_total", "A row of the record could not be decoded and was left out."),
    (Counter, "watchtree_record_entries_total", "An entry was put on the relay's record."),
    (Counter, "watchtree_record_duplicates_total", "An entry came that was on the record already, and was skipped."),
    (Gauge, "watchtree_link_up", "1 while the link to this upstream is up, by its role."),
    (Counter, "watchtree_link_failures_total", "A link was lost or could not be made, by the upstream's role."),
    (Counter, "watchtree_link_refusals_total", "A peer was refused, by what: certificate, role, frame."),
];

/// Seconds; from a restart in memory to a stuck model.
const BUCKETS_SECONDS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Recorder {
    /// The process has one recorder; the first call installs it.
    pub fn install() -> Self {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        Self(HANDLE.get_or_init(install).clone())
    }

    pub fn render(&self, roll: &Roll) -> String {
        count_actors(roll);
        self.0.run_upkeep();
        self.0.render()
    }
}

fn install() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS_SECONDS)
        .expect("the buckets are not empty")
        .upkeep_timeout(Duration::from_secs(5))
        .build_recorder();
    let handle = recorder.handle();
    // Tests in one process may have one already; theirs then counts.
    let _ = metrics::set_global_recorder(recorder);
    describe();
    handle
}

fn describe() {
    for (kind, name, meaning) in METRICS {
        match kind {
            Counter => metrics::describe_counter!(*name, *meaning),
            Gauge => metrics::describe_gauge!(*name, *meaning),
            Histogram => metrics::describe_histogram!(*name, *meaning),
        }
    }
}

fn count_actors(roll: &Roll) {
    let statuses = roll.snapshot();
    for state in [State::Starting, State::Running, State::Backoff, State::Parked, State::Stopped, State::Failed] {
        let count = statuses.iter().filter(|(_, status)| status.state == state).count();
        metrics::gauge!("watchtree_actors", "state" => state.as_str()).set(count as f64);
    }
}

/// For the tidiness test.
pub fn metric_names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().map(|(_, name, _)| *name)
}
