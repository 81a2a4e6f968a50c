//! Session: a connection to a core node, and one request on it at a time.
//!
//!   Dialler ──dial_all──▶ Session ──ask──▶ Replies ──next──▶ Reply
//!
//! Nobody tells beforehand which role answers at an address: a relay is tried, then a gpu node.

use super::args::Access;
use super::credentials::{self, Found};
use super::{Failure, warn};
use config::HostPort;
use protocol::admin::{Reply, Request};
use protocol::link::Open;
use protocol::transport::{CloseCode, Connection, DialError, Endpoint, Rx, Tx, Version};
use protocol::{Identity, Role, limits};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A node that is asked and says nothing for so long is told of as stuck. It has 2 s for its peers' trees.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// At the end, for our farewell to leave. QUIC would wait longer for stragglers; a lost farewell only means
/// that the node notices seconds later by itself.
const DRAIN_WITHIN: Duration = Duration::from_millis(50);

/// Why a node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Asking again later may help.
    Lost(String),
    /// Asking again is of no use until somebody changes something.
    Refused(String),
}

impl Unanswered {
    pub fn text(&self) -> &str {
        match self {
            Self::Lost(text) | Self::Refused(text) => text,
        }
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        Self::new(unanswered.text())
    }
}

/// Dials as an operator or a viewer. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dialler {
    endpoint: Endpoint,
    me: Identity,
    /// What we show, for the errors that are about it.
    shown: String,
    ca: String,
}

impl Dialler {
    pub fn new(access: &Access) -> Result<Self, Failure> {
        let Found { credentials, files } = credentials::find(access)?;
        let endpoint = Endpoint::dialer(&credentials).map_err(Failure::new)?;
        let shown = format!("{} ({})", files.cert.display(), credentials.identity());
        let me = credentials.identity().clone();
        Ok(Self { endpoint, me, shown, ca: files.ca.display().to_string() })
    }

    /// Who we are to the nodes.
    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// The certificate that is shown, and whose it is.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    pub async fn dial(&self, at: &HostPort) -> Result<Session, Unanswered> {
        let as_relay = match self.endpoint.dial(&at.host, at.port, Role::Relay).await {
            Ok(connection) => return Ok(Session { connection, at: at.clone() }),
            Err(error) => error,
        };
        if !matches!(as_relay, DialError::WrongCertificate { .. }) {
            return Err(self.told(at, as_relay));
        }
        match self.endpoint.dial(&at.host, at.port, Role::Gpu).await {
            Ok(connection) => Ok(Session { connection, at: at.clone() }),
            Err(error) => Err(self.told(at, error)),
        }
    }

    fn told(&self, at: &HostPort, error: DialError) -> Unanswered {
        let Self { shown, ca, .. } = self;
        match error {
            DialError::Unreachable { why, .. } => Unanswered::Lost(format!(
                "{at} cannot be reached: {why}; is a relay or gpu node running there, with its UDP port open? --connect names others"
            )),
            DialError::WrongCertificate { why, .. } => Unanswered::Refused(format!(
                "{at} is not to be trusted: {why}; the CA believed here is {ca}, --ca names another"
            )),
            DialError::RefusedByPeer { why, .. } => {
                Unanswered::Refused(format!("{at} refused us: {why}; we showed {shown}, --cert names another"))
            }
        }
    }

    /// All at once. Those that do not answer are a warning each; if none does, the first one's reason is the failure.
    pub async fn dial_all(&self, targets: &[HostPort]) -> Result<Vec<Session>, Failure> {
        let (mut sessions, mut silent) = (Vec::new(), Vec::new());
        for result in self.try_all(targets).await {
            match result {
                Ok(session) => sessions.push(session),
                Err(unanswered) => silent.push(unanswered.text().to_owned()),
            }
        }
        let last_words = if sessions.is_empty() { silent.pop() } else { None };
        silent.iter().for_each(warn);
        last_words.map_or(Ok(sessions), |text| Err(Failure::new(text)))
    }

    /// One result for each target, in their order.
    pub async fn try_all(&self, targets: &[HostPort]) -> Vec<Result<Session, Unanswered>> {
        let mut dials = JoinSet::new();
        for (nth, target) in targets.iter().cloned().enumerate() {
            let dialler = self.clone();
            dials.spawn(async move { (nth, dialler.dial(&target).await) });
        }
        let mut results = dials.join_all().await;
        results.sort_by_key(|(nth, _)| *nth);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// After the sessions are dropped.
    pub async fn hang_up(self) {
        let _ = timeout(DRAIN_WITHIN, self.endpoint.drained()).await;
    }
}

/// A core node that knows us. Dropped, the node is told that we are done.
pub(super) struct Session {
    connection: Connection,
    pub at: HostPort,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.close(CloseCode::Done, "the command is done");
    }
}

impl Session {
    /// Who answers.
    pub fn node(&self) -> &Identity {
        self.connection.peer()
    }

    /// What both sides speak.
    pub fn version(&self) -> Version {
        self.connection.version()
    }

    pub async fn ask(&self, request: &Request) -> Result<Replies, Unanswered> {
        let lost = |why: String| Unanswered::Lost(format!("{} at {} is lost: {why}", self.node(), self.at));
        let (mut tx, rx) = self.connection.open_bi(&Open::Admin).await.map_err(|error| lost(error.to_string()))?;
        tx.send(request).await.map_err(|error| lost(error.to_string()))?;
        Ok(Replies { _asking: tx, rx, from: format!("{} at {}", self.node(), self.at) })
    }
}

/// What comes back for one request.
pub(super) struct Replies {
    /// Kept open: a node that follows for us stops when this ends.
    _asking: Tx,
    rx: Rx,
    from: String,
}

impl Replies {
    /// The next reply; `None` after `Done`. A refusal is an error, an end without `Done` too.
    pub async fn next(&mut self) -> Result<Option<Reply>, Unanswered> {
        self.next_within(REPLY_WITHIN).await
    }

    /// As [`Replies::next`], for what takes its time.
    pub async fn next_within(&mut self, within: Duration) -> Result<Option<Reply>, Unanswered> {
        match timeout(within, self.next_whenever()).await {
            Ok(reply) => reply,
            Err(_) => {
                let silent_s = within.as_secs();
                Err(Unanswered::Lost(format!("{} said nothing for {silent_s} s; try again", self.from)))
            }
        }
    }

    /// As [`Replies::next`], for when nothing may come for hours. Cancel-safe.
    pub async fn next_whenever(&mut self) -> Result<Option<Reply>, Unanswered> {
        let from = &self.from;
        match self.rx.recv::<Reply>().await {
            Ok(Some(Reply::Done)) => Ok(None),
            Ok(Some(Reply::Refused(why))) => Err(Unanswered::Refused(format!("{from}: {}", limits::short_text(&why)))),
            Ok(Some(reply)) => Ok(Some(reply.up_to_date())),
            Ok(None) => Err(Unanswered::Lost(format!("{from} stopped half way through its answer; try again"))),
            Err(error) => Err(Unanswered::Lost(format!("{from} is lost: {error}"))),
        }
    }

    /// For a reply that does not belong to the question.
    pub fn unexpected(&self) -> Unanswered {
        Unanswered::Refused(format!("{} answered another question; are both of one version?", self.from))
    }
}
