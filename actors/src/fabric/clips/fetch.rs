//! Fetch: a clip on its way from an edge, as its bytes come.
//!
//!   api ──clip, offset──▶ peers ──▶ [fetch] ◀══bytes══ clips of the edge
//!
//! Nothing is read ahead of whoever asks: what is not taken stays within the transport's window, and its sender waits.
//! Cut short, it says how far it got; whoever wants the rest asks again from there.

use super::TAKEN_WITHIN;
use protocol::limits::short_text;
use protocol::link::{ClipDown, Open};
use protocol::transport::{Connection, Lost, RecvError, Rx, Version};
use protocol::{EventId, Identity};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// From the question to its answer; an edge opens its file meanwhile.
const BEGINS_WITHIN: Duration = Duration::from_secs(15);
/// Between two pieces. Longer than an edge lets a reader wait, so that it is the edge who says why.
const NEXT_WITHIN: Duration = TAKEN_WITHIN.saturating_add(Duration::from_secs(5));
/// Clips that come to this node at once, of all edges. When full, whoever asks is told.
const COMING_MAX: usize = 64;
/// Taken from the transport at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Why a clip does not come, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// Its edge has it not, or gives it not. Asking again does not help soon.
    #[error("{0}")]
    Refused(String),
    /// This node or the edge has as many on the way as it may. Ask again.
    #[error("too many clips are on the way already; ask again")]
    Busy,
    /// Ask again from `at`, when the edge is linked.
    #[error("the clip stopped at byte {at}: {why}")]
    Cut { at: u64, why: String },
}

/// How many come now. Cheap to clone; one per node.
#[derive(Clone)]
pub(in crate::fabric) struct Coming(Arc<Semaphore>);

impl Default for Coming {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(COMING_MAX)))
    }
}

/// A clip that comes. Dropped, it tells the edge to stop.
pub struct ClipBytes {
    rx: Rx,
    at: u64,
    bytes: u64,
    _place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for ClipBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClipBytes({} of {} B)", self.at, self.bytes)
    }
}

impl Coming {
    pub async fn fetch(&self, connection: &Connection, clip: EventId, offset: u64) -> Result<ClipBytes, ClipError> {
        let cut = |why: String| ClipError::Cut { at: offset, why };
        let peer: &Identity = connection.peer();
        if connection.version() < Version::FABRIC {
            return Err(ClipError::Refused(format!("the software of {peer} is too old to give clips; upgrade it")));
        }
        let _place = self.0.clone().try_acquire_owned().map_err(|_| ClipError::Busy)?;
        let asked = async {
            let (mut tx, mut rx) = connection.open_bi(&Open::Clip { clip, offset }).await?;
            tx.finish()?;
            Ok((rx.recv::<ClipDown>().await?, rx))
        };
        match timeout(BEGINS_WITHIN, asked).await {
            Ok(Ok((Some(ClipDown::Begins { bytes }), rx))) if bytes >= offset => {
                Ok(ClipBytes { rx, at: offset, bytes, _place })
            }
            Ok(Ok((Some(ClipDown::Begins { bytes }), _))) => {
                Err(ClipError::Refused(format!("the clip has {bytes} B, {offset} is beyond its end")))
            }
            Ok(Ok((Some(ClipDown::Refused(why)), _))) => Err(ClipError::Refused(short_text(&why))),
            Ok(Ok((None, _))) => Err(cut(format!("{peer} ended the stream without a word"))),
            Ok(Err(error)) => {
                let error: RecvError = error;
                Err(cut(error.to_string()))
            }
            Err(_) => Err(cut(format!("{peer} did not begin within {} s", BEGINS_WITHIN.as_secs()))),
        }
    }
}

impl ClipBytes {
    /// Of the whole clip.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the next piece begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next piece, of 64 KiB at most; `None` at the clip's end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, ClipError> {
        let (at, bytes) = (self.at, self.bytes);
        let cut = |why: String| ClipError::Cut { at, why };
        let piece = match timeout(NEXT_WITHIN, self.rx.recv_bytes(PIECE_BYTES_MAX)).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(Lost::Stream(why) | Lost::Connection(why))) => return Err(cut(why)),
            Err(_) => return Err(cut(format!("nothing came for {} s", NEXT_WITHIN.as_secs()))),
        };
        let Some(piece) = piece else {
            return if at == bytes { Ok(None) } else { Err(cut(format!("it ended; it has {bytes} B"))) };
        };
        let piece_bytes = piece.as_ref().len() as u64;
        if at + piece_bytes > bytes {
            return Err(cut(format!("more came than the {bytes} B that it has")));
        }
        self.at += piece_bytes;
        metrics::counter!("watchtree_clip_received_bytes_total").increment(piece_bytes);
        Ok(Some(piece))
    }
}
