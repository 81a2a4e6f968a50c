//! Every limit on what crosses a wire, in one place. A peer that exceeds one is refused by name.

/// One control, event, verdict or admin message. Larger ones would hold up those behind them.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The header in front of a frame's pixels.
pub const FRAME_HEADER_BYTES_MAX: usize = 1024;

/// A frame's longer side in pixels. The edge scales down to its configured width long before this.
pub const FRAME_SIDE_PX_MAX: u32 = 4096;

/// One frame's pixels: 4096x2160 in I420.
pub const FRAME_BYTES_MAX: usize = 4096 * 2160 * 3 / 2;

/// One message to or from a port: a frame and its header.
pub const PORT_MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX + 64 * 1024;

/// One access unit of a camera: a key frame of 8K at its best is smaller.
pub const UNIT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a decoder has to know of a stream before its first unit.
pub const CODEC_CONFIG_BYTES_MAX: usize = 64 * 1024;

/// A recorded picture's longer side in pixels; it is not decoded here.
pub const VIDEO_SIDE_PX_MAX: u32 = 16_384;

/// Presentation times of one session, either way from its start: a hundred years.
pub const PTS_US_MAX: i64 = 100 * 366 * 86_400 * 1_000_000;

/// Frames a peer may have on the way at once; the next stream waits at the sender.
pub const FRAMES_IN_FLIGHT_MAX: u32 = 32;

/// Bidirectional streams a peer may hold open: control, events, verdicts, and some admin calls.
pub const STREAMS_MAX: u32 = 16;

/// Entries an edge may have sent and not seen acknowledged. When full, it waits for acks.
pub const EVENTS_UNACKED_MAX: usize = 4096;

/// Detections in one verdict. The best by score are kept.
pub const DETECTIONS_MAX: usize = 300;

/// Nodes in one message of their health; the others follow in the next. Counted as [`FAILURES_MAX`] is.
pub const FLEET_MAX: usize = 3;

/// Reasons why a node is not healthy; the most important are kept, the others counted.
pub const HEALTH_REASONS_MAX: usize = 8;

/// One datagram: what every path of today carries whole, QUIC's own bytes left out.
pub const DATAGRAM_BYTES_MAX: usize = 1200;

/// What a ping carries there and back; a longer one is refused.
pub const PING_BYTES_MAX: usize = 1024;

/// Clips of one node on the way at once. When full, the next is refused, and its asker asks later or elsewhere.
pub const CLIPS_AT_ONCE_MAX: usize = 4;

/// The keys of one camera, as TOML: what is set at once, and what is shown of one.
pub const CAMERA_TOML_BYTES_MAX: usize = 64 * 1024;

/// Keys of a camera that are told to have been changed, or named in one change.
pub const CAMERA_KEYS_MAX: usize = 40;

/// Notes in one telemetry message; the first are kept.
pub const TELEMETRY_NOTES_MAX: usize = 20;

/// Cameras in one telemetry message; the first are kept.
pub const TELEMETRY_CAMERAS_MAX: usize = 128;

/// A note or a camera's reason in a telemetry message, in characters; longer ones are cut.
pub const TELEMETRY_TEXT_CHARS_MAX: usize = 100;

/// Gpu nodes that a relay tells an edge of; the least loaded are kept.
pub const DIRECTORY_MAX: usize = 64;

/// Revocations in one message; the others follow in the next. Counted as [`FAILURES_MAX`] is.
pub const REVOCATIONS_MAX: usize = 1200;

/// One certificate or certificate request, in PEM or DER.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// What a box that wants to join says, or is answered: a token, a request, two certificates.
pub const JOIN_BYTES_MAX: usize = 3 * CERTIFICATE_BYTES_MAX;

/// Actors in one snapshot of a node's tree; the rest is counted.
pub const SNAPSHOT_ACTORS_MAX: usize = 1000;

