//! Metrics: every name with what one increment means, and the recorder that renders them.
//!
//!   emitters ──counters──▶ [recorder] ──text──▶ http
//!   roll ──▶ classes, zeros ───▲      peers ─▲
//!
//! Names begin with `watchtree_`, units are base units and stand in the name, labels are bounded: actor class, camera,
//! model, outcome, reason. Never a path, an address or an id. Each has the label `node`: the node that says it, and of
//! a peer the peer.

mod classes;
pub mod machine;
pub mod process;
pub mod sampler;
mod zeros;

use classes::Classes;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use protocol::admin::NodeLine;
use protocol::transport::Traffic;
use protocol::{Identity, NodeName};
use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use supervision::{LastEnd, Roll, State, Status};
use zeros::Zeros;

/// The recorder of this process. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    node: NodeName,
    handle: PrometheusHandle,
    started: SystemTime,
    seen: Mutex<Seen>,
}

/// What earlier readings have shown.
#[derive(Default)]
struct Seen {
    classes: Classes,
    zeros: Zeros,
}

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// Every metric there is; `tests/it/tidy.rs` holds the code and the dashboards against it.
const METRICS: &[(Kind, &str, &str)] = &[
    (Counter, "watchtree_actor_failures_total", "An actor failed, itself or by its port, by class and reason."),
    (
        Counter,
        "watchtree_actor_restarts_total",
        "An actor was started again, by class and by what it was down for: a failure, a sibling's, an operator.",
    ),
    (Counter, "watchtree_actor_parked_total", "An actor failed too often, or was told, and was parked, by class."),
    (Counter, "watchtree_actor_resumed_total", "A parked actor was tried again, by time or by hand, by class."),
    (Histogram, "watchtree_actor_restart_seconds", "From the decision to restart to the actor's readiness, by class."),
    (
        Counter,
        "watchtree_actor_hangs_total",
        "An actor or a port was found to hang, by class and by what: it waits, blocks a thread, is silent, or is a port.",
    ),
    (
        Counter,
        "watchtree_supervisor_escalations_total",
        "A supervisor gave up, by class of the child that failed too often.",
    ),
    (Counter, "watchtree_failures_unwritten_total", "A failure is remembered in memory alone: the disk was too slow."),
    (Gauge, "watchtree_actors", "Rows of the tree by state, when the metrics were read."),
    (Gauge, "watchtree_actors_parked", "Actors that are parked now, by class."),
    (Gauge, "watchtree_mailbox_depth", "Messages that wait now in the fullest mailbox of a class."),
    (Counter, "watchtree_mailbox_handled_total", "A message was handled, by class."),
    (Counter, "watchtree_mailbox_refused_total", "A message was refused, by class and reason: full or gone."),
    (Counter, "watchtree_mailbox_dropped_total", "The oldest message made room in a full mailbox, by class."),
    (
        Counter,
        "watchtree_mailbox_lost_total",
        "An accepted message was lost, by class and reason: its actor died with it in hand, or the mailbox closed.",
    ),
    (Counter, "watchtree_port_starts_total", "A port's process was started, by program."),
    (Gauge, "watchtree_port_memory_bytes", "Resident memory of all running ports of a program."),
    (Counter, "watchtree_port_cpu_seconds_total", "CPU time of all ports of a program, those that ended included."),
    (Gauge, "watchtree_node_ready", "1 while this node does its job."),
    (Gauge, "watchtree_node_start_time_seconds", "When this node's process started, in Unix time."),
    (Gauge, "watchtree_node_last_end", "1 for how the node's process before this one ended, by reason."),
    (Counter, "watchtree_steered_total", "An operator steered an actor of this node, by act."),
    (
        Counter,
        "watchtree_config_changes_total",
        "Cameras were to be changed, through the API or by a file read again, by result: applied or refused.",
    ),
    (Counter, "watchtree_camera_frames_total", "A frame arrived from a camera port, by camera."),
    (
        Counter,
        "watchtree_camera_frames_superseded_total",
        "A newer frame replaced one that nobody had looked at, by camera.",
    ),
    (
        Counter,
        "watchtree_camera_unseen_total",
        "Nobody looked at a camera any more, by camera and label: blind, or unwatched by choice.",
    ),
    (Counter, "watchtree_clip_http_bytes_total", "A byte of a clip was given out over this edge's own HTTP."),
    (
        Counter,
        "watchtree_camera_replayed_total",
        "A frame was decoded late, of before its camera was woken, by camera.",
    ),
    (
        Counter,
        "watchtree_camera_replayed_dropped_total",
        "A replayed frame made room in a full queue and was not looked at, by camera.",
    ),
    (Gauge, "watchtree_camera_gear", "1 for how much of a camera's stream is decoded, by camera and gear."),
    (Gauge, "watchtree_camera_decoder", "1 for what decodes a camera's stream, by camera and decoder."),
    (
        Counter,
        "watchtree_camera_wakes_total",
        "A camera left the idle gear, by camera and reason: size, motion, light, attention, unseen, opened.",
    ),
    (Counter, "watchtree_camera_motion_frames_total", "Something moved in a frame, by camera."),
    (
        Counter,
        "watchtree_camera_judged_total",
        "A picture was judged, by camera and how: by its encoded size, by motion alone, by a model.",
    ),
    (
        Counter,
        "watchtree_camera_regions_total",
        "A part of a frame was sent to a model in place of the whole, by camera.",
    ),
    (
        Counter,
        "watchtree_camera_stage_frames_total",
        "A picture passed a stage of the camera port, by camera and stage: decoding, decoded, handed.",
    ),
    (Counter, "watchtree_camera_units_total", "An encoded picture or piece of sound came from a camera, by camera."),
    (Counter, "watchtree_camera_unit_bytes_total", "A byte of those came, by camera."),
    (Counter, "watchtree_camera_packets_lost_total", "An RTP packet of a camera never came, by camera."),
    (Gauge, "watchtree_camera_clock_offset_seconds", "A camera's clock minus this machine's, by camera."),
    (Counter, "watchtree_camera_source_failures_total", "A camera's source failed, by camera and reason."),
    (Histogram, "watchtree_camera_first_frame_seconds", "From the start of a camera's port to its first frame."),
    (Counter, "watchtree_recording_written_bytes_total", "A byte of footage went to the disk, by camera."),
    (Counter, "watchtree_recording_takes_total", "A file of footage was finished, by camera."),
    (Counter, "watchtree_recording_clips_total", "The clip of an event was finished, by camera."),
    (
        Counter,
        "watchtree_recording_lost_seconds_total",
        "A second of footage that was wanted had to be forgotten: the disk took it too late, by camera.",
    ),
    (Counter, "watchtree_recording_lost_units_total", "A picture in such a second, by camera."),
    (
        Counter,
        "watchtree_recording_deleted_bytes_total",
        "A byte of recordings was deleted, by class and why: age, bytes (more than may be), free (too little is).",
    ),
    (Gauge, "watchtree_recording_ring_bytes", "Footage that is kept in memory, by camera."),
    (Gauge, "watchtree_recording_disk_bytes", "Finished recordings on the disk, by what they are kept for."),
    (
        Gauge,
        "watchtree_recording_parked",
        "1 while nothing can be recorded, by camera and why: full, read_only, gone, slow, failed.",
    ),
    (
        Histogram,
        "watchtree_recording_recovered_seconds",
        "A file of footage that an earlier life left unfinished was finished.",
    ),
    (Gauge, "watchtree_threads_blocked", "Threads that actors still block which were fenced."),
    (Gauge, "watchtree_camera_blind", "1 while nobody judges this camera's frames, by camera."),
    (Counter, "watchtree_inference_outcomes_total", "A frame that this edge submitted was settled, by outcome."),
    (Counter, "watchtree_inference_late_verdicts_total", "A verdict came for a frame that had been settled already."),
    (
        Counter,
        "watchtree_inference_suspects_total",
        "A gpu node became suspect to this edge, by what became of the frame: expired or failed. The other one is asked.",
    ),
    (Counter, "watchtree_inference_verdicts_total", "A frame submitted to this gpu node was settled, by outcome."),
    (Histogram, "watchtree_inference_batch_seconds", "From handing a batch to the model port to its answer, by model."),
    (Counter, "watchtree_events_total", "An event began or ended, by phase."),
    (Gauge, "watchtree_tracks", "Things that are followed now, by camera and state: moving or stationary."),
    (
        Counter,
        "watchtree_detections_ignored_total",
        "A detection was not followed, by reason: its label, an object mask, or its size.",
    ),
    (
        Counter,
        "watchtree_tracks_withheld_total",
        "A track ended that never was an event, by what it lacked: schedule, zone or score.",
    ),
    (Counter, "watchtree_zone_entries_total", "An event entered a zone, by camera and zone."),
    (
        Counter,
        "watchtree_snapshots_total",
        "An event's pictures were written or failed to be, or dropped because too many waited, by outcome.",
    ),
    (Counter, "watchtree_outbox_accepted_total", "An entry was accepted: it is on this edge's disk."),
    (Counter, "watchtree_outbox_acked_total", "An entry was acknowledged by the relay."),
    (
        Counter,
        "watchtree_outbox_dropped_total",
        "The oldest entry of the lowest severity made room in a full outbox, by severity.",
    ),
    (Counter, "watchtree_outbox_refused_total", "An event was not accepted because the disk is full."),
    (Gauge, "watchtree_outbox_unacked_events", "Entries accepted that the relay has not acknowledged."),
    (
        Gauge,
        "watchtree_outbox_oldest_seconds",
        "How long the oldest entry that the relay has not acknowledged has waited.",
    ),
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
    (Gauge, "watchtree_core_members", "Members of the core that this node sees, itself included, by group."),
    (
        Counter,
        "watchtree_core_calls_total",
        "A question to a core node ended as ok or unanswered; too_large was not sent, and unreadable came here.",
    ),
    (
        Counter,
        "watchtree_core_sessions_ended_total",
        "This node ended a session of the core, by reason: silent, name (not its certificate's), stranger (no link of ours).",
    ),
    (Gauge, "watchtree_core_directory_nodes", "Gpu nodes in a relay's directory."),
    (Gauge, "watchtree_peer_linked", "1 while this peer is linked to this node, 0 since it is gone, by its name."),
    (Counter, "watchtree_telemetry_messages_total", "A node told this one how it is."),
    (
        Counter,
        "watchtree_datagrams_dropped_total",
        "A datagram was dropped, by what: garbled, too many, or of a kind that nothing here uses.",
    ),
    (Gauge, "watchtree_fleet_nodes", "Nodes that this one knows, itself included, by role and state."),
    (
        Gauge,
        "watchtree_fleet_cameras",
        "Cameras of all nodes, by state: on line, or off line, blind or of a node that is down.",
    ),
    (
        Gauge,
        "watchtree_fleet_spool_waiting",
        "Entries that wait on edges for the relay, of all edges together, as last told.",
    ),
    (Gauge, "watchtree_fleet_spool_oldest_seconds", "How long the oldest entry waits on any edge that is not down."),
    (Gauge, "watchtree_fleet_clock_skew_seconds_max", "The most that the clock of a node that is not down is off."),
    (Counter, "watchtree_fleet_history_restarts_total", "The telemetry history was deleted and begun afresh."),
    (Gauge, "watchtree_link_up", "1 while the link to this upstream is up, by its role."),
    (Counter, "watchtree_link_failures_total", "A link was lost or could not be made, by the upstream's role."),
    (
        Counter,
        "watchtree_link_lost_total",
        "A link that was up ended, by upstream and reason: silent, closed, stopped, refused, replaced, restarted, broken, or left by this node.",
    ),
    (Gauge, "watchtree_link_rtt_seconds", "How long a packet takes to this upstream and back, as last measured."),
    (Counter, "watchtree_link_packets_sent_total", "A packet went out to this upstream."),
    (
        Counter,
        "watchtree_link_packets_lost_total",
        "A packet to this upstream was not acknowledged and is taken for lost.",
    ),
    (Counter, "watchtree_plane_bytes_total", "A byte was sent or received, by what it was for."),
    (
        Histogram,
        "watchtree_link_answer_seconds",
        "An actor of the upstream answered the link's ping, by the upstream's role.",
    ),
    (Counter, "watchtree_clip_sent_bytes_total", "A byte of a clip went out to the relay."),
    (Counter, "watchtree_clip_received_bytes_total", "A byte of a clip came in from an edge."),
    (
        Counter,
        "watchtree_link_refusals_total",
        "A peer was refused, by what: certificate, connections, role, frame, trust.",
    ),
    (
        Counter,
        "watchtree_refused_total",
        "The role table denied something, by the peer's role and what it was: a stream, a message, a request, a datagram, HTTP.",
    ),
    (Counter, "watchtree_enrol_total", "A box came with a token, by result: joined, or why it was not let in."),
    (Counter, "watchtree_renew_total", "A node asked this relay for its next certificate, by result."),
    (Counter, "watchtree_certificate_renewals_total", "This node asked for its next certificate, by result."),
    (Gauge, "watchtree_certificate_seconds_left", "For how long this node's certificate is still good."),
];

