//! The newest frame of a camera. Frames never wait in a queue: a newer one replaces an older one.

use protocol::camera::Frame;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Written by the session, read by the watch. Cheap to clone.
#[derive(Clone, Default)]
pub struct Slot(Arc<Shared>);

#[derive(Default)]
struct Shared {
    newest: Mutex<Option<Frame>>,
    arrived: Notify,
}

impl Slot {
    /// True if a frame that nobody had looked at was replaced.
    pub fn put(&self, frame: Frame) -> bool {
        let replaced = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).replace(frame);
        self.0.arrived.notify_one();
        replaced.is_some()
    }

    /// Waits for a frame newer than the last one taken. One reader at a time.
    pub async fn next(&self) -> Frame {
        loop {
            if let Some(frame) = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return frame;
            }
            self.0.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(index: u64) -> Frame {
        Frame { index, pts_us: 0, captured_us: 0, replayed: false, width: 2, height: 2, pixels: Default::default() }
    }

    #[tokio::test]
    async fn a_slow_reader_sees_the_newest_frame_only() {
        let slot = Slot::default();
        assert_eq!([slot.put(frame(1)), slot.put(frame(2))], [false, true]);
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
}
