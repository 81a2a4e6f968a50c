//! Enrolment: who is let in with a token, who is revoked, and what certificates are issued.
//!
//!   admin ──token, revoke───▶ [enrolment] ──▶ file
//!   gateway ──join, renew───▶      │  └─────▶ revoked ──▶ every handshake, every live connection
//!                                  └─ issuer (a relay with the authority) ──▶ certificate
//!
//! Stops when: its file fails.  On restart: opens it again; who was revoked stays so meanwhile.
//! Disk full: nobody is let in and nobody revoked, and whoever asked is told.

mod desk;
mod file;
mod rules;
#[cfg(test)]
mod tests;
mod tries;

use crate::events::disk::FileError;
use file::FabricFile;
use protocol::ca::{Authority, CaError};
use protocol::core::Revocation;
use protocol::csr::Csr;
use protocol::enrol::{Refusal, TOKEN_ID_BYTES, TOKEN_SECRET_BYTES, Token, sha256};
use protocol::revoked::Revoked;
use protocol::transport::Credentials;
use protocol::{Identity, NodeName, Role, TenantId, Timestamp};
use rules::{Issued, Presented};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use supervision::{Actor, Backoff, Context, Failure, Gone, Mailbox, Node, Overflow, child};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::block_in_place;
use tracing::{error, info, warn};
use tries::Tries;

/// Questions that wait. When full, whoever asks waits.
const WAITING_MAX: usize = 64;
/// Certificates that are issued at once, each with a write to disk and a signature. When full, a box that joins and
/// a node that renews are told to try again.
const ISSUED_AT_ONCE: usize = 16;
/// A disk that fails is not tried in a tight loop.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(5) };
/// A token is for the box that is set up now, not for a drawer.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Certificates count in seconds: one that is issued within the second of a revocation would be revoked with it.
const CERTIFICATE_TICK: Duration = Duration::from_secs(1);

/// Signs certificates: a relay that has the authority.
pub struct Issuer {
    authority: Authority,
    valid: Duration,
}

impl Issuer {
    /// With the authority in `ca_dir`, which must be the one that `credentials` believe.
    pub fn load(ca_dir: &std::path::Path, valid: Duration, credentials: &Credentials) -> Result<Self, CaError> {
        let authority = Authority::load(ca_dir)?;
        if authority.sha256() != credentials.ca_sha256() {
            let ca = credentials.files().ca.display();
            let why = format!("enrol.ca_dir {} holds another authority than tls.ca {ca}", ca_dir.display());
            return Err(CaError::Request(format!("{why}; nobody would believe what it signs")));
        }
        Ok(Self { authority, valid })
    }
}

/// Talks to enrolment. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Enrolment {
    mailbox: Mailbox<Msg>,
    node: Identity,
    revoked: Revoked,
    issuer: Option<Arc<Issuer>>,
    at_once: Arc<Semaphore>,
    tries: Tries,
}

impl Enrolment {
    /// Revokes for all that use these credentials. Without an issuer it lets nobody in.
    pub fn new(credentials: &Credentials, issuer: Option<Issuer>) -> Self {
        Self {
            mailbox: Mailbox::new("enrolment", WAITING_MAX, Overflow::Wait),
            node: credentials.identity().clone(),
            revoked: credentials.revoked().clone(),
            issuer: issuer.map(Arc::new),
            at_once: Arc::new(Semaphore::new(ISSUED_AT_ONCE)),
            tries: Tries::default(),
        }
    }

    /// The actor behind this handle. Once it is started, every name that its file knows as revoked is refused.
    pub fn child(&self, path: PathBuf) -> Node {
        let revoked = self.revoked.clone();
        let make = move || block_in_place(|| EnrolmentState::open(path.clone(), revoked.clone()));
        child("enrolment", &self.mailbox, make).backoff(BACKOFF)
    }

    pub fn issues(&self) -> bool {
        self.issuer.is_some()
    }

