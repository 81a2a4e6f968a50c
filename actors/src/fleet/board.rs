//! Board: how each node is, by what it said and when. Pure: time is told, nothing is asked.
//!
//!   link up, link gone, beat, telemetry, packets ──▶ [board] ──▶ states as they change, a minute's figures

use super::judge::{Case, Link, Why, judge};
use super::point::Point;
use protocol::admin::{HealthState, NodeHealth};
use protocol::telemetry::{Beat, Telemetry};
use protocol::{Epoch, Identity, Timestamp, limits};
use std::collections::BTreeMap;
use std::time::Duration;

/// Nodes remembered, as many as peers are; beyond it the one that has been down for longest is forgotten.
pub const NODES_MAX: usize = 2000;
/// Connections of one node at once, overlapping ones included: the gateway's doors let no more in.
const LINKS_MAX: usize = 8;
/// What is told of a link's end, in characters.
const ENDED_CHARS_MAX: usize = 120;

/// One moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the board was made. Decides what is late.
    pub mono: Duration,
    /// Shown to people, and held against the clocks of others.
    pub wall: Timestamp,
}

/// A node's state has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub node: Identity,
    pub from: HealthState,
    pub to: HealthState,
    /// The most important reason; empty where it is healthy.
    pub why: String,
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    InGoodOrder,
    Lost(String),
}

/// What is known of one peer's process by its hello.
pub struct Hello {
    pub boot: Epoch,
    pub software: String,
    /// Beats and telemetry are to come.
    pub tells: bool,
}

pub struct Board {
    here: Identity,
    nodes: BTreeMap<Identity, Standing>,
}

/// One node.
struct Standing {
    software: String,
    boot: Epoch,
    tells: bool,
    /// Its connections, by the transport's number.
    links: Vec<usize>,
    ended: Ended,
    /// A beat or a message of it.
    heard: Duration,
    packets: u64,
    packets_at: Duration,
    beat: u64,
    ready: Option<bool>,
    rtt: Option<Duration>,
    skew: Skew,
    telemetry: Option<Box<Telemetry>>,
    told_at: Duration,
    state: HealthState,
    since: Timestamp,
    /// Of the minute under way.
    point: Point,
}

impl Board {
    /// Of the node `here`, which is on it from the start.
    pub fn new(here: Identity, software: &str, now: Now) -> Self {
        let mut standing = Standing::new(now);
        standing.software = software.to_owned();
        Self { nodes: BTreeMap::from([(here.clone(), standing)]), here }
    }

    /// A link of it came up, beside others of the same process or in the place of an earlier one's.
    pub fn arrive(&mut self, id: &Identity, link: usize, hello: Hello, now: Now) -> Option<Change> {
        if !self.nodes.contains_key(id) {
            self.make_room();
            self.nodes.insert(id.clone(), Standing::new(now));
        }
        let standing = self.nodes.get_mut(id)?;
        if standing.boot != hello.boot {
            standing.begins_anew();
        }
        standing.boot = hello.boot;
        standing.software = hello.software;
        standing.tells = hello.tells;
        if standing.links.len() < LINKS_MAX {
            standing.links.push(link);
        }
        (standing.heard, standing.packets_at, standing.told_at) = (now.mono, now.mono, now.mono);
        self.settle(id, now)
    }

    /// One of its links is gone; with the last, it is down.
    pub fn leave(&mut self, id: &Identity, link: usize, ended: Ended, now: Now) -> Option<Change> {
        let standing = self.nodes.get_mut(id)?;
        let before = standing.links.len();
        standing.links.retain(|known| *known != link);
        // Told twice of one link, the second time says nothing.
        if standing.links.len() == before {
            return None;
        }
        standing.ended = match ended {
            Ended::Lost(why) => Ended::Lost(limits::short(&why, ENDED_CHARS_MAX)),
            Ended::InGoodOrder => Ended::InGoodOrder,
        };
        self.settle(id, now)
    }

