//! Load: how busy a gpu node is, as it tells relays every second.

use super::pool::Pool;
use protocol::core::GpuNode;
use protocol::{Epoch, Identity, limits};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shorter spans say little about how busy somebody is.
const SPAN_MIN: Duration = Duration::from_millis(500);

pub struct LoadMeter {
    node: Identity,
    boot: Epoch,
    /// Where edges dial: `host:port`, or `:port` where whoever sees us knows the host.
    addr: String,
    pools: Vec<Pool>,
    last: Mutex<Last>,
}

struct Last {
    at: Instant,
    busy: Duration,
    load: f32,
}

impl LoadMeter {
    pub fn new(node: Identity, boot: Epoch, addr: String, pools: Vec<Pool>) -> Self {
        let last = Mutex::new(Last { at: Instant::now(), busy: Duration::ZERO, load: 0.0 });
        Self { node, boot, addr, pools, last }
    }

    pub fn read(&self) -> GpuNode {
        let ready = self.pools.iter().filter(|pool| pool.idle_reason().is_none());
        let models: Vec<String> = ready.map(|pool| limits::short_text(pool.model())).collect();
        let waiting = self.pools.iter().map(Pool::waiting).sum::<usize>();
        GpuNode {
            node: self.node.clone(),
            boot: self.boot,
            addr: self.addr.clone(),
            ready: !models.is_empty(),
            models,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            load: self.load(Instant::now()),
        }
    }

    /// Since it was asked last.
    fn load(&self, now: Instant) -> f32 {
        let busy = self.pools.iter().map(Pool::busy).sum::<Duration>();
        let workers = self.pools.iter().map(Pool::workers).sum::<usize>();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let span = now.saturating_duration_since(last.at);
        if span >= SPAN_MIN {
            *last = Last { at: now, busy, load: share(busy.saturating_sub(last.busy), span, workers) };
        }
        last.load
    }
}

/// A batch counts when it ends, so that one which is longer than the span counts for more than the span.
fn share(busy: Duration, span: Duration, workers: usize) -> f32 {
    (busy.as_secs_f32() / (span.as_secs_f32() * workers.max(1) as f32)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::batcher::{BatcherSettings, PER_CAMERA_FRAMES_MAX};
    use std::num::NonZeroUsize;

    #[test]
    fn a_node_is_ready_with_one_worker_and_as_busy_as_its_workers_are() {
        let settings = BatcherSettings {
            batch_max: NonZeroUsize::MIN,
            wait_max: Duration::ZERO,
            queue_frames_max: NonZeroUsize::MIN,
            per_camera_max: PER_CAMERA_FRAMES_MAX,
        };
        let pools = ["cars", "people"].map(|model| Pool::new(model.to_owned(), settings.clone()));
        let node = "main/gpu/engine".parse().expect("an identity");
        let meter = LoadMeter::new(node, Epoch(1), ":7444".to_owned(), pools.to_vec());
        assert!(!meter.read().ready);
        let _workers = (pools[1].ready(), pools[1].ready());
        let began = meter.last.lock().expect("nobody panics").at;
        assert_eq!((meter.read().ready, meter.read().models), (true, vec!["people".to_owned()]));
        pools[1].judged_for(Duration::from_secs(1));
        assert_eq!(meter.load(began + Duration::from_secs(2)), 0.25, "1 s of judging by two workers in 2 s");
        assert_eq!(meter.load(began + Duration::from_secs(3)), 0.0);
        pools[1].judged_for(Duration::from_secs(60));
        assert_eq!(meter.load(began + Duration::from_secs(4)), 1.0);
    }
}
