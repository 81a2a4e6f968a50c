//! The certificate authority's two commands.

use super::Failure;
use super::args::{CaInitArgs, CaIssueArgs};
use super::credentials::own_dir;
use super::out::Out;
use protocol::ca::{self, CaError};
use protocol::{Identity, Role};
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn init(args: &CaInitArgs, out: &mut Out) -> Result<(), Failure> {
    let dir = args.dir.clone().map_or_else(own_dir, Ok)?;
    ca::init(&dir, &args.name).map_err(Failure::new)?;
    let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    out.line(&format!("{}: the certificate of \"{}\"; every node gets a copy", cert.display(), args.name))?;
    out.line(&format!("{}: the key to it; keep it here and a copy in a safe place", key.display()))?;
    out.line(&format!("Next: watchtree ca issue --role operator --name me{}", dir_option(args.dir.as_deref())))?;
    out.flush()
}

pub(super) fn issue(args: &CaIssueArgs, out: &mut Out) -> Result<(), Failure> {
    let dir = args.dir.clone().map_or_else(own_dir, Ok)?;
    let to = args.out.as_deref().unwrap_or(&dir);
    let who = Identity { tenant: args.tenant.clone(), role: args.role, name: args.name.clone() };
    let issued = ca::issue(&dir, to, &who, DAY * args.days).map_err(|error| told(error, args.dir.as_deref()))?;
    out.line(&format!("{}: the certificate of {who}, good for {} days", issued.cert.display(), args.days))?;
    out.line(&format!("{}: the key to it; it is its holder's alone", issued.key.display()))?;
    match args.role {
        Role::Operator => {}
        Role::Viewer => {
            let ca = dir.join("ca.pem");
            out.line(&format!(
                "Next: give both and {} to whoever looks; they belong into ~/.config/watchtree",
                ca.display()
            ))?;
        }
        role @ (Role::Edge | Role::Relay | Role::Gpu) => {
            let ca = dir.join("ca.pem");
            out.line(&format!(
                "Next: copy both and {} to the {role} node; its [tls] section names the three",
                ca.display()
            ))?;
        }
    }
    out.flush()
}

/// The authority is missing more often than broken: say how to make one.
fn told(error: CaError, dir: Option<&Path>) -> Failure {
    match &error {
        CaError::File { path, .. } if !path.exists() => {
            let option = dir_option(dir);
            Failure::new(format!(
                "{} does not exist; make an authority with `watchtree ca init{option}`",
                path.display()
            ))
        }
        _ => Failure::new(error),
    }
}

fn dir_option(dir: Option<&Path>) -> String {
    dir.map(|dir| format!(" --dir {}", dir.display())).unwrap_or_default()
}
