//! What the tests of this room judge.

use protocol::telemetry::{CameraFigures, InferenceFigures, SpoolFigures, System, Telemetry};
use protocol::{Epoch, Identity, Timestamp};

const GIB: u64 = 1 << 30;

pub fn id(text: &str) -> Identity {
    text.parse().expect(text)
}

/// Of an edge with one camera that is well.
pub fn telemetry(at: Timestamp) -> Telemetry {
    let system = System {
        cpu_pct: 10.0,
        memory_used_bytes: 2 * GIB,
        memory_total_bytes: 8 * GIB,
        disk_free_bytes: 50 * GIB,
        disk_total_bytes: 100 * GIB,
        net_in_bytes: 1000,
        net_out_bytes: 2000,
        process_cpu_ms: 500,
        process_memory_bytes: GIB / 8,
    };
    let camera = CameraFigures {
        camera: "door".parse().expect("a name"),
        on_line: true,
        why: None,
        frames_per_s: 5.0,
        storage_bytes: 0,
    };
    Telemetry {
        boot: Epoch(1),
        at,
        ready: true,
        notes: Vec::new(),
        system,
        cameras: vec![camera],
        spool: Some(SpoolFigures { waiting: 3, oldest_ms: 200, dropped: 0 }),
        inference: Some(InferenceFigures { answer_ms_mean: 20.0, submitted: 50, judged: 50, waiting: 0 }),
        certificate_until: None,
    }
}
