//! Renewal: asks for the node's next certificate at half the life of the one it has.
//!
//!   [renewal] ──request──▶ the relay's connection, or this relay's own authority
//!       └──certificate──▶ credentials (shown from then on), file (shown after a restart)
//!
//! Stops when: it panics.  On restart: goes on from the certificate that is shown. A relay that is away, or issues
//! none, is not its failure: the node says how long its certificate is good, and asks again.

use super::enrolment::Enrolment;
use crate::api::health::Finding;
use protocol::enrol::{Refusal, RenewDown, RenewUp};
use protocol::link::Open;
use protocol::transport::{Connection, Credentials, Version};
use protocol::{Certificate, Timestamp};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supervision::{Backoff, Failure, ServiceCx, jitter};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// From the stream's opening to the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at the clock, and at the time that is left.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After a try that failed. Half of a certificate's life is left for them.
const AGAIN: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(600) };
/// Between two questions to a relay that issues none.
const RARELY: Duration = Duration::from_secs(3600);
/// Share of its life that is left of a certificate when its node says that it is not well.
const LEFT_MIN: f64 = 0.25;

/// Who issues this node's certificates.
#[derive(Clone)]
pub enum Issues {
    /// Whoever this link leads to.
    Relay(watch::Receiver<Option<Connection>>),
    /// This node itself.
    Here(Enrolment),
    /// Nobody: somebody copies files by hand.
    Nobody,
}

#[derive(Clone)]
pub struct Renewal {
    credentials: Credentials,
    issues: Issues,
    /// Why it was not renewed, when last tried.
    trouble: Arc<Mutex<Option<String>>>,
}

/// Why there is no new certificate.
#[derive(Debug, PartialEq, Eq)]
enum Unrenewed {
    /// Ask again soon.
    Failed(String),
    /// Nobody issues any: ask again some day.
    NoAuthority,
}

impl Renewal {
    pub fn new(credentials: Credentials, issues: Issues) -> Self {
        Self { credentials, issues, trouble: Arc::default() }
    }

    /// For health: how long the certificate is good, or that it ends soon and why.
    pub fn finding(&self) -> Finding {
        let certificate = self.credentials.certificate();
        let left = certificate.until.since(Timestamp::now());
        let told = format!("certificate good until {}, {} left", certificate.until, days(left));
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match trouble.or_else(|| self.by_hand()) {
            Some(why) if left.as_secs_f64() < certificate.life().as_secs_f64() * LEFT_MIN => {
                Err(format!("{told}, and it is not renewed: {why}"))
            }
            Some(why) => Ok(format!("{told}; not renewed: {why}")),
            None => Ok(told),
        }
    }

    fn by_hand(&self) -> Option<String> {
        let by_hand = || "nobody issues certificates to this node: copy a new one before that".to_owned();
        matches!(self.issues, Issues::Nobody).then(by_hand)
    }