    /// Who is revoked, as this process knows it; it tells of changes.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// A token for one node of this role and name, of the operator's own tenant; or why there is none.
    pub async fn create_token(
        &self,
        by: &Identity,
        role: Role,
        name: NodeName,
        ttl: Duration,
    ) -> Result<(Token, Timestamp), String> {
        let issuer = self.issuer.as_ref().ok_or_else(|| Refusal::NoAuthority.to_string())?;
        let who = Identity { tenant: by.tenant.clone(), role, name };
        check_token(&who, &self.node, ttl)?;
        let (mut id, mut secret) = ([0; TOKEN_ID_BYTES], [0; TOKEN_SECRET_BYTES]);
        let random = getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret));
        random.map_err(|error| format!("the system gives no random numbers: {error}"))?;
        let token = Token { who: who.clone(), id, secret, ca_sha256: issuer.authority.sha256() };
        let issued = file::made(sha256(token.to_string().as_bytes()), who, by.clone(), Timestamp::now(), ttl);
        let until = issued.until;
        self.mailbox.ask(|reply| Msg::Create { id, issued, reply }).await.map_err(unwell)??;
        info!(target: "audit", %by, who = %token.who, %until, "a token was made");
        Ok((token, until))
    }

    /// From now on, certificates that this one has are worth nothing, on this node and on those that it tells. Live
    /// connections are closed at once.
    pub async fn revoke(&self, by: &Identity, who: Identity) -> Result<Revocation, String> {
        if who == self.node {
            return Err(format!("{who} is this node itself; ask another core node to revoke it"));
        }
        if who == *by {
            return Err(format!("{who} is who asks; let another operator revoke it"));
        }
        let revocation = Revocation { who, at: Timestamp::now(), by: by.clone() };
        self.mailbox.ask(|reply| Msg::Revoke { news: vec![revocation.clone()], reply }).await.map_err(unwell)??;
        warn!(target: "audit", %by, who = %revocation.who, "revoked");
        Ok(revocation)
    }

    /// Takes what another core node knows to be revoked.
    pub async fn learn(&self, news: Vec<Revocation>) -> Result<(), String> {
        // This node goes on: whoever revoked it cuts it off at the other end.
        let mut news: Vec<Revocation> = news.into_iter().filter(|revocation| revocation.who != self.node).collect();
        let known = self.revoked.all();
        let is_known = |news: &Revocation| known.iter().any(|known| known.who == news.who && known.at >= news.at);
        news.retain(|revocation| !is_known(revocation));
        if news.is_empty() {
            return Ok(());
        }
        for Revocation { who, by, .. } in &news {
            warn!(target: "audit", %by, %who, "revoked elsewhere");
        }
        self.mailbox.ask(|reply| Msg::Revoke { news, reply }).await.map_err(unwell)?
    }

    /// Who of this name was ever given a token here.
    pub async fn known(&self, tenant: TenantId, name: NodeName) -> Result<BTreeSet<Identity>, String> {
        self.mailbox.ask(|reply| Msg::Known { tenant, name, reply }).await.map_err(unwell)
    }

    /// A certificate for `who`, who has proved to be that; issued after whatever was revoked of that name.
    fn sign(&self, who: &Identity, csr: &Csr) -> Result<String, Refusal> {
        let issuer = self.issuer.as_ref().ok_or(Refusal::NoAuthority)?;
        let revoked = self.revoked.of(who, Timestamp::from_micros(i64::MIN));
        let later = revoked.map(|revocation| revocation.at.plus(CERTIFICATE_TICK));
        issuer.authority.sign(who, csr, later, issuer.valid).map_err(|error| Refusal::Unwell(error.to_string()))
    }

    async fn take(&self, id: [u8; TOKEN_ID_BYTES], presented: Presented) -> Result<Identity, Refusal> {
        let taken = self.mailbox.ask(|reply| Msg::Take { id, presented, reply }).await;
        taken.map_err(|gone| Refusal::Unwell(unwell(gone)))?
    }
}

fn unwell(gone: Gone) -> String {
    format!("{gone}: its disk may be full; `watchtree failures` on this relay says more")
}

