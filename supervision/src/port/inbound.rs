//! What comes from a port: bytes in, whole frames out.
//!
//! Small frames are read many at a time; the payload of a large one is read straight into its place.

use super::wire::{self, HEAD_BYTES, Kind};
use std::collections::VecDeque;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

/// Read ahead at most; a payload longer than this is not copied again.
const READ_AHEAD_BYTES: usize = 16 * 1024;

/// One frame.
pub(super) type Frame = (Kind, Vec<u8>);

/// Why there are no more frames.
#[derive(Debug)]
pub(super) enum End {
    /// The port closed its socket between two frames.
    Closed,
    /// The port is gone in the middle of a frame, or the socket failed.
    Cut,
    /// This is not our protocol.
    Refused(String),
}

pub(super) struct Inbound<R> {
    from: BufReader<R>,
    payload_bytes_max: usize,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// The frame whose head is here, as far as it has come.
    begun: Option<Frame>,
    /// So much of it is to come.
    due_bytes: usize,
    /// Frames that came while a message was being sent: at most one message over the longest. When full,
    /// the port waits; if it reads nothing meanwhile, the send ends as a hang.
    early: VecDeque<Frame>,
    early_bytes: usize,
}

impl<R: AsyncRead + Unpin> Inbound<R> {
    pub fn new(from: R, payload_bytes_max: usize) -> Self {
        Self {
            from: BufReader::with_capacity(READ_AHEAD_BYTES, from),
            payload_bytes_max,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            begun: None,
            due_bytes: 0,
            early: VecDeque::new(),
            early_bytes: 0,
        }
    }

    /// One read: a whole frame, or `None` for a piece of one. Safe to drop half-way.
    pub async fn step(&mut self) -> Result<Option<Frame>, End> {
        if let Some(frame) = self.early.pop_front() {
            self.early_bytes -= frame_bytes(&frame);
            return Ok(Some(frame));
        }
        self.read_step().await
    }

    async fn read_step(&mut self) -> Result<Option<Frame>, End> {
        let Some((kind, payload)) = &mut self.begun else { return self.read_head().await };
        // Not filled with zeros first: a picture is large.
        let read = (&mut self.from).take(self.due_bytes as u64).read_buf(payload).await;
        match read {
            Ok(0) | Err(_) => return Err(End::Cut),
            Ok(count) => self.due_bytes -= count,
        }
        if self.due_bytes > 0 {
            return Ok(None);
        }
        let frame = (*kind, std::mem::take(payload));
        self.begun = None;
        Ok(Some(frame))
    }

    async fn read_head(&mut self) -> Result<Option<Frame>, End> {
        if self.head_bytes < HEAD_BYTES {
            let read: io::Result<usize> = self.from.read(&mut self.head[self.head_bytes..]).await;
            match read {
                Ok(0) if self.head_bytes == 0 => return Err(End::Closed),
                Ok(0) | Err(_) => return Err(End::Cut),
                Ok(count) => self.head_bytes += count,
            }
        }
        if self.head_bytes < HEAD_BYTES {
            return Ok(None);
        }
        // A head that is refused stays, and is refused again.
        let (kind, length) = wire::parse_head(self.head, self.payload_bytes_max).map_err(End::Refused)?;
        (self.head_bytes, self.due_bytes) = (0, length);
        if length == 0 {
            return Ok(Some((kind, Vec::new())));
        }
        self.begun = Some((kind, Vec::with_capacity(length)));
        Ok(None)
    }

    /// Keeps listening while something else is done; returns when there is no more room or no more to hear.
    /// Safe to drop half-way.
    pub async fn listen_ahead(&mut self) -> Result<(), End> {
        while self.early_bytes <= self.payload_bytes_max {
            if let Some(frame) = self.read_step().await? {
                self.early_bytes += frame_bytes(&frame);
                self.early.push_back(frame);
            }
        }
        Ok(())
    }
}

/// An empty frame takes room too, or a flood of them would have no end.
fn frame_bytes(frame: &Frame) -> usize {
    std::mem::size_of::<Frame>() + frame.1.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let head = wire::head(Kind::Data, payload.len()).expect("a test payload is short");
        [&head[..], payload].concat()
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut_and_the_reader_is_dropped(
            sizes in proptest::collection::vec(0usize..40_000, 1..8),
            cuts in proptest::collection::vec(1usize..20_000, 1..8),
        ) {
            let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, &size)| vec![n as u8; size]).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|payload| frame(payload)).collect();
            let got = run(async move {
                let (mut ours, theirs) = tokio::io::duplex(8 * 1024);
                let write = async move {
                    let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
                    while !rest.is_empty() {
                        let count = rest.len().min(*cuts.next().expect("the cycle is endless"));
                        ours.write_all(&rest[..count]).await.expect("the reader reads");
                        tokio::task::yield_now().await;
                        rest = &rest[count..];
                    }
                };
                let read = async {
                    let (mut inbound, mut got) = (Inbound::new(theirs, 40_000), Vec::new());
                    loop {
                        // Dropped half-way again and again.
                        match tokio::time::timeout(Duration::ZERO, inbound.step()).await {
                            Err(_) => tokio::task::yield_now().await,
                            Ok(Ok(frame)) => got.extend(frame.map(|frame| frame.1)),
                            Ok(Err(_)) => return got,
                        }
                    }
                };
                tokio::join!(write, read).1
            });
            prop_assert_eq!(got, sent);
        }
    }

    #[test]
    fn an_end_within_a_frame_is_told_from_an_end_between_two() {
        let end = |bytes: Vec<u8>| {
            run(async move {
                let mut inbound = Inbound::new(&bytes[..], 100);
                loop {
                    if let Err(end) = inbound.step().await {
                        return end;
                    }
                }
            })
        };
        assert!(matches!(end(frame(b"abc")), End::Closed));
        assert!(matches!(end(frame(b"abc")[..7].to_vec()), End::Cut));
        assert!(matches!(end(frame(b"abc")[..2].to_vec()), End::Cut));
        assert!(matches!(end(frame(&[0; 101])), End::Refused(_)));
    }
}
