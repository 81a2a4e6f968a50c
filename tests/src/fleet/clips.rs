//! Clips: what a simulated edge hands over when its relay asks for one. Made from the clip's id, so that who reads
//! them can tell whether they are right.

use protocol::EventId;
use protocol::link::{ClipDown, Open};
use protocol::transport::{CloseCode, Connection, PendingStream, Tx};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Every clip has so many bytes.
pub const CLIP_BYTES: u64 = 1024 * 1024;
/// Clips that one edge hands over at once. When full, the next is refused.
const CLIPS_MAX: usize = 4;
/// Made and sent at once.
const PIECE_BYTES: u64 = 16 * 1024;

#[derive(Clone)]
pub(super) struct Clips(Arc<Semaphore>);

impl Clips {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(CLIPS_MAX)))
    }

    /// Serves a stream that the relay opened: a clip, as nothing else may be opened on an edge.
    pub async fn serve(self, connection: Connection, pending: PendingStream) {
        let Ok((open, mut tx, _rx)) = pending.open().await else { return };
        let Open::Clip { clip, offset } = open else {
            return connection.close(CloseCode::Refused, &format!("no {} is opened on an edge", open.name()));
        };
        // Whoever asked and is gone needs no answer.
        let _ = match self.0.try_acquire() {
            Ok(_one_of_them) => send(&mut tx, clip, offset).await,
            Err(_) => refuse(&mut tx, &format!("{CLIPS_MAX} clips are under way already; ask again")).await,
        };
    }
}

async fn refuse(tx: &mut Tx, why: &str) -> Result<(), String> {
    tx.send(&ClipDown::Refused(why.to_owned())).await.map_err(|e| e.to_string())?;
    tx.finish().map_err(|e| e.to_string())
}

async fn send(tx: &mut Tx, clip: EventId, offset: u64) -> Result<(), String> {
    if offset > CLIP_BYTES {
        return refuse(tx, &format!("the clip ends at {CLIP_BYTES} B, before {offset}")).await;
    }
    tx.send(&ClipDown::Begins { bytes: CLIP_BYTES }).await.map_err(|e| e.to_string())?;
    let mut at = offset;
    while at < CLIP_BYTES {
        let until = CLIP_BYTES.min(at + PIECE_BYTES);
        let piece: Vec<u8> = (at..until).map(|at| byte(clip, at)).collect();
        tx.send_bytes(&piece).await.map_err(|e| e.to_string())?;
        at = until;
    }
    tx.finish().map_err(|e| e.to_string())
}

/// The byte of a clip at this offset.
pub fn byte(clip: EventId, at: u64) -> u8 {
    let mixed = ((at / 8) ^ clip.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed.rotate_left(31).to_le_bytes()[(at % 8) as usize]
}
