//! What a node and its camera port say to each other.

mod reports;

use crate::codec::Blob;
pub use reports::Reports;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Node to camera port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// First, once.
    Open(Box<Source>),
    /// How much of what comes is decoded, from now on. Before the first one: [`Source::gear`]. `rewind`: waking from
    /// idle, what was not decoded since the look before the last is decoded first, and handed over again from there on.
    Gear { gear: Gear, rewind: bool },
}

/// How much of a stream is decoded. Whatever the gear, its access units are handed over if [`Source::units`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gear {
    /// Nothing.
    Passthrough,
    /// Key frames alone, and of those at most one each `every_ms`.
    Idle { every_ms: u32 },
    /// All of it. Coming from another gear, what the port still holds of the current group of pictures (or of those
    /// before it too: [`Order::Gear`]) is decoded first, and its frames are handed over as [`Frame::replayed`].
    Awake,
}

impl Gear {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Idle { .. } => "idle",
            Self::Awake => "awake",
        }
    }
}

/// A camera as the port opens it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Without credentials: `rtsp://host:port/path`, `rtsps://…`, `http://…` and `https://…` (MJPEG),
    /// `v4l2:///dev/video0`, `file:///absolute/path`, `test:scene`.
    pub url: String,
    pub login: Option<Login>,
    /// A second, smaller stream of the same camera, which is decoded in place of the first.
    pub detect: Option<Detect>,
    pub transport: Transport,
    /// Which addresses a host may have beside those of a network.
    pub allow: Allow,
    /// Frames a second handed to the node at most; every frame if 0.
    pub frames_per_s: f32,
    /// Wider frames are scaled down to this, keeping proportions (both sides even).
    pub frame_width_px_max: u32,
    /// No frame for so long from a live source is a fault.
    pub stall_ms: u32,
    /// Nobody listened there the last time: it is knocked for so long before it is opened, and the first answer opens it.
    pub knock_ms: u32,
    /// A file is played as fast as the node takes frames, and none is dropped.
    pub every_frame: bool,
    /// A file starts again at its end; else it ends with [`Report::Ended`].
    pub repeat: bool,
    /// The gear to begin in.
    pub gear: Gear,
    /// Access units are handed over, for recording and live view. What is no H.264 or H.265 is encoded for it.
    pub units: bool,
    /// Sound too, where MP4 has a place for it (AAC, Opus).
    pub audio: bool,
    /// Decoders to try, in this order, before those that the port knows; for tests and odd machines.
    pub decoders: Vec<String>,
}

/// The stream that is decoded, if it is not the one that is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detect {
    pub url: String,
    pub login: Option<Login>,
}

/// What RTP comes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    #[default]
    Tcp,
    Udp,
}

/// Addresses that are refused unless allowed: a camera's name must not lead to this machine's own services. Those of
/// clouds' metadata services are link-local, and refused even then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allow {
    pub loopback: bool,
    pub link_local: bool,
}

impl Source {
    /// A source with every choice at its default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            login: None,
            detect: None,
            transport: Transport::Tcp,
            allow: Allow::default(),
            frames_per_s: 5.0,
            frame_width_px_max: 1280,
            stall_ms: 1500,
            knock_ms: 0,
            every_frame: false,
            repeat: false,
            gear: Gear::Awake,
            units: false,
            audio: false,
            decoders: Vec::new(),
        }
    }
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
    /// The stream that is decoded is understood; frames follow. Again when its size or its decoder changes.
    Opened {
        codec: String,
        width: u32,
        height: u32,
        decoder: String,
    },
    /// Its pixels are a message of their own: [`Reports`].
    Frame(Frame),
    /// What the units after this are. First of all units, and again when it changes in mid-stream.
    Format(Format),
    Unit(Unit),
    /// Of the stream that is decoded, if that is another than the units': how large each of its units is.
    Size(UnitSize),
    /// About once a second.
    Figures(Figures),
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
    /// Decoded late, out of what the port held when it was woken. Not to be replaced by a newer one.
    pub replayed: bool,
    pub width: u32,
    pub height: u32,
    /// I420 without padding.
    pub pixels: Blob,
}

/// How the access units of one stretch of a stream are to be read: what an MP4's sample entries need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Format {
    pub video: VideoFormat,
    pub audio: Option<AudioFormat>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoFormat {
    pub codec: VideoCodec,
    pub width: u32,
    pub height: u32,
    /// `avcC` (ISO 14496-15, 5.3.3) or `hvcC` (8.3.3), the box's payload. Units have 4-byte lengths.
    pub config: Blob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    H264,
    H265,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioFormat {
    pub codec: AudioCodec,
    pub sample_rate: u32,
    pub channels: u16,
    /// AAC: the AudioSpecificConfig (ISO 14496-3, 1.6). Opus: the payload of `dOps`.
    pub config: Blob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    Aac,
    Opus,
}

/// One access unit as it came, in decoding order within its stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    pub stream: Stream,
    /// It can be decoded without those before it. Every unit of sound can.
    pub key: bool,
    /// Presentation time on the clock that sound and pictures share, since the session's start. Not the wall clock:
    /// it runs evenly, whatever that does.
    pub pts_us: i64,
    /// Of sound; 0 for pictures, which last until the next one.
    pub duration_us: u32,
    /// As [`Frame::captured_us`].
    pub captured_us: i64,
    /// H.264 and H.265: NAL units, each behind a 4-byte big-endian length.
    pub data: Blob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    Video,
    Audio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSize {
    pub key: bool,
    pub bytes: u32,
    pub captured_us: i64,
}

/// What the port has done since its start. Counters, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Access units that came out of the network, of all streams, and their bytes.
    pub units: u64,
    pub unit_bytes: u64,
    /// Pictures that went into the decoder, came out of it, and were handed over.
    pub decoding: u64,
    pub decoded: u64,
    pub handed: u64,
    /// RTP packets that never came.
    pub packets_lost: u64,
    /// The camera's wall clock minus this machine's, as its RTCP tells it; `None` before it has.
    pub clock_offset_ms: Option<i64>,
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
    /// The policy on addresses refuses where it is.
    Forbidden,
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
            Self::Forbidden => "forbidden",
        }
    }
}
