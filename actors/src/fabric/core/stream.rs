//! A QUIC stream as ractor_cluster takes it, which counts what the peer has said.

use protocol::transport::{Rx, Traffic, Tx};
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that came from the peer so far.
pub(super) type Heard = Arc<AtomicU64>;

pub(super) struct Bidi {
    tx: Tx,
    rx: Rx,
    /// Comes back in every event about its session: by it the session is known to be ours.
    label: String,
    heard: Heard,
}

impl Bidi {
    pub fn new(tx: Tx, rx: Rx, label: String, heard: Heard) -> Self {
        Self { tx, rx, label, heard }
    }
}

impl ClusterBidiStream for Bidi {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let Self { tx, rx, heard, .. } = *self;
        (Box::new(Counted { from: rx.into_io(), heard }), Box::new(Sent(tx.into_io())))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

struct Counted<R> {
    from: R,
    heard: Heard,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.from).poll_read(cx, into);
        let bytes = into.filled().len() - before;
        self.heard.fetch_add(bytes as u64, Ordering::Relaxed);
        Traffic::Core.count_received(bytes);
        polled
    }
}

struct Sent<W>(W);

impl<W: AsyncWrite + Unpin> AsyncWrite for Sent<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            Traffic::Core.count_sent(*written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
