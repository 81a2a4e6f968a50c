//! Join: each edge of a fleet is let in as a new box is: with a token, and a key that it makes itself.

use super::{Settings, name, own_dir};
use crate::harness::Operator;
use protocol::enrol::{JoinDown, JoinUp, Refusal};
use protocol::transport::{self, Credentials, TlsFiles};
use protocol::{Role, Timestamp, csr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Boxes that join at once; a relay takes few more.
const AT_ONCE: usize = 4;
/// A relay that is busy with others is asked again after this.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const TRIES_MAX: usize = 100;

pub(super) async fn join_all(settings: &Settings, operator: &Arc<Operator>) -> Result<Vec<Credentials>, String> {
    let dir = Arc::new(own_dir()?);
    let mut joining = JoinSet::new();
    for lane in 0..AT_ONCE {
        let (settings, operator, dir) = (settings.clone(), operator.clone(), dir.clone());
        joining.spawn(async move {
            let mut joined = Vec::new();
            for nth in (lane..settings.edges).step_by(AT_ONCE) {
                let credentials = join(&settings, &operator, dir.path(), nth).await;
                joined.push((nth, credentials.map_err(|why| format!("edge {nth} does not join: {why}"))?));
            }
            Ok::<_, String>(joined)
        });
    }
    let mut all = Vec::with_capacity(settings.edges);
    while let Some(lane) = joining.join_next().await {
        all.extend(lane.map_err(|e| e.to_string())??);
    }
    all.sort_by_key(|(nth, _)| *nth);
    Ok(all.into_iter().map(|(_, credentials)| credentials).collect())
}

async fn join(settings: &Settings, operator: &Operator, dir: &Path, nth: usize) -> Result<Credentials, String> {
    let token = operator.token(name(settings, nth)?).await?;
    let key = csr::new_key()?;
    let up = JoinUp {
        token: token.to_string(),
        csr: csr::for_key(&key, Role::Edge)?,
        now: Timestamp::now(),
        software: "watchtree-fleet".to_owned(),
    };
    let (host, port) = &settings.relay;
    for _ in 0..TRIES_MAX {
        match transport::join(&token, host, *port, &up).await.map_err(|e| e.to_string())? {
            JoinDown::Joined { certificate_pem, ca_pem, .. } => {
                let path = |end: &str| dir.join(format!("{nth}.{end}"));
                let files = TlsFiles { ca: path("ca.pem"), cert: path("pem"), key: path("key") };
                for (file, text) in [(&files.ca, &ca_pem), (&files.cert, &certificate_pem), (&files.key, &key)] {
                    std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))?;
                }
                return Credentials::load(&files).map_err(|e| e.to_string());
            }
            JoinDown::Refused(Refusal::Busy) => sleep(BUSY_PAUSE).await,
            JoinDown::Refused(refusal) => return Err(refusal.to_string()),
        }
    }
    Err("the relay is busy all the time".to_owned())
}