    pub fn beat(&mut self, id: &Identity, beat: Beat, now: Now) -> Option<Change> {
        let standing = self.nodes.get_mut(id)?;
        // A datagram may come late, from a process that is gone too.
        if standing.boot != beat.boot || beat.seq <= standing.beat {
            return None;
        }
        (standing.beat, standing.heard, standing.ready) = (beat.seq, now.mono, Some(beat.ready));
        self.settle(id, now)
    }

    /// `telemetry` is short. Newest wins.
    pub fn telemetry(&mut self, id: &Identity, telemetry: Box<Telemetry>, now: Now) -> Option<Change> {
        let standing = self.nodes.get_mut(id)?;
        if standing.boot != telemetry.boot {
            return None;
        }
        standing.take(telemetry, now);
        self.settle(id, now)
    }

    /// This node's own.
    pub fn own_telemetry(&mut self, telemetry: Box<Telemetry>, now: Now) -> Option<Change> {
        let here = self.here.clone();
        self.nodes.get_mut(&here)?.boot = telemetry.boot;
        self.telemetry(&here, telemetry, now)
    }

    /// What the transport counts of one of its links.
    pub fn look(&mut self, id: &Identity, packets: u64, rtt: Duration, now: Now) {
        let Some(standing) = self.nodes.get_mut(id) else { return };
        standing.rtt = Some(rtt);
        // Another connection counts from 0 again.
        if standing.packets != packets {
            (standing.packets, standing.packets_at) = (packets, now.mono);
        }
    }

    /// Judges all: silence is noticed by nobody else. `passed` is since the last sweep.
    pub fn sweep(&mut self, passed: Duration, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        for (id, standing) in &mut self.nodes {
            changes.extend(standing.settle(id, *id == self.here, now));
            standing.point.lived(standing.state, passed);
        }
        changes
    }

    /// The figures of the minute that ends now, of all nodes that have some; the next begins.
    pub fn minute(&mut self) -> Vec<(Identity, Point)> {
        let points = self.nodes.iter_mut().map(|(id, standing)| (id.clone(), std::mem::take(&mut standing.point)));
        points.filter(|(_, point)| !point.is_empty()).collect()
    }

    /// Of the minute under way.
    pub fn point(&self, id: &Identity) -> Option<&Point> {
        self.nodes.get(id).map(|standing| &standing.point)
    }

    /// At most `most` of the nodes after `after` that are `seen`, by their identities.
    pub fn page(
        &mut self,
        after: Option<&Identity>,
        most: usize,
        seen: impl Fn(&Identity) -> bool,
        now: Now,
    ) -> Vec<NodeHealth> {
        use std::ops::Bound::{Excluded, Unbounded};
        let here = &self.here;
        let rest = self.nodes.range((after.map_or(Unbounded, Excluded), Unbounded)).filter(|(id, _)| seen(id));
        rest.take(most).map(|(id, standing)| standing.health(id, id == here, now)).collect()
    }

    /// For sums: each node with its state and its newest telemetry.
    pub fn each(&self) -> impl Iterator<Item = (&Identity, HealthState, Option<&Telemetry>)> {
        self.nodes.iter().map(|(id, standing)| (id, standing.state, standing.telemetry.as_deref()))
    }

    /// The most that a clock of a node that is not down is off, either way.
    pub fn skew_ms_max(&self) -> u64 {
        let up = self.nodes.values().filter(|standing| standing.state != HealthState::Down);
        up.filter_map(|standing| standing.skew.ms()).map(i64::unsigned_abs).max().unwrap_or(0)
    }

    fn settle(&mut self, id: &Identity, now: Now) -> Option<Change> {
        let is_here = *id == self.here;
        self.nodes.get_mut(id)?.settle(id, is_here, now)
    }

