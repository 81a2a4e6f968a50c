//! Batcher: which waiting frames go to the model next. Pure: time is handed in.
//!
//!   offer ──▶ lanes, one a (priority, camera) ──take──▶ batch | expired
//!     └──▶ given back: shed | expired
//!
//! Order: edges take turns; within an edge the highest priority first; within it cameras take turns; within
//! a camera the oldest first. An edge names its priorities and its cameras, so neither counts against others.
//! Every payload offered comes out exactly once, by one of these ways or by `cancel`.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use protocol::Priority;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

/// What a camera may have waiting unless said otherwise: one that is next, and a newer one.
pub const PER_CAMERA_FRAMES_MAX: usize = 2;

#[derive(Debug, Clone)]
pub struct BatcherSettings {
    /// A batch holds no more. As soon as so many wait, it leaves.
    pub batch_max: NonZeroUsize,
    /// How long the oldest frame waits for others. Zero: whatever is there leaves.
    pub wait_max: Duration,
    /// Frames waiting in all. When full, the edge with most of them sheds the oldest of its lowest priority,
    /// where most wait.
    pub queue_frames_max: NonZeroUsize,
    /// Frames waiting from one camera, at least 1. When full, the camera's oldest is shed: newest wins.
    pub per_camera_max: usize,
}

/// A camera, and the edge that sends for it.
pub trait OfEdge: Ord + Clone {
    type Edge: Ord;
    fn edge(&self) -> &Self::Edge;
}

/// A frame to be judged. Times are since any fixed moment, the same for all calls.
#[derive(Debug, Clone)]
pub struct Request<K, T> {
    /// Whose turn it is; unique among all edges.
    pub camera: K,
    pub priority: Priority,
    /// From this time on an answer is of no use.
    pub deadline: Duration,
    pub payload: T,
}

/// A payload that will not be judged, and why.
pub type Given<T> = (T, Why);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Given up for another, or refused because all that wait are more urgent.
    Shed,
    /// Its deadline has passed.
    Expired,
}

#[derive(Debug, PartialEq)]
pub struct Taken<T> {
    pub batch: Vec<T>,
    pub expired: Vec<T>,
    /// When to take again even if nothing is offered until then; `None` if nothing waits.
    pub wake_at: Option<Duration>,
}

/// Lanes kept in memory while nothing waits in them. When full, empty ones go: such a camera then lines up
/// like a new one.
const LANES_MAX: usize = 1024;

pub struct Batcher<K, T> {
    settings: BatcherSettings,
    /// An empty lane stays, so that its camera cannot jump the line by being forgotten.
    lanes: BTreeMap<(Priority, K), Lane<T>>,
    waiting: usize,
    /// Counts offers: the age of frames that came at the same time.
    offers: u64,
    /// Counts turns: who had one longest ago is next.
    turns: u64,
}

/// One camera's frames of one priority, oldest first.
struct Lane<T> {
    /// When it was last served, or made.
    turn: u64,
    frames: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    offer: u64,
    /// When it leaves although the batch is not full.
    due: Duration,
    deadline: Duration,
    payload: T,
}

impl<T> Lane<T> {
    fn oldest(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.offer)
    }
}

impl<K: OfEdge, T> Batcher<K, T> {
    pub fn new(settings: BatcherSettings) -> Self {
        Self { settings, lanes: BTreeMap::new(), waiting: 0, offers: 0, turns: 0 }
    }

    /// Frames waiting.
    pub fn len(&self) -> usize {
        self.waiting
    }

    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Queues a frame, and gives back whichever frames had to go for it, maybe itself.
    pub fn offer(&mut self, now: Duration, request: Request<K, T>) -> Vec<Given<T>> {
        if request.deadline <= now {
            return vec![(request.payload, Why::Expired)];
        }
        let camera = request.camera.clone();
        self.push(now, request);
        let mut given = Vec::new();
        while self.waiting_of(&camera) > self.settings.per_camera_max.max(1) {
            let lane = self.oldest_lane_of(&camera);
            given.extend(lane.and_then(|lane| self.give_up(now, &lane)));
        }
        if self.waiting > self.settings.queue_frames_max.get() {
            given.extend(self.expire(now).into_iter().map(|payload| (payload, Why::Expired)));
        }
        if self.waiting > self.settings.queue_frames_max.get() {
            given.extend(self.lane_to_shed().and_then(|lane| self.give_up(now, &lane)));
        }
        given
    }

    /// The next batch, if it is time for one, and whatever waited past its deadline.
    pub fn take(&mut self, now: Duration) -> Taken<T> {
        let expired = self.expire(now);
        let batch_max = self.settings.batch_max.get();
        let is_due = self.due_next().is_some_and(|due| due <= now);
        let mut batch = Vec::new();
        if is_due || self.waiting >= batch_max {
            while batch.len() < batch_max
                && let Some(lane) = self.lane_next()
            {
                batch.extend(self.pop(&lane).map(|frame| frame.payload));
                self.end_turn(&lane);
            }
        }
        let wake_at = if self.waiting >= batch_max { Some(now) } else { self.due_next() };
        Taken { batch, expired, wake_at }
    }

