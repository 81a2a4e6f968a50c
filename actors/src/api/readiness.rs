//! Readiness: evaluates this node's health all the time, and tells each change once.
//!
//!   health ──checks, five times a second──▶ [readiness] ──▶ log, systemd
//!
//! Stops when: it panics, or a probe that must not wait does.  On restart: evaluates at once, and tells systemd so.
//! systemd's watchdog hears from here alone: it is told that this node lives only by what has just looked.

use super::health::{Check, Health};
use super::sd_notify::Notify;
use std::time::{Duration, Instant};
use supervision::{Failure, ServiceCx};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

/// A change is told so much later at most. What is looked at costs microseconds.
pub const EVERY: Duration = Duration::from_millis(200);

/// The service.
pub async fn keep(health: Health, notify: Notify, cx: ServiceCx) -> Result<(), Failure> {
    let mut round = tokio::time::interval(EVERY);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looks, mut readiness) = (JoinSet::new(), Readiness::new(Instant::now()));
    // The first round is told at once: nobody knows when the incarnation before this one last did.
    let (mut alive_at, mut looked) = (None::<Instant>, false);
    loop {
        tokio::select! {
            _ = round.tick() => {
                let now = Instant::now();
                health.due(now).into_iter().for_each(|look| drop(looks.spawn(cx.watched(look))));
                let checks = health.needed();
                if let Some(change) = readiness.judge(&checks, now) {
                    change.tell(&notify, &cx);
                }
                looked = true;
                let due = |every: Duration| alive_at.is_none_or(|at| now >= at + every.saturating_sub(EVERY));
                if notify.alive_every().is_some_and(due) {
                    notify.alive();
                    alive_at = Some(now);
                }
            }
            // A panic in a probe is that part's, which then is stale.
            Some(_) = looks.join_next(), if !looks.is_empty() => {}
            // Only who has looked since it was last asked is well.
            () = cx.asked(), if looked => looked = false,
            () = cx.stop.cancelled() => return Ok(()),
        }
    }
}

/// While a node starts, parts that nobody has looked at yet are no news.
const STARTS_WITHIN: Duration = Duration::from_secs(2);

/// Whether the node does its job, and since when it does not.
struct Readiness {
    down_since: Instant,
    ever: bool,
    /// The names of what fails, as last told; `None` before the first word.
    failing: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// For the first time since the start.
    Ready {
        after: Duration,
    },
    Again {
        after: Duration,
    },
    /// Or not ready for other reasons than before.
    NotReady {
        why: String,
    },
}

impl Readiness {
    fn new(now: Instant) -> Self {
        Self { down_since: now, ever: false, failing: None }
    }

    fn judge(&mut self, checks: &[Check], now: Instant) -> Option<Change> {
        let failing: Vec<&Check> = checks.iter().filter(|check| check.needed && !check.ok).collect();
        let (ready, names) = (failing.is_empty(), failing.iter().map(|check| check.name.clone()).collect());
        let down = now.saturating_duration_since(self.down_since);
        let starts = !self.ever && !ready && down < STARTS_WITHIN;
        if starts || self.failing.as_ref() == Some(&names) {
            return None;
        }
        if self.failing.replace(names).is_some_and(|before| before.is_empty()) {
            self.down_since = now;
        }
        if !ready {
            let lines: Vec<String> = failing.into_iter().map(Check::line).collect();
            return Some(Change::NotReady { why: lines.join("; ") });
        }
        let first = !std::mem::replace(&mut self.ever, true);
        Some(if first { Change::Ready { after: down } } else { Change::Again { after: down } })
    }
}

impl Change {
    fn tell(&self, notify: &Notify, cx: &ServiceCx) {
        let line = self.line();
        match self {
            Self::NotReady { .. } => warn!("{line}"),
            Self::Ready { .. } | Self::Again { .. } => info!("{line}"),
        }
        notify.status(&line);
        cx.place.note(line);
    }