/// Nodes in one message of a list; the others follow in the next. Counted as [`FAILURES_MAX`] is.
pub const NODES_MAX: usize = 500;

/// Failures in one message; the newest are kept. Counted so that the largest stay within [`MESSAGE_BYTES_MAX`].
pub const FAILURES_MAX: usize = 100;

/// An actor's path, in bytes. Longer ones are refused in a request, and cut in a report.
pub const PATH_BYTES_MAX: usize = 512;

/// What a node calls its software, in characters; longer names are cut.
pub const SOFTWARE_CHARS_MAX: usize = 60;

/// A word out of a short list, such as a state or a kind of failure, in characters; longer ones are cut.
pub const WORD_CHARS_MAX: usize = 20;

/// A label, reason or other free text inside a message, in characters; longer text is cut.
pub const TEXT_CHARS_MAX: usize = 300;

/// Zones that one event names; it entered these first, and the others are left out.
pub const EVENT_ZONES_MAX: usize = 16;

/// A zone's name in an event, in characters; a longer one is cut.
pub const ZONE_CHARS_MAX: usize = 48;

/// Intervals of one timeline; the others follow from where it ends. Counted as [`FAILURES_MAX`] is.
pub const TIMELINE_INTERVALS_MAX: usize = 500;

/// Cameras of one edge whose timelines are told for one question.
pub const TIMELINE_CAMERAS_MAX: usize = 128;

/// `text` cut to [`TEXT_CHARS_MAX`] characters, without those that steer a terminal.
pub fn short_text(text: &str) -> String {
    short(text, TEXT_CHARS_MAX)
}

/// `text` cut to so many characters, without those that steer a terminal.
pub fn short(text: &str, chars_max: usize) -> String {
    text.chars().map(harmless).take(chars_max).collect()
}

fn harmless(c: char) -> char {
    if steers_terminal(c) { ' ' } else { c }
}

/// Control characters, and those that Unicode has for direction and for lines: what follows one may be drawn
/// backwards or elsewhere, and read as something else than it is.
fn steers_terminal(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directs || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Refuses what no actor's path can be: requests carry paths that people typed.
pub fn check_path(path: &str) -> Result<(), String> {
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("a path of {} B is longer than any; the limit is {PATH_BYTES_MAX} B", path.len()));
    }
    if path.is_empty() || path.split('/').any(str::is_empty) || path.chars().any(steers_terminal) {
        let path = short_text(path);
        return Err(format!("`{path}` is not a path; use NODE/PART/PART as `watchtree tree` shows it"));
    }
    Ok(())
}

