//! What tests draw.

use protocol::admin::{ActorStatus, FailureRecord, HealthState, NodeHealth, NodeLine, NodeSnapshot, RecordedEvent};
use protocol::telemetry::{CameraFigures, SpoolFigures, System, Telemetry};
use protocol::{EndReason, Epoch, Event, EventId, Evidence, Phase, Timestamp};
use std::time::Duration;

/// 2026-11-20T18:30:00Z.
pub(in super::super) fn now() -> Timestamp {
    Timestamp::from_micros(1_795_199_400_000_000)
}

pub(in super::super) fn line(node: &str, state: &str) -> NodeLine {
    NodeLine {
        node: node.parse().expect(node),
        state: state.to_owned(),
        since: now().minus(Duration::from_secs(200)),
        rtt_us: None,
        software: "watchtree 0.1.0".to_owned(),
    }
}

pub(in super::super) fn actor(path: &str) -> ActorStatus {
    ActorStatus {
        path: path.to_owned(),
        state: "running".to_owned(),
        restarts: 0,
        since: now().minus(Duration::from_secs(200)),
        last_reason: None,
        note: None,
        class: String::new(),
        pid: None,
        waiting: None,
        waiting_max: None,
        handled: None,
        cpu_ms: None,
        memory_bytes: None,
        resumes: None,
    }
}

pub(in super::super) fn snapshot(node: &str, actors: Vec<ActorStatus>) -> NodeSnapshot {
    NodeSnapshot {
        node: node.parse().expect(node),
        boot: Epoch(7),
        up_since: now().minus(Duration::from_secs(7200)),
        software: "watchtree 0.1.0".to_owned(),
        ready: true,
        notes: vec![],
        actors,
        actors_omitted: 0,
        ledgers: vec![],
        outbox: None,
    }
}

/// A person before the door, `begin_s` seconds after now, for four seconds and a quarter.
pub(in super::super) fn event(id: u128, begin_s: u64, revision: u32, phase: Phase) -> RecordedEvent {
    let begin = now().plus(Duration::from_secs(begin_s));
    let event = Event {
        id: EventId(id),
        camera: "door".parse().expect("a camera"),
        phase,
        revision,
        label: "person".to_owned(),
        evidence: Evidence::Motion,
        score: 0.874,
        top_score: 0.921,
        area: [0.1, 0.2, 0.3, 0.4],
        begin,
        end: begin.plus(Duration::from_millis(4250)),
        reason: (phase == Phase::End).then_some(EndReason::Left),
        zones: vec!["drive".to_owned(), "porch".to_owned()],
        has_clip: true,
        has_snapshot: true,
    };
    let (tenant, edge) = ("main".parse().expect("a tenant"), "yard".parse().expect("an edge"));
    RecordedEvent { tenant, edge, epoch: Epoch(7), seq: u64::from(revision) + 1, event }
}

/// A panic `after_s` seconds after now.
pub(in super::super) fn failure(path: &str, after_s: u64) -> FailureRecord {
    FailureRecord {
        node: "main/edge/yard".parse().expect("an identity"),
        at: now().plus(Duration::from_secs(after_s)),
        path: path.to_owned(),
        kind: "panic".to_owned(),
        text: "index out of bounds".to_owned(),
        then: "restarted".to_owned(),
        lived_ms: Some(4250),
    }
}

/// Of an edge with two cameras that see.
pub(in super::super) fn telemetry() -> Telemetry {
    let camera = |name: &str| CameraFigures {
        camera: name.parse().expect("a camera"),
        on_line: true,
        why: None,
        frames_per_s: 5.0,
        storage_bytes: 0,
    };
    let system = System {
        cpu_pct: 12.3,
        memory_used_bytes: 1 << 30,
        memory_total_bytes: 4 << 30,
        disk_free_bytes: 2 << 30,
        disk_total_bytes: 20 << 30,
        ..System::default()
    };
    Telemetry {
        boot: Epoch(7),
        at: now(),
        ready: true,
        notes: vec![],
        system,
        cameras: vec![camera("door"), camera("gate")],
        spool: Some(SpoolFigures::default()),
        inference: None,
        certificate_until: None,
    }
}

pub(in super::super) fn health(node: &str, state: HealthState) -> NodeHealth {
    NodeHealth {
        node: node.parse().expect(node),
        state,
        since: now().minus(Duration::from_secs(200)),
        reasons: vec![],
        software: "watchtree 0.1.0".to_owned(),
        rtt_us: None,
        clock_skew_ms: None,
        telemetry: None,
    }
}
