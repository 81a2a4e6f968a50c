//! Messages on a stream: a length in four bytes, then the codec's bytes.
//!
//!   Tx ── [length u32 BE][version, body] ▸ [length][…] ▸ finish ──▶ Rx
//!
//! A stream that ends without [`Tx::finish`] was cut: its reader gets an error, not an end. A task
//! that dies half way thus never looks like one that was done.

use super::reason::{read_lost, write_lost};
use super::settings::OPEN_WITHIN;
use super::traffic::Traffic;
use super::{CloseCode, Lost};
use crate::codec;
use crate::limits::{FRAME_HEADER_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::link::Open;
use quinn::{RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

const LENGTH_BYTES: usize = 4;

/// What a message is given room for at first.
const FIRST_BYTES: usize = 128;

/// The first message on a stream; [`Open`] has a dozen bytes.
const OPEN_BYTES_MAX: usize = FRAME_HEADER_BYTES_MAX;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Lost(#[from] Lost),
    /// Nothing was sent and the stream is as it was: split the message.
    #[error("message of {bytes} B not sent, the limit is {limit} B; send it in parts")]
    TooLarge { bytes: usize, limit: usize },
    /// Nothing was sent: what was asked for contradicts itself.
    #[error("{0}")]
    Unfit(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The peer sent what this program cannot read: close the connection as [`CloseCode::Protocol`].
    #[error("{0}")]
    Garbled(String),
}

/// Why a stream that a peer opened came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamRefusal {
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The stream is given up; the peer's other streams go on.
    #[error("the peer opened a stream and did not say within {} s what it is", OPEN_WITHIN.as_secs())]
    Silent,
    /// Close the connection as [`CloseCode::Protocol`].
    #[error("{0}")]
    Garbled(String),
}

const STREAM: &str = "the stream is given away by value, and nothing is called after that";

/// The writing half. Dropped without [`Tx::finish`], it resets the stream.
pub struct Tx {
    /// Away only once it was given away whole.
    stream: Option<SendStream>,
    finished: bool,
    /// A write was dropped half way: what follows would be read as its rest.
    cut: bool,
    traffic: Traffic,
}

impl Tx {
    pub(super) fn new(stream: SendStream, priority: i32, traffic: Traffic) -> Self {
        // Fails only once the stream has ended, which the first write reports.
        let _ = stream.set_priority(priority);
        Self { stream: Some(stream), finished: false, cut: false, traffic }
    }

    /// Waits while the peer does not read. Not cancel-safe: dropped half way, it cuts the stream, and
    /// every later send fails.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), SendError> {
        let bytes = framed(message, MESSAGE_BYTES_MAX)?;
        Ok(self.write(&bytes).await?)
    }

    fn stream(&mut self) -> &mut SendStream {
        self.stream.as_mut().expect(STREAM)
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        if std::mem::replace(&mut self.cut, true) {
            return Err(Lost::Stream("an earlier message was cut off half way; open another stream".to_owned()));
        }
        self.stream().write_all(bytes).await.map_err(write_lost)?;
        self.cut = false;
        self.traffic.count_sent(bytes.len());
        Ok(())
    }

    /// Bytes as they lie, after the messages: a clip's. Waits while the peer does not read. Cut as [`Tx::send`] is.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.write(bytes).await
    }

    /// The stream without its messages, for another protocol's bytes. Dropped, it is finished.
    pub fn into_io(mut self) -> SendStream {
        // The stream's own end is then its user's to say.
        self.finished = true;
        self.stream.take().expect(STREAM)
    }

    /// No more messages; the peer reads a clean end after the last. They still arrive after this is dropped.
    pub fn finish(&mut self) -> Result<(), Lost> {
        if self.cut {
            return Err(Lost::Stream("the last message was cut off half way".to_owned()));
        }
        self.finished = true;
        self.stream().finish().map_err(|e| Lost::Stream(e.to_string()))
    }

    /// After [`Tx::finish`]: waits until the peer's transport has everything.
    pub async fn delivered(&mut self) -> Result<(), Lost> {
        use quinn::StoppedError;
        match self.stream().stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(write_lost(quinn::WriteError::Stopped(code))),
            Err(StoppedError::ConnectionLost(e)) => Err(super::reason::connection_lost(&e)),
            Err(other) => Err(Lost::Stream(other.to_string())),
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.finished {
            // Fails when the stream has already ended, which is as good.
            let _ = self.stream().reset(CloseCode::GivenUp.on_wire());
        }
    }
}