/// Seconds; from a restart in memory to a stuck model.
const BUCKETS_SECONDS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Recorder {
    /// The process has one recorder; the first call installs it, for the node of this name.
    pub fn install(node: &NodeName) -> Self {
        static INNER: OnceLock<Arc<Inner>> = OnceLock::new();
        Self(INNER.get_or_init(|| Arc::new(Inner::new(node))).clone())
    }

    pub fn render(&self, roll: &Roll, peers: &[NodeLine]) -> String {
        // Held over the snapshot: of two readers at once, the later must not show the older rows.
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = supervision::port::cpu_of_ended();
        let rows = roll.snapshot();
        seen.zeros.prepare(&rows);
        seen.classes.add_up(ended, &rows, process::read);
        seen.classes.show();
        show_states(&rows);
        metrics::gauge!("watchtree_threads_blocked").set(roll.blocked() as f64);
        show_life(self.0.started, roll.history().last_end());
        show_traffic();
        self.0.handle.run_upkeep();
        let cpu = seen
            .classes
            .cpu()
            .iter()
            .map(|(class, time)| (format!("node=\"{}\",class={class:?}", self.0.node), time.as_secs_f64()));
        let peers = peers.iter().map(|peer| {
            let Identity { tenant, role, name } = &peer.node;
            let labels = format!("tenant=\"{tenant}\",role=\"{role}\",node=\"{name}\"");
            (labels, f64::from(u8::from(peer.state == "linked")))
        });
        let texts = [
            self.0.handle.render(),
            exposed("watchtree_port_cpu_seconds_total", cpu.collect()),
            // Those that are forgotten are no series any more, which the recorder has no word for.
            exposed("watchtree_peer_linked", peers.collect()),
        ];
        texts.concat()
    }
}