    /// Removes what waited past its deadline. `take` does so too; this is for while no worker is free.
    pub fn expire(&mut self, now: Duration) -> Vec<T> {
        self.remove(|frame| frame.deadline <= now)
    }

    /// Removes what is of no use to anybody: its asker is gone.
    pub fn cancel(&mut self, mut pred: impl FnMut(&T) -> bool) -> Vec<T> {
        self.remove(|frame| pred(&frame.payload))
    }

    fn push(&mut self, now: Duration, request: Request<K, T>) {
        // A frame waits for company for half of the time that it has left, at most: no batch is worth
        // the frames that it was to hold.
        let patience = self.settings.wait_max.min((request.deadline - now) / 2);
        let (deadline, payload) = (request.deadline, request.payload);
        let frame = Waiting { offer: self.offers, due: now + patience, deadline, payload };
        self.offers += 1;
        self.waiting += 1;
        if self.lanes.len() >= LANES_MAX {
            self.lanes.retain(|_, lane| !lane.frames.is_empty());
        }
        // A new camera lines up behind those that are there.
        let turns = &mut self.turns;
        let lane = self.lanes.entry((request.priority, request.camera)).or_insert_with(|| {
            *turns += 1;
            Lane { turn: *turns, frames: VecDeque::new() }
        });
        lane.frames.push_back(frame);
    }

    /// The lane's oldest frame.
    fn pop(&mut self, key: &(Priority, K)) -> Option<Waiting<T>> {
        let frame = self.lanes.get_mut(key)?.frames.pop_front()?;
        self.waiting -= 1;
        Some(frame)
    }

    fn give_up(&mut self, now: Duration, key: &(Priority, K)) -> Option<Given<T>> {
        let frame = self.pop(key)?;
        Some((frame.payload, if frame.deadline <= now { Why::Expired } else { Why::Shed }))
    }

    fn end_turn(&mut self, key: &(Priority, K)) {
        self.turns += 1;
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.turn = self.turns;
        }
    }

    /// The camera whose turn it is, of the highest priority of the edge whose turn it is.
    fn lane_next(&self) -> Option<(Priority, K)> {
        // An edge had its turn when the last of its lanes had; so a new camera is no way to jump the line.
        let mut turns: BTreeMap<&K::Edge, u64> = BTreeMap::new();
        for ((_, camera), lane) in &self.lanes {
            let turn = turns.entry(camera.edge()).or_insert(0);
            *turn = lane.turn.max(*turn);
        }
        let (first, _) = self.busy().min_by_key(|((_, camera), _)| turns[camera.edge()])?;
        let edge = first.1.edge();
        let own = || self.busy().filter(|((_, camera), _)| camera.edge() == edge);
        let highest = own().next_back()?.0.0;
        let equals = own().filter(|((priority, _), _)| *priority == highest);
        equals.min_by_key(|(_, lane)| lane.turn).map(|(key, _)| key.clone())
    }

    /// Whose oldest frame goes from a full queue. The new frame is in it and counts, so that who sends too
    /// much pays for it: first the edge, then the camera; among equals, whoever is last in line.
    fn lane_to_shed(&self) -> Option<(Priority, K)> {
        let (mut of_edge, mut of_camera) = (BTreeMap::new(), BTreeMap::new());
        for ((_, camera), lane) in self.busy() {
            *of_edge.entry(camera.edge()).or_insert(0) += lane.frames.len();
            *of_camera.entry(camera).or_insert(0) += lane.frames.len();
        }
        let most = of_edge.values().copied().max()?;
        let heavy = || self.busy().filter(|((_, camera), _)| of_edge[camera.edge()] == most);
        let lowest = heavy().next()?.0.0;
        let equals = heavy().filter(|((priority, _), _)| *priority == lowest);
        let last = equals.max_by_key(|((_, camera), lane)| (of_camera[camera], lane.turn));
        last.map(|(key, _)| key.clone())
    }

    fn oldest_lane_of(&self, camera: &K) -> Option<(Priority, K)> {
        let own = self.busy().filter(|((_, other), _)| other == camera);
        own.min_by_key(|(_, lane)| lane.oldest()).map(|(key, _)| key.clone())
    }

    fn waiting_of(&self, camera: &K) -> usize {
        self.busy().filter(|((_, other), _)| other == camera).map(|(_, lane)| lane.frames.len()).sum()
    }

    fn due_next(&self) -> Option<Duration> {
        self.busy().flat_map(|(_, lane)| &lane.frames).map(|frame| frame.due).min()
    }

    /// The lanes in which something waits, lowest priority first.
    fn busy(&self) -> impl DoubleEndedIterator<Item = (&(Priority, K), &Lane<T>)> {
        self.lanes.iter().filter(|(_, lane)| !lane.frames.is_empty())
    }

    fn remove(&mut self, mut goes: impl FnMut(&Waiting<T>) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for lane in self.lanes.values_mut() {
            for frame in std::mem::take(&mut lane.frames) {
                if goes(&frame) {
                    removed.push(frame.payload);
                } else {
                    lane.frames.push_back(frame);
                }
            }
        }
        self.waiting -= removed.len();
        removed
    }
}