/// A message with its length in front.
pub(super) fn framed<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, SendError> {
    // Most messages fit: one allocation.
    let mut bytes = Vec::with_capacity(FIRST_BYTES);
    bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    codec::encode_behind(message, &mut bytes);
    let body_bytes = bytes.len() - LENGTH_BYTES;
    if body_bytes > limit {
        return Err(SendError::TooLarge { bytes: body_bytes, limit });
    }
    let length = u32::try_from(body_bytes).expect("every limit is far below 4 GiB");
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// The reading half. Dropped, it tells the peer to stop sending.
pub struct Rx {
    stream: RecvStream,
    /// What has arrived of the next message, its length included.
    partial: Vec<u8>,
    traffic: Traffic,
}

impl Rx {
    pub(super) fn new(stream: RecvStream, traffic: Traffic) -> Self {
        Self { stream, partial: Vec::new(), traffic }
    }

    /// The next message; `None` when the peer has finished. Cancel-safe: what has arrived of a
    /// message stays here, so this may be one arm of a `select!`.
    pub async fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<T>, RecvError> {
        self.recv_within::<T, MESSAGE_BYTES_MAX>().await
    }

    pub(super) async fn recv_within<T, const LIMIT: usize>(&mut self) -> Result<Option<T>, RecvError>
    where
        T: DeserializeOwned,
    {
        loop {
            let missing = missing_bytes(&self.partial, LIMIT)?;
            if missing == 0 {
                break;
            }
            // Grows as bytes arrive: a length that promises more than is sent costs nothing.
            match self.stream.read_chunk(missing, true).await.map_err(read_lost)? {
                Some(chunk) => {
                    self.traffic.count_received(chunk.bytes.len());
                    self.partial.extend_from_slice(&chunk.bytes);
                }
                None if self.partial.is_empty() => return Ok(None),
                None => return Err(RecvError::Garbled("the stream ended inside a message".to_owned())),
            }
        }
        let bytes = std::mem::take(&mut self.partial);
        codec::decode::<T, LIMIT>(&bytes[LENGTH_BYTES..]).map(Some).map_err(|e| RecvError::Garbled(e.to_string()))
    }

    /// Up to `bytes_max` of what follows the messages, as they lie; `None` at the end. Cancel-safe.
    pub async fn recv_bytes(&mut self, bytes_max: usize) -> Result<Option<impl AsRef<[u8]> + use<>>, Lost> {
        self.read_raw(bytes_max).await
    }

    /// The stream without its messages, for another protocol's bytes.
    pub fn into_io(self) -> RecvStream {
        self.stream
    }

    /// Up to `bytes_max` of what follows the messages, as they lie; `None` at the end.
    pub(super) async fn read_raw(&mut self, bytes_max: usize) -> Result<Option<impl AsRef<[u8]> + use<>>, Lost> {
        let chunk = self.stream.read_chunk(bytes_max, true).await.map_err(read_lost)?;
        Ok(chunk.map(|chunk| {
            self.traffic.count_received(chunk.bytes.len());
            chunk.bytes
        }))
    }

    pub(super) fn stop(&mut self, code: CloseCode) {
        // Fails when the stream has already ended, which is as good.
        let _ = self.stream.stop(code.on_wire());
    }
}

/// How many bytes are still missing from the message that `partial` begins, as far as is known.
fn missing_bytes(partial: &[u8], limit: usize) -> Result<usize, RecvError> {
    let Some((length, body)) = partial.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(LENGTH_BYTES - partial.len());
    };
    let bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if bytes > limit {
        return Err(RecvError::Garbled(codec::CodecError::TooLarge { bytes, limit }.to_string()));
    }
    Ok(bytes - body.len())
}

/// A stream that a peer opened and has not yet named.
pub struct PendingStream {
    send: SendStream,
    rx: Rx,
}

impl PendingStream {
    pub(super) fn new(send: SendStream, recv: RecvStream) -> Self {
        // What it is for is in its first message.
        Self { send, rx: Rx::new(recv, Traffic::Calls) }
    }

    /// Reads what the stream is for, within [`OPEN_WITHIN`]. Ask [`crate::roles::check`] before anything else.
    pub async fn open(mut self) -> Result<(Open, Tx, Rx), StreamRefusal> {
        let first = tokio::time::timeout(OPEN_WITHIN, self.rx.recv_within::<Open, OPEN_BYTES_MAX>()).await;
        let why = match first {
            Ok(Ok(Some(open))) => {
                let tx = Tx::new(self.send, super::connection::stream_priority(&open), Traffic::of(&open));
                self.rx.traffic = Traffic::of(&open);
                return Ok((open, tx, self.rx));
            }
            Ok(Ok(None)) => StreamRefusal::Garbled("the peer opened a stream and ended it unnamed".to_owned()),
            Ok(Err(RecvError::Garbled(why))) => {
                StreamRefusal::Garbled(format!("the first message on a stream is unreadable: {why}"))
            }
            Ok(Err(RecvError::Lost(lost))) => StreamRefusal::Lost(lost),
            Err(_) => StreamRefusal::Silent,
        };
        let code = if why == StreamRefusal::Silent { CloseCode::TooSlow } else { CloseCode::Protocol };
        self.rx.stop(code);
        let _ = self.send.reset(code.on_wire());
        Err(why)
    }
}
