//! Clips: what an edge recorded, given to its relay over the edge's own connection, when the relay asks.
//!
//!   relay ══Clip{clip, offset}══▶ [clips] ──▶ source      (edge: one task a transfer)
//!         ◀══Begins, bytes═══════         ◀── a chunk at a time
//!
//! A chunk is read when the one before it was taken: a relay that reads slowly slows the disk, and neither side holds
//! more than its windows. Frames, events and control leave before a clip does.

pub mod fetch;
#[cfg(test)]
mod tests;

use super::gateway::refuse;
use protocol::limits::{CLIPS_AT_ONCE_MAX, short_text};
use protocol::link::{ClipDown, Open, may_open};
use protocol::transport::{CloseCode, Connection, PendingStream, StreamRefusal, Tx};
use protocol::{EventId, Role};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use supervision::ServiceCx;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Read at once, and in memory for each transfer beside what the transport holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// From the question to the first byte: a disk that sleeps takes its time.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// One chunk off the disk.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// A relay that takes no byte for so long has forgotten the clip. It asks again from where it was.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Streams that the relay has opened and not named, or that are served. When full, the next waits to be accepted.
const STREAMS_MAX: usize = 2 * CLIPS_AT_ONCE_MAX;

const NO_CLIPS: &str = "this edge keeps no clips";
const TOO_MANY: &str = "too many clips of this edge are on the way already; ask again later";

/// A clip that is there.
pub struct Clip {
    /// In all, from its begin.
    pub bytes: u64,
    /// From the offset asked for, to the end.
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
}

pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Clip, String>> + Send + 'a>>;

/// Where clips are kept.
pub trait Source: Send + Sync + 'static {
    /// Opens it at `offset`, or says why there is none.
    fn open(&self, clip: EventId, offset: u64) -> Opening<'_>;
}

/// Cheap to clone; by default there are none.
#[derive(Clone)]
pub struct Clips {
    source: Option<Arc<dyn Source>>,
    at_once: Arc<Semaphore>,
}

impl Default for Clips {
    fn default() -> Self {
        Self { source: None, at_once: Arc::new(Semaphore::new(CLIPS_AT_ONCE_MAX)) }
    }
}

impl Clips {
    pub fn of(source: impl Source) -> Self {
        Self { source: Some(Arc::new(source)), ..Self::default() }
    }

    /// Serves what the peer of a link that this node dialled opens, until the connection is lost. What its role may not
    /// open ends the connection.
    pub(super) async fn serve(&self, here: Role, connection: &Connection, cx: &ServiceCx) {
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                pending = connection.accept_bi(), if streams.len() < STREAMS_MAX => {
                    let Ok(pending) = pending else { return };
                    streams.spawn(cx.watched(self.clone().admit(here, connection.clone(), pending)));
                }
                frame = connection.accept_frame() => {
                    if frame.is_err() { return }
                    refuse(connection, CloseCode::Refused, "this node takes no frames");
                }
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    if let Err(error) = ended {
                        warn!(peer = %connection.peer(), "giving a clip failed: {error}");
                    }
                }
            }
        }
    }

    async fn admit(self, here: Role, connection: Connection, pending: PendingStream) {
        let peer = connection.peer();
        let (open, tx) = match pending.open().await {
            // It has nothing more to say on this stream; that it does not want the rest, the sending side hears.
            Ok((open, tx, _rx)) => (open, tx),
            Err(StreamRefusal::Garbled(why)) => return refuse(&connection, CloseCode::Protocol, &why),
            Err(error) => return debug!(%peer, "stream: {error}"),
        };
        if !may_open(here, peer.role, &open) {
            metrics::counter!("watchtree_link_refusals_total", "what" => "role").increment(1);
            let why = format!("a node of role {} may not open {} on a node of role {here}", peer.role, open.name());
            return refuse(&connection, CloseCode::Refused, &why);
        }
        let Open::Clip { clip, offset } = open else {
            return refuse(&connection, CloseCode::Refused, &format!("this node serves no {} stream", open.name()));
        };
        match self.give(clip, offset, tx).await {
            Ok(bytes) => debug!(%peer, %clip, offset, bytes, "clip given"),
            Err(why) => debug!(%peer, %clip, offset, "clip not given: {why}"),
        }
    }

    /// How many bytes went out. Any failure resets the stream, so that its reader does not take it for the end.
    async fn give(&self, clip: EventId, offset: u64, mut tx: Tx) -> Result<u64, String> {
        let Ok(_place) = self.at_once.try_acquire() else { return refused(tx, TOO_MANY.to_owned()).await };
        let Some(source) = &self.source else { return refused(tx, NO_CLIPS.to_owned()).await };
        let Clip { bytes, mut reader } = match timeout(OPENED_WITHIN, source.open(clip, offset)).await {
            Ok(Ok(opened)) if offset <= opened.bytes => opened,
            Ok(Ok(opened)) => {
                return refused(tx, format!("the clip has {} B, {offset} is beyond its end", opened.bytes)).await;
            }
            Ok(Err(why)) => return refused(tx, why).await,
            Err(_) => return refused(tx, format!("its disk did not open it within {OPENED_WITHIN:?}")).await,
        };
        tx.send(&ClipDown::Begins { bytes }).await.map_err(|error| error.to_string())?;
        let (mut left, mut chunk) = (bytes - offset, vec![0; CHUNK_BYTES]);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let read = timeout(READ_WITHIN, reader.read(&mut chunk[..want])).await;
            let read = read.map_err(|_| format!("its disk gave nothing for {READ_WITHIN:?}"))?;
            let read = read.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err(format!("it ends {left} B early"));
            }
            let sent = timeout(TAKEN_WITHIN, tx.send_bytes(&chunk[..read])).await;
            sent.map_err(|_| format!("the relay took nothing for {TAKEN_WITHIN:?}"))?.map_err(|e| e.to_string())?;
            metrics::counter!("watchtree_clip_sent_bytes_total").increment(read as u64);
            left -= read as u64;
        }
        tx.finish().map_err(|error| error.to_string())?;
        // Its place is taken until the relay has it all.
        timeout(TAKEN_WITHIN, tx.delivered())
            .await
            .map_err(|_| "the relay took not all".to_owned())?
            .map_err(|e| e.to_string())?;
        Ok(bytes - offset)
    }
}

async fn refused(mut tx: Tx, why: String) -> Result<u64, String> {
    tx.send(&ClipDown::Refused(short_text(&why))).await.map_err(|error| error.to_string())?;
    tx.finish().map_err(|error| error.to_string())?;
    Err(why)
}