fn check_token(who: &Identity, here: &Identity, ttl: Duration) -> Result<(), String> {
    match who.role {
        Role::Edge | Role::Relay | Role::Gpu if who == here => Err(format!("{who} is this node itself")),
        Role::Edge | Role::Relay | Role::Gpu if ttl.is_zero() || ttl > TTL_MAX => {
            let days = TTL_MAX.as_secs() / (24 * 3600);
            Err(format!("a token is good for 1 s to {days} days, not for {} s", ttl.as_secs()))
        }
        Role::Edge | Role::Relay | Role::Gpu => Ok(()),
        person @ (Role::Operator | Role::Viewer) => Err(format!(
            "tokens are for nodes; make the certificate of a person with `watchtree ca issue --role {person}`"
        )),
    }
}

enum Msg {
    Create { id: [u8; TOKEN_ID_BYTES], issued: Issued, reply: oneshot::Sender<Result<(), String>> },
    Take { id: [u8; TOKEN_ID_BYTES], presented: Presented, reply: oneshot::Sender<Result<Identity, Refusal>> },
    Revoke { news: Vec<Revocation>, reply: oneshot::Sender<Result<(), String>> },
    Known { tenant: TenantId, name: NodeName, reply: oneshot::Sender<BTreeSet<Identity>> },
}

struct EnrolmentState {
    path: PathBuf,
    /// Away while the disk is too full even to open it.
    file: Option<FabricFile>,
    revoked: Revoked,
}

impl Actor for EnrolmentState {
    type Msg = Msg;

    async fn handle(&mut self, message: Msg, cx: &mut Context<Msg>) -> Result<(), Failure> {
        // A reply that is dropped says: not done, ask again. Whoever asked may be gone as well.
        match message {
            Msg::Create { id, issued, reply } => self.on_file(cx, |file| file.add(id, &issued), reply),
            Msg::Take { id, presented, reply } => {
                let revoked = self.revoked.clone();
                self.on_file(cx, |file| file.take(id, &presented, |of| revoked.of(&of.who, of.made)), reply)
            }
            Msg::Revoke { news, reply } => {
                let revoked = self.revoked.clone();
                let kept = |file: &FabricFile| {
                    let kept = file.revoke(&news)?;
                    if kept.is_ok() {
                        revoked.add(news);
                    }
                    Ok(kept)
                };
                self.on_file(cx, kept, reply)
            }
            Msg::Known { tenant, name, reply } => self.on_file(cx, |file| file.known(&tenant, &name), reply),
        }
    }
}

impl EnrolmentState {
    fn open(path: PathBuf, revoked: Revoked) -> Result<Self, Failure> {
        let file = FabricFile::open(&path)?;
        let known = file.revocations().map_err(|error| error.refusal(&path))?;
        info!(path = %path.display(), revoked = known.len(), "enrolment is open");
        revoked.add(known);
        Ok(Self { path, file: Some(file), revoked })
    }

    /// Answers after the file has been asked, if it can be.
    fn on_file<T>(
        &mut self,
        cx: &mut Context<Msg>,
        work: impl FnOnce(&FabricFile) -> Result<T, FileError>,
        reply: oneshot::Sender<T>,
    ) -> Result<(), Failure> {
        block_in_place(|| {
            if self.file.is_none() {
                self.file = FabricFile::open(&self.path).ok();
            }
            let Some(file) = &self.file else { return Ok(()) };
            match work(file) {
                Ok(answer) => drop(reply.send(answer)),
                Err(full) if full.is_full() => {
                    error!("{}: {full}; free space on its disk: nobody is let in or revoked", self.path.display());
                    cx.note("disk is full, nobody is let in or revoked: free space");
                    // redb does no more work after an I/O error until the file is opened again.
                    self.file = None;
                }
                // One bad record costs whoever asked for it an answer, and nobody else.
                Err(bad @ (FileError::Record(_) | FileError::Broken(_))) => {
                    error!("{}: a record cannot be read: {bad}", self.path.display());
                }
                Err(error) => return Err(error.failure(&self.path)),
            }
            Ok(())
        })
    }
}