/// `path` cut to [`PATH_BYTES_MAX`], without characters that steer a terminal.
pub fn short_path(path: &str) -> String {
    let mut short: String = path.chars().map(harmless).collect();
    short.truncate(short.floor_char_boundary(PATH_BYTES_MAX));
    short
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::admin::{FailureRecord, HealthState, NodeHealth, NodeLine, Reply};
    use crate::core::Revocation;
    use crate::link::{Down, EventsUp, Up};
    use crate::telemetry::{CameraFigures, InferenceFigures, SpoolFigures, System, Telemetry};
    use crate::timeline::{Interval, Sight, Timeline};
    use crate::{Act, Entry, Epoch, Event, EventId, Evidence, Fault, Identity, Phase, Timestamp, codec};

    /// The largest that its limits allow: four bytes a character, names at their longest.
    fn largest() -> FailureRecord {
        let name = "x".repeat(48);
        let node: Identity = format!("{name}/operator/{name}").parse().expect("an identity");
        FailureRecord {
            node,
            at: Timestamp::from_micros(i64::MIN),
            path: "\u{1f980}".repeat(1000),
            kind: "\u{1f980}".repeat(1000),
            text: "\u{1f980}".repeat(1000),
            then: "\u{1f980}".repeat(1000),
            lived_ms: Some(u64::MAX),
        }
    }

    #[test]
    fn as_many_failures_as_allowed_fit_one_message_at_their_largest() {
        let failures = vec![largest().short(); FAILURES_MAX];
        let bytes = codec::encode(&Up::Failures { call: u64::MAX, failures, omitted: u32::MAX }).len();
        assert!(bytes <= MESSAGE_BYTES_MAX, "{bytes} B");
        assert!(bytes > MESSAGE_BYTES_MAX / 2, "{bytes} B: the limit is lower than it need be");
        assert!(codec::encode(&Reply::Failure(Box::new(largest().short()))).len() < MESSAGE_BYTES_MAX / 50);
    }

    #[test]
    fn as_many_nodes_as_allowed_fit_one_message_at_their_largest() {
        let line = NodeLine {
            node: largest().node,
            state: "linked".to_owned(),
            since: Timestamp::from_micros(i64::MIN),
            rtt_us: Some(u64::MAX),
            software: "\u{1f980}".repeat(SOFTWARE_CHARS_MAX),
        };
        let bytes = codec::encode(&Reply::Nodes(vec![line; NODES_MAX])).len();
        assert!(bytes <= MESSAGE_BYTES_MAX && bytes > MESSAGE_BYTES_MAX / 2, "{bytes} B");
    }

    /// The largest that its limits allow.
    fn telemetry() -> Telemetry {
        let text = "\u{1f980}".repeat(1000);
        let camera = CameraFigures {
            camera: "x".repeat(48).parse().expect("a name"),
            on_line: false,
            why: Some(text.clone()),
            frames_per_s: f32::MAX,
            storage_bytes: u64::MAX,
        };
        let system = System {
            cpu_pct: f32::MAX,
            memory_used_bytes: u64::MAX,
            memory_total_bytes: u64::MAX,
            disk_free_bytes: u64::MAX,
            disk_total_bytes: u64::MAX,
            net_in_bytes: u64::MAX,
            net_out_bytes: u64::MAX,
            process_cpu_ms: u64::MAX,
            process_memory_bytes: u64::MAX,
        };
        let inference =
            InferenceFigures { answer_ms_mean: 1.0, submitted: u64::MAX, judged: u64::MAX, waiting: u32::MAX };
        Telemetry {
            boot: Epoch(u64::MAX),
            at: Timestamp::from_micros(i64::MIN),
            ready: true,
            notes: vec![text; 1000],
            system,
            cameras: vec![camera; 1000],
            spool: Some(SpoolFigures { waiting: u64::MAX, oldest_ms: u64::MAX, dropped: u64::MAX }),
            inference: Some(inference),
            certificate_until: Some(Timestamp::from_micros(i64::MIN)),
        }
        .short()
    }

    #[test]
    fn the_largest_telemetry_fits_one_message() {
        let bytes = codec::encode(&Up::Telemetry(Box::new(telemetry()))).len();
        assert!(bytes < MESSAGE_BYTES_MAX / 2, "{bytes} B");
    }

    #[test]
    fn the_health_of_as_many_nodes_as_allowed_fits_one_message_at_its_largest() {
        let health = NodeHealth {
            node: largest().node,
            state: HealthState::Degraded,
            since: Timestamp::from_micros(i64::MIN),
            reasons: vec!["\u{1f980}".repeat(1000); 1000],
            software: "\u{1f980}".repeat(SOFTWARE_CHARS_MAX),
            rtt_us: Some(u64::MAX),
            clock_skew_ms: Some(i64::MIN),
            telemetry: Some(Box::new(telemetry())),
        };
        let bytes = codec::encode(&Reply::Fleet(vec![health.short(); FLEET_MAX])).len();
        assert!(bytes <= MESSAGE_BYTES_MAX && bytes > MESSAGE_BYTES_MAX / 2, "{bytes} B");
    }

    #[test]
    fn as_many_revocations_as_allowed_fit_one_message_at_their_largest() {
        let (who, by) = (largest().node, largest().node);
        let revocation = Revocation { who, at: Timestamp::from_micros(i64::MIN), by };
        let bytes = codec::encode(&Reply::Revoked(vec![revocation; REVOCATIONS_MAX])).len();
        assert!(bytes <= MESSAGE_BYTES_MAX && bytes > MESSAGE_BYTES_MAX / 2, "{bytes} B");
    }

    #[test]
    fn as_many_intervals_as_allowed_fit_one_message_at_their_largest() {
        let at = Timestamp::from_micros(i64::MIN);
        let reason = Some("\u{1f980}".repeat(TELEMETRY_TEXT_CHARS_MAX));
        let interval = Interval { from: at, to: at, state: Sight::Unwatched, reason, events: Some(u32::MAX) };
        let (edge, camera) = ("x".repeat(48).parse().expect("a name"), "x".repeat(48).parse().expect("a name"));
        let intervals = vec![interval; TIMELINE_INTERVALS_MAX];
        let line = Timeline { edge, camera, from: at, to: at, intervals, next: Some(at) };
        let bytes = codec::encode(&Reply::Timeline(Box::new(line))).len();
        assert!(bytes <= MESSAGE_BYTES_MAX && bytes > MESSAGE_BYTES_MAX / 2, "{bytes} B");
    }

    #[test]
    fn a_path_is_what_the_tree_shows() {
        for path in ["yard", "yard/cameras/front-door/session", &"x".repeat(PATH_BYTES_MAX)] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for wrong in ["", "/yard", "yard/", "yard//link", "ya\nrd", &"x".repeat(PATH_BYTES_MAX + 1)] {
            assert!(check_path(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn no_text_turns_what_stands_beside_it_around() {
        assert_eq!(short_text("a\u{202e}gnp.exe\u{2069}\u{200f} b\u{2028}c"), "a gnp.exe   b c");
        assert_eq!(short_path("yard/\u{202e}x\u{7f}"), "yard/ x ");
        assert!(check_path("yard/\u{202e}x").is_err());
        assert_eq!(short_text("Überwachung, שער, 門番"), "Überwachung, שער, 門番");
    }

    #[test]
    fn a_long_path_is_cut_between_characters() {
        assert_eq!(short_path("yard/link"), "yard/link");
        assert_eq!(short_path(&"\u{20ac}".repeat(400)).len(), PATH_BYTES_MAX - 2);
    }

    #[test]
    fn a_steering_message_names_its_path_whole() {
        let by = largest().node;
        let down = Down::Steer { call: 1, path: "x".repeat(PATH_BYTES_MAX), act: Act::Inject(Fault::Block), by };
        assert!(codec::encode(&down).len() < PATH_BYTES_MAX + 200);
    }

    pub(crate) fn small_entry() -> Entry {
        let event = Event {
            id: EventId(u128::MAX),
            camera: "door".parse().expect("a name"),
            phase: Phase::Start,
            revision: 3,
            label: "cat".to_owned(),
            evidence: Evidence::Motion,
            score: 0.5,
            top_score: 0.75,
            area: [0.1, 0.2, 0.3, 0.4],
            begin: Timestamp::now(),
            end: Timestamp::now(),
            reason: None,
            zones: vec!["a".to_owned()],
            has_clip: true,
            has_snapshot: false,
        };
        Entry { epoch: Epoch(1), seq: 7, accepted: Timestamp::now(), event }
    }

    #[test]
    fn a_message_full_of_small_entries_is_read() {
        let message = EventsUp::Entries((0..2500).map(|seq| Entry { seq, ..small_entry() }).collect());
        let bytes = codec::encode(&message);
        assert!(bytes.len() > MESSAGE_BYTES_MAX * 3 / 4 && bytes.len() <= MESSAGE_BYTES_MAX, "{} B", bytes.len());
        assert_eq!(codec::decode::<EventsUp, MESSAGE_BYTES_MAX>(&bytes), Ok(message));
    }
}
