//! A frame: one unidirectional stream with what it is, its header and its pixels.
//!
//!   [length][Open::Frame] [length][FrameHeader] [pixels, as many as the header's size has] end
//!
//! A frame is worth something while it is new. Its sender drops it half way when a newer one is
//! there, which resets the stream; its reader gets `Withdrawn` and counts it.

use super::message::{RecvError, Rx, SendError, Tx, framed};
use super::settings::FRAME_WITHIN;
use super::{CloseCode, Lost};
use crate::limits::FRAME_HEADER_BYTES_MAX;
use crate::link::Open;
use crate::{FrameHeader, Priority};

/// Why a frame was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefusal {
    /// Its sender gave it up for a newer one. Nothing is wrong.
    #[error("the sender withdrew the frame")]
    Withdrawn,
    #[error("the frame was not here within {} s", FRAME_WITHIN.as_secs())]
    TooSlow,
    /// Close the connection as [`CloseCode::Protocol`].
    #[error("frame refused: {0}")]
    Garbled(String),
    #[error("{0}")]
    Lost(String),
}

/// Places within one priority. When they are used up, after days, one frame goes ahead of those before it.
const PLACES: u32 = 1 << 28;

/// Below every other stream, whose priorities begin at 0. The `nth` frame of a connection leaves behind those before it
/// and of the same priority: interleaved, each would arrive as late as the last.
pub(super) fn stream_priority(priority: Priority, nth: u32) -> i32 {
    let ahead = match priority {
        Priority::Critical => 0,
        Priority::High => 1,
        Priority::Normal => 2,
        Priority::Low => 3,
    };
    -1 - (ahead * PLACES + nth % PLACES) as i32
}

/// Below every frame.
pub(super) const BELOW_FRAMES: i32 = -1 - 4 * PLACES as i32;

/// What goes before the pixels; refuses a frame that its receiver would.
pub(super) fn head(header: &FrameHeader, pixels: &[u8]) -> Result<Vec<u8>, SendError> {
    let bytes = header.pixel_bytes().map_err(SendError::Unfit)?;
    if bytes != pixels.len() {
        let (width, height) = (header.width, header.height);
        let why = format!("a frame of {width}x{height} has {bytes} B of pixels, not {} B", pixels.len());
        return Err(SendError::Unfit(why));
    }
    let mut head = framed(&Open::Frame, FRAME_HEADER_BYTES_MAX)?;
    head.extend(framed(header, FRAME_HEADER_BYTES_MAX)?);
    Ok(head)
}

pub(super) async fn send(mut tx: Tx, head: &[u8], pixels: &[u8]) -> Result<(), SendError> {
    tx.write(head).await?;
    tx.write(pixels).await?;
    Ok(tx.finish()?)
}

/// A frame on its way in. Dropped, it tells the sender to stop.
pub struct PendingFrame {
    rx: Rx,
}

impl PendingFrame {
    pub(super) fn new(rx: Rx) -> Self {
        Self { rx }
    }

    /// Reads the whole frame, within [`FRAME_WITHIN`].
    ///
    /// A peer may have `FRAMES_IN_FLIGHT_MAX` of these: whoever reads them all at once holds as
    /// many frames in memory as the peer has sent. See [`PendingFrame::read_with`].
    pub async fn read(self) -> Result<(FrameHeader, Vec<u8>), FrameRefusal> {
        let (header, pixels, ()) = self.read_with(|_| std::future::ready(())).await?;
        Ok((header, pixels))
    }

    /// Like `read`; asks for room for so many bytes before it takes any of the pixels. What `room`
    /// returns stands for their memory: keep it beside them. Waiting for it counts as reading.
    pub async fn read_with<R, F: Future<Output = R>>(
        mut self,
        room: impl FnOnce(usize) -> F,
    ) -> Result<(FrameHeader, Vec<u8>, R), FrameRefusal> {
        let result = match tokio::time::timeout(FRAME_WITHIN, read(&mut self.rx, room)).await {
            Ok(result) => result,
            Err(_) => Err(FrameRefusal::TooSlow),
        };
        match &result {
            Err(FrameRefusal::Garbled(_)) => self.rx.stop(CloseCode::Protocol),
            Err(FrameRefusal::TooSlow) => self.rx.stop(CloseCode::TooSlow),
            _ => {}
        }
        result
    }
}

async fn read<R, F: Future<Output = R>>(
    rx: &mut Rx,
    room: impl FnOnce(usize) -> F,
) -> Result<(FrameHeader, Vec<u8>, R), FrameRefusal> {
    let garbled = |why: String| FrameRefusal::Garbled(why);
    match rx.recv_within::<Open, FRAME_HEADER_BYTES_MAX>().await? {
        Some(Open::Frame) => {}
        Some(other) => return Err(garbled(format!("a frame's stream was opened as {}", other.name()))),
        None => return Err(garbled("its stream is empty".to_owned())),
    }
    let header = rx.recv_within::<FrameHeader, FRAME_HEADER_BYTES_MAX>().await?;
    let header = header.ok_or_else(|| garbled("it has no header".to_owned()))?;
    // Before anything is allocated: the size is the peer's claim.
    let bytes = header.pixel_bytes().map_err(garbled)?;
    let room = room(bytes).await;
    let mut pixels = Vec::with_capacity(bytes);
    // One byte more than announced, so that a stream that goes on is noticed.
    while let Some(chunk) = rx.read_raw(bytes + 1 - pixels.len()).await? {
        if pixels.len() + chunk.as_ref().len() > bytes {
            return Err(garbled(format!("it goes on after the {bytes} B of {}x{}", header.width, header.height)));
        }
        pixels.extend_from_slice(chunk.as_ref());
    }
    if pixels.len() < bytes {
        return Err(garbled(format!("it ends after {} of {bytes} B", pixels.len())));
    }
    Ok((header, pixels, room))
}

impl From<Lost> for FrameRefusal {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Stream(_) => Self::Withdrawn,
            Lost::Connection(why) => Self::Lost(why),
        }
    }
}

impl From<RecvError> for FrameRefusal {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lost(lost) => lost.into(),
            RecvError::Garbled(why) => Self::Garbled(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_by_priority_then_by_age_and_ahead_of_clips() {
        let order = [
            stream_priority(Priority::Critical, 0),
            stream_priority(Priority::Critical, 7),
            stream_priority(Priority::Critical, PLACES - 1),
            stream_priority(Priority::High, 3),
            stream_priority(Priority::Normal, 2),
            stream_priority(Priority::Low, 0),
            stream_priority(Priority::Low, PLACES - 1),
            BELOW_FRAMES,
        ];
        assert!(order[0] < 0 && order.windows(2).all(|pair| pair[0] > pair[1]), "{order:?}");
        assert_eq!(stream_priority(Priority::Low, u32::MAX), stream_priority(Priority::Low, PLACES - 1));
    }
}
