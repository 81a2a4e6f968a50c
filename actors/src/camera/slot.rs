//! Frames of a camera on their way to who looks at them.
//!
//!   session ──▶ [replayed ones, in order ▸ the newest] ──▶ watch
//!
//! What comes live never waits in a queue: a newer frame replaces an older one. What a port that was woken decodes late
//! is kept in order, and read first.

use protocol::camera::Frame;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Replayed frames that wait: those of 12 s at five a second. When full, the oldest makes room.
const REPLAYED_MAX: usize = 64;

/// Their pixels together: some 40 frames of 960x540. When full, the oldest makes room.
const REPLAYED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Written by the session, read by the watch. Cheap to clone.
#[derive(Clone, Default)]
pub struct Slot(Arc<Shared>);

#[derive(Default)]
struct Shared {
    frames: Mutex<Frames>,
    arrived: Notify,
}

#[derive(Default)]
struct Frames {
    replayed: VecDeque<Arc<Frame>>,
    replayed_bytes: usize,
    newest: Option<Arc<Frame>>,
}

/// Frames that nobody had looked at, and nobody will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// A newer one came.
    pub superseded: u32,
    /// There were too many replayed ones.
    pub replayed: u32,
}

impl Slot {
    pub fn put(&self, frame: Frame) -> Lost {
        let lost = self.0.frames.lock().unwrap_or_else(PoisonError::into_inner).put(Arc::new(frame));
        self.0.arrived.notify_one();
        lost
    }

    /// Waits for a frame newer than the last one taken. One reader at a time.
    pub async fn next(&self) -> Arc<Frame> {
        loop {
            if let Some(frame) = self.0.frames.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return frame;
            }
            self.0.arrived.notified().await;
        }
    }
}

impl Frames {
    fn put(&mut self, frame: Arc<Frame>) -> Lost {
        let mut lost = Lost::default();
        if !frame.replayed {
            lost.superseded = u32::from(self.newest.replace(frame).is_some());
            return lost;
        }
        self.replayed_bytes += frame.pixels.0.len();
        self.replayed.push_back(frame);
        while self.replayed.len() > REPLAYED_MAX || self.replayed_bytes > REPLAYED_BYTES_MAX {
            if self.take_replayed().is_none() {
                break;
            }
            lost.replayed += 1;
        }
        lost
    }

    fn take(&mut self) -> Option<Arc<Frame>> {
        self.take_replayed().or_else(|| self.newest.take())
    }

    fn take_replayed(&mut self) -> Option<Arc<Frame>> {
        let frame = self.replayed.pop_front()?;
        self.replayed_bytes -= frame.pixels.0.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::codec::Blob;

    fn frame(index: u64) -> Frame {
        Frame { index, pts_us: 0, captured_us: 0, replayed: false, width: 2, height: 2, pixels: Default::default() }
    }

    fn replayed(index: u64, bytes: usize) -> Frame {
        Frame { replayed: true, pixels: Blob(vec![0; bytes]), ..frame(index) }
    }

    /// The numbers of all frames that are read.
    fn read(slot: &Slot) -> Vec<u64> {
        let mut frames = slot.0.frames.lock().expect("nobody panicked");
        std::iter::from_fn(|| frames.take()).map(|frame| frame.index).collect()
    }

    #[tokio::test]
    async fn a_slow_reader_sees_the_newest_frame_only() {
        let slot = Slot::default();
        assert_eq!([slot.put(frame(1)), slot.put(frame(2))].map(|lost| lost.superseded), [0, 1]);
        assert_eq!(slot.next().await.index, 2);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let slot = Slot::default();
        let reader = tokio::spawn({
            let slot = slot.clone();
            async move { slot.next().await.index }
        });
        slot.put(frame(7));
        assert_eq!(reader.await.ok(), Some(7));
    }

    #[test]
    fn replayed_frames_are_all_read_and_before_the_newest() {
        let slot = Slot::default();
        for index in 1..=3 {
            assert_eq!(slot.put(replayed(index, 6)), Lost::default());
        }
        slot.put(frame(4));
        assert_eq!(slot.put(frame(5)), Lost { superseded: 1, replayed: 0 });
        assert_eq!(read(&slot), [1, 2, 3, 5]);
    }

    #[test]
    fn too_many_replayed_frames_drop_the_oldest() {
        let slot = Slot::default();
        let lost: u32 = (0..70).map(|index| slot.put(replayed(index, 6)).replayed).sum();
        assert_eq!(lost, 6);
        assert_eq!(read(&slot), (6..70).collect::<Vec<_>>());
        for index in 0..5 {
            slot.put(replayed(index, 10 * 1024 * 1024));
        }
        assert_eq!(read(&slot), [2, 3, 4], "32 MiB at most");
        assert_eq!(slot.put(replayed(9, 40 * 1024 * 1024)).replayed, 1, "one that is too large alone");
        assert_eq!(slot.0.frames.lock().expect("nobody panicked").replayed_bytes, 0);
    }
}