    fn line(&self) -> String {
        match self {
            Self::Ready { after } => format!("ready after {:.1} s", after.as_secs_f32()),
            Self::Again { after } => format!("ready again after {:.1} s", after.as_secs_f32()),
            Self::NotReady { why } => format!("not ready: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervision::{Intensity, Roll, Root, Strategy, Tree};

    /// Health as a list of (seconds since the start, names of what fails); what is told.
    #[track_caller]
    fn check(course: &[(f32, &[&str])], wanted: &[&str]) {
        let began = Instant::now();
        let mut readiness = Readiness::new(began);
        let told: Vec<String> = course
            .iter()
            .filter_map(|(at_s, failing)| {
                let part = |name: &str, ok| Check {
                    name: name.to_owned(),
                    ok,
                    needed: true,
                    text: "why".to_owned(),
                    is_a_node: false,
                };
                let mut checks: Vec<Check> = failing.iter().map(|name| part(name, false)).collect();
                checks.extend([part("http", true), Check { needed: false, ..part("gpu-link", false) }]);
                let change = readiness.judge(&checks, began + Duration::from_secs_f32(*at_s));
                change.map(|change| change.line())
            })
            .collect();
        assert_eq!(told, wanted);
    }

    /// Runs the service until the manager has heard all of these, in this order and with others in between.
    async fn heard(health: Health, watchdog: Duration, wanted: &[&str]) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = tokio::net::UnixDatagram::bind(&path).expect("binds");
        let notify = Notify::to(&path.display().to_string(), Some(watchdog)).expect("a socket");
        // As every node has one: while this test gets no time, the service is not blamed.
        let _heart = supervision::watchdog::heart(supervision::History::default());
        let child = supervision::service("health", move |cx| keep(health.clone(), notify.clone(), cx));
        let intensity = Intensity { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree { name: "node".to_owned(), strategy: Strategy::OneForOne, intensity, children: vec![child] };
        let _root = Root::start(tree, Roll::default()).await.expect("starts");
        let (mut wanted, mut all) = (wanted.iter(), Vec::new());
        let mut next = wanted.next();
        while let Some(word) = next {
            let mut bytes = [0; 1024];
            let told = tokio::time::timeout(Duration::from_secs(20), manager.recv(&mut bytes)).await;
            let length = told.unwrap_or_else(|_| panic!("`{word}` was not heard, only {all:?}")).expect("a socket");
            let told = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if told.starts_with(word) {
                next = wanted.next();
            }
            all.push(told);
        }
    }

    #[tokio::test]
    async fn systemd_hears_how_the_node_is_and_that_somebody_has_just_looked() {
        let health = Health::default();
        let looks = std::sync::atomic::AtomicU32::new(0);
        health.needs("outbox", move || {
            let full = (5..10).contains(&looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            if full { Err("disk full".to_owned()) } else { Ok("accepts".to_owned()) }
        });
        let wanted = [
            "STATUS=ready after",
            "STATUS=not ready: outbox: disk full",
            "STATUS=ready again",
            "WATCHDOG=1",
            "WATCHDOG=1",
        ];
        heard(health, Duration::from_secs(1), &wanted).await;
    }

    #[tokio::test]
    async fn a_part_that_is_looked_at_apart_is_found_well_and_then_silent() {
        let (health, looks) = (Health::default(), std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0)));
        health.needs_apart("disk", move || {
            let hangs = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
            Box::pin(async move { if hangs { std::future::pending().await } else { Ok("writable".to_owned()) } })
        });
        let wanted = ["STATUS=ready after", "STATUS=not ready: disk: does not answer"];
        heard(health, Duration::from_secs(60), &wanted).await;
    }

    #[tokio::test]
    async fn one_that_has_just_started_tells_systemd_at_once_that_it_lives() {
        // Half of this is far beyond what the test waits for.
        heard(Health::default(), Duration::from_secs(120), &["WATCHDOG=1"]).await;
    }

    #[test]
    fn each_change_is_told_once() {
        check(
            &[
                (0.0, &["coverage"]),
                (0.8, &[]),
                (1.0, &[]),
                (9.0, &["outbox"]),
                (9.2, &["outbox"]),
                (12.2, &[]),
                (12.4, &[]),
            ],
            &["ready after 0.8 s", "not ready: outbox: why", "ready again after 3.2 s"],
        );
    }

    #[test]
    fn another_reason_is_told_too_and_the_time_counts_from_the_first() {
        check(
            &[(0.0, &[]), (5.0, &["outbox"]), (6.0, &["outbox", "coverage"]), (7.0, &["coverage"]), (9.0, &[])],
            &[
                "ready after 0.0 s",
                "not ready: outbox: why",
                "not ready: outbox: why; coverage: why",
                "not ready: coverage: why",
                "ready again after 4.0 s",
            ],
        );
    }

    #[test]
    fn a_node_that_is_not_ready_soon_after_its_start_says_so() {
        check(
            &[(0.0, &["coverage"]), (1.8, &["coverage"]), (2.2, &["coverage"]), (2.4, &["coverage"]), (4.0, &[])],
            &["not ready: coverage: why", "ready after 4.0 s"],
        );
    }
}
