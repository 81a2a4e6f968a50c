//! Pulse: what the watchdog sees of one incarnation, and how it is reached from outside.

use crate::Failure;
use crate::history::History;
use crate::roll::Gauge;
use crate::steer::{Fault, Reins};
use crate::supervisor::Order;
use futures_util::task::AtomicWaker;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long an actor may be silent, and what it costs if its thread is blocked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Busy with one message, or silent.
    pub within: Duration,
    /// In its own code, without giving the thread back.
    pub turn_within: Duration,
    pub holds_store: bool,
}

/// Where in its life it is, as far as blame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A start has a limit of its own, the supervisor's.
    Starts,
    Ready,
    /// It is down or going down: it takes no messages and is not to be blamed for that.
    Leaves,
}

pub(crate) struct Pulse {
    pub path: Arc<str>,
    pub class: &'static str,
    pub terms: Terms,
    /// Whom a hang is told.
    pub reins: Reins,
    pub generation: u64,
    pub history: History,
    /// Odd while a message is handled.
    pub handling: AtomicU64,
    /// What waits for it, and what it has taken.
    gauge: Gauge,
    /// A [`Stage`].
    stage: AtomicU8,
    /// A hang was found; it is told once.
    pub found: AtomicBool,
    /// Its supervisor has heard of it.
    pub heard: AtomicBool,
    /// Cancelled when a successor takes over while a thread is still blocked in this one's code.
    pub fence: CancellationToken,
    service: ServicePulse,
}

/// Of a service: the watchdog's questions, and faults to be injected.
#[derive(Default)]
struct ServicePulse {
    runs: AtomicBool,
    asked: AtomicU64,
    answered: AtomicU64,
    bell: Notify,
    /// 0, or 1 + the index of the fault.
    fault: AtomicU8,
    waker: AtomicWaker,
}

/// An injected block ends some time after the actor was fenced, so that a drill does not cost a thread for ever.
const BLOCK_MAX: Duration = Duration::from_secs(60);
/// What comes back then finds a successor at work, as one that was really blocked would.
const BLOCK_AFTER_FENCE: Duration = Duration::from_secs(2);

impl Pulse {
    pub fn new(
        path: &str,
        class: &'static str,
        terms: Terms,
        reins: Reins,
        generation: u64,
        history: History,
        gauge: Gauge,
    ) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            class,
            terms,
            reins,
            generation,
            history,
            handling: AtomicU64::new(0),
            gauge,
            stage: AtomicU8::new(Stage::Starts as u8),
            found: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            fence: CancellationToken::new(),
            service: ServicePulse::default(),
        })
    }

    pub fn is_ready(&self) -> bool {
        self.stage.load(Ordering::Acquire) == Stage::Ready as u8
    }

    /// It has started.
    pub fn has_started(&self) {
        self.stage.store(Stage::Ready as u8, Ordering::Release);
    }

    /// It is no more, or is told to go.
    pub fn leaves(&self) {
        self.stage.store(Stage::Leaves as u8, Ordering::Release);
    }

    /// Whether a thread that stays in its code is a hang. A store's file may be half-way through a write also on the
    /// way out; whatever else is on the way out is given up by its supervisor.
    pub fn is_blamed_for_its_thread(&self) -> bool {
        let leaves = self.stage.load(Ordering::Acquire) == Stage::Leaves as u8;
        self.is_ready() || (leaves && self.terms.holds_store)
    }

    /// One message is being handled until the guard is dropped.
    pub fn handling(&self) -> Handling<'_> {
        self.handling.fetch_add(1, Ordering::Release);
        Handling(self)
    }

    /// How many messages it has taken, if others wait and it is not at work on one.
    pub fn leaves_waiting(&self) -> Option<u64> {
        let idle = self.is_ready() && self.handling.load(Ordering::Acquire).is_multiple_of(2);
        let load = idle.then(|| (self.gauge)())?;
        (load.depth > 0).then_some(load.handled)
    }

    /// Asks a service, if it is time to; the number of the question if an earlier one has no answer yet.
    pub fn ring(&self, is_time: bool) -> Option<u64> {
        if !self.service.runs.load(Ordering::Acquire) || !self.is_ready() {
            return None;
        }
        let asked = self.service.asked.load(Ordering::Relaxed);
        if self.service.answered.load(Ordering::Acquire) < asked {
            return Some(asked);
        }
        if !is_time {
            return None;
        }
        self.service.asked.store(asked + 1, Ordering::Release);
        self.service.bell.notify_one();
        None
    }

    /// Returns when the watchdog asks; to return is to answer. Safe to drop half-way.
    pub async fn asked(&self) {
        loop {
            let asked = self.service.asked.load(Ordering::Acquire);
            if self.service.answered.swap(asked, Ordering::AcqRel) < asked {
                return;
            }
            self.service.bell.notified().await;
        }
    }

    pub fn is_service(&self) -> bool {
        self.service.runs.load(Ordering::Acquire)
    }

    pub fn report(self: &Arc<Self>, failure: Failure, blocks: bool) {
        let order = Order::Hung { pulse: self.clone(), failure, blocks };
        if self.reins.supervisor.send_message(order).is_err() {
            // The supervisor ends, and its children with it.
            self.heard.store(true, Ordering::Release);
        }
    }

    /// Has a service's body commit `fault` at its next turn.
    pub fn inject(&self, fault: Fault) {
        self.service.fault.store(1 + fault as u8, Ordering::Release);
        self.service.waker.wake();
    }

    /// Runs a service's body, and the faults that are injected into it.
    pub async fn run_body(self: Arc<Self>, body: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        self.service.runs.store(true, Ordering::Release);
        let _ends = Ends(&self);
        let mut body = pin!(body);
        poll_fn(|cx| {
            self.service.waker.register(cx.waker());
            match self.fault() {
                None => body.as_mut().poll(cx),
                Some(Fault::Hang) => Poll::Pending,
                Some(fault) => {
                    self.service.fault.store(0, Ordering::Release);
                    match self.commit(fault) {
                        Ok(()) => body.as_mut().poll(cx),
                        Err(failure) => Poll::Ready(Err(failure)),
                    }
                }
            }
        })
        .await
    }

    fn fault(&self) -> Option<Fault> {
        let number = self.service.fault.load(Ordering::Acquire).checked_sub(1)?;
        Fault::ALL.into_iter().find(|fault| *fault as u8 == number)
    }

    /// Every fault but a wait, which is the caller's.
    pub fn commit(&self, fault: Fault) -> Result<(), Failure> {
        match fault {
            Fault::Panic => panic!("injected"),
            Fault::Error => Err(Failure::error("injected")),
            Fault::Hang => Ok(()),
            Fault::Block => {
                let until = Instant::now() + BLOCK_MAX;
                while !self.fence.is_cancelled() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(50));
                }
                std::thread::sleep(BLOCK_AFTER_FENCE);
                Ok(())
            }
        }
    }
}

/// A body that has ended answers no more, and need not.
struct Ends<'a>(&'a Pulse);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.service.runs.store(false, Ordering::Release);
    }
}

pub(crate) struct Handling<'a>(&'a Pulse);

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.0.handling.fetch_add(1, Ordering::Release);
    }
}
