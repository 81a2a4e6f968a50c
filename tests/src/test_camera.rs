//! The test camera: a real RTSP server whose pictures are known beforehand.
//!
//!   scene ──draw──┐                                                   ┌─▶ appsrc ─▶ RTSP clients
//!                 ├─▶ encoder ─▶ [footage: access units in RAM] ─▶ feeder
//!   file ──decode─┘                     encoded once              paced └─▶ HTTP clients (MJPEG)
//!                                                  orders ─▶ faults ─┘└─▶ book
//!
//! Its time begins when the first client plays and then runs like a real camera's, whether somebody watches
//! or not: what shows at `first_frame_us + t` is a function of `t` alone. A client that comes back is served
//! from the next key frame on.

pub mod book;
pub mod encoder;
pub mod faults;
pub mod feeder;
pub mod footage;
pub mod mjpeg;
pub mod scene;
pub mod server;
pub mod squares;
pub mod wire;

pub use server::{Login, Settings, TestCamera};

use serde::Serialize;
use std::time::Duration;

/// What the camera tells: one JSON line each on the program's stdout.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    Ready {
        ready: bool,
        /// As the book counts, microseconds since 1970.
        ready_us: i64,
        url: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub_url: Option<String>,
        /// The scene starts again after so long; `None` for a file that is not encoded yet.
        length_us: Option<u64>,
        visits: Vec<squares::VisitLine>,
    },
    /// The first access unit was handed to the first client.
    FirstFrame { first_frame_us: i64 },
    /// Asked for by `report`.
    Report {
        report: bool,
        /// From when to when it could deliver; `null`: still.
        delivers_us: Vec<(i64, Option<i64>)>,
        /// The first and the last picture that was sent to a client.
        sent_from_us: Option<i64>,
        sent_to_us: Option<i64>,
        /// Pictures, and key frames among them.
        units: u64,
        keys: u64,
        /// RTP packets that never arrived.
        dropped: u64,
    },
    /// `--once`: the last frame was sent; from now on the path is not found.
    Ended { ended: bool },
    /// The footage cannot be made; the camera is of no use.
    Failed { failed: String },
}

/// How fast the pictures come, and how often one stands alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rhythm {
    /// Of a scene; a file keeps its own.
    pub frames_per_s: f64,
    pub gop_s: f64,
}

impl Rhythm {
    pub fn frame_time(self, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / self.frames_per_s)
    }

    /// Frames from one key frame to the next.
    pub fn gop_frames(self) -> u32 {
        (self.gop_s * self.frames_per_s).round().max(1.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gop_has_at_least_its_key_frame() {
        let gop = |gop_s| Rhythm { frames_per_s: 10.0, gop_s }.gop_frames();
        assert_eq!((gop(0.5), gop(2.0), gop(0.0)), (5, 20, 1));
    }

    #[test]
    fn a_fact_is_one_flat_json_object() {
        let line = serde_json::to_string(&Fact::FirstFrame { first_frame_us: 7 }).expect("plain data");
        assert_eq!(line, r#"{"first_frame_us":7}"#);
    }
}
