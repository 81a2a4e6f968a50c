//! Health that means what it says: live, ready, and deep with every reason.
//!
//!   *live*: the event loop turns. *ready*: this node does its job. *deep*: each part, with its reason.
//!
//!   parts ──looked at when asked────────────▶ [health] ──▶ http, admin
//!   disks, stores ──looked at in the background─▶ └────▶ readiness (log, systemd)

pub mod disk;
mod pulse;

use futures_util::future::BoxFuture;
use pulse::Pulse;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// `Ok` with what there is to say, or `Err` with the reason.
pub type Finding = Result<String, String>;
type Probe = Arc<dyn Fn() -> Finding + Send + Sync>;
type ProbeEach = Arc<dyn Fn() -> Vec<(String, Finding)> + Send + Sync>;

/// What is looked at when somebody asks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Part>>>);

#[derive(Clone)]
struct Part {
    name: String,
    needed: bool,
    look: Look,
}

#[derive(Clone)]
enum Look {
    /// Never waits.
    AtOnce(Probe),
    /// Waits for a disk or an actor: the health actor looks, others read what it found.
    Apart(Arc<Pulse>),
    /// Of nodes that come and go, each by its name.
    Nodes(ProbeEach),
    /// Of parts of this node that come and go.
    Each(ProbeEach),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// A node is ready only if all its needed parts are well.
    pub needed: bool,
    pub text: String,
    /// Another node, which tells of itself: whoever may see this one may not see each of those.
    #[serde(skip)]
    pub is_a_node: bool,
}

impl Check {
    pub fn line(&self) -> String {
        format!("{}: {}", self.name, self.text)
    }
}

impl Health {
    /// A part without which the node does not do its job.
    pub fn needs(&self, name: impl Into<String>, probe: impl Fn() -> Finding + Send + Sync + 'static) {
        self.add(Part { name: name.into(), needed: true, look: Look::AtOnce(Arc::new(probe)) });
    }

    /// As [`Self::needs`], where looking waits: `probe` is run by the health actor, again and again. One that
    /// does not return is a part that is not well.
    pub fn needs_apart(
        &self,
        name: impl Into<String>,
        probe: impl Fn() -> BoxFuture<'static, Finding> + Send + Sync + 'static,
    ) {
        self.add(Part { name: name.into(), needed: true, look: Look::Apart(Arc::new(Pulse::new(probe))) });
    }

    /// As [`Self::shows`], where looking waits.
    pub fn shows_apart(
        &self,
        name: impl Into<String>,
        probe: impl Fn() -> BoxFuture<'static, Finding> + Send + Sync + 'static,
    ) {
        self.add(Part { name: name.into(), needed: false, look: Look::Apart(Arc::new(Pulse::new(probe))) });
    }

    /// A part whose failure is worth knowing, while the node still does its job.
    pub fn shows(&self, name: impl Into<String>, probe: impl Fn() -> Finding + Send + Sync + 'static) {
        self.add(Part { name: name.into(), needed: false, look: Look::AtOnce(Arc::new(probe)) });
    }

    /// As [`Self::shows`], of the nodes that are known at the moment. Never waits.
    pub fn shows_nodes(&self, probe: impl Fn() -> Vec<(String, Finding)> + Send + Sync + 'static) {
        self.add(Part { name: String::new(), needed: false, look: Look::Nodes(Arc::new(probe)) });
    }

    /// As [`Self::shows`], of the parts that there are at the moment. Never waits.
    pub fn shows_each(&self, probe: impl Fn() -> Vec<(String, Finding)> + Send + Sync + 'static) {
        self.add(Part { name: String::new(), needed: false, look: Look::Each(Arc::new(probe)) });
    }

    pub fn checks(&self) -> Vec<Check> {
        self.parts().into_iter().flat_map(Part::checks).collect()
    }

    /// Only what the node needs to do its job: a relay knows two thousand nodes, and asks this five times a second.
    pub fn needed(&self) -> Vec<Check> {
        self.parts().into_iter().filter(|part| part.needed).flat_map(Part::checks).collect()
    }

    /// As a metric, when it is read: a health actor that is stuck or parked cannot say that the node is not ready.
    pub fn show(&self) {
        metrics::gauge!("watchtree_node_ready").set(f64::from(u8::from(ready(&self.needed()))));
    }

    /// The looks that are due now; each ends when it has been looked.
    pub(crate) fn due(&self, now: Instant) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let parts = self.parts().into_iter().filter_map(|part| match part.look {
            Look::Apart(pulse) => Some(pulse),
            Look::AtOnce(_) | Look::Nodes(_) | Look::Each(_) => None,
        });
        parts.filter(|pulse| pulse.is_due(now)).map(Pulse::look).collect()
    }

    fn parts(&self) -> Vec<Part> {
        // Probes run without the lock: one of them may look at health itself one day.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, part: Part) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }
}

/// A node does its job if everything it needs is well.
pub fn ready(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok || !check.needed)
}

impl Part {
    fn checks(self) -> Vec<Check> {
        let Self { name, needed, look } = self;
        let is_a_node = matches!(look, Look::Nodes(_));
        let found = match look {
            Look::AtOnce(probe) => vec![(name, probe())],
            Look::Apart(pulse) => vec![(name, pulse.finding(Instant::now()))],
            Look::Nodes(probe) | Look::Each(probe) => probe(),
        };
        let check = |(name, finding): (String, Finding)| {
            let ok = finding.is_ok();
            Check { name, ok, needed, text: finding.unwrap_or_else(|reason| reason), is_a_node }
        };
        found.into_iter().map(check).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_only_if_what_it_needs_is_well() {
        let health = Health::default();
        health.shows("gpu", || Err("no link".to_owned()));
        assert!(ready(&health.checks()));
        health.needs("outbox", || Err("disk full".to_owned()));
        assert!(!ready(&health.checks()));
        assert_eq!(health.checks()[1].line(), "outbox: disk full");
    }

    #[test]
    fn nodes_that_come_and_go_are_shown_one_by_one_and_not_needed() {
        let health = Health::default();
        let peers = Arc::new(Mutex::new(vec![("peer yard".to_owned(), Ok("linked".to_owned()))]));
        let shown = peers.clone();
        health.shows_nodes(move || shown.lock().expect("nobody panics").clone());
        assert_eq!(health.checks().iter().map(Check::line).collect::<Vec<_>>(), ["peer yard: linked"]);
        peers.lock().expect("nobody panics").push(("peer barn".to_owned(), Err("is gone".to_owned())));
        let checks = health.checks();
        assert_eq!((checks.len(), checks[1].ok, ready(&checks)), (2, false, true));
    }
}