impl Inner {
    fn new(node: &NodeName) -> Self {
        Self { node: node.clone(), handle: install(node), started: SystemTime::now(), seen: Mutex::default() }
    }
}

fn install(node: &NodeName) -> PrometheusHandle {
    let recorder = PrometheusBuilder::new()
        .add_global_label("node", node.as_str())
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

fn show_states(rows: &[(String, Status)]) {
    for state in State::ALL {
        let count = rows.iter().filter(|(_, status)| status.state == state).count();
        metrics::gauge!("watchtree_actors", "state" => state.as_str()).set(count as f64);
    }
}

/// The transport counts for itself: it names no library of metrics.
fn show_traffic() {
    for traffic in Traffic::ALL {
        let count = |direction: &'static str| metrics::counter!("watchtree_plane_bytes_total", "plane" => traffic.as_str(), "direction" => direction);
        count("sent").absolute(traffic.sent());
        count("received").absolute(traffic.received());
    }
}

/// When this process began, and how the one before it ended.
fn show_life(started: SystemTime, was: LastEnd) {
    let started_s = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    metrics::gauge!("watchtree_node_start_time_seconds").set(started_s);
    for end in LastEnd::ALL {
        metrics::gauge!("watchtree_node_last_end", "reason" => end.as_str()).set(f64::from(u8::from(end == was)));
    }
}

/// A metric in the text format, by labels: what the recorder cannot tell. Its counters are whole numbers, where a second
/// of CPU time is much; and it never forgets a series.
fn exposed(name: &str, values: Vec<(String, f64)>) -> String {
    if values.is_empty() {
        return String::new();
    }
    let (kind, meaning) =
        METRICS.iter().find(|(_, known, _)| *known == name).map_or(("untyped", ""), |(kind, _, meaning)| {
            (if matches!(kind, Counter) { "counter" } else { "gauge" }, *meaning)
        });
    let mut text = format!("# HELP {name} {meaning}\n# TYPE {name} {kind}\n");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
    text + "\n"
}

/// For the tidiness test.
pub fn metric_names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().map(|(_, name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_recorder_cannot_tell_is_told_in_its_form() {
        let text = exposed("watchtree_port_cpu_seconds_total", vec![("class=\"camera-port\"".to_owned(), 1.25)]);
        assert!(text.contains("\n# TYPE watchtree_port_cpu_seconds_total counter\n"), "{text}");
        assert!(text.ends_with("\nwatchtree_port_cpu_seconds_total{class=\"camera-port\"} 1.25\n\n"), "{text}");
        assert_eq!(exposed("watchtree_port_cpu_seconds_total", Vec::new()), "");
    }

    #[test]
    fn each_peer_is_told_by_its_name_and_each_metric_by_the_nodes() {
        let recorder = Recorder::install(&"hub".parse().expect("a name"));
        let peer = |node: &str, state: &str| NodeLine {
            node: node.parse().expect("an identity"),
            state: state.to_owned(),
            since: protocol::Timestamp::from_micros(0),
            rtt_us: None,
            software: String::new(),
        };
        let peers = [peer("main/edge/yard", "linked"), peer("acme/gpu/barn", "gone")];
        let text = recorder.render(&Roll::default(), &peers);
        for line in [
            "# TYPE watchtree_peer_linked gauge",
            "watchtree_peer_linked{tenant=\"main\",role=\"edge\",node=\"yard\"} 1",
            "watchtree_peer_linked{tenant=\"acme\",role=\"gpu\",node=\"barn\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "no `{line}` in {text}");
        }
        let told = |line: &&str| line.starts_with("watchtree_actors{");
        assert!(text.lines().find(told).is_some_and(|line| line.contains("{node=\"hub\",")), "{text}");
    }

    #[test]
    fn a_name_is_described_once_and_says_its_unit() {
        let mut names: Vec<_> = metric_names().collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        for (kind, name, _) in METRICS {
            let well = match kind {
                Counter => name.ends_with("_total"),
                Gauge => !name.ends_with("_total"),
                Histogram => name.ends_with("_seconds"),
            };
            assert!(well, "{name}");
        }
    }
}
