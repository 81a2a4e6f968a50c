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

/// Frames a peer may have on the way at once; the next stream waits at the sender.
pub const FRAMES_IN_FLIGHT_MAX: u32 = 32;

/// Bidirectional streams a peer may hold open: control, events, verdicts, and some admin calls.
pub const STREAMS_MAX: u32 = 16;

/// Entries an edge may have sent and not seen acknowledged. When full, it waits for acks.
pub const EVENTS_UNACKED_MAX: usize = 4096;

/// Detections in one verdict. The best by score are kept.
pub const DETECTIONS_MAX: usize = 300;

/// Actors in one snapshot of a node's tree; the rest is counted.
pub const SNAPSHOT_ACTORS_MAX: usize = 1000;

/// A label, reason or other free text inside a message, in characters; longer text is cut.
pub const TEXT_CHARS_MAX: usize = 300;

/// `text` cut to [`TEXT_CHARS_MAX`] characters, without control characters.
pub fn short_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}