    /// The service.
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut due = self.due();
        let (mut again, mut tries) = (Instant::now(), 0);
        loop {
            self.show(&cx);
            let wait = due.since(Timestamp::now()).max(again.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = cx.waits(sleep(wait.min(LOOK_EVERY))) => {}
                () = cx.stop.cancelled() => return Ok(()),
            }
            if Timestamp::now() < due || Instant::now() < again || matches!(self.issues, Issues::Nobody) {
                continue;
            }
            match cx.waits(self.renew()).await {
                Ok(()) => {
                    count("renewed");
                    (due, tries, again) = (self.due(), 0, Instant::now() + AGAIN.base);
                    self.say(None);
                }
                Err(Unrenewed::NoAuthority) => {
                    count("no_authority");
                    self.say(Some("this node's relay issues no certificates".to_owned()));
                    again = Instant::now() + RARELY;
                }
                Err(Unrenewed::Failed(why)) => {
                    count("failed");
                    self.say(Some(why));
                    tries += 1;
                    again = Instant::now() + AGAIN.pause(tries, jitter());
                }
            }
        }
    }

    /// At half of its life, give or take: a thousand nodes that joined together do not ask together.
    fn due(&self) -> Timestamp {
        let certificate = self.credentials.certificate();
        certificate.issued.plus(certificate.life().mul_f64(0.45 + 0.1 * jitter()))
    }

    async fn renew(&self) -> Result<(), Unrenewed> {
        let certificate_pem = match &self.issues {
            Issues::Relay(link) => {
                let connection = link.borrow().clone();
                let connection =
                    connection.ok_or_else(|| Unrenewed::Failed("there is no link to the relay".to_owned()))?;
                let asked = timeout(ANSWER_WITHIN, ask(&connection, &self.credentials)).await;
                asked.unwrap_or_else(|_| {
                    Err(Unrenewed::Failed(format!("no answer within {} s", ANSWER_WITHIN.as_secs())))
                })?
            }
            Issues::Here(enrolment) => enrolment.renew_own(&self.credentials).map_err(refused)?,
            Issues::Nobody => return Err(Unrenewed::NoAuthority),
        };
        self.credentials.renew(&certificate_pem).map_err(|error| Unrenewed::Failed(error.to_string()))?;
        let Certificate { until, .. } = self.credentials.certificate();
        info!(%until, "certificate renewed");
        let path = self.credentials.files().cert.clone();
        let written =
            tokio::task::spawn_blocking(move || replace(&path, &certificate_pem).map_err(|why| (path, why))).await;
        match written {
            Ok(Ok(())) => {}
            // It is shown all the same; what is on disk is good for a while, and the next try is the next renewal.
            Ok(Err((path, why))) => warn!("{}: {why}; let this user write the file and its directory", path.display()),
            Err(panicked) => warn!("the new certificate is not written: {panicked}"),
        }
        Ok(())
    }

    fn show(&self, cx: &ServiceCx) {
        let left = self.credentials.certificate().until.since(Timestamp::now());
        metrics::gauge!("watchtree_certificate_seconds_left").set(left.as_secs_f64());
        let (Ok(text) | Err(text)) = self.finding();
        cx.place.note(text);
    }

    /// Each new trouble once.
    fn say(&self, now: Option<String>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = now.as_ref().filter(|why| trouble.as_ref() != Some(why)) {
            warn!("the certificate is not renewed: {why}");
        }
        *trouble = now;
    }
}

async fn ask(connection: &Connection, credentials: &Credentials) -> Result<String, Unrenewed> {
    if connection.version() < Version::FABRIC {
        return Err(Unrenewed::NoAuthority);
    }
    let failed = |why: &dyn std::fmt::Display| Unrenewed::Failed(why.to_string());
    let csr = credentials.request().map_err(|error| failed(&error))?;
    let (mut tx, mut rx) = connection.open_bi(&Open::Renew).await.map_err(|error| failed(&error))?;
    tx.send(&RenewUp { csr, now: Timestamp::now() }).await.map_err(|error| failed(&error))?;
    tx.finish().map_err(|error| failed(&error))?;
    match rx.recv::<RenewDown>().await {
        Ok(Some(RenewDown::Renewed { certificate_pem, .. })) => Ok(certificate_pem),
        Ok(Some(RenewDown::Refused(refusal))) => Err(refused(refusal)),
        Ok(None) => Err(failed(&"the relay gave no answer")),
        Err(error) => Err(failed(&error)),
    }
}

fn refused(refusal: Refusal) -> Unrenewed {
    match refusal {
        Refusal::NoAuthority => Unrenewed::NoAuthority,
        other => Unrenewed::Failed(other.to_string()),
    }
}

/// In place of what is there, whole or not at all, also after a power cut.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let (beside, directory) = (path.with_extension("pem.new"), path.parent().filter(|dir| !dir.as_os_str().is_empty()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn days(left: Duration) -> String {
    match left.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 2 * 3600 => format!("{} min", s / 60),
        s if s < 48 * 3600 => format!("{} h", s / 3600),
        s => format!("{} days", s / (24 * 3600)),
    }
}

fn count(result: &'static str) {
    metrics::counter!("watchtree_certificate_renewals_total", "result" => result).increment(1);
}

#[cfg(test)]
mod tests;
