//! What a node and its camera port say to each other.

use crate::codec::Blob;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Node to camera port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// First, once.
    Open(Source),
}

/// A camera as the port opens it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `rtsp://host:port/path` without credentials, or `file:///absolute/path`.
    pub url: String,
    pub login: Option<Login>,
    /// Frames a second handed to the node at most; every frame if 0.
    pub frames_per_s: f32,
    /// Wider frames are scaled down to this, keeping proportions (both sides even).
    pub frame_width_px_max: u32,
    /// No frame for so long from a live source is a fault.
    pub stall_ms: u32,
    /// A file is played as fast as the node takes frames, and none is dropped.
    pub every_frame: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

/// Camera port to node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// The stream is understood; frames follow.
    Opened {
        codec: String,
        width: u32,
        height: u32,
        decoder: String,
    },
    Frame(Frame),
    /// The source failed; the port ends with code 0 after this. Not the port's fault: no restart budget is spent.
    Failed {
        fault: SourceFault,
        text: String,
    },
    /// A file was played to its end.
    Ended,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Counts decoded frames of the source from 0; gaps are frames that were not handed over.
    pub index: u64,
    /// Presentation time since the stream's start.
    pub pts_us: u64,
    /// Wall clock when it was captured, as near as can be known, in microseconds since 1970.
    pub captured_us: i64,
    pub width: u32,
    pub height: u32,
    /// I420 without padding.
    pub pixels: Blob,
}

/// Why a source gives no frames. Each is told to the operator with its own way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFault {
    /// Nobody listens at that address.
    Refused,
    /// The server answers, but has no such stream.
    NotFound,
    /// The server wants a user name and password, or other ones.
    Unauthorized,
    /// No answer, or no frame for too long.
    Silent,
    /// The stream ended although it is live.
    Ended,
    /// What came is not a video this port can decode.
    Unreadable,
}

impl SourceFault {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Silent => "silent",
            Self::Ended => "ended",
            Self::Unreadable => "unreadable",
        }
    }
}
