//! Health that means what it says: live, ready, and deep with every reason.
//!
//!   *live*: the event loop turns. *ready*: this node does its job. *deep*: each part, with its reason.
//!
//!   parts ──looked at when asked────────────▶ [health] ──▶ http, admin
//!   disks, stores ──looked at in the background─▶ └────▶ readiness (log, metric, systemd)

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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// A node is ready only if all its needed parts are well.
    pub needed: bool,
    pub text: String,
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

    pub fn checks(&self) -> Vec<Check> {
        self.parts().into_iter().map(Part::check).collect()
    }

    /// The looks that are due now; each ends when it has been looked.
    pub(crate) fn due(&self, now: Instant) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let parts = self.parts().into_iter().filter_map(|part| match part.look {
            Look::Apart(pulse) => Some(pulse),
            Look::AtOnce(_) => None,
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
    fn check(self) -> Check {
        let finding = match &self.look {
            Look::AtOnce(probe) => probe(),
            Look::Apart(pulse) => pulse.finding(Instant::now()),
        };
        let ok = finding.is_ok();
        let text = finding.unwrap_or_else(|reason| reason);
        Check { name: self.name, ok, needed: self.needed, text }
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
}
