//! Words: what a simulated edge says of itself.

use super::script;
use crate::test_camera::squares::Rng;
use protocol::admin::{ActorStatus, NodeSnapshot, OutboxStatus};
use protocol::link::{Down, Up};
use protocol::telemetry::{CameraFigures, InferenceFigures, SpoolFigures, System, Telemetry};
use protocol::{Epoch, Identity, Timestamp};
use std::time::Duration;

const SOFTWARE: &str = "watchtree-fleet";
/// Its actors besides its cameras.
const ACTORS: [&str; 3] = ["outbox", "forwarder", "link"];

/// To what the relay says on the control stream; `None` where no answer is due. Of the outbox: its epoch, and how many
/// entries were accepted and acknowledged.
pub(super) fn answer(me: &Identity, boot: Epoch, outbox: (Epoch, u64, u64), down: Down) -> Option<Up> {
    let (epoch, accepted, acked) = outbox;
    match down {
        Down::Snapshot { call, .. } => {
            let outbox = OutboxStatus { epoch, accepted, acked };
            Some(Up::Snapshot { call, snapshot: Box::new(snapshot(me, boot, outbox)) })
        }
        Down::Failures { call, .. } => Some(Up::Failures { call, failures: Vec::new(), omitted: 0 }),
        Down::Steer { call, .. } => {
            Some(Up::Steered { call, result: Err("this edge is simulated and has nothing to steer".to_owned()) })
        }
        Down::Cameras { call, .. } => Some(Up::Cameras { call, cameras: Ok(Vec::new()), omitted: 0 }),
        Down::ChangeCamera { call, .. } => {
            Some(Up::Steered { call, result: Err("this edge is simulated and has no cameras to change".to_owned()) })
        }
        Down::Welcome { .. } | Down::Directory(_) | Down::Pong { .. } => None,
    }
}

fn snapshot(me: &Identity, boot: Epoch, outbox: OutboxStatus) -> NodeSnapshot {
    let cameras = script::cameras().map(|camera| (format!("cameras/{camera}"), "supervisor"));
    let rows = ACTORS.into_iter().map(|name| (name.to_owned(), name)).chain(cameras);
    NodeSnapshot {
        node: me.clone(),
        boot,
        up_since: Timestamp::now(),
        software: SOFTWARE.to_owned(),
        ready: true,
        notes: Vec::new(),
        actors: rows.map(|(path, class)| actor(format!("{}/{path}", me.name), class)).collect(),
        actors_omitted: 0,
        ledgers: Vec::new(),
        outbox: Some(outbox),
    }
}

fn actor(path: String, class: &str) -> ActorStatus {
    ActorStatus {
        path,
        state: "running".to_owned(),
        restarts: 0,
        since: Timestamp::now(),
        last_reason: None,
        note: None,
        class: class.to_owned(),
        pid: None,
        waiting: None,
        waiting_max: None,
        handled: None,
        cpu_ms: None,
        memory_bytes: None,
        resumes: None,
    }
}

/// Of a small box with four cameras that is well.
pub(super) fn telemetry(boot: Epoch, waiting: u64, rng: &mut Rng) -> Telemetry {
    let camera = |camera| CameraFigures {
        camera,
        on_line: true,
        why: None,
        frames_per_s: 5.0 + rng.unit() as f32 / 10.0,
        storage_bytes: rng.draw() % 100_000_000_000,
    };
    Telemetry {
        boot,
        at: Timestamp::now(),
        ready: true,
        notes: Vec::new(),
        cameras: script::cameras().map(camera).collect(),
        system: System {
            cpu_pct: 40.0,
            memory_used_bytes: 900_000_000,
            memory_total_bytes: 4_000_000_000,
            disk_free_bytes: 50_000_000_000,
            disk_total_bytes: 128_000_000_000,
            net_in_bytes: 8_000_000_000,
            net_out_bytes: 3_000_000_000,
            process_cpu_ms: 123_456,
            process_memory_bytes: 150_000_000,
        },
        spool: Some(SpoolFigures { waiting, oldest_ms: waiting * 1000, dropped: 0 }),
        inference: Some(InferenceFigures { answer_ms_mean: 35.0, submitted: 1000, judged: 1000, waiting: 1 }),
        certificate_until: Some(Timestamp::now().plus(Duration::from_secs(24 * 3600))),
    }
}