    fn make_room(&mut self) {
        if self.nodes.len() >= NODES_MAX {
            let gone = self.nodes.iter().filter(|(id, standing)| standing.links.is_empty() && **id != self.here);
            let longest = gone.min_by_key(|(_, standing)| standing.heard).map(|(id, _)| id.clone());
            // Without one that is gone, there are as many links as the gateway lets in.
            longest.map(|id| self.nodes.remove(&id));
        }
    }
}

impl Standing {
    fn new(now: Now) -> Self {
        Self {
            software: String::new(),
            boot: Epoch(0),
            tells: false,
            links: Vec::new(),
            ended: Ended::Lost("it was never up".to_owned()),
            heard: now.mono,
            packets: 0,
            packets_at: now.mono,
            beat: 0,
            ready: None,
            rtt: None,
            skew: Skew::default(),
            telemetry: None,
            told_at: now.mono,
            state: HealthState::Healthy,
            since: now.wall,
            point: Point::default(),
        }
    }

    /// Another process: what the one before said of itself is no longer so.
    fn begins_anew(&mut self) {
        (self.beat, self.ready, self.skew, self.telemetry) = (0, None, Skew::default(), None);
    }

    fn take(&mut self, telemetry: Box<Telemetry>, now: Now) {
        (self.heard, self.told_at, self.ready) = (now.mono, now.mono, Some(telemetry.ready));
        let on_the_way = self.rtt.filter(|_| !self.links.is_empty()).unwrap_or_default() / 2;
        self.skew.told(telemetry.at, now.wall.minus(on_the_way));
        self.point.told(self.telemetry.as_deref(), &telemetry, self.rtt, self.skew.ms());
        self.telemetry = Some(telemetry);
    }

    fn verdict(&self, is_here: bool, now: Now) -> (HealthState, Vec<Why<'_>>) {
        let since = |then: Duration| now.mono.saturating_sub(then);
        let link = match &self.ended {
            _ if is_here => Link::Here,
            _ if !self.links.is_empty() && self.tells => Link::Tells,
            _ if !self.links.is_empty() => Link::Alone,
            Ended::InGoodOrder => Link::Stopped,
            Ended::Lost(why) => Link::Lost { why },
        };
        judge(&Case {
            link,
            silent: since(self.heard),
            packets_silent: since(self.packets_at),
            ready: self.ready,
            telemetry: self.telemetry.as_deref(),
            untold: since(self.told_at),
            skew_ms: self.skew.ms(),
            wall: now.wall,
        })
    }

    fn settle(&mut self, id: &Identity, is_here: bool, now: Now) -> Option<Change> {
        let (to, whys) = self.verdict(is_here, now);
        let why = whys.first().filter(|_| to != HealthState::Healthy && to != self.state).map(ToString::to_string);
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return None;
        }
        self.since = now.wall;
        Some(Change { node: id.clone(), from, to, why: why.unwrap_or_default() })
    }

    /// By what is so now, which the last sweep may not have seen.
    fn health(&self, id: &Identity, is_here: bool, now: Now) -> NodeHealth {
        let (state, whys) = self.verdict(is_here, now);
        let since = if state == self.state { self.since } else { now.wall };
        let rtt = self.rtt.filter(|_| !self.links.is_empty());
        let health = NodeHealth {
            node: id.clone(),
            state,
            since,
            reasons: whys.iter().map(ToString::to_string).collect(),
            software: self.software.clone(),
            rtt_us: rtt.map(|rtt| rtt.as_micros() as u64),
            clock_skew_ms: self.skew.ms().filter(|_| !is_here),
            telemetry: self.telemetry.clone(),
        };
        health.short()
    }
}

/// How far a node's wall clock is off, by its newest messages. One that was held up makes its clock look late, never
/// early: the latest of some is the nearest to the truth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Skew([Option<i64>; 3]);

impl Skew {
    fn told(&mut self, at: Timestamp, sent: Timestamp) {
        self.0.rotate_right(1);
        self.0[0] = Some(at.micros().saturating_sub(sent.micros()) / 1000);
    }

    fn ms(self) -> Option<i64> {
        self.0.into_iter().flatten().max()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
